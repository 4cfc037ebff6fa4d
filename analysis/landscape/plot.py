"""Drawing landscapes: panels of equal scale, captions, colours of an axis.

Functions draw on the figures and axes that they are given.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from analysis.figure import query, style

MOST_PANELS = 12
PANEL = 2.9  # inches, side of a panel
ROW = 4  # panels of a row at most
FOOT = {"fontsize": 8, "color": "0.35"}
CHARACTERS = 16  # of the foot, an inch of the figure
CLASSES = ("#4477AA", "#CC6677")
"""Colours of class 0 and class 1, which also print apart in grey."""


def panels(count: int, bar: float = 0.0, most: int = MOST_PANELS) -> tuple[Figure, list[Axes]]:
    """A figure with `count` square panels in rows of at most ROW; `bar` inches for a colour bar.

    Raises FigureError for more than `most`.
    """
    if count > most:
        raise query.FigureError(
            f"{count} panels are too many to compare, expected at most {most}; choose some "
            "trained cells with --where"
        )
    columns = min(count, ROW)
    rows = math.ceil(count / columns)
    size = (columns * PANEL + 0.7 + bar, rows * (PANEL + 0.65) + 0.65)
    figure = Figure(figsize=size, layout="compressed")
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    axes = list(grid.flat)
    for unused in axes[count:]:
        unused.set_visible(False)
    return figure, axes[:count]


def label_outer(axes: Sequence[Axes], x: str, y: str) -> None:
    """Labels on the panels at the left and at the bottom of their column alone."""
    count = len(axes)
    columns = min(count, ROW)
    for number, panel in enumerate(axes):
        is_bottom = number + columns >= count
        if is_bottom:
            panel.set_xlabel(x)
        panel.tick_params(labelbottom=is_bottom)
        if number % columns == 0:
            panel.set_ylabel(y)


def foot(figure: Figure, text: str) -> None:
    """The caption's facts at the foot of the figure, broken where they are too long."""
    width = int(figure.get_size_inches()[0] * CHARACTERS)
    figure.supxlabel("\n".join(textwrap.wrap(text, width)), **FOOT)


def cell_handles(look: Mapping[str, tuple[float, float, float]]) -> list[Line2D]:
    """The legend's entries of the trained cells, by name."""
    handles = []
    for name, colour in look.items():
        handles.append(Line2D([], [], color=colour, marker="o", ls="", ms=6, label=name))
    return handles


def at_least_handle(arrow: str) -> Line2D:
    """The legend's entry of arrows at lower bounds; arrow: its sign in mathtext."""
    return Line2D([], [], label="at least", marker=f"${arrow}$", ls="", ms=8, color="0.4")


def no_minimum_handle() -> Line2D:
    """The legend's entry of hollow marks."""
    return Line2D([], [], label="no minimum", marker="o", ls="", ms=6, mfc="white", color="0.4")


def colours(count: int) -> list[tuple[float, float, float]]:
    """Colours of the values of an ordered axis, dark to light, none too light to see."""
    return [to_rgb(colour) for colour in sns.color_palette("viridis", count + 1)[:count]]


def loss_colours() -> Colormap:
    """Colours of the loss: the project's map; plain grey above the cap."""
    return style.colour_map().with_extremes(over="0.86")


def hatch_rows(axes: Axes, y: NDArray[np.float64], missing: NDArray[np.bool_]) -> None:
    """Hatch the rows of a grid that are not measured. y: (rows,); missing: (rows,)."""
    if not missing.any():
        return
    half = np.diff(y) / 2
    low = y - np.concatenate([half[:1], half])
    high = y + np.concatenate([half, half[-1:]])
    for bottom, top in zip(low[missing], high[missing], strict=True):
        axes.axhspan(bottom, top, fill=False, hatch=style.HATCH, lw=0, zorder=3)
