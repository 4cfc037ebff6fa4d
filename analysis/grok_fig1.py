"""Figures 1 (left) and 4 of Power et al. (2022): accuracy, loss and weight norm over log steps.

    python analysis/grok_fig1.py logs/NAME [--out figures] [--where data.train_fraction=0.5]

Draws any runs of one setting on operation tables, a band over their seeds, and the median steps to
99 % on both splits. Writes STEM.png, STEM.pdf, STEM.csv (the bands), STEM_seeds.csv (steps and loss
hump of each seed) and STEM.json. The published runs (Adam without weight decay) depend on numerics:
optim.eps and trainer.loss_precision.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figure import output, style
from analysis.figure.names import quantity
from analysis.figure.table_text import table_text
from analysis.grokking import runs, step_curves
from analysis.stats.seed_curves import SeedCurves

SIZE = (5.2, 7.4)  # inches
# of the highest test loss, where the axis ends: further down the hump would be a ripple
LOSS_SHOWN = 1e-3


def medians(seeds: pd.DataFrame) -> dict[str, float]:
    """Steps by which half of the seeds had 99 % right, by split; inf or NaN where they have not."""
    return {split: runs.reached_by(seeds[f"{split}_steps_99"]) for split in ("train", "test")}


def draw(data: Mapping[str, SeedCurves], steps: Mapping[str, float]) -> Figure:
    """Three panels over one axis of steps."""
    with style.themed():
        figure = Figure(figsize=SIZE, layout="constrained")
        accuracy, loss, norm = figure.subplots(3, 1, sharex=True, height_ratios=(1.2, 1.1, 0.8))
        for split in ("train", "test"):
            step_curves.draw(accuracy, data[f"{split}_accuracy"], split, split, 100)
            step_curves.draw(loss, data[f"{split}_loss"], split, split)
        step_curves.draw(norm, data["weight_norm"], "weight", "all parameters")
        style.log_time(norm, float(data["test_accuracy"].x.max()), "x")
        accuracy.set_ylim(-2, 102)
        loss.set_yscale("log")
        values = data["test_loss"].values
        highest = float(values[np.isfinite(values)].max())
        loss.set_ylim(max(loss.get_ylim()[0], LOSS_SHOWN * highest), 1.6 * highest)
        for axes in (accuracy, loss, norm):
            mark_steps(axes, steps)
        draw_gap(accuracy, steps)
        accuracy.set_ylabel("accuracy (%)")
        loss.set_ylabel("loss (nats)")
        norm.set_ylabel("weight norm")
        norm.set_xlabel("optimiser steps")
        accuracy.legend(title=step_curves.seeds_text(data), loc="best", framealpha=0.9)
    return figure


def mark_steps(axes: Axes, steps: Mapping[str, float]) -> None:
    """A dashed line at the median steps to 99 % of each split."""
    for split, step in steps.items():
        if math.isfinite(step):
            colour = step_curves.COLOURS[split]
            axes.axvline(step, color=colour, lw=1, ls=(0, (4, 3)), zorder=0.9)


def draw_gap(axes: Axes, steps: Mapping[str, float]) -> None:
    """An arrow from the steps to 99 % of training rows to those of test rows, with their ratio."""
    train, test = steps["train"], steps["test"]
    if math.isfinite(train) and math.isfinite(test) and test > train:
        axes.annotate(
            "",
            (test, 50),
            (train, 50),
            arrowprops={"arrowstyle": "<->", "color": "black", "lw": 1, "shrinkA": 0, "shrinkB": 0},
        )
        axes.text(
            math.sqrt(train * test),
            52,
            f"×{test / train:.3g}",
            ha="center",
            va="bottom",
            bbox={"facecolor": "white", "alpha": 0.8, "lw": 0, "pad": 1},
        )


def report(steps: Mapping[str, float], seeds: pd.DataFrame) -> list[str]:
    """The numbers behind the marks, as lines."""
    lines = [table_text(seeds.drop(columns="cell"))]
    for split, step in steps.items():
        is_reached = math.isfinite(step)
        median = f"median {step:,.0f}" if is_reached else "not reached by half of the seeds"
        reached = int((seeds[f"{split}_steps_99"] < math.inf).sum())
        count = f"{reached} of {quantity(len(seeds), 'seed')} got there"
        lines.append(f"steps to 99 % of {split} rows: {median} ({count})")
    if all(map(math.isfinite, steps.values())):
        gap, factor = steps["test"] - steps["train"], steps["test"] / steps["train"]
        lines.append(
            f"gap of the medians: {quantity(round(gap), 'step')}, a factor of {factor:.3g}"
        )
    return lines


def make(options: argparse.Namespace) -> None:
    """Query, reduce, draw, write."""
    selection, data = step_curves.load(options)
    seeds = step_curves.by_seed(selection, data["test_loss"])
    steps = medians(seeds)
    hump = step_curves.hump(data["test_loss"])
    exactness = "as exact as trainer.exact_steps says"
    facts = {
        **step_curves.facts(seeds),
        "marks": f"first step by which half of the seeds had 99 % right, {exactness}",
        "steps_to_99": {k: v if math.isfinite(v) else None for k, v in steps.items()},
        "test_loss": hump,
        "loss_axis": f"ends at {LOSS_SHOWN:g} of the highest test loss; the table goes on",
    }
    tables = {"": step_curves.tidy(data), "_seeds": seeds}
    lines = [*report(steps, seeds), hump, *runs.stopped_notes(selection.runs, 99)]
    lines += selection.messages(options.folder)
    output.write(options, draw(data, steps), tables, selection.record(options, facts), lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    return output.run(make, runs.parser(__doc__, "grok_fig1").parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
