"""Means over seeds of simulated errors: reduction, table, and the greatest gap of two curves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.theory import curves
from analysis.theory.curves import Curve

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Average:
    """Mean and population std over `seeds` seeds at `times` (T,); std is nan without seeds."""

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
    averages = []
    for i, kappa in enumerate(kappas):
        mean, std = values[:, i].mean(axis=0), values[:, i].std(axis=0)
        averages.append(Average(series, kappa, times, mean, std, len(values)))
    return averages


def formula(series: str, curve: Curve) -> Average:
    """A closed form as an Average without spread, so that it fits into the same table."""
    return without_spread(series, curve.setting.kappa, curve.times, curve.order.error)


def without_spread(series: str, kappa: float, times: Array, error: Array) -> Average:
    """A curve that is no mean over seeds, or over an unknown number of them (0)."""
    return Average(series, kappa, times, error, np.full_like(error, np.nan), 0)


def table(averages: Iterable[Average]) -> dict[str, Any]:
    """Columns of the CSV; std is empty and seeds 0 for closed forms and published curves."""
    rows = []
    for a in averages:
        for t, mean, std in zip(a.times, a.mean, a.std, strict=True):
            text = "" if np.isnan(std) else std
            rows.append((a.series, a.kappa, t, t + 1, mean, text, a.seeds))
    names = ("series", "kappa", "t", "t_plus_1", "error_mean", "error_std", "seeds")
    return dict(zip(names, zip(*rows, strict=True), strict=True))


def turning_points(average: Average) -> list[dict[str, Any]]:
    """Inner minima and maxima of a mean over seeds, with two standard errors to either side."""
    points: list[dict[str, Any]] = []
    for kind, at, value in curves.turning_points(average.times + 1, average.mean):
        index = int(np.flatnonzero(average.times + 1 == at)[0])
        margin = 2 * float(average.standard_error[index])
        points.append(
            {
                "kappa": average.kappa,
                "kind": kind,
                "t_plus_1": at,
                "error": value,
                "low": value - margin,
                "high": value + margin,
            }
        )
    return points


def greatest_gap(average: Average, other: Average) -> dict[str, float]:
    """Where two averages over the same times differ most, also in standard errors of the first."""
    gap = np.abs(average.mean - other.mean)
    at = int(gap.argmax())
    error = max(average.standard_error[at], np.finfo(np.float64).tiny)
    return {
        "kappa": average.kappa,
        "t_plus_1": float(average.times[at] + 1),
        "abs_difference": float(gap[at]),
        "standard_errors": float(gap[at] / error),
    }
