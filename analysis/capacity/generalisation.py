"""Does fitting correct labels more easily than random ones go with generalising? (Figure E4)

For each model: the relative increase of n50 from random to correct labels, and the generalisation
gap of trainings that fitted n correct labels, the same n for all models. Correlations have
intervals by a bootstrap over the trainings of the gap together with draws from both posteriors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from analysis.capacity import estimate
from analysis.stats.threshold import Posterior

Array = NDArray[np.float64]
DRAWS = 2000
MIN_POINTS = 3  # of a correlation


@dataclass(frozen=True)
class Model:
    """One point: posteriors of n50 with correct and random labels, and gaps of single trainings.

    gaps: (trainings,), test error minus training error, which is 0, at the fit.
    """

    name: str
    architecture: str
    correct: Posterior
    random: Posterior
    gaps: Array


def table(models: Sequence[Model]) -> pd.DataFrame:
    """A row a model: increase with its 90 % interval, gap with its standard error, trainings."""
    rows = []
    for model in models:
        change = estimate.ratio(model.correct, model.random)
        trainings = len(model.gaps)
        error = model.gaps.std(ddof=1) / np.sqrt(trainings) if trainings > 1 else np.nan
        rows.append(
            {
                "point": model.name,
                "architecture": model.architecture,
                "increase": change.median - 1,
                "increase_low": change.low - 1,
                "increase_high": change.high - 1,
                "gap": model.gaps.mean() if trainings else np.nan,
                "gap_se": error,
                "trainings_of_gap": trainings,
            }
        )
    columns = ["point", "architecture", "increase", "increase_low", "increase_high"]
    return pd.DataFrame(rows, columns=[*columns, "gap", "gap_se", "trainings_of_gap"])


def correlations(models: Sequence[Model]) -> pd.DataFrame:
    """Pearson's r and Kendall's tau with 90 % intervals: pooled, and within each architecture.

    Columns: models ("all" or an architecture), points, pearson, pearson_low, pearson_high, kendall,
    kendall_low, kendall_high. Groups of fewer than three points are left out.
    """
    groups: dict[str, list[Model]] = {"all": list(models)}
    for model in models:
        groups.setdefault(model.architecture, []).append(model)
    rows = []
    for name, members in groups.items():
        is_the_only_one = name != "all" and len(members) == len(models)
        if len(members) >= MIN_POINTS and not is_the_only_one:
            rows.append({"models": name, "points": len(members), **_correlation(members)})
    columns = ["models", "points", "pearson", "pearson_low", "pearson_high"]
    return pd.DataFrame(rows, columns=[*columns, "kendall", "kendall_low", "kendall_high"])


def _correlation(models: Sequence[Model]) -> Mapping[str, float]:
    """Both correlations of the points, and quantiles of those of the draws."""
    points = table(models)
    increase, gap = points["increase"].to_numpy(), points["gap"].to_numpy()
    values: dict[str, float] = {
        "pearson": float(stats.pearsonr(increase, gap).statistic),
        "kendall": float(stats.kendalltau(increase, gap).statistic),
    }
    draws = _draws(models)
    for name, function in (("pearson", _pearson), ("kendall", _kendall)):
        sample = [function(x, y) for x, y in draws]
        low, high = np.nanquantile(sample, [0.05, 0.95])
        values |= {f"{name}_low": float(low), f"{name}_high": float(high)}
    return values


def _draws(models: Sequence[Model]) -> list[tuple[Array, Array]]:
    """Increases and gaps, (points,) each, of every draw. Always the same ones."""
    random = np.random.default_rng(0)
    increases, gaps = [], []
    for model in models:
        correct = estimate.draws(model.correct, DRAWS, random)
        increases.append(correct / estimate.draws(model.random, DRAWS, random) - 1)
        resamples = random.integers(len(model.gaps), size=(DRAWS, len(model.gaps)))
        gaps.append(model.gaps[resamples].mean(axis=1))
    return list(zip(np.stack(increases, axis=1), np.stack(gaps, axis=1), strict=True))


def _pearson(x: Array, y: Array) -> float:
    """Pearson's r; NaN where one of the two is constant."""
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan")
    return float(np.corrcoef(x, y)[0, 1])


def _kendall(x: Array, y: Array) -> float:
    """Kendall's tau."""
    return float(stats.kendalltau(x, y).statistic)


def common_samples(trainings: pd.DataFrame, points: pd.Series) -> int:
    """The n at which most points have a fitted training; of several the largest.

    trainings: fitted ones with correct labels, column n. points: the point of each, same index.
    Raises ValueError without any.
    """
    counts = points.groupby(trainings["n"]).nunique()
    if counts.empty:
        raise ValueError(
            "no training that fitted correct labels and has a test error; train several seeds of "
            "each model at one n in a sweep of its own, and name it with --gap-from"
        )
    return int(counts[counts == counts.max()].index.max())
