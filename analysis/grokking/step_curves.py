"""Accuracy, loss and weight norm over steps with a band over seeds, for two figures of grokking."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from analysis.figure import query
from analysis.figure.provenance import curves_of, nothing_logged
from analysis.grokking import runs as grok
from analysis.grokking.plot import RANGE
from analysis.stats import features, seed_curves
from analysis.stats.seed_curves import SeedCurves
from analysis.stats.verdict import Criterion, has_double_descent

COLOURS = {  # distinct for colour-blind readers too
    "train": "#D55E00",
    "test": "#009E73",
    "weight": "#5B4A9E",
}
METRICS = ("train_accuracy", "test_accuracy", "train_loss", "test_loss", "weight_norm")
BAND = (
    "minimum to maximum over seeds, the line is their median; of the seeds and steps of the "
    "largest block without gaps, since runs may end at different steps; thin lines are seeds"
)
FLOOR = 0.1  # nats; a rise or descent below it counts as none


def load(options: argparse.Namespace) -> tuple[grok.SelectedRuns, dict[str, SeedCurves]]:
    """The runs that the options choose, which differ in seed alone, and the curves of each metric.

    Raises FigureError if nothing is logged yet, beside what `grok.select_runs` raises.
    """
    selection = grok.select_runs(options)
    rows = curves_of(selection.runs, options.folder, [*METRICS, "step"], "step")
    curves = {}
    for metric in METRICS:
        by_fraction = seed_curves.seed_curves(selection.runs, rows, grok.FRACTION, metric, "step")
        curves[metric] = by_fraction[0]
    if not curves["test_accuracy"].cells:
        raise query.FigureError(nothing_logged(selection.runs, "test_accuracy"))
    return selection, curves


def band(curves: SeedCurves) -> pd.DataFrame:
    """Columns step, median, min, max, n of the largest block without gaps."""
    seeds, mask = seed_curves.complete_block(curves.values)
    values = curves.values[seeds][:, mask]
    low, middle, high = np.quantile(values, [0, 0.5, 1], axis=0)
    columns = {"step": curves.x[mask], "median": middle, "min": low, "max": high}
    return pd.DataFrame({**columns, "n": len(seeds)})


def tidy(data: Mapping[str, SeedCurves]) -> pd.DataFrame:
    """The bands of all metrics, one row for each metric and step."""
    frames = [band(curves).assign(metric=name) for name, curves in data.items()]
    return pd.concat(frames, ignore_index=True)[["metric", "step", "median", "min", "max", "n"]]


def facts(seeds: pd.DataFrame) -> dict[str, Any]:
    """What the record says of the curves: how they are drawn, and of which cells, by `by_seed`."""
    cells = sorted(seeds["cell"].astype(str))
    return {"band": BAND, "unfinished": "drawn as far as they are", "cells": cells}


def by_seed(selection: grok.SelectedRuns, loss: SeedCurves) -> pd.DataFrame:
    """One row a seed: status, last step, steps to 99 % and their gap, and the test loss's hump.

    lowest_loss is the lowest value before the peak; where the loss never rises both are its
    minimum.
    """
    runs = selection.runs.assign(id=selection.runs["cell"].astype(str)).set_index("id")
    train_steps, test_steps = (grok.steps_to(runs, split, 99) for split in ("train", "test"))
    rows = []
    for cell, seed, values in zip(loss.cells, loss.seeds, loss.values, strict=True):
        finite = np.isfinite(values)
        hump = features.features(values[finite], 1, loss.x[finite], last=1)
        train, test = float(train_steps[cell]), float(test_steps[cell])
        rows.append(
            {
                "seed": seed,
                "cell": cell,
                "status": runs.loc[cell, "status"],
                "last_step": int(loss.x[finite][-1]),
                "train_steps_99": train,
                "test_steps_99": test,
                "gap_99": test - train if np.isfinite(train) else np.nan,
                "lowest_loss": float(hump.first_minimum),
                "peak_loss": float(hump.peak),
                "peak_step": int(hump.peak_epoch),
                "final_loss": float(hump.final),
            }
        )
    return pd.DataFrame(rows)


def hump(loss: SeedCurves) -> str:
    """One sentence: whether the test loss falls, rises and falls again."""
    seeds, mask = seed_curves.complete_block(loss.values)
    block, criterion = loss.values[seeds][:, mask], Criterion(FLOOR)
    verdict = has_double_descent(block, 1, loss.x[mask], last=1, criterion=criterion)
    descent = "a second descent"
    if not verdict.double_descent:
        descent = "NO second descent distinguishable from noise"
    return f"the test loss has {descent}: {verdict.reason}"


def draw(axes: Axes, curves: SeedCurves, split: str, label: str, scale: float = 1.0) -> None:
    """A line for every seed, and median and band where there are several, times `scale`."""
    rows = rows_by_step(curves)
    rows["value"] *= scale
    look: dict[str, Any] = {
        "x": "step",
        "y": "value",
        "color": COLOURS[split],
        "legend": False,
        "ax": axes,
    }
    if len(curves.cells) == 1:
        sns.lineplot(rows, estimator=None, label=label, linewidth=1.8, **look)
        return
    sns.lineplot(rows, units="seed", estimator=None, linewidth=0.7, alpha=0.45, **look)
    block = rows[rows["in_block"]]
    sns.lineplot(block, estimator="median", errorbar=RANGE, linewidth=1.8, label=label, **look)


def rows_by_step(curves: SeedCurves) -> pd.DataFrame:
    """Columns step, seed, value and in_block (of the block without gaps) of each logged step."""
    seeds, steps = seed_curves.complete_block(curves.values)
    parts = []
    for i, (cell, values) in enumerate(zip(curves.cells, curves.values, strict=True)):
        part = pd.DataFrame({"step": curves.x, "seed": cell, "value": values})
        parts.append(part.assign(in_block=steps & (i in seeds)).dropna(subset="value"))
    return pd.concat(parts, ignore_index=True)


def seeds_text(data: Mapping[str, SeedCurves]) -> str:
    """How many seeds are drawn, for a legend."""
    curves = data["test_accuracy"]
    number, in_band = len(curves.cells), int(band(curves)["n"].iloc[0])
    if number == 1:
        return "1 seed"
    return f"{number} seeds: median, range" + (f" (of {in_band})" if in_band < number else "")
