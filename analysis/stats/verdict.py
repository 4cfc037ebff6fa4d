"""Whether curves show double descent: the criterion, and its verdict with the reason.

Pure functions of arrays; a curve's last axis is the logged epochs, as in `analysis.stats.features`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from analysis.stats.features import (
    LAST,
    WINDOW,
    Array,
    checked_epochs,
    features,
    features_of_smoothed,
    final,
    smooth,
)

FLOOR = 0.005  # error rate; a rise or a descent below it counts as none, however small the spread
FACTOR = 2.0  # standard errors
NO_SPREAD = (float("nan"), float("nan"))  # standard errors of a single seed


@dataclass(frozen=True)
class Criterion:
    """What a rise or a descent must exceed: `floor`, and `factor` times its standard error."""

    floor: float = FLOOR
    factor: float = FACTOR

    def threshold(self, error: float) -> float:
        """The larger of the two; the floor alone where the standard error is NaN (one seed)."""
        return max(self.floor, self.factor * error) if np.isfinite(error) else self.floor


CRITERION = Criterion()


@dataclass(frozen=True)
class Verdict:
    """Whether a curve shows epoch-wise double descent, and why, in words."""

    double_descent: bool
    reason: str


def judge(
    rise: float,
    descent: float,
    errors: tuple[float, float] = NO_SPREAD,
    criterion: Criterion = CRITERION,
) -> Verdict:
    """Double descent needs a rise and a second descent that both exceed their thresholds.

    `errors` are the standard errors of the two. The criterion is stated, not tuned.
    """
    outcomes, texts = [], []
    for name, value, error in zip(("rise", "descent"), (rise, descent), errors, strict=True):
        threshold = criterion.threshold(error)
        outcomes.append(value > threshold)
        texts.append(_comparison(name, value, threshold, criterion))
    single = "" if np.isfinite(errors[0]) else "; spread over seeds unknown"
    return Verdict(all(outcomes), ", ".join(texts) + single)


def _comparison(name: str, value: float, threshold: float, criterion: Criterion) -> str:
    """One value beside its threshold, such as "rise 0.1000 > 0.0050 (the floor)"."""
    sign = ">" if value > threshold else "<="
    above_floor = threshold > criterion.floor
    source = f"{criterion.factor:g} standard errors" if above_floor else "the floor"
    return f"{name} {value:.4f} {sign} {threshold:.4f} ({source})"


def has_double_descent(
    curves: ArrayLike,
    window: int = WINDOW,
    epochs: ArrayLike | None = None,
    last: int = LAST,
    criterion: Criterion = CRITERION,
) -> Verdict:
    """`judge` on means and standard errors over seeds of `held_out`; curves: (seeds, epochs).

    A single curve, (epochs,), is judged by its own features: nothing then corrects for the choice
    of its peak.
    """
    values = np.atleast_2d(np.asarray(curves))
    if len(values) < 2:
        single = features(values[0], window, epochs, last)
        return judge(float(single.rise), float(single.second_descent), criterion=criterion)
    rise, descent = held_out(values, window, epochs, last)
    errors = standard_error(rise), standard_error(descent)
    return judge(float(rise.mean()), float(descent.mean()), errors, criterion)


def held_out(
    curves: ArrayLike, window: int = WINDOW, epochs: ArrayLike | None = None, last: int = LAST
) -> tuple[Array, Array]:
    """Rise and second descent of each seed, (seeds,) each, at epochs that the other seeds choose.

    curves: (seeds, epochs). A peak is where a curve is highest, so noise alone gives every curve a
    rise and a descent. The epochs of first minimum and peak therefore come from the mean of the
    other seeds: what is only noise averages to zero. NaN for one seed.
    """
    values = np.atleast_2d(np.asarray(curves))
    axis = checked_epochs(values, epochs)
    if len(values) < 2:
        return np.full(1, np.nan), np.full(1, np.nan)
    smoothed, end = smooth(values, window), final(values, axis, last)
    other_seeds = (smoothed.sum(axis=0) - smoothed) / (len(values) - 1)
    chosen_by_others = features_of_smoothed(other_seeds, end, axis)
    seeds = np.arange(len(values))
    peak = smoothed[seeds, np.searchsorted(axis, chosen_by_others.peak_epoch)]
    low = smoothed[seeds, np.searchsorted(axis, chosen_by_others.first_minimum_epoch)]
    return peak - low, peak - end


def standard_error(values: ArrayLike) -> float:
    """Standard error of the mean of (n,) values: sample std (ddof 1) / sqrt(n); NaN for n < 2."""
    sample = np.asarray(values, np.float64)
    if len(sample) < 2:
        return float("nan")
    return float(sample.std(ddof=1) / np.sqrt(len(sample)))
