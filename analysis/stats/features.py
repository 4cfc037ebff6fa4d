"""Features of error curves (first minimum, epoch-wise peak, final value) and their intervals.

Pure functions of arrays. A curve's last axis is the logged epochs; axes before it (seeds,
resamples) are independent. Curves must be finite: leave out epochs that were not logged and say
with `epochs` (1-based, increasing) which were.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]

WINDOW = 11  # logged epochs
LAST = 1  # epochs: the value at the last logged one
PUBLISHED_LAST = 20  # epochs, the end of training of the published features
CHUNK = 4_000_000  # values of a bootstrap in memory at a time: 16 MB in float32


@dataclass(frozen=True)
class Features:
    """Features of curves; every field has the shape of the curves without their last axis.

    first_minimum, first_minimum_epoch: running minimum of the smoothed curve before the peak, and
    where it is reached. peak, peak_epoch: smoothed value where its rise over its running minimum is
    greatest (the first such epoch). final: mean of the raw curve over the last epochs. rise = peak
    - first_minimum. second_descent = peak - final. A curve that never rises has both minimum and
    peak at its lowest point, and rise 0.
    """

    first_minimum: Array
    first_minimum_epoch: Array
    peak: Array
    peak_epoch: Array
    final: Array
    rise: Array
    second_descent: Array


FIELDS = tuple(Features.__dataclass_fields__)


@dataclass(frozen=True)
class Interval:
    """Bootstrap percentile interval of every feature: `low` and `high` at confidence `level`."""

    low: Features
    high: Features
    level: float


@dataclass(frozen=True)
class Bootstrap:
    """How a bootstrap draws: number of resamples, random seed, confidence level of the interval."""

    resamples: int = 1000
    seed: int = 0
    level: float = 0.95

    @property
    def tails(self) -> tuple[float, float]:
        """The two quantiles that bound the interval."""
        return (1 - self.level) / 2, (1 + self.level) / 2


BOOTSTRAP = Bootstrap()


def smooth(curve: ArrayLike, window: int = WINDOW) -> Array:
    """Centred mean over `window` logged epochs along the last axis; integers become float64.

    s[i] = mean(curve[i-h : i+h+1]), h = window // 2. At the ends the window keeps its centre and
    loses what lies outside, so s[0] is the mean of the first h + 1 values; nothing is padded and no
    epoch is lost. (This handling reproduces the published feature table.) Raises ValueError unless
    `window` is odd and positive.
    """
    if window < 1 or window % 2 == 0:
        raise ValueError(
            f"window {window}: a centred mean needs an odd, positive number of logged epochs"
        )
    values = np.asarray(curve)
    if not np.issubdtype(values.dtype, np.floating):
        values = values.astype(np.float64)
    curves = values.astype(np.float64)
    epochs = values.shape[-1]
    index = np.arange(epochs)
    start = np.maximum(index - window // 2, 0)
    stop = np.minimum(index + window // 2 + 1, epochs)
    # The mean of differences from the window's first value, in order: windows over equal values
    # have equal means to the last bit, so that rounding makes no rise.
    first = curves[..., start]
    total = np.zeros_like(curves)
    for step in range(1, min(window, epochs)):
        place = np.minimum(start + step, epochs - 1)
        total += np.where(start + step < stop, curves[..., place] - first, 0.0)
    mean: Array = (first + total / (stop - start)).astype(values.dtype)
    return mean


def final(curve: ArrayLike, epochs: ArrayLike | None = None, last: int = LAST) -> Array:
    """Mean over the logged ones of the last `last` epochs of the raw curve, curve.shape[:-1]."""
    values = np.asarray(curve)
    axis = checked_epochs(values, epochs)
    mean: Array = values[..., axis > axis[-1] - last].mean(axis=-1, dtype=np.float64)
    return mean


def features(
    curve: ArrayLike, window: int = WINDOW, epochs: ArrayLike | None = None, last: int = LAST
) -> Features:
    """Features of each curve, shape (..., epochs); `epochs` defaults to 1, 2, 3, ...

    `window` counts logged epochs, `last` counts epochs: with epochs logged at logarithmic distances
    the smoothing is over a constant ratio of time. Raises ValueError for an empty or non-finite
    curve or wrong `epochs`.
    """
    values = np.asarray(curve)
    axis = checked_epochs(values, epochs)
    return features_of_smoothed(smooth(values, window), final(values, axis, last), axis)


def checked_epochs(values: Array, epochs: ArrayLike | None) -> NDArray[np.int64]:
    """The epoch numbers of the last axis; ValueError for gaps in the values or wrong numbers."""
    if values.ndim == 0 or values.shape[-1] == 0 or not np.isfinite(values).all():
        gaps = np.size(values) - np.isfinite(values).sum()
        raise ValueError(
            f"a curve of shape {values.shape} in which {gaps} of {np.size(values)} values are not "
            "finite: expected at least one epoch and finite values; drop the epochs that were not "
            "logged"
        )
    if epochs is None:
        return np.arange(1, values.shape[-1] + 1)
    axis = np.asarray(epochs, np.int64)
    if axis.shape != values.shape[-1:] or (np.diff(axis) <= 0).any():
        raise ValueError(
            f"epochs of shape {axis.shape}: expected {values.shape[-1]} increasing epoch numbers"
        )
    return axis


def features_of_smoothed(smoothed: Array, end: Array, axis: NDArray[np.int64]) -> Features:
    """Features from smoothed curves (..., epochs) and final values (...)."""
    lowest = np.minimum.accumulate(smoothed, axis=-1)
    rises = smoothed - lowest
    top = rises.argmax(axis=-1)
    never = np.take_along_axis(rises, top[..., None], -1)[..., 0] <= 0
    top = np.where(never, smoothed.argmin(axis=-1), top)
    low = np.take_along_axis(lowest, top[..., None], -1)
    high = np.take_along_axis(smoothed, top[..., None], -1)[..., 0]
    # the lowest value up to the peak, so the first value equal to it lies there
    first = (smoothed == low).argmax(axis=-1)
    low = low[..., 0]
    return Features(
        first_minimum=low,
        first_minimum_epoch=axis[first],
        peak=high,
        peak_epoch=axis[top],
        final=end,
        rise=high - low,
        second_descent=high - end,
    )


def threshold_epoch(curve: ArrayLike, below: float, epochs: ArrayLike | None = None) -> Array:
    """First logged epoch at which each curve is below `below`, curve.shape[:-1]; NaN if never.

    For the training error on noisy labels this is the time of interpolation.
    """
    values = np.asarray(curve)
    axis = checked_epochs(values, epochs)
    under = values < below
    reached: Array = np.where(under.any(axis=-1), axis[under.argmax(axis=-1)], np.nan)
    return reached


def threshold_interval(
    curves: ArrayLike,
    below: float,
    epochs: ArrayLike | None = None,
    draws: Bootstrap = BOOTSTRAP,
) -> tuple[float, float]:
    """Percentile interval of `threshold_epoch` of the mean curve; curves: (seeds, epochs).

    A resample that never gets below counts as later than every epoch: a bound that falls among such
    is NaN. NaN with fewer than two seeds.
    """
    values = np.atleast_2d(np.asarray(curves))
    axis = checked_epochs(values, epochs)
    if len(values) < 2:
        return float("nan"), float("nan")
    reached = [threshold_epoch(w @ values, below, axis) for w in _weights(values, draws)]
    epoch = np.concatenate(reached)
    ranked = np.sort(np.where(np.isnan(epoch), np.inf, epoch))
    bounds = np.quantile(ranked, draws.tails, method="nearest")
    low, high = np.where(np.isinf(bounds), np.nan, bounds)
    return float(low), float(high)


def _weights(values: Array, draws: Bootstrap) -> list[Array]:
    """Weight of each seed in each resample: how often it was drawn, over the number of draws.

    Pieces of shape (resamples, seeds), each so small that its mean curves fit in memory.
    """
    seeds, epochs = values.shape
    generator = np.random.default_rng(draws.seed)
    counts = generator.multinomial(seeds, np.full(seeds, 1 / seeds), draws.resamples)
    weights = (counts / seeds).astype(np.float32)
    size = max(1, CHUNK // epochs)
    return [weights[i : i + size] for i in range(0, len(weights), size)]


def bootstrap(
    curves: ArrayLike,
    window: int = WINDOW,
    epochs: ArrayLike | None = None,
    last: int = LAST,
    draws: Bootstrap = BOOTSTRAP,
) -> Interval:
    """Percentile intervals of the features of the mean curve; curves: (seeds, epochs).

    Each draw averages as many seeds as there are and takes the features of that mean; the interval
    is from the (1-level)/2 to the (1+level)/2 quantile. NaN with fewer than two seeds. With few
    seeds such intervals are too narrow (five seeds have 126 different draws): they show spread,
    they are no test.
    """
    values = np.atleast_2d(np.asarray(curves))
    axis = checked_epochs(values, epochs)
    if len(values) < 2:
        empty = _scalars(dict.fromkeys(FIELDS, float("nan")))
        return Interval(empty, empty, draws.level)
    # smoothing is linear, so the means of smoothed seeds are the smoothed means; float32 resolves
    # 6e-8 of an error rate
    smoothed = smooth(values, window).astype(np.float32)
    end = final(values, axis, last).astype(np.float32)
    pieces = [features_of_smoothed(w @ smoothed, w @ end, axis) for w in _weights(values, draws)]
    bounds = {name: _quantiles(pieces, name, draws) for name in FIELDS}
    low = _scalars({name: bound[0] for name, bound in bounds.items()})
    high = _scalars({name: bound[1] for name, bound in bounds.items()})
    return Interval(low, high, draws.level)


def _quantiles(pieces: Sequence[Features], name: str, draws: Bootstrap) -> tuple[float, float]:
    """The bounds of one feature over all resamples."""
    sample = np.concatenate([getattr(piece, name) for piece in pieces])
    low, high = np.quantile(sample, draws.tails)
    return float(low), float(high)


def _scalars(values: Mapping[str, float]) -> Features:
    """Features of one curve from plain numbers."""
    return Features(**{name: np.asarray(value, np.float64) for name, value in values.items()})
