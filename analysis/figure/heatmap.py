"""A heat map over (axis value, time) from a tidy frame, with what is not in the logs hatched.

Shared by all figures with time on the vertical axis. Draws on the Axes that it is given; reads and
computes nothing but the geometry of the cells. seaborn's heat map has cells of one size, so it
cannot have an axis of logarithmic time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import QuadMesh
from matplotlib.colorbar import Colorbar
from matplotlib.patches import Rectangle
from numpy.typing import ArrayLike, NDArray

from analysis.figure.style import HATCH, colour_map

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Grid:
    """Values on a grid, ready to draw.

    x: (columns,) increasing positions; times: (rows,) increasing epochs, steps or examples; values:
    (rows, columns), NaN where nothing is logged; planned: last planned time, where hatching ends;
    absent: (rows, columns), where no run is planned, which stays blank; None: nowhere.
    """

    x: Array
    times: Array
    values: Array
    planned: int
    absent: NDArray[np.bool_] | None = None

    def block(self, start: int, stop: int) -> Grid:
        """The columns start..stop-1."""
        columns = np.s_[:, start:stop]
        absent = None if self.absent is None else self.absent[columns]
        return Grid(self.x[start:stop], self.times, self.values[columns], self.planned, absent)


def grid(
    frame: pd.DataFrame,
    x: Sequence[float],
    planned: int,
    value: str = "mean",
    time: str = "epoch",
) -> Grid:
    """Grid from a tidy frame with columns x, `time` and `value`; `x` lists columns without rows
    too.

    Times before 1 are left out, the axis being logarithmic.
    """
    wide = frame[frame[time] >= 1].pivot(index=time, columns="x", values=value)
    wide = wide.reindex(columns=sorted(x))
    columns, rows = wide.columns.to_numpy(np.float64), wide.index.to_numpy(np.float64)
    return Grid(columns, rows, wide.to_numpy(np.float64), planned)


def edges(centres: ArrayLike, single: float = 1.0) -> Array:
    """Borders halfway between increasing centres; `single` is the width of a lone cell."""
    points = np.asarray(centres, np.float64)
    half = np.diff(points) / 2
    if len(points) < 2:
        return np.concatenate([points - single / 2, points + single / 2])
    return np.concatenate([[points[0] - half[0]], points[:-1] + half, [points[-1] + half[-1]]])


def limits(values: ArrayLike, step: float = 0.01) -> tuple[float, float]:
    """Colour limits: 1st and 98th percentile of the finite values, rounded outward to `step`."""
    low, high = np.percentile(np.asarray(values)[np.isfinite(values)], [1, 98])
    return rounded(float(low), float(high), step)


def rounded(low: float, high: float, step: float) -> tuple[float, float]:
    """The limits moved outward to multiples of `step`, at least one step apart."""
    bottom, top = np.floor(low / step + 1e-9) * step, np.ceil(high / step - 1e-9) * step
    return float(round(bottom, 6)), float(round(max(top, bottom + step), 6))


def draw(axes: Axes, data: Grid, vmin: float, vmax: float, width: float = 1.0) -> QuadMesh | None:
    """Draw the grid as one mesh (a bitmap in a PDF), hatch its gaps, return the mesh (or None).

    `width` is the width of the column if there is only one.
    """
    x = edges(data.x, width)
    mesh = None
    if len(data.times):
        borders = _time_edges(data)
        mesh = axes.pcolormesh(
            x,
            borders,
            np.ma.masked_invalid(data.values),
            cmap=colour_map(),
            vmin=vmin,
            vmax=vmax,
            rasterized=True,
        )
    for left, right, bottom, top in gaps(data, x):
        place = (left, bottom), right - left, top - bottom
        axes.add_patch(Rectangle(*place, fill=False, hatch=HATCH, lw=0, zorder=0.5))
    return mesh


def colour_bar(
    meshes: Sequence[ScalarMappable], axes: Axes | Sequence[Axes], label: str
) -> Colorbar:
    """The colour bar of meshes with the same limits, with its label; each end beyond which
    there are values has an arrow.
    """
    beside = axes if isinstance(axes, Axes) else axes[0]
    figure = beside.get_figure(root=True)
    if figure is None:
        raise ValueError("a colour bar needs axes of a figure")
    # use_gridspec=False: `options.apply` cannot place a bar anew that is in a row of a grid
    return figure.colorbar(
        meshes[0], ax=axes, pad=0.02, label=label, extend=extend(meshes), use_gridspec=False
    )


def extend(meshes: Sequence[ScalarMappable]) -> str:
    """Which ends of the colours clip values: "neither", "min", "max" or "both"."""
    below = above = False
    for mesh in meshes:
        array = mesh.get_array()
        values = np.ma.masked_invalid([] if array is None else array).compressed()
        low, high = mesh.get_clim()
        if len(values) and low is not None and high is not None:
            slack = 1e-9 * (high - low)
            below |= bool(values.min() < low - slack)
            above |= bool(values.max() > high + slack)
    if below:
        return "both" if above else "min"
    return "max" if above else "neither"


def renew_bar(bar: Colorbar, meshes: Sequence[ScalarMappable]) -> Colorbar:
    """The colour bar in the same place, with arrows where the colours of `meshes` clip now."""
    place, mesh = bar.ax, bar.mappable
    label = place.get_ylabel()
    figure = place.get_figure(root=True)
    place.clear()
    place.set_axes_locator(None)  # type: ignore[arg-type]
    if figure is None:
        raise ValueError("a colour bar needs axes of a figure")
    return figure.colorbar(mesh, cax=place, label=label, extend=extend(meshes))


def _time_edges(data: Grid) -> Array:
    """Borders of the times; the first is at least 1/2, because a logarithmic axis has no zero."""
    borders = edges(data.times)
    borders[0] = max(borders[0], 0.5)
    return borders


def gaps(data: Grid, x: Array) -> list[tuple[float, float, float, float]]:
    """Rectangles (left, right, bottom, top) that hold no logged value, up to the planned time."""
    end = data.planned + 0.5
    if not len(data.times):
        return [(float(x[i]), float(x[i + 1]), 0.5, end) for i in range(len(data.x))]
    borders = _time_edges(data)
    empty = np.isnan(data.values)
    if data.absent is not None:
        empty &= ~data.absent
    if end > borders[-1]:
        borders, empty = np.append(borders, end), np.vstack([empty, np.ones(len(data.x), bool)])
    rectangles: list[tuple[float, float, float, float]] = []
    for column in range(len(data.x)):
        padded = np.concatenate([[0], empty[:, column].astype(int), [0]])
        left, right = float(x[column]), float(x[column + 1])
        for start, stop in np.flatnonzero(np.diff(padded)).reshape(-1, 2):
            rectangles.append((left, right, float(borders[start]), float(borders[stop])))
    return rectangles
