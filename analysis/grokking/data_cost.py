"""What a percent of data costs in steps: a log-linear fit of medians over train fractions.

Pure functions. A time is inf for a run that never got there within its budget, NaN if unknown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.grokking.runs import reached_by

Array = NDArray[np.float64]
PUBLISHED = (1.4, 1.5)  # factor for each point less of data (Power et al. 2022)
PUBLISHED_RANGE = (25.0, 30.0)  # % of the data
METHOD = (
    "least squares of log(median steps) over the train fraction in percentage points, at the "
    "fractions where at least half of the finished runs got there and none is running; 95 % "
    "bootstrap percentile interval, 1000 resamples of seeds (each with its runs at all fractions), "
    "the whole procedure for each"
)
RESAMPLES, LEVEL = 1000, 0.95


@dataclass(frozen=True)
class Cost:
    """By which factor the steps grow with each percentage point less of data, with its interval.

    percents: the fractions fitted, in %. intercept: log steps at 0 %. resamples: how many gave at
    least two fractions; low and high are NaN with fewer than two seeds or where less than half of
    the resamples did.
    """

    factor: float
    low: float
    high: float
    intercept: float
    percents: tuple[float, ...]
    resamples: int

    def steps(self, percents: Array) -> Array:
        """The fitted steps at train fractions in %."""
        return np.asarray(np.exp(self.intercept) * self.factor ** -np.asarray(percents))


def fit(
    steps: Mapping[float, Mapping[str, float]], within: tuple[float, float] = (0, 100)
) -> Cost | None:
    """The cost from steps[percent][seed] over the percents `within`; None without two medians."""
    percents = np.array(sorted(p for p in steps if within[0] <= p <= within[1]))
    seeds = sorted({seed for p in percents for seed in steps[p]})
    table = np.full((len(seeds), len(percents)), np.nan)
    for column, percent in enumerate(percents):
        for row, seed in enumerate(seeds):
            table[row, column] = steps[percent].get(seed, np.nan)
    line = _line(percents, table)
    if line is None:
        return None
    slope, intercept, has_median = line
    factors = bootstrap_factors(percents, table)
    low = high = float("nan")
    if len(factors) * 2 > RESAMPLES:
        low, high = np.quantile(factors, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist()
    fit_percents = tuple(percents[has_median].tolist())
    return Cost(
        factor=float(np.exp(-slope)),
        low=low,
        high=high,
        intercept=intercept,
        percents=fit_percents,
        resamples=len(factors),
    )


def bootstrap_factors(percents: Array, table: Array) -> list[float]:
    """The factors of resampled seeds, rows of (seeds, percents), where they give a line.

    Empty with one seed.
    """
    random, number = np.random.default_rng(0), len(table)
    factors = []
    for _ in range(RESAMPLES if number > 1 else 0):
        line = _line(percents, table[random.integers(number, size=number)])
        if line is not None:
            factors.append(float(np.exp(-line[0])))
    return factors


def _line(percents: Array, table: Array) -> tuple[float, float, NDArray[np.bool_]] | None:
    """Slope and intercept of log medians of (seeds, percents), and the columns with a median."""
    medians = np.array([reached_by(column) for column in table.T])
    has_median = np.isfinite(medians)
    if has_median.sum() < 2:
        return None
    slope, intercept = np.polyfit(percents[has_median], np.log(medians[has_median]), 1)
    return float(slope), float(intercept), has_median


def text(cost: Cost | None, where: str) -> str:
    """The result in one sentence."""
    head = f"cost of a percent of data in {where}"
    if cost is None:
        return f"{head}: no fit, fewer than two fractions where half of the runs got there"
    interval = "no interval from these seeds"
    if np.isfinite(cost.low):
        interval = f"95 % interval {cost.low:.2f} to {cost.high:.2f}"
    first, last = cost.percents[0], cost.percents[-1]
    fractions = f"{len(cost.percents)} fractions from {first:g} to {last:g} %"
    return (
        f"{head}: steps times {cost.factor:.2f} for each point less of data "
        f"({interval}; {fractions})"
    )
