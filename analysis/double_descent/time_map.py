"""Drawing figure 2 (a, b): an error over an axis and training time, and slices of it.

Takes curves over seeds and their features, returns the Figure. Reads and writes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.typing import ColorType
from numpy.typing import NDArray

from analysis.figure import heatmap, names, style
from analysis.stats.seed_curves import SeedCurves, first_time, slices, tidy

SIZE, RATIOS = (13.3, 4.0), (3.0, 1.3)  # inches; widths of the panels
PLACE = {"left": 0.062, "right": 0.98, "bottom": 0.145, "top": 0.93, "wspace": 0.08}
"""Of the panels, in shares of the figure."""

WIDEST = 1.0  # decades; a column is no wider, however far its neighbours are
HEADROOM = 0.4  # of the error axis, above the curves, for the legend
SMALL_LEGEND = 8.0  # points; over steps and examples it keeps clear of the first epoch
PUBLISHED_LIMITS, PUBLISHED_LAST = (0.18, 0.50), 1000  # error rate; last epoch on the axes
PUBLISHED_SLICES = {"Large λ": 10, "Intermediate λ": 17, "Small λ": 91}  # columns by falling λ
PUBLISHED_TICKS = {float(k): style.power_label(-k) for k in range(1, 8)} | {8.0: "≈0.0"}


@dataclass(frozen=True)
class Look:
    """What differs between the published figure and one's own sweep.

    limits: of the colours. ticks: of the x axis, position to label. slices: curves to show, label
    to index into the data. error_limits: of the error axis at the right. span, time: ends and label
    of both axes of time. error: label of the colours and of the error axis. legend, legend_size:
    where it is, and the size of its text in points.
    """

    limits: tuple[float, float]
    ticks: dict[float, str]
    slices: dict[str, int]
    error_limits: tuple[float, float]
    span: tuple[int, int]
    time: str
    error: str
    legend: Literal["best", "upper center", "upper right"]
    legend_size: float = style.LEGEND_SIZE


@dataclass(frozen=True)
class MapData:
    """What the figure shows.

    curves, features: at every value of the axis, increasing. planned: the last planned time, in
    what the curves run over. diverged: values of the axis at which a run diverged, marked by a
    cross. metric: the column of the curves. beside: curves of the column `beside_metric` at the
    same values, dashed beside the others in the panel at the right.
    """

    curves: Sequence[SeedCurves]
    features: pd.DataFrame
    planned: int
    diverged: Sequence[float] = ()
    metric: str = "test_error"
    beside: Sequence[SeedCurves] = ()
    beside_metric: str = ""


def draw(contents: MapData, axis: str, published: bool) -> Figure:
    """The figure: heat map left, three curves right."""
    data = contents.curves
    x = positions(np.array([c.value for c in data]))
    symbol = "λ" if axis == "optim.weight_decay" else names.name(axis)
    look = published_look(data) if published else own_look(contents, x, symbol)
    with style.styled():
        figure = Figure(figsize=SIZE)
        grid = figure.add_gridspec(1, 2, width_ratios=RATIOS, **PLACE)
        left, right = figure.add_subplot(grid[0]), figure.add_subplot(grid[1])
        draw_map(left, contents, x, look)
        place = dict(zip([curves.value for curves in data], x, strict=True))
        style.mark_diverged(left, [place[value] for value in contents.diverged], look.span[0])
        left.set_xlabel("Regularization strength λ" if published else names.name(axis))
        draw_slices(right, contents, look)
        style.letter((left, right))
    return figure


def positions(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Place of each value: -log10(value), so that large ones are left; 0 is set apart, right, by a
    quarter of a column.
    """
    with np.errstate(divide="ignore"):
        x = -np.log10(values)
    finite = np.sort(x[np.isfinite(x)])
    zero = 0.0
    if len(finite):
        start = stretches(finite)[-1][0]
        right_edge = heatmap.edges(finite[start:], column_width(finite))[-1]
        zero = float(right_edge) + 0.75 * column_width(finite)
    return np.where(values == 0, zero, x)


def column_width(x: NDArray[np.float64]) -> float:
    """Typical distance of columns, at most `WIDEST`, which it is where there is only one."""
    return min(float(np.median(np.diff(np.sort(x)))), WIDEST) if len(x) > 1 else WIDEST


def stretches(x: NDArray[np.float64]) -> list[tuple[int, int]]:
    """First and one after the last of the columns at increasing `x` that touch one another.

    Neighbours further apart than `WIDEST` have nothing between them.
    """
    breaks = np.flatnonzero(np.diff(x) > WIDEST * (1 + 1e-9)) + 1
    bounds = [0, *breaks.tolist(), len(x)]
    return list(pairwise(bounds))


def published_look(data: Sequence[SeedCurves]) -> Look:
    """Colours, ticks and curves of the published figure."""
    labels = {}
    for name, place in PUBLISHED_SLICES.items():
        index = len(data) - 1 - place
        labels[f"{name} (n = {_seeds(data[index])})"] = index
    return Look(
        limits=PUBLISHED_LIMITS,
        ticks=PUBLISHED_TICKS,
        slices=labels,
        error_limits=PUBLISHED_LIMITS,
        span=(1, PUBLISHED_LAST),
        time="Training time t",
        error="0-1 generalization loss",
        legend="best",
    )


def own_look(contents: MapData, x: NDArray[np.float64], symbol: str) -> Look:
    """Colours, ticks and curves that follow from the data.

    Errors before the end of the first epoch are no part of the limits: they would take most of the
    colours. The legend is above the later ones; with a second metric it is wide, and is above
    all.
    """
    data, features = contents.curves, contents.features
    indices = slices(features)
    in_epochs = data[0].x_name == "epoch"
    labels = {}
    for index in indices:
        value = style.value_label(data[index].value)
        labels[f"{symbol} = {value} (n = {_seeds(data[index])})"] = index
    means = [since_first_epoch(data[i]) for i in indices]
    if contents.beside:  # the wide legend is above the whole curves
        means = [data[i].mean for i in indices] + [contents.beside[i].mean for i in indices]
    all_means = np.concatenate(means)
    low, high = heatmap.rounded(float(all_means.min()), float(all_means.max()), 0.05)
    return Look(
        limits=heatmap.limits(np.concatenate([since_first_epoch(curves) for curves in data])),
        ticks=ticks(np.array([c.value for c in data]), x),
        slices=labels,
        error_limits=(low, high + HEADROOM * (high - low)),
        span=(first_time(data), contents.planned),
        time=names.name(data[0].x_name),
        error=names.name(contents.metric),
        legend="upper center" if in_epochs else "upper right",
        legend_size=style.LEGEND_SIZE if in_epochs else SMALL_LEGEND,
    )


def since_first_epoch(curves: SeedCurves) -> NDArray[np.float64]:
    """The means from the end of the first epoch on; all of them of a shorter training."""
    later = curves.mean[curves.x >= curves.per_epoch]
    return later if len(later) else curves.mean


def ticks(values: NDArray[np.float64], x: NDArray[np.float64]) -> dict[float, str]:
    """Labels at the decades that the columns cover, or at every column if those are fewer than two.

    0 is labelled 0.
    """
    positive = x[values > 0]
    labels = _decades(positive)
    if len(labels) < 2:
        pairs = zip(positive, values[values > 0], strict=True)
        labels = {float(position): style.value_label(value) for position, value in pairs}
    return labels | {float(position): "0" for position in x[values == 0]}


def _decades(x: NDArray[np.float64]) -> dict[float, str]:
    """Labels of the powers of ten within the columns at -log10 of their values."""
    if not len(x):
        return {}
    half = column_width(x) / 2
    first, last = np.ceil(x.min() - half), np.floor(x.max() + half)
    return {float(k): style.power_label(-k) for k in range(int(first), int(last) + 1)}


def _seeds(curves: SeedCurves) -> str:
    """Number of seeds behind the curves, as "5", or "3-5" where it changes with the epoch."""
    low, high = int(curves.count.min()), int(curves.count.max())
    return str(high) if low == high else f"{low}–{high}"


def draw_map(axes: Axes, contents: MapData, x: NDArray[np.float64], look: Look) -> None:
    """Heat map of the mean error; the column of λ = 0, if there is one, stands apart."""
    data = contents.curves
    place = dict(zip([c.value for c in data], x, strict=True))
    frame = tidy(data)
    frame = frame.assign(x=frame["lambda"].map(place))
    grid = heatmap.grid(frame, x.tolist(), contents.planned, time=data[0].x_name)
    zero = int(any(c.value == 0 for c in data))
    size = len(x)
    width = column_width(grid.x[: size - zero])
    bounds = stretches(grid.x[: size - zero]) if size > zero else []
    blocks = [grid.block(first, stop) for first, stop in bounds]
    if zero:
        blocks.append(grid.block(size - 1, size))
    meshes = [heatmap.draw(axes, block, *look.limits, width=width) for block in blocks]
    drawn = [mesh for mesh in meshes if mesh is not None]
    if drawn:
        heatmap.colour_bar(drawn, axes, look.error)
    borders = [heatmap.edges(block.x, width) for block in blocks]
    axes.set_xlim(float(borders[0][0]), float(borders[-1][-1]))
    axes.set_xticks(list(look.ticks), list(look.ticks.values()))
    style.log_time(axes, look.span[1], "y", look.span[0])
    axes.set_ylabel(look.time)


def draw_slices(axes: Axes, contents: MapData, look: Look) -> None:
    """Mean curves with a band of one standard error over seeds where there is more than one.

    Those of the other metric, if there is one, are dashed.
    """
    for label, index in look.slices.items():
        colour = draw_slice(axes, contents.curves[index], label)
        if contents.beside:
            draw_slice(axes, contents.beside[index], "", "--", colour)
    if contents.beside:
        axes.plot([], [], "--", color="0.4", lw=2, label=names.name(contents.beside_metric))
    style.log_time(axes, look.span[1], "x", look.span[0])
    axes.set_ylim(*look.error_limits)
    axes.set_xlabel(look.time)
    axes.set_ylabel(look.error)
    axes.legend(loc=look.legend, fontsize=look.legend_size)


def draw_slice(
    axes: Axes, curves: SeedCurves, label: str, dashes: str = "-", colour: ColorType | None = None
) -> ColorType:
    """One mean curve with its band; returns its colour, the next of the cycle if none is given."""
    (line,) = axes.plot(curves.x, curves.mean, dashes, lw=2, label=label, color=colour)
    shade: ColorType = line.get_color()
    band = curves.error
    if np.isfinite(band).any():
        low, high = curves.mean - band, curves.mean + band
        axes.fill_between(curves.x, low, high, color=shade, alpha=0.25, lw=0)
    return shade
