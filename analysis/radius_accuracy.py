"""Test accuracy against the radius of the basin: a point for each trained cell, seeds joined.

    python analysis/radius_accuracy.py logs/NAME [--out figures] [--where trainer.kappa=0.1]

The radius is the mean over random filter-normalised directions of the distance to the loss cut, in
units of the norm of the weights. Bars hold 5 to 95 % of the directions. Hollow: no minimum, since
the cell has a wrong answer on its training set or a clean loss above a tenth of the cut. An arrow:
some directions never reach the cut, so the mean is a lower bound. Writes STEM.png, STEM.pdf,
STEM.csv (a row for each cell) and STEM.json with rank correlations; their intervals are over seeds.

The figure follows Huang et al. (2020), "Understanding Generalization through Visualizations"
(arXiv 1906.03291).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from analysis.figure import names, output, query, style
from analysis.landscape import basins, plot, selection

ARROW = 16  # points


def draw(table: pd.DataFrame, results: Sequence[basins.Correlation], text: str) -> Figure:
    """Radius to the right on a logarithmic axis, test accuracy up, colour by the other axes."""
    with style.themed():
        figure = Figure(figsize=(6.4, 4.6), layout="constrained")
        axes = figure.subplots()
        for _, rows in table.groupby("seed"):
            axes.plot(rows["mean"], 100 * rows["test_accuracy"], color="0.75", lw=0.8, zorder=1)
        names = list(dict.fromkeys(table["label"]))
        look = dict(zip(names, plot.colours(len(names)), strict=True))
        for row in table.to_dict("records"):
            _point(axes, row, look[row["label"]])
        _axes(axes)
        _legend(figure, look, table)
        axes.set_title(str(results[0]), fontsize=10, loc="left")  # may reach over the legend
        plot.foot(figure, text)
    return figure


def _point(axes: Axes, row: Mapping[Any, Any], colour: tuple[float, float, float]) -> None:
    """A cell with its directions; hollow if it is no minimum, with an arrow if it is a bound."""
    accuracy = 100 * row["test_accuracy"]
    bars = [[row["mean"] - row["q05"]], [row["q95"] - row["mean"]]]
    axes.errorbar(
        row["mean"],
        accuracy,
        xerr=np.maximum(bars, 0.0),
        fmt="o",
        color=colour,
        mfc=colour if row["minimum"] else "white",
        ms=6,
        lw=1.1,
        zorder=3,
    )
    if row["never"]:
        axes.annotate(
            "",
            xy=(row["mean"], accuracy),
            xytext=(ARROW, 0),
            textcoords="offset points",
            arrowprops={"arrowstyle": "<|-", "color": colour, "lw": 1.4},
        )


def _axes(axes: Axes) -> None:
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high / low < 50 else (1,)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("radius (unit: norm of the weights)")
    axes.set_ylabel("test accuracy (%)")


def _legend(
    figure: Figure, look: dict[str, tuple[float, float, float]], table: pd.DataFrame
) -> None:
    handles = plot.cell_handles(look)
    if not table["minimum"].all():
        handles.append(plot.no_minimum_handle())
    if (table["never"] > 0).any():
        handles.append(plot.at_least_handle(r"\rightarrow"))
    figure.legend(handles=handles, loc="outside right center", fontsize=8.5, frameon=True)


def caption(measures: selection.Measures, table: pd.DataFrame) -> str:
    """The cells and settings behind the points."""
    parts = [
        f"mean over m = {names.quantities(table['m'], 'direction')}, bars: 5 to 95 % of them",
        f"cut {measures.setting('trainer.kappa'):g} nats",
        measures.batch_norm(),
    ]
    if not table["minimum"].all():
        parts.append(f"no minimum: {basins.NO_MINIMUM}")
    seeds = table["seed"].nunique()
    parts.append(f"{seeds} seeds, grey lines join the cells of one seed" if seeds > 1 else "1 seed")
    return "; ".join(filter(None, parts))


def with_both(table: pd.DataFrame, options: argparse.Namespace) -> pd.DataFrame:
    """The cells that have a radius and a test accuracy; raises FigureError without one."""
    if table["test_accuracy"].isna().all():
        raise query.FigureError(
            f"{names.none_of(len(table), 'measured cell')} has a test accuracy: their "
            f"data has no test samples; their radii are in "
            f"store.runs({str(options.folder)!r})['radius_mean']"
        )
    if table["mean"].isna().all():
        raise query.FigureError(
            f"{names.none_of(len(table), 'measured cell')} has a radius: their loss is "
            "above the cut; train them longer, or measure with a larger trainer.kappa"
        )
    return table[table["mean"].notna() & table["test_accuracy"].notna()]


def make(options: argparse.Namespace) -> None:
    """Query, reduce, draw, write."""
    loaded = selection.load(options.folder, "radius", options.where)
    measures = selection.require_finished(loaded)
    table = basins.radii(measures)
    drawn = with_both(table, options)
    results = basins.correlations(drawn, "mean", "test_accuracy")
    minima = drawn[drawn["minimum"]]
    lines = [f"radius and test accuracy: {result}" for result in results]
    if len(minima) < len(drawn):
        are = "is no minimum" if len(drawn) - len(minima) == 1 else "are no minima"
        count = f"{len(drawn) - len(minima)} of {names.quantity(len(drawn), 'cell')}"
        lines.append(f"{count} {are} (hollow)")
        among_minima = basins.correlations(minima, "mean", "test_accuracy")
        lines += [f"among the minima: {result}" for result in among_minima]
    undefined = int(table["mean"].isna().sum())
    if undefined:
        cells = names.quantity(undefined, "cell")
        lines.append(f"{cells} without a radius: the loss is above the cut")
    facts = {
        "correlations": [vars(result) for result in results],
        "interval": f"95 % bootstrap over seeds, {basins.RESAMPLES} resamples, seed 0",
    }
    record = measures.record(options, facts)
    figure = draw(drawn, results, caption(measures, drawn))
    output.write(options, figure, {"": table}, record, lines + measures.messages())


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    return output.run(make, selection.parser(__doc__, "radius_accuracy").parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
