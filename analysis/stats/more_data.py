"""Where more training samples raise the error, and up to how many samples a training set is fitted.

Pure functions of arrays: errors at the end of training, over the number of training samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats as distributions

from analysis.stats import features as stats
from analysis.stats.verdict import FLOOR

LEVEL = 0.95  # confidence of the interval


@dataclass(frozen=True)
class Rise:
    """The largest rise of the mean error over the number of training samples.

    start, stop: the sample counts at its bottom and at its top. height: their difference in error.
    low, high: its interval, NaN for one seed.
    """

    start: int
    stop: int
    height: float
    low: float
    high: float

    @property
    def hurts(self) -> bool:
        """Whether more data hurts: the height is above FLOOR, and its interval above 0."""
        return self.low > 0 and self.height > FLOOR


def largest_rise(errors: ArrayLike, samples: ArrayLike) -> Rise:
    """Where the mean of `errors` (seeds, counts) rises most over `samples` (counts), increasing.

    The largest of all rises is above 0 by noise alone. Its interval is therefore that of Tukey
    (1949), which holds for the differences of all pairs of counts at once, the largest among them.
    Raises ValueError for gaps in the errors.
    """
    values = np.atleast_2d(np.asarray(errors, np.float64))
    mean = stats.features(values.mean(axis=0), window=1, epochs=samples)
    height, half = float(mean.rise), half_width(values)
    start, stop = int(mean.first_minimum_epoch), int(mean.peak_epoch)
    return Rise(start, stop, height, height - half, height + half)


def half_width(values: ArrayLike) -> float:
    """Half of Tukey's simultaneous interval of a difference of two counts' means over seeds.

    values: (seeds, counts). A seed may add the same to all of its errors; what is left of them has
    one variance for all counts. NaN for one seed or one count.
    """
    errors = np.atleast_2d(np.asarray(values, np.float64))
    seeds, counts = errors.shape
    freedom = (seeds - 1) * (counts - 1)
    if not freedom:
        return float("nan")
    effects = errors.mean(axis=0) + errors.mean(axis=1, keepdims=True) - errors.mean()
    variance = ((errors - effects) ** 2).sum() / freedom
    return _range_quantile(counts, freedom) * float(np.sqrt(variance / seeds))


@lru_cache
def _range_quantile(counts: int, freedom: int) -> float:
    """The quantile of the studentized range at LEVEL; a second of numerical integration."""
    return float(distributions.studentized_range.ppf(LEVEL, counts, freedom))


def interpolation_threshold(errors: ArrayLike, samples: ArrayLike, level: float) -> float:
    """The number of training samples at which the training error crosses `level` from below.

    errors: (counts,) at increasing `samples`. Between the largest count that is fitted, with all
    smaller ones, and the next, the error is taken as linear in the logarithm of the count. NaN if
    it is above `level` from the start, infinity if it never gets there. It is the effective model
    complexity of Nakkiran et al. (2019), Definition 1, with epsilon = `level`.
    """
    error, count = np.asarray(errors, np.float64), np.asarray(samples, np.float64)
    is_above = error > level
    if not is_above.any():
        return float("inf")
    first = int(is_above.argmax())
    if first == 0:
        return float("nan")
    below, above = error[first - 1], error[first]
    share = (level - below) / (above - below)
    low, high = np.log(count[first - 1]), np.log(count[first])
    return float(np.exp(low + share * (high - low)))
