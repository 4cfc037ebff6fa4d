"""Model-wise double descent of transformers on operation tables: error and loss over width, final
and best.

    python analysis/grok_width.py logs/NAME [--out figures] [--where data.train_fraction=0.5]

A column of panels for every level of label noise (data.outliers, data.outlier_size). Writes
STEM.png, STEM.pdf, STEM.csv and STEM.json, and says whether the errors rise and fall again with
width.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, NullLocator

from analysis.figure import output, style
from analysis.grokking import labels, plot, step_curves
from analysis.grokking import runs as grok
from analysis.stats import features, seed_curves
from analysis.stats.verdict import Criterion, has_double_descent

WIDTH, NOISE = "model.width", ("data.outliers", "data.outlier_size")


@dataclass(frozen=True)
class Quantity:
    """A curve of the figure: the panel it is in, the runs table's column, and its look."""

    panel: str
    column: str
    label: str
    colour: str
    marker: str
    style: str

    def values(self, runs: pd.DataFrame) -> pd.Series:
        """Of each run: an error in % or a loss in nats."""
        found = grok.numeric_column(runs, self.column)
        return 100 * (1 - found) if self.panel == "error" else found


_TEST, _TRAIN = step_curves.COLOURS["test"], step_curves.COLOURS["train"]
QUANTITIES = tuple(
    Quantity(panel, column, label, colour, marker, line)
    for panel, metric in (("error", "accuracy"), ("loss", "loss"))
    for column, label, colour, marker, line in (
        (f"final_test_{metric}", "test, last step", _TEST, "o", "-"),
        (f"best_test_{metric}", "test, best step", _TEST, "s", "--"),
        (f"final_train_{metric}", "train, last step", _TRAIN, "^", ":"),
    )
)
LABELS = {"error": "Error (%)", "loss": "Loss (nats)"}
FLOORS = {"error": 1.0, "loss": 0.05}  # % and nats; a rise or descent below it counts as none


def table(runs: pd.DataFrame) -> pd.DataFrame:
    """Columns noise, model.width, quantity, and those of `grok.over_seeds`."""
    levels = runs.assign(noise=noise(runs))
    parts = [
        grok.over_seeds(levels, q.values(runs), ["noise", WIDTH]).assign(quantity=q.column)
        for q in QUANTITIES
    ]
    return pd.concat(parts, ignore_index=True)


def noise(runs: pd.DataFrame) -> pd.Series:
    """The level of label noise of each run, in words."""
    rows = runs[list(NOISE)].to_dict("records")
    return pd.Series([labels.noise(row) for row in rows], index=runs.index)


def levels(runs: pd.DataFrame) -> list[str]:
    """The levels of noise in their order, none first."""
    return list(dict.fromkeys(noise(runs.sort_values(list(NOISE)))))


def verdict(runs: pd.DataFrame, quantity: Quantity) -> str:
    """Whether the quantity rises and falls again over width, of runs of one noise level, by
    `has_double_descent`.

    Seeds and widths are those of the largest block without gaps.
    """
    values = quantity.values(runs).where(runs["status"].isin(grok.FINAL))
    wide = runs.assign(value=values).pivot(index="seed", columns=WIDTH, values="value")
    if not np.isfinite(wide.to_numpy(np.float64)).any():
        return "nothing finished"
    seeds, mask = seed_curves.complete_block(wide.to_numpy(np.float64))
    block, widths = wide.to_numpy(np.float64)[seeds][:, mask], wide.columns.to_numpy()[mask]
    floor = FLOORS[quantity.panel]
    found = has_double_descent(
        block, 1, np.arange(1, len(widths) + 1), last=1, criterion=Criterion(floor)
    )
    if not found.double_descent:
        return f"does not rise and fall again over width: {found.reason}"
    top = features.features(block.mean(axis=0), 1, last=1).peak_epoch
    return f"rises and falls again over width, peak at {widths[int(top) - 1]}: {found.reason}"


def draw(found: pd.DataFrame, names: Sequence[str]) -> Figure:
    """Rows of panels for error and loss, columns for levels of noise."""
    widths = sorted(set(found[WIDTH]))
    with style.styled():
        figure = Figure(figsize=(4.2 * len(names) + 1.0, 6.4), layout="constrained")
        grid = figure.subplots(2, len(names), sharex=True, sharey="row", squeeze=False)
        for column, name in enumerate(names):
            for row, panel in enumerate(LABELS):
                draw_panel(grid[row, column], found[found["noise"] == name], panel)
            grid[0, column].set_title(name[0].upper() + name[1:])
            grid[1, column].set_xlabel("Width (d_model)")
            width_axis(grid[1, column], widths)
        for row, label in enumerate(LABELS.values()):
            grid[row, 0].set_ylabel(label)
        grid[0, 0].set_ylim(-2, 102)
        grid[1, 0].set_ylim(bottom=0)
        grid[0, 0].legend(loc="best")
    return figure


def draw_panel(axes: Axes, found: pd.DataFrame, panel: str) -> None:
    """Final and best test values and final training values over width."""
    for q in QUANTITIES:
        if q.panel == panel:
            rows = found[found["quantity"] == q.column].sort_values(WIDTH)
            plot.line(axes, rows, WIDTH, q.label, q.colour, q.marker, q.style)
    plot.hatch_missing(
        axes, {float(str(w)): bool(rows["n"].sum()) for w, rows in found.groupby(WIDTH)}
    )
    axes.grid(alpha=0.25, lw=0.5)


def width_axis(axes: Axes, widths: Sequence[int]) -> None:
    """A logarithmic axis with a tick at every width, or at the powers of two where they are
    many.
    """
    axes.set_xscale("log")
    axes.set_xlim(widths[0] / 1.2, widths[-1] * 1.2)
    powers = [w for w in widths if math.log2(w).is_integer()]
    shown = powers if len(widths) > 8 and len(powers) > 2 else widths
    axes.set_xticks(shown, [f"{w:g}" for w in shown])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())


def make(options: argparse.Namespace) -> None:
    """Query, reduce, draw, save."""
    selection = grok.require_finished(grok.select_runs(options, WIDTH, *NOISE))
    found, names = table(selection.runs), levels(selection.runs)
    tests = [q for q in QUANTITIES if "test" in q.column]
    verdicts = {
        name: {q.column: verdict(selection.runs[noise(selection.runs) == name], q) for q in tests} for name in names
    }  # fmt: skip
    lines = [
        f"{name}: {quantity}: {text}"
        for name, each in verdicts.items()
        for quantity, text in each.items()
    ]
    facts = {
        "spread": plot.SPREAD, "unfinished": "left out", "verdicts": verdicts,
        "best": "lowest loss and highest accuracy of all logged steps, each at its own step",
        "train": "with the answers given to outliers; redrawn labels are not in it",
    }  # fmt: skip
    grok.write(options, draw(found, names), {"": found}, selection, facts, lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    return output.run(make, grok.parser(__doc__, "grok_width").parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
