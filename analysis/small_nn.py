"""The two plots of rvbansal/small_nn_generalization: accuracy and loss over linear steps.

    python analysis/small_nn.py logs/NAME [--out figures] [--where data.operation=x-y]

The published axes count records, one in ten steps, under the name of steps; here they are steps,
with records above. Published are the accuracy and loss of the current batch with dropout, and of
random test batches; here both are of whole splits without dropout. Writes STEM.png, STEM.pdf,
STEM.csv (the bands) and STEM.json.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from numpy.typing import ArrayLike

from analysis.figure import output, style
from analysis.figure.table_text import table_text
from analysis.grokking import runs, step_curves
from analysis.stats.seed_curves import SeedCurves

SIZE = (10.0, 4.0)  # inches
RECORD = 10  # steps between two records of the published runs


def draw(data: Mapping[str, SeedCurves]) -> Figure:
    """Accuracy at the left, loss at the right."""
    last = float(data["test_accuracy"].x.max())
    with style.themed():
        figure = Figure(figsize=SIZE, layout="constrained")
        accuracy, loss = figure.subplots(1, 2)
        for axes, metric in ((accuracy, "accuracy"), (loss, "loss")):
            for split in ("train", "test"):
                step_curves.draw(axes, data[f"{split}_{metric}"], split, split.capitalize())
            step_axes(axes, last)
        accuracy.set_ylabel("accuracy")
        accuracy.set_ylim(0, 1)
        loss.set_ylabel("loss (nats)")
        loss.set_ylim(bottom=0)
        accuracy.legend(title=step_curves.seeds_text(data), loc="center right", framealpha=0.9)
    return figure


def step_axes(axes: Axes, last: float) -> None:
    """Linear steps below, published records above."""
    axes.set_xlim(0, last)
    axes.set_xlabel("optimiser steps")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}"))
    above = axes.secondary_xaxis("top", functions=(to_records, to_steps))
    label = f"records of {RECORD} steps (the published axis)"
    above.set_xlabel(label, fontsize=style.LEGEND_SIZE)
    above.tick_params(labelsize=style.LEGEND_SIZE)


def to_records(steps: ArrayLike) -> ArrayLike:
    """The published axis at given steps."""
    return np.asarray(steps, np.float64) / RECORD


def to_steps(records: ArrayLike) -> ArrayLike:
    """The steps at given places of the published axis."""
    return np.asarray(records, np.float64) * RECORD


def make(options: argparse.Namespace) -> None:
    """Query, reduce, draw, write."""
    selection, data = step_curves.load(options)
    seeds = step_curves.by_seed(selection, data["test_loss"])
    facts = {
        **step_curves.facts(seeds),
        "steps_of_a_published_record": RECORD,
    }
    table = table_text(seeds.drop(columns="cell"))
    tables = {"": step_curves.tidy(data), "_seeds": seeds}
    lines = [table, *selection.messages(options.folder)]
    output.write(options, draw(data), tables, selection.record(options, facts), lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    return output.run(make, runs.parser(__doc__, "small_nn").parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
