"""What a percent of data costs in steps: medians of censored times over train fractions, and a
log-linear fit of them.

Pure functions. A time is inf for a run that never got there within its budget, NaN where nothing is
known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from analysis.grokking.runs import reached_by

Array = NDArray[np.float64]
PUBLISHED, PUBLISHED_RANGE = (
    (1.4, 1.5),
    (25.0, 30.0),
)  # factor for each point less of data (Power et al. 2022), in %
METHOD = (
    "least squares of log(median steps) over the train fraction in percentage points, at the "
    "fractions where at least "
    "half of the finished runs got there and none is under way; 95 % bootstrap percentile "
    "interval, 1000 resamples of "
    "seeds (each with its runs at all fractions), the whole procedure for each"
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
    """The cost from steps[percent][seed], over the percents `within`; None with fewer than two
    usable fractions.
    """
    percents = np.array(sorted(p for p in steps if within[0] <= p <= within[1]))
    seeds = sorted({seed for p in percents for seed in steps[p]})
    if len(percents) < 2:
        return None
    table = np.array([[steps[p].get(seed, np.nan) for p in percents] for seed in seeds])
    found = _line(percents, table)
    if found is None:
        return None
    slope, intercept, used = found
    random = np.random.default_rng(0)
    draws = [
        random.integers(len(seeds), size=len(seeds))
        for _ in range(RESAMPLES if len(seeds) > 1 else 0)
    ]
    factors = [
        np.exp(-again[0]) for draw in draws if (again := _line(percents, table[draw])) is not None
    ]
    enough = len(factors) * 2 > RESAMPLES
    low, high = (
        np.quantile(factors, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]) if enough else (np.nan, np.nan)
    )
    return Cost(
        float(np.exp(-slope)),
        float(low),
        float(high),
        intercept,
        tuple(percents[used].tolist()),
        len(factors),
    )


def _line(percents: Array, table: Array) -> tuple[float, float, NDArray[np.bool_]] | None:
    """Slope and intercept of log medians of the columns of (seeds, percents), and which columns
    have one.
    """
    medians = np.array([reached_by(column) for column in table.T])
    used = np.isfinite(medians)
    if used.sum() < 2:
        return None
    slope, intercept = np.polyfit(percents[used], np.log(medians[used]), 1)
    return float(slope), float(intercept), used


def text(cost: Cost | None, where: str) -> str:
    """The result in one sentence."""
    if cost is None:
        return f"cost of a percent of data in {where}: no fit, fewer than two fractions where half of the runs got there"
    interval = (
        f"95 % interval {cost.low:.2f} to {cost.high:.2f}"
        if np.isfinite(cost.low)
        else "no interval from these seeds"
    )
    return (
        f"cost of a percent of data in {where}: steps times {cost.factor:.2f} for each point less "
        f"({interval}; "
        f"{len(cost.percents)} fractions from {cost.percents[0]:g} to {cost.percents[-1]:g} %)"
    )
