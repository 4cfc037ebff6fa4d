"""Errors at the end of training as lines over a logarithmic axis, such as the width of a model.

Takes tables of `axis_sweep.end_table` and draws into axes. Reads and writes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.double_descent.axis_sweep import AxisSweep
from analysis.figure import heatmap, style
from analysis.figure.names import none_of
from analysis.figure.provenance import diverged_text

BEST = "each seed's lowest test error over its epochs, chosen on the test set, which flatters it"
"""What the best epoch of a figure is."""


@dataclass(frozen=True)
class Line:
    """How a curve is drawn: its column of the table, label in the legend, colour and dashes."""

    column: str
    label: str
    colour: tuple[float, ...]
    dashes: str = "-"


def colour(index: int, count: int) -> tuple[float, ...]:
    """The colour of curve `index` of `count`; the bright end of the colour map is left out."""
    return style.colour_map()(0.85 * index / max(count - 1, 1))


def draw_error(axes: Axes, group: pd.DataFrame, axis: str, line: Line) -> None:
    """One curve with a band of one standard error over seeds where there is more than one."""
    x = group[axis].to_numpy(np.float64)
    mean = group[line.column].to_numpy(np.float64)
    std = group[f"{line.column}_std"].to_numpy(np.float64)
    band = std / np.sqrt(np.maximum(group["n_seeds"] - 1, 1))
    axes.plot(x, mean, line.dashes, marker="o", ms=3.5, lw=1.8, color=line.colour, label=line.label)
    axes.fill_between(x, mean - band, mean + band, color=line.colour, alpha=0.2, lw=0)


def log_axis(axes: Axes, table: pd.DataFrame, axis: str) -> None:
    """A logarithmic axis with a tick at every value; values without a finished run are hatched."""
    ticks = sorted(table[axis].unique())
    axes.set_xscale("log")
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    hatch(axes, table.groupby(axis)["n_seeds"].max())


def hatch(axes: Axes, counts: pd.Series) -> None:
    """Hatches the values (index of `counts`) without a finished run."""
    borders = 10 ** heatmap.edges(np.log10(counts.index.to_numpy(np.float64)))
    for left, right, count in zip(borders[:-1], borders[1:], counts, strict=True):
        if not count:
            axes.axvspan(left, right, fill=False, hatch=style.HATCH, lw=0)


def seeds(group: pd.DataFrame) -> str:
    """Seeds behind a curve, as "3" or "1-3" where it changes along the axis."""
    low, high = int(group["n_seeds"].min()), int(group["n_seeds"].max())
    return str(high) if low == high else f"{low}–{high}"


def nothing_finished(data: AxisSweep) -> str:
    """Why there is no end of a training to draw, as one line."""
    diverged, total = len(data.state.diverged), len(data.runs)
    if diverged == total:
        return f"{diverged_text(diverged)}; there is no error at the end to draw; lower optim.lr"
    return (
        f"{none_of(total, 'chosen run')} is at its last epoch yet ({diverged} diverged); wait, or "
        "`redescent resume`. analysis/width_noise.py draws what has been logged so far"
    )
