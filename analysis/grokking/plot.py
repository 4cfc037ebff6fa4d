"""Curves over the train fraction with their spread over seeds. Draws on the Axes that it is
given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex

from analysis.figure import heatmap
from analysis.figure.style import HATCH

COLOURS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#7F3C8D",
    "#555555",
    "#8C6D31",
)
MARKERS = "osD^vP*Xphd<>"
SPREAD = "minimum to maximum over seeds around their mean; hollow: with fewer seeds than planned"


def colours(number: int, ordered: bool = False) -> list[str]:
    """As many colours: distinct ones, which begin again after nine, or those of a map for `ordered`
    values.
    """
    if ordered:
        return [to_hex(colormaps["viridis"](x)) for x in np.linspace(0, 0.88, number)]
    return [COLOURS[i % len(COLOURS)] for i in range(number)]


def curves(
    axes: Axes,
    table: pd.DataFrame,
    x: str,
    labels: Sequence[str],
    palette: Sequence[str],
    scale: float = 1.0,
) -> None:
    """One curve for each of `labels` in the column "label" of a table of `grok.over_seeds`; a gap
    where nothing is.
    """
    for i, (label, colour) in enumerate(zip(labels, palette, strict=True)):
        rows = table[table["label"] == label].sort_values(x)
        label += "" if rows["n"].sum() else ": no finished run"
        style = "-" if i < len(COLOURS) else "--"
        line(axes, rows, x, label, colour, MARKERS[i % len(MARKERS)], style, scale)


def line(
    axes: Axes,
    rows: pd.DataFrame,
    x: str,
    label: str,
    colour: str,
    marker: str,
    style: str = "-",
    scale: float = 1.0,
) -> None:
    """Mean and spread of the rows, in the order of x."""
    place, mean = rows[x].to_numpy(np.float64), scale * rows["mean"].to_numpy(np.float64)
    low, high = (scale * rows[side].to_numpy(np.float64) for side in ("min", "max"))
    axes.plot(place, mean, style, color=colour, lw=1.5, marker=marker, ms=4.5, label=label)
    axes.vlines(place, low, high, color=colour, lw=1, alpha=0.6)
    fewer = (rows["n"] < rows["planned"]).to_numpy()
    axes.plot(place[fewer], mean[fewer], marker, color=colour, mfc="white", ms=4.5)


def hatch_missing(axes: Axes, present: Mapping[float, bool]) -> None:
    """Hatches the strip of each value of x at which nothing is finished yet."""
    places = sorted(present)
    borders = heatmap.edges(places, 0.05)
    for place, left, right in zip(places, borders[:-1], borders[1:], strict=True):
        if not present[place]:
            axes.axvspan(left, right, fill=False, hatch=HATCH, lw=0, zorder=0.5)


def fraction_axis(axes: Axes, table: pd.DataFrame, x: str) -> None:
    """The axis of train fractions in %, `table` having them times 100 in column x."""
    hatch_missing(axes, {float(str(v)): bool(rows["n"].sum()) for v, rows in table.groupby(x)})
    axes.set_xlabel("Training data (% of the table)")
    axes.grid(alpha=0.25, lw=0.5)
