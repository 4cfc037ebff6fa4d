"""Means over seeds with their range, drawn by seaborn on the Axes that it is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import colormaps
from matplotlib.axes import Axes

from analysis.figure import heatmap
from analysis.figure.looks import Look, assign
from analysis.figure.style import HATCH
from analysis.grokking import runs as grok

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
SPREAD = "minimum to maximum over seeds around their mean; hollow: with fewer seeds than planned"
RANGE = ("pi", 100)  # seaborn's name for an interval from minimum to maximum


def looks(labels: Sequence[str], ordered: bool = False) -> dict[str, Look]:
    """A look for each label; of a sequential map if the labels are `ordered`.

    After nine labels the colours begin again with dashed lines.
    """
    shades = colormaps["viridis"](np.linspace(0, 0.88, len(labels)))
    return assign(labels, list(shades) if ordered else COLOURS, solid=len(COLOURS))


def curves(axes: Axes, rows: pd.DataFrame, x: str, looks: Mapping[str, Look]) -> None:
    """Mean over seeds and bars from minimum to maximum over x, a curve for each label.

    rows: one a run, with x, "label" and "value" (NaN without one). Where a label has no value its
    curve has a gap; where it has fewer than planned the marker is hollow. Seaborn writes the
    legend.
    """
    counts = rows.groupby("label")["value"].count()
    names = {label: label if counts.get(label) else f"{label}: no finished run" for label in looks}
    sns.pointplot(
        rows.assign(label=rows["label"].map(names)),
        x=x,
        y="value",
        hue="label",
        hue_order=list(names.values()),
        palette=[look.colour for look in looks.values()],
        markers=[look.marker for look in looks.values()],
        linestyles=[look.line for look in looks.values()],
        estimator="mean",
        errorbar=RANGE,
        native_scale=True,
        linewidth=1.5,
        markersize=4.5,
        markeredgewidth=1.0,
        err_kws={"linewidth": 1, "alpha": 0.6},
        ax=axes,
    )
    draw_hollow(axes, rows, x, looks)


def draw_hollow(axes: Axes, rows: pd.DataFrame, x: str, looks: Mapping[str, Look]) -> None:
    """Hollow markers at the means of fewer seeds than planned."""
    table = grok.over_seeds(rows, ["label", x])
    for label, look in looks.items():
        fewer = (table["label"] == label) & (table["n"] < table["planned"])
        points = table.loc[fewer, [x, "mean"]].to_numpy(np.float64)
        axes.plot(*points.T, look.marker, color=look.colour, mfc="white", ms=4.5, zorder=3)


def hatch_missing(axes: Axes, present: Mapping[float, bool]) -> None:
    """Hatch the strip of each value of x at which nothing is finished yet."""
    places = sorted(present)
    borders = heatmap.edges(places, 0.05)
    for place, left, right in zip(places, borders[:-1], borders[1:], strict=True):
        if not present[place]:
            axes.axvspan(left, right, fill=False, hatch=HATCH, lw=0, zorder=0.5)


def hatch_without_value(axes: Axes, rows: pd.DataFrame, x: str) -> None:
    """Hatch the strip of each value of x at which no row has a value."""
    counts = rows.groupby(x)["value"].count()
    hatch_missing(axes, {float(str(place)): bool(count) for place, count in counts.items()})
