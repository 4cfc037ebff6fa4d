"""The margin between training samples and the decision boundary, for nets on inputs in the plane.

    python analysis/wide_margin.py logs/NAME [--out figures] [--where seed=0] [--axis data.gap]

NAME is a sweep of trainer=boundary. Each training sample makes a pair with the nearest one of the
other class; its margin is the smaller of their distances from the boundary, at most half of their
distance. At the left the mean margin, with bars for 5 to 95 % of the pairs and a dash at the widest
that the data allow; at the right the share of the widest: 1 is as wide as possible. The axis is the
test accuracy, or the gap of rings, or a column of the trained cells. Hollow: wrong on a training
sample. Writes STEM.png, STEM.pdf, STEM.csv (a row for each cell) and STEM.json.

The question is that of Huang et al. (2020), "Understanding Generalization through Visualizations"
(arXiv 1906.03291), section 6: do nets leave wide margins where the data allow them?
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.figure import names, output, query, style
from analysis.landscape import labels, margins, plot, selection
from analysis.landscape.selection import Measures

GAP, TEST = "data.gap", "test_accuracy"


def over(measures: Measures, column: str | None) -> tuple[Measures, str]:
    """The measures that have a number on the axis, with a note on the others, and its column.

    Without a choice it is the gap of rings, or else the test accuracy. Raises FigureError if no
    trained cell has a number there.
    """
    trained = measures.trained
    name = column or (GAP if GAP in trained and trained[GAP].notna().any() else TEST)
    if name == TEST:
        return measures, name
    kept, left_out = query.with_number(trained, name, "trained cell")
    cells = measures.cells[measures.cells[selection.OF].isin(kept["cell"])]
    notes = (*measures.notes, *left_out)
    return replace(measures, cells=cells, trained=kept, notes=notes), name


def axis_of(table: pd.DataFrame, trained: pd.DataFrame, name: str) -> pd.Series:
    """What the figure draws over, by row of the table; FigureError without test accuracies."""
    if name != TEST:
        return table["cell"].map(trained.set_index("cell")[name]).rename(name)
    if table[TEST].isna().all():
        raise query.FigureError(f"--axis {name}: no trained cell has a number there")
    return (table[TEST] * 100).rename(name)


def draw(table: pd.DataFrame, x: pd.Series, text: str) -> Figure:
    """Margins at the left and their share of the widest at the right, over `x`."""
    names = list(dict.fromkeys(table["group"]))
    look = dict(zip(names, plot.colours(len(names)), strict=True))
    with style.themed():
        figure = Figure(figsize=(9.6, 4.3), layout="constrained")
        left, right = figure.subplots(1, 2)
        for place, row in zip(x, table.to_dict("records"), strict=True):
            face = look[row["group"]] if row["fits"] else "white"
            point = {"color": look[row["group"]], "mfc": face, "ms": 6}
            bars = [[row["mean"] - row["q05"]], [row["q95"] - row["mean"]]]
            left.errorbar(place, row["mean"], np.maximum(bars, 0), fmt="o", lw=1.1, **point)
            left.plot(place, row["widest"], "_", color="black", ms=12)
            right.plot(place, row["share"], "o", **point)
        right.axhline(1, color="black", lw=1, ls="--")
        _label(left, right, x)
        _legend(left, look)
        plot.foot(figure, text)
    return figure


def _label(left: Axes, right: Axes, x: pd.Series) -> None:
    name = "test accuracy (%)" if x.name == TEST else labels.axis(str(x.name))
    for axes in (left, right):
        axes.set_xlabel(name)
        if x.name != TEST and (x > 0).all() and x.max() / x.min() > 10:
            axes.set_xscale("log")
    left.set_ylabel("distance from the boundary")
    right.set_ylabel("share of the widest margin")


def _legend(axes: Axes, look: dict[str, tuple[float, float, float]]) -> None:
    handles = []
    if len(look) > 1:
        for name, colour in look.items():
            handles.append(Line2D([], [], color=colour, marker="o", ls="", label=name))
    handles.append(Line2D([], [], color="black", marker="_", ms=12, ls="", label="widest margin"))
    axes.legend(handles=handles, fontsize=8.5, frameon=True)


def sentences(rows: pd.DataFrame) -> list[str]:
    """The margin of the cells that fit, and each cell that does not."""
    texts, fitting = [], rows[rows["fits"]]
    if len(fitting):
        share = fitting["share"]
        texts.append(
            f"margin {fitting['mean'].mean():.3g}, {100 * share.mean():.0f} % of the widest "
            f"({share.min():.2f} to {share.max():.2f} over "
            f"{names.quantity(len(fitting), 'seed')})"
        )
    for row in rows[~rows["fits"]].to_dict("records"):
        wrong = names.quantity(row["wrong"], "training sample")
        texts.append(f"seed {row['seed']} is wrong on {wrong}, no margin")
    return texts


def make(options: argparse.Namespace) -> None:
    """Query, reduce, draw, write."""
    loaded = selection.load(options.folder, "boundary", options.where)
    measures, axis = over(selection.require_finished(loaded), options.axis)
    table = margins.table(measures)
    x = axis_of(table, measures.trained, axis)
    groups = [name for name in measures.axes if name != x.name]
    table["group"] = [labels.point(row, groups) for row in table.to_dict("records")]
    text = (
        f"{int(measures.setting('data.train_samples') or 0) or 'all'} training samples, each with "
        "the nearest of the other class; dots: mean, bars: 5 to 95 %"
    )
    if not table["fits"].all():
        text += ", negative where the net is wrong; hollow: wrong on one of them"
    lines = []
    for label, rows in table.groupby("label", sort=False):
        lines.append(f"{label}: {'; '.join(sentences(rows))}")
    record = measures.record(options, {"axis": str(x.name)})
    figure = draw(table, x, text)
    output.write(options, figure, {"": table}, record, lines + measures.messages())


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = selection.parser(__doc__, "wide_margin")
    axis = "column of the trained cells to draw over (default: data.gap, or the test accuracy)"
    parser.add_argument("--axis", metavar="COLUMN", help=axis)
    return output.run(make, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
