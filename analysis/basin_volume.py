"""Test accuracy against a lower bound of the volume of the basin.

    python analysis/basin_volume.py logs/NAME [--out figures] [--where trainer.kappa=0.1]

A point for each trained cell: the largest of the bounds over the preconditioners that were
measured. Arrows upward, since each is a bound; the number m of proposals is at the foot. The
difference of two bounds is no ratio of volumes. Writes STEM.png, STEM.pdf, STEM.csv (a row for each
cell and preconditioner) and STEM.json.

The quantity: Huang et al. (2020), "Understanding Generalization through Visualizations"
(arXiv 1906.03291); preconditioners as in EleutherAI's basin-volume.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figure import names, output, query, style
from analysis.landscape import basins, plot, selection, volumes

ARROW = 14  # points


def draw(table: pd.DataFrame, text: str) -> Figure:
    """Accuracy to the right, the bounds up; hollow where the cell is no minimum."""
    with style.themed():
        figure = Figure(figsize=(6.4, 4.6), layout="constrained")
        axes = figure.subplots()
        kinds = list(dict.fromkeys(table["label"]))
        look = dict(zip(kinds, plot.colours(len(kinds)), strict=True))
        for row in table.to_dict("records"):
            _bound(axes, 100 * row["test_accuracy"], row, look[row["label"]])
        handles = [*plot.cell_handles(look), plot.at_least_handle(r"\uparrow")]
        if not table["minimum"].all():
            handles.append(plot.no_minimum_handle())
        axes.legend(handles=handles, fontsize=8.5, frameon=True)
        axes.margins(y=0.12)
        axes.set_xlabel("test accuracy (%)")
        axes.set_ylabel("log10 of the volume, a lower bound")
        plot.foot(figure, text)
    return figure


def _bound(
    axes: Axes, x: float, row: Mapping[Any, Any], colour: tuple[float, float, float]
) -> None:
    y = row["log10_volume"]
    axes.plot(x, y, "o", color=colour, mfc=colour if row["minimum"] else "white", ms=6, zorder=3)
    axes.annotate(
        "",
        xy=(x, y),
        xytext=(0, ARROW),
        textcoords="offset points",
        arrowprops={"arrowstyle": "<|-", "color": colour, "lw": 1.2},
    )


def caption(measures: selection.Measures, table: pd.DataFrame, *, has_others: bool) -> str:
    """The bounds and settings behind the points; has_others: whether some are no minima."""
    preconditioners = ", ".join(sorted(set(table["preconditioner"])))
    parts = [
        f"lower bounds from m = {names.quantities(table['m'], 'proposal')}; the largest over the "
        f"preconditioners: {preconditioners}",
        f"cut {measures.setting('trainer.kappa'):g} nats",
        measures.batch_norm(),
    ]
    if has_others:
        parts.append(f"no minimum: {basins.NO_MINIMUM}")
    return "; ".join(filter(None, parts))


def make(options: argparse.Namespace) -> None:
    """Query, reduce, draw, write."""
    loaded = selection.load(options.folder, "volume", options.where, volumes.FREE)
    measures = selection.require_finished(loaded)
    table = volumes.volumes(measures)
    drawn = table[table["largest"] & table["test_accuracy"].notna()]
    if drawn.empty:
        raise query.FigureError(
            "no measured cell has a volume: their loss is above the cut; train them longer, or "
            "measure with a larger trainer.kappa"
        )
    results = basins.correlations(drawn, "log10_volume", "test_accuracy")
    text = caption(measures, table, has_others=not drawn["minimum"].all())
    lines = [f"bound and test accuracy: {result}" for result in results]
    never = int(drawn["never"].sum())
    if never:
        cross = names.quantity(never, "proposal never crosses", "proposals never cross")
        lines.append(f"{cross}; the end of the search counts instead")
    above = int(table.groupby("cell")["log10_volume"].max().isna().sum())
    if above:
        cells = names.quantity(above, "cell")
        lines.append(f"{cells} without a volume: the loss is above the cut")
    facts = {
        "bound": "log10 of the mean over m of omega_n mult^n det P, at most the volume in the mean",
        "correlations": [vars(result) for result in results],
    }
    record = measures.record(options, facts)
    output.write(options, draw(drawn, text), {"": table}, record, lines + measures.messages())


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    return output.run(make, selection.parser(__doc__, "basin_volume").parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
