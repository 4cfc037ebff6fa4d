"""Features of error curves (first minimum, epoch-wise peak, final value), their intervals, a
double-descent verdict.

Pure functions of arrays. A curve's last axis is the logged epochs; axes before it (seeds,
resamples) are independent. Curves must be finite: leave out epochs that were not logged and say
with `epochs` (1-based, increasing) which were.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[Any]

WINDOW = 11  # logged epochs
LAST = 20  # epochs
FLOOR = 0.005  # error rate; a rise or a descent below it counts as none, however small the spread
FACTOR = 2.0  # standard errors
CHUNK = 4_000_000  # values of a bootstrap in memory at a time: 16 MB in float32


@dataclass(frozen=True)
class Features:
    """Features of curves; every field has the shape of the curves without their last axis (a scalar
    for one curve).

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
    """Bootstrap percentile interval of every feature: `low` and `high` bounds at confidence
    `level`.
    """

    low: Features
    high: Features
    level: float


@dataclass(frozen=True)
class Verdict:
    """Whether a curve shows epoch-wise double descent, and why, in words."""

    found: bool
    reason: str


def smooth(curve: ArrayLike, window: int = WINDOW) -> Array:
    """Centred mean over `window` logged epochs along the last axis, same shape and dtype (integers
    become float64).

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
    total = np.zeros((*values.shape[:-1], values.shape[-1] + 1), np.float64)
    np.cumsum(values, axis=-1, out=total[..., 1:], dtype=np.float64)
    at = np.arange(values.shape[-1])
    start, stop = (
        np.maximum(at - window // 2, 0),
        np.minimum(at + window // 2 + 1, values.shape[-1]),
    )
    mean: Array = ((total[..., stop] - total[..., start]) / (stop - start)).astype(values.dtype)
    return mean


def final(curve: ArrayLike, epochs: ArrayLike | None = None, last: int = LAST) -> Array:
    """Mean of the raw curve over the logged epochs among the last `last` epochs, shape
    curve.shape[:-1].
    """
    values = np.asarray(curve)
    axis = _epochs(values, epochs)
    mean: Array = values[..., axis > axis[-1] - last].mean(axis=-1, dtype=np.float64)
    return mean


def features(
    curve: ArrayLike, window: int = WINDOW, epochs: ArrayLike | None = None, last: int = LAST
) -> Features:
    """Features of each curve, shape (..., epochs); `epochs` defaults to 1, 2, 3, ... and gives the
    epochs reported.

    `window` counts logged epochs, `last` counts epochs: with epochs logged at logarithmic distances
    the smoothing is over a constant ratio of time. Raises ValueError for an empty or non-finite
    curve or a wrong `epochs`.
    """
    values = np.asarray(curve)
    axis = _epochs(values, epochs)
    return _features(smooth(values, window), final(values, axis, last), axis)


def _epochs(values: Array, epochs: ArrayLike | None) -> NDArray[np.int64]:
    """Checked epoch numbers of the last axis."""
    if values.ndim == 0 or values.shape[-1] == 0 or not np.isfinite(values).all():
        raise ValueError(
            f"a curve of shape {values.shape} with {np.size(values) - np.isfinite(values).sum()} "
            "values that are not "
            "finite: expected at least one epoch and finite values; drop the epochs that were not "
            "logged"
        )
    axis = np.arange(1, values.shape[-1] + 1) if epochs is None else np.asarray(epochs, np.int64)
    if axis.shape != values.shape[-1:] or (np.diff(axis) <= 0).any():
        raise ValueError(
            f"epochs of shape {axis.shape}: expected {values.shape[-1]} increasing epoch numbers"
        )
    return axis


def _features(smoothed: Array, ending: Array, axis: NDArray[np.int64]) -> Features:
    """Features from smoothed curves (..., epochs) and final values (...)."""
    lowest = np.minimum.accumulate(smoothed, axis=-1)
    rises = smoothed - lowest
    top = rises.argmax(axis=-1)
    never = np.take_along_axis(rises, top[..., None], -1)[..., 0] <= 0
    top = np.where(never, smoothed.argmin(axis=-1), top)
    low = np.take_along_axis(lowest, top[..., None], -1)
    high = np.take_along_axis(smoothed, top[..., None], -1)[..., 0]
    first = (smoothed == low).argmax(
        axis=-1
    )  # the lowest value up to the peak, so its first equal lies there
    low = low[..., 0]
    return Features(low, axis[first], high, axis[top], ending, high - low, high - ending)


def threshold_epoch(curve: ArrayLike, below: float, epochs: ArrayLike | None = None) -> Array:
    """First logged epoch at which each curve is below `below`, NaN if never; shape
    curve.shape[:-1].

    With the training error of noisy labels this is the time of interpolation.
    """
    values = np.asarray(curve)
    axis = _epochs(values, epochs)
    under = values < below
    reached: Array = np.where(under.any(axis=-1), axis[under.argmax(axis=-1)], np.nan)
    return reached


def threshold_interval(
    curves: ArrayLike,
    below: float,
    epochs: ArrayLike | None = None,
    *,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float]:
    """Bootstrap percentile interval of `threshold_epoch` of the mean curve; curves: (seeds,
    epochs).

    A resample that never gets below counts as later than every epoch: a bound that falls among such
    is NaN. NaN with fewer than two seeds.
    """
    values = np.atleast_2d(np.asarray(curves))
    axis = _epochs(values, epochs)
    if len(values) < 2:
        return float("nan"), float("nan")
    weights = _weights(len(values), resamples, seed)
    reached = np.concatenate(
        [threshold_epoch(w @ values, below, axis) for w in _chunks(weights, values.shape[-1])]
    )
    ranked = np.sort(np.where(np.isnan(reached), np.inf, reached))
    tails = np.quantile(ranked, [(1 - level) / 2, (1 + level) / 2], method="nearest")
    low, high = np.where(np.isinf(tails), np.nan, tails)
    return float(low), float(high)


def _weights(seeds: int, resamples: int, seed: int) -> Array:
    """Weight of each seed in each resample, (resamples, seeds): how often it was drawn, over the
    number of draws.
    """
    draws = np.random.default_rng(seed).multinomial(seeds, np.full(seeds, 1 / seeds), resamples)
    return (draws / seeds).astype(np.float32)


def _chunks(weights: Array, epochs: int) -> list[Array]:
    """Resamples in pieces whose mean curves fit in memory."""
    size = max(1, CHUNK // epochs)
    return [weights[i : i + size] for i in range(0, len(weights), size)]


def bootstrap(
    curves: ArrayLike,
    window: int = WINDOW,
    epochs: ArrayLike | None = None,
    last: int = LAST,
    *,
    resamples: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Percentile intervals of the features of the mean curve, from `resamples` draws of seeds with
    replacement.

    curves: (seeds, epochs). Each draw averages as many seeds as there are and takes the features of
    that mean; the interval is from the (1-level)/2 to the (1+level)/2 quantile. NaN with fewer than
    two seeds. With few seeds such intervals are too narrow (five seeds have 126 different draws):
    they show spread, they are no test.
    """
    values = np.atleast_2d(np.asarray(curves))
    axis = _epochs(values, epochs)
    if len(values) < 2:
        empty = _scalars(dict.fromkeys(FIELDS, float("nan")))
        return Interval(empty, empty, level)
    # smoothing is linear, so the means of smoothed seeds are the smoothed means; float32 is 6e-8 of
    # an error rate
    smoothed, ending = (
        smooth(values, window).astype(np.float32),
        final(values, axis, last).astype(np.float32),
    )
    weights = _chunks(_weights(len(values), resamples, seed), values.shape[-1])
    drawn = [_features(w @ smoothed, w @ ending, axis) for w in weights]
    tails = [(1 - level) / 2, (1 + level) / 2]
    bounds = {
        name: np.quantile(np.concatenate([getattr(d, name) for d in drawn]), tails)
        for name in FIELDS
    }
    low, high = (_scalars({name: float(b[side]) for name, b in bounds.items()}) for side in (0, 1))
    return Interval(low, high, level)


def _scalars(values: Mapping[str, float]) -> Features:
    """Features of one curve from plain numbers."""
    return Features(**{name: np.asarray(value, np.float64) for name, value in values.items()})


def standard_error(values: ArrayLike) -> float:
    """Standard error of the mean over the first axis of a 1-D array: sample std (ddof 1) / sqrt(n);
    NaN for n < 2.
    """
    sample = np.asarray(values, np.float64)
    return float(sample.std(ddof=1) / np.sqrt(len(sample))) if len(sample) > 1 else float("nan")


def held_out(
    curves: ArrayLike, window: int = WINDOW, epochs: ArrayLike | None = None, last: int = LAST
) -> tuple[Array, Array]:
    """Rise and second descent of each seed at epochs that the other seeds chose; curves: (seeds,
    epochs), two (seeds,).

    A peak is where a curve is highest, so noise alone gives every curve a rise and a descent. Here
    the epochs of first minimum and peak come from the mean of the other seeds: what is only noise
    averages to zero. NaN for one seed.
    """
    values = np.atleast_2d(np.asarray(curves))
    axis = _epochs(values, epochs)
    if len(values) < 2:
        return np.full(1, np.nan), np.full(1, np.nan)
    smoothed, ending = smooth(values, window), final(values, axis, last)
    others = (smoothed.sum(axis=0) - smoothed) / (len(values) - 1)
    found = _features(others, ending, axis)
    seeds = np.arange(len(values))
    peak = smoothed[seeds, np.searchsorted(axis, found.peak_epoch)]
    low = smoothed[seeds, np.searchsorted(axis, found.first_minimum_epoch)]
    return peak - low, peak - ending


def judge(
    rise: float,
    descent: float,
    rise_error: float = float("nan"),
    descent_error: float = float("nan"),
    floor: float = FLOOR,
    factor: float = FACTOR,
) -> Verdict:
    """Double descent is found where both the rise and the descent after the peak exceed their
    thresholds.

    threshold = max(floor, factor * standard error); where the standard error is NaN (one seed) the
    floor alone. The criterion is stated, not tuned.
    """
    clauses = []
    for name, value, error in (("rise", rise, rise_error), ("descent", descent, descent_error)):
        limit = max(floor, factor * error) if np.isfinite(error) else floor
        source = f"{factor:g} standard errors" if limit > floor else "the floor"
        clauses.append(
            (
                value > limit,
                f"{name} {value:.4f} {'>' if value > limit else '<='} {limit:.4f} ({source})",
            )
        )
    reason = ", ".join(text for _, text in clauses)
    single = "" if np.isfinite(rise_error) else "; spread over seeds unknown"
    return Verdict(all(passed for passed, _ in clauses), reason + single)


def has_double_descent(
    curves: ArrayLike,
    window: int = WINDOW,
    epochs: ArrayLike | None = None,
    last: int = LAST,
    floor: float = FLOOR,
    factor: float = FACTOR,
) -> Verdict:
    """`judge` for curves (seeds, epochs): means and standard errors over seeds of what `held_out`
    finds.

    One curve alone, (epochs,), is judged by its own features: nothing then corrects for the choice
    of its peak.
    """
    values = np.atleast_2d(np.asarray(curves))
    if len(values) < 2:
        found = features(values[0], window, epochs, last)
        return judge(float(found.rise), float(found.second_descent), floor=floor, factor=factor)
    rise, descent = held_out(values, window, epochs, last)
    errors = standard_error(rise), standard_error(descent)
    return judge(float(rise.mean()), float(descent.mean()), *errors, floor, factor)
