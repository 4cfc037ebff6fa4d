"""Means over seeds of simulated or averaged errors: reduction, table, and drawing with error bars
or a band.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from analysis.theory.curves import Curve

Array = NDArray[np.float64]
COLOURS = ("tab:blue", "tab:orange", "tab:green", "tab:red", "tab:purple", "tab:brown")
HALF = 0.5  # bars and bands reach half a population std over seeds to each side


@dataclass(frozen=True)
class Average:
    """Mean and population std over `seeds` seeds at `times` (T,); a std of nan where there are no
    seeds (a formula).
    """

    series: str
    kappa: float
    times: Array
    mean: Array
    std: Array
    seeds: int

    @property
    def standard_error(self) -> Array:
        """Of the mean, from the sample std."""
        return np.asarray(self.std / np.sqrt(max(self.seeds - 1, 1)))


def over_seeds(series: str, kappas: Sequence[float], times: Array, values: Array) -> list[Average]:
    """One Average for each κ. values: (seeds, kappas, T)."""
    return [
        Average(
            series, kappa, times, values[:, i].mean(axis=0), values[:, i].std(axis=0), len(values)
        )
        for i, kappa in enumerate(kappas)
    ]


def formula(series: str, curve: Curve) -> Average:
    """A closed form as an Average without spread, so that it stands in the same table."""
    error = curve.order.error
    return Average(series, curve.setting.kappa, curve.times, error, np.full_like(error, np.nan), 0)


def table(averages: Iterable[Average]) -> dict[str, Any]:
    """Columns of the CSV; std is empty and seeds 0 for closed forms and published curves."""
    rows = [
        (a.series, a.kappa, t, t + 1, mean, "" if np.isnan(std) else std, a.seeds)
        for a in averages
        for t, mean, std in zip(a.times, a.mean, a.std, strict=True)
    ]
    names = ("series", "kappa", "t", "t_plus_1", "error_mean", "error_std", "seeds")
    return dict(zip(names, zip(*rows, strict=True), strict=True))


def greatest_gap(found: Average, expected: Average) -> dict[str, float]:
    """Where two averages over the same times differ most, in error and in standard errors of the
    first there.
    """
    gap = np.abs(found.mean - expected.mean)
    at = int(gap.argmax())
    return {
        "kappa": found.kappa,
        "t_plus_1": float(found.times[at] + 1),
        "abs_difference": float(gap[at]),
        "standard_errors": float(
            gap[at] / max(found.standard_error[at], np.finfo(np.float64).tiny)
        ),
    }


def draw_bars(axes: Axes, averages: Iterable[Average]) -> None:
    """Dashed means with error bars at every second time."""
    for average, colour in zip(averages, COLOURS, strict=False):
        axes.plot(average.times + 1, average.mean, "--", color=colour, lw=1.5, alpha=0.8)
        axes.errorbar(
            average.times[::2] + 1, average.mean[::2], HALF * average.std[::2],
            fmt="o", ms=4, lw=1.5, color=colour, alpha=0.8,
        )  # fmt: skip


def draw_bands(axes: Axes, averages: Iterable[Average]) -> None:
    """Dashed means with a shaded band."""
    for average, colour in zip(averages, COLOURS, strict=False):
        half = HALF * average.std
        axes.plot(average.times + 1, average.mean, "--", color=colour, lw=2.2, alpha=0.8)
        axes.fill_between(
            average.times + 1,
            average.mean - half,
            average.mean + half,
            color=colour,
            alpha=0.2,
            lw=0,
        )


def draw_lines(
    axes: Axes, averages: Iterable[Average], line: str = "-", width: float = 2.2
) -> None:
    """Means as plain lines."""
    for average, colour in zip(averages, COLOURS, strict=False):
        axes.plot(average.times + 1, average.mean, line, color=colour, lw=width, alpha=0.8)


def legend(axes: Axes, kappas: Sequence[str], lines: dict[str, str]) -> None:
    """Legend of the colours (one for each κ) and of the line styles (label to matplotlib's
    style).
    """
    handles = [
        Line2D([], [], color=c, lw=2.2, label=k) for k, c in zip(kappas, COLOURS, strict=False)
    ]
    handles += [Line2D([], [], color="k", ls=style, label=label) for label, style in lines.items()]
    axes.legend(handles=handles, loc="upper right", ncols=2, fontsize=9)
