"""Accuracy, loss and weight norm over optimiser steps, with a band over seeds: what two figures of
grokking share.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis import store
from analysis.figure import query
from analysis.grokking import runs as grok
from analysis.stats import features, seed_curves
from analysis.stats.seed_curves import SeedCurves
from analysis.stats.verdict import Criterion, has_double_descent

COLOURS = {
    "train": "#D55E00",
    "test": "#009E73",
    "weight": "#5B4A9E",
}  # told apart by colour-blind readers too
METRICS = ("train_accuracy", "test_accuracy", "train_loss", "test_loss", "weight_norm")
BAND = (
    "minimum to maximum over seeds, the line is their median; of the seeds and steps of the "
    "largest block without "
    "gaps, since runs may end at different steps; thin lines are seeds"
)


def load(options: argparse.Namespace) -> tuple[grok.SelectedRuns, dict[str, Column]]:
    """The runs that the options choose, which differ in seed alone, and one Column of steps for
    each metric.

    Raises FigureError if nothing is logged yet, beside what `grok.select_runs` raises.
    """
    selection = grok.select_runs(options)
    curves = store.curves(options.folder, ["step", *METRICS], selection.runs["cell"].tolist())
    found = {
        m: seed_curves.columns(selection.runs, curves, grok.FRACTION, m, "step")[0] for m in METRICS
    }
    if not found["test_accuracy"].cells:
        raise query.FigureError(
            f"none of the {len(selection.runs)} chosen runs has logged a step yet; wait for the first"
        )
    return selection, found


def band(column: SeedCurves) -> pd.DataFrame:
    """Columns step, median, min, max, n of the seeds and steps that `reduce.complete_block`
    chooses.
    """
    seeds, mask = seed_curves.complete_block(column.values)
    values = column.values[seeds][:, mask]
    low, middle, high = np.quantile(values, [0, 0.5, 1], axis=0)
    return pd.DataFrame(
        {"step": column.x[mask], "median": middle, "min": low, "max": high, "n": len(seeds)}
    )


def tidy(data: Mapping[str, SeedCurves]) -> pd.DataFrame:
    """The bands of all metrics, one row for each metric and step."""
    frames = [band(column).assign(metric=name) for name, column in data.items()]
    return pd.concat(frames, ignore_index=True)[["metric", "step", "median", "min", "max", "n"]]


def by_seed(selection: grok.SelectedRuns, loss: Column) -> pd.DataFrame:
    """One row a seed: status, last step, steps to 99 % and their gap, and the hump of the test loss
    `loss`.

    lowest_loss is the lowest value before the peak; where the loss never rises both are its
    minimum.
    """
    rows = []
    runs = selection.runs.assign(id=selection.runs["cell"].astype(str)).set_index("id")
    steps = {split: grok.steps_to(runs, split, 99) for split in ("train", "test")}
    for cell, seed, values in zip(loss.cells, loss.seeds, loss.values, strict=True):
        finite = np.isfinite(values)
        hump = features.features(values[finite], 1, loss.x[finite], last=1)
        train, test = (float(steps[split][cell]) for split in ("train", "test"))
        rows.append({
            "seed": seed, "cell": cell, "status": runs.loc[cell, "status"], "last_step": int(loss.x[finite][-1]),
            "train_steps_99": train, "test_steps_99": test, "gap_99": test - train if np.isfinite(train) else np.nan,
            "lowest_loss": float(hump.first_minimum), "peak_loss": float(hump.peak),
            "peak_step": int(hump.peak_epoch), "final_loss": float(hump.final),
        })  # fmt: skip
    return pd.DataFrame(rows)


def hump(loss: SeedCurves) -> str:
    """One sentence: whether the test loss falls, rises and falls again, by
    `has_double_descent`.
    """
    seeds, mask = seed_curves.complete_block(loss.values)
    verdict = has_double_descent(
        loss.values[seeds][:, mask], 1, loss.x[mask], last=1, criterion=Criterion(FLOOR)
    )
    found = (
        "has a second descent"
        if verdict.double_descent
        else "has NO second descent that can be told from noise"
    )
    return f"the test loss {found}: {verdict.reason}"


FLOOR = 0.1  # nats; a rise or descent below it counts as none


def draw(axes: Axes, column: SeedCurves, split: str, label: str, scale: float = 1.0) -> None:
    """A line for every seed, and median and band where there are several. `scale` multiplies the
    values.
    """
    colour, many = COLOURS[split], len(column.cells) > 1
    for values in column.values:
        finite = np.isfinite(values)
        axes.plot(
            column.x[finite], scale * values[finite], color=colour, lw=0.7 if many else 1.8,
            alpha=0.45 if many else 1, label=None if many else label,
        )  # fmt: skip
    if many:
        table = band(column)
        axes.fill_between(
            table["step"], scale * table["min"], scale * table["max"], color=colour, alpha=0.2, lw=0
        )
        axes.plot(table["step"], scale * table["median"], color=colour, lw=1.8, label=label)


def seeds_text(data: Mapping[str, SeedCurves]) -> str:
    """How many seeds are drawn, for a legend."""
    column = data["test_accuracy"]
    number, behind = len(column.cells), int(band(column)["n"].iloc[0])
    if number == 1:
        return "1 seed"
    return f"{number} seeds: median, range" + (f" (of {behind})" if behind < number else "")
