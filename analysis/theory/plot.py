"""Drawing of the theory's curves and of means over seeds on given Axes.

Computes and writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from analysis.figure import style
from analysis.theory.averages import Array, Average
from analysis.theory.curves import Curve

LINE_WIDTH, GRID_ALPHA = 2.2, 0.3
COLOURS = ("tab:blue", "tab:orange", "tab:green", "tab:red", "tab:purple", "tab:brown")  # of κ
HALF_STD = 0.5  # bars and bands reach half a population std over seeds to each side
MSE, MSE_LOSS, TIME = "MSE Generalization Error", "MSE generalization loss", "Training time"


def kappa_label(kappa: float) -> str:
    """The κ of a legend, in powers of ten from 10,000 on."""
    return f"κ = {kappa:g}" if kappa < 1e4 else f"κ = {style.value_label(kappa)}"


def error_axes(
    axes: Axes, last: float, limits: tuple[float, float] = (0.0, 0.5), grid: float = GRID_ALPHA
) -> None:
    """Logarithmic time from 1 to `last`, error within `limits`, a dashed grid."""
    style.log_time(axes, last, "x")
    axes.set_ylim(*limits)
    axes.grid(color="k", linestyle="--", linewidth=0.5, alpha=grid)


def draw_errors(
    axes: Axes, curves: Iterable[Curve], colours: Iterable[str], width: float = LINE_WIDTH
) -> None:
    """Error over t + 1, one line for each curve."""
    for curve, colour in zip(curves, colours, strict=True):
        axes.plot(curve.abscissa, curve.order.error, color=colour, lw=width, label=curve.label)


def check_kappas(kappas: Sequence[float]) -> None:
    """ValueError unless every κ has a colour of its own."""
    if not 1 <= len(kappas) <= len(COLOURS):
        raise ValueError(f"{len(kappas)} condition numbers; expected 1 to {len(COLOURS)}")


def draw_bars(axes: Axes, averages: Iterable[Average]) -> None:
    """Dashed means over t + 1 with error bars at every second time, a colour for each κ."""
    for average, colour in zip(averages, COLOURS, strict=False):
        axes.plot(average.times + 1, average.mean, "--", color=colour, lw=1.5, alpha=0.8)
        axes.errorbar(
            average.times[::2] + 1,
            average.mean[::2],
            HALF_STD * average.std[::2],
            fmt="o",
            ms=4,
            lw=1.5,
            color=colour,
            alpha=0.8,
        )


def draw_bands(axes: Axes, averages: Iterable[Average]) -> None:
    """Dashed means over t + 1 with a shaded band, a colour for each κ."""
    for average, colour in zip(averages, COLOURS, strict=False):
        axes.plot(average.times + 1, average.mean, "--", color=colour, lw=LINE_WIDTH, alpha=0.8)
        draw_band(axes, average.times + 1, average, colour)


def draw_band(axes: Axes, x: Array, average: Average, colour: str) -> None:
    """The band of one average, if it has a spread."""
    half = HALF_STD * average.std
    if np.isfinite(half).any():
        low, high = average.mean - half, average.mean + half
        axes.fill_between(x, low, high, color=colour, alpha=0.2, lw=0)


def draw_lines(
    axes: Axes, averages: Iterable[Average], line: str = "-", width: float = LINE_WIDTH
) -> None:
    """Means over t + 1 as plain lines, a colour for each κ."""
    for average, colour in zip(averages, COLOURS, strict=False):
        axes.plot(average.times + 1, average.mean, line, color=colour, lw=width, alpha=0.8)


def legend(axes: Axes, kappas: Sequence[str], lines: dict[str, str]) -> None:
    """Legend of the colours (one for each κ) and of the line styles by their labels."""
    handles = []
    for kappa, colour in zip(kappas, COLOURS, strict=False):
        handles.append(Line2D([], [], color=colour, lw=LINE_WIDTH, label=kappa))
    for label, line in lines.items():
        handles.append(Line2D([], [], color="k", ls=line, label=label))
    axes.legend(handles=handles, loc="upper right", ncols=2, fontsize=9)
