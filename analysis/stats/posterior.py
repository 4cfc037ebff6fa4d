"""Where the value lies at which success changes: its posterior on a grid, and intervals of it.

Model: a training at value n succeeds with probability (1 - lapse) / (1 + exp((u - m) / slope)),
where u = log n and m = log n50 (u = n on a linear lattice), rising instead of falling where the
settings say so. Lapses are trainings that fail at any value; to ignore them biases thresholds
(Prins 2012).
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.stats import lattice
from analysis.stats.lattice import Results, Settings, Value

Array = NDArray[np.float64]
Censored = Literal["above", "below"]

INTERVAL = (0.05, 0.95)  # quantiles of n50: the 90 % interval
CENSORED = 0.05  # probability of n50 beyond an end of the range from which it is censored
LAPSES = (0.0, 0.05, 0.15, 0.3)
LAPSE_WEIGHTS = (0.55, 0.25, 0.13, 0.07)
SLOPES = (0.03, 0.5)  # of log n, seven values
CLIP = 1e-6  # least probability of either outcome
FINEST = 8  # grid of n50: half steps of a lattice of at least this many values per octave


@dataclass(frozen=True)
class Interval:
    """The posterior median of n50 and its 90 % interval.

    All as in Estimate: what lies beyond the range of the search is None. bound: the end that is
    left of a censored n50. censored: the side on which it lies.
    """

    n50: float | None
    low: float | None
    high: float | None
    bound: float | None
    censored: Censored | None

    @property
    def columns(self) -> dict[str, float]:
        """n50, n50_low, n50_high and n50_bound, the columns of a table; NaN for None."""
        names = ("n50", "n50_low", "n50_high", "n50_bound")
        values = (self.n50, self.low, self.high, self.bound)
        pairs = zip(names, values, strict=True)
        return {name: math.nan if value is None else value for name, value in pairs}


UNKNOWN = Interval(None, None, None, None, None)


@dataclass(frozen=True)
class Posterior:
    """Probabilities of n50, slope and lapse on a grid.

    positions: (m,) log n50, or n50 itself on a linear lattice. slopes: (s,). weights: (m, s, l),
    their sum is 1.
    """

    positions: Array
    slopes: Array
    weights: Array
    linear: bool

    @property
    def marginal(self) -> Array:
        """Probability of every n50 of the grid, (m,)."""
        weights: Array = self.weights.sum(axis=(1, 2))
        return weights

    @property
    def values(self) -> Array:
        """The n50 of the grid, (m,)."""
        return self.positions if self.linear else np.exp(self.positions)

    @property
    def mean_slope(self) -> float:
        """Posterior mean of the slope."""
        return float(self.weights.sum(axis=(0, 2)) @ self.slopes)

    @property
    def mean_lapse(self) -> float:
        """Posterior mean of the probability of a lapse."""
        return float(self.weights.sum(axis=(0, 1)) @ np.asarray(LAPSES))

    def position(self, probability: ArrayLike) -> Array:
        """Quantiles of log n50 (of n50 on a linear lattice): the cumulative marginal, linear
        between the points of the grid, with half of a point's probability on either side of it.
        """
        marginal = self.marginal
        cumulative = np.cumsum(marginal) - marginal / 2
        positions: Array = np.interp(np.asarray(probability), cumulative, self.positions)
        return positions

    def quantile(self, probability: float) -> float:
        """A quantile of n50."""
        position = float(self.position(probability))
        return position if self.linear else math.exp(position)

    def above(self, position: float) -> float:
        """Probability that n50 lies above a position."""
        marginal = self.marginal
        cumulative = np.cumsum(marginal) - marginal / 2
        return 1 - float(np.interp(position, self.positions, cumulative))

    def beyond(self, settings: Settings) -> tuple[tuple[Censored, float], tuple[Censored, float]]:
        """Probabilities that n50 lies above and below the range of the lattice."""
        positions = lattice.positions(settings)
        above, below = self.above(positions[-1]), 1 - self.above(positions[0])
        return ("above", above), ("below", below)

    def censored(self, settings: Settings, probability: float = CENSORED) -> Censored | None:
        """The side of the range beyond which n50 lies with more than this probability."""
        side, largest = max(self.beyond(settings), key=lambda pair: pair[1])
        return side if largest > probability else None


def posterior(settings: Settings, results: Results) -> Posterior:
    """The posterior of n50, slope and lapse from outcomes in any order.

    Flat in log n50 from one octave below to one above the range, in half lattice steps, and in
    seven log-spaced slopes from 0.03 to 0.5. On a linear lattice flat in n50, from eight steps (or
    an eighth of the range, if that is more) below the range to as much above it, and the slopes go
    from a third of a step to six steps, or to a sixth of the range.
    """
    likelihood = _likelihood(settings)
    counts = Counter((value, success) for (value, _), success in final_outcomes(results).items())
    log_weights = np.broadcast_to(np.log(LAPSE_WEIGHTS), likelihood.shape).copy()
    for (value, success), count in sorted(counts.items()):
        log_weights += count * likelihood.log_probability(value, success)
    weights = np.exp(log_weights - log_weights.max())
    linear = settings.step is not None
    return Posterior(likelihood.positions, likelihood.slopes, weights / weights.sum(), linear)


def interval_of(settings: Settings, belief: Posterior) -> Interval:
    """n50 and its interval from a posterior, censored at the range of the search."""
    low, n50, high = (belief.quantile(q) for q in (INTERVAL[0], 0.5, INTERVAL[1]))
    censored = belief.censored(settings)
    if censored == "above":
        return Interval(None, low, None, min(low, settings.high), censored)
    if censored == "below":
        return Interval(None, None, high, max(high, settings.low), censored)
    return Interval(n50, low, high, None, None)


def fit_probability(settings: Settings, results: Results, values: ArrayLike) -> Array:
    """Posterior mean of the probability of success at each of the values, same shape."""
    likelihood, weights = _likelihood(settings), posterior(settings, results).weights
    points = np.asarray(values, np.float64)
    means = [float((likelihood.probability(value) * weights).sum()) for value in points.ravel()]
    return np.asarray(means).reshape(points.shape)


class _Likelihood:
    """Probability of success over the grid of n50, slope and lapse; remembers searched values."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.positions, self.slopes = _grid(settings)
        self.shape = (len(self.positions), len(self.slopes), len(LAPSES))
        self._logs: dict[Value, tuple[Array, Array]] = {}

    def probability(self, value: float) -> Array:
        """Probability of success at a value, (m, s, l)."""
        distance = lattice.position(self.settings, value) - self.positions[:, None]
        signed = distance if self.settings.falling else -distance
        logistic = 1 / (1 + np.exp(np.clip(signed / self.slopes, -50, 50)))
        probability = logistic[:, :, None] * (1 - np.asarray(LAPSES))
        clipped: Array = np.clip(probability, CLIP, 1 - CLIP)
        return clipped

    def log_probability(self, value: Value, success: bool) -> Array:
        """Log probability of an outcome at a value, (m, s, l)."""
        if value not in self._logs:
            probability = self.probability(value)
            self._logs[value] = np.log1p(-probability), np.log(probability)
        return self._logs[value][success]


@lru_cache(maxsize=4)
def _likelihood(settings: Settings) -> _Likelihood:
    return _Likelihood(settings)


def _grid(settings: Settings) -> tuple[Array, Array]:
    """Positions of n50 and slopes."""
    positions, distance = lattice.positions(settings), lattice.distance(settings)
    if settings.step is None:
        spacing = min(distance, math.log(2) / FINEST) / 2
        reach, slopes = math.log(2), SLOPES
    else:
        spacing, span = distance / 2, positions[-1] - positions[0]
        reach, slopes = max(8 * distance, span / 8), (distance / 3, max(6 * distance, span / 6))
    start, stop = positions[0] - reach, positions[-1] + reach
    points = math.ceil((stop - start) / spacing - 1e-9) + 1
    grid = np.asarray(start + spacing * np.arange(points), np.float64)
    return grid, np.geomspace(*slopes, 7, dtype=np.float64)


def final_outcomes(results: Results) -> dict[tuple[Value, int], bool]:
    """The outcome of each training: a success if it succeeded with any budget."""
    outcomes: dict[tuple[Value, int], bool] = {}
    for trial, success in results:
        training = trial.value, trial.number
        outcomes[training] = outcomes.get(training, False) or success
    return outcomes
