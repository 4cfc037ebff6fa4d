"""The width of basins: radii of trained cells over their directions, beside test accuracy.

A radius is where the loss along a direction first exceeds the cut. Directions that never do are
counted, and enter with the end of the search: the mean is then a lower bound. A cell whose loss is
above the cut has no radius.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats as scipy_stats

from analysis.figure import names
from analysis.landscape import minima
from analysis.landscape.selection import Measures

Array = NDArray[np.float64]

CROSSED, NEVER, UNDEFINED, AUDIT = 0, 1, 2, 3
"""Values of `status`: 3 is a radius from which the full scan differs by more than 1 %."""

NO_MINIMUM = "a wrong answer on the training set, or a loss above a tenth of the cut"
"""Why a trained cell counts as no minimum, in words."""

RESAMPLES = 1000
LEAST_CELLS = 4


def radii(measures: Measures) -> pd.DataFrame:
    """One row for each trained cell that is measured.

    cell, label, seed, the axes; mean, sd, median, q05 and q95 of the radius over `m` directions;
    `never`, directions that do not cross up to c_max; `audits`, directions that the full scan
    corrects; test_accuracy, 0 to 1; clean_loss, nats; minimum, whether the cell counts as one.
    """
    rows = directions(measures)
    trained, kappa = measures.trained, float(measures.setting("trainer.kappa"))
    table = measures.trained_table()
    table["test_accuracy"] = minima.test_accuracy(trained)
    table["clean_loss"] = minima.clean_loss(trained)
    table["minimum"] = minima.is_minimum(trained, kappa)
    return table.merge(_over_directions(rows), left_on="cell", right_on="of").drop(columns="of")


def directions(measures: Measures) -> pd.DataFrame:
    """One row for each direction: cell, of, status and the radius that counts, in units of the norm
    of the weights.

    It is that of the full scan where this crosses before the search, the end of the search where
    the loss never crosses the cut, and NaN for a cell that is above the cut itself.
    """
    rows = measures.rows("radius", "status", "audit_radius")
    radius = rows["radius"].astype("float64")
    earlier = pd.concat([radius, rows["audit_radius"].astype("float64")], axis=1).min(axis=1)
    radius = radius.mask(rows["status"] == AUDIT, earlier)
    radius = radius.mask(rows["status"] == NEVER, float(measures.setting("trainer.c_max")))
    return rows.assign(radius=radius.mask(rows["status"] == UNDEFINED, np.nan))


def _over_directions(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean, sd, median and quantiles over the directions of each trained cell, by `of`."""
    records = []
    for cell, directions in rows.groupby("of"):
        radius = directions["radius"]
        if (directions["status"] == UNDEFINED).any():
            radius = pd.Series(np.nan, index=radius.index)
        records.append({
            "of": cell,
            "mean": radius.mean(), "sd": radius.std(ddof=1), "median": radius.median(),
            "q05": radius.quantile(0.05), "q95": radius.quantile(0.95),
            "m": len(directions),
            "never": int((directions["status"] == NEVER).sum()),
            "audits": int((directions["status"] == AUDIT).sum()),
        })  # fmt: skip
    return pd.DataFrame(records)


@dataclass(frozen=True)
class Correlation:
    """A rank correlation over cells, with a 95 % bootstrap interval over seeds; NaN if undefined.

    within: mean of the correlations inside each seed.
    """

    name: str
    value: float
    low: float
    high: float
    within: float
    cells: int
    seeds: int

    def __str__(self) -> str:
        cells, seeds = names.quantity(self.cells, "cell"), names.quantity(self.seeds, "seed")
        count = f"{cells} of {seeds}"
        if np.isnan(self.value):
            return f"{self.name} undefined, {count}"
        interval = f" [{self.low:.2f}, {self.high:.2f}]" if np.isfinite(self.low) else ""
        within = f"; within a seed {self.within:.2f}" if np.isfinite(self.within) else ""
        return f"{self.name} {self.value:.2f}{interval}, {count}{within}"


def correlations(table: pd.DataFrame, x: str, y: str) -> list[Correlation]:
    """Spearman's and Kendall's correlations of two columns over the rows that have both."""
    rows = table[["seed", x, y]].dropna()
    return [
        _correlation("Spearman", scipy_stats.spearmanr, rows),
        _correlation("Kendall", scipy_stats.kendalltau, rows),
    ]


def _correlation(
    name: str, function: Callable[..., tuple[float, float]], rows: pd.DataFrame
) -> Correlation:
    seeds = [group.to_numpy(np.float64)[:, 1:] for _, group in rows.groupby("seed")]
    values = np.concatenate(seeds) if seeds else np.empty((0, 2))
    draws = _resampled(function, seeds)
    low, high = np.quantile(draws, [0.025, 0.975]) if len(draws) else (np.nan, np.nan)
    inside = np.array([_statistic(function, group) for group in seeds])
    within = float(np.nanmean(inside)) if np.isfinite(inside).any() else float("nan")
    return Correlation(
        name=name,
        value=_statistic(function, values),
        low=float(low),
        high=float(high),
        within=within,
        cells=len(rows),
        seeds=len(seeds),
    )


def _resampled(function: Callable[..., tuple[float, float]], seeds: list[Array]) -> Array:
    """The statistic of RESAMPLES draws of whole seeds, with replacement; none for one seed."""
    if len(seeds) < 2:
        return np.empty(0)
    random = np.random.default_rng(0)
    draws = []
    for chosen in random.integers(0, len(seeds), (RESAMPLES, len(seeds))):
        draws.append(_statistic(function, np.concatenate([seeds[index] for index in chosen])))
    values = np.array(draws, np.float64)
    return values[np.isfinite(values)]


def _statistic(function: Callable[..., tuple[float, float]], values: Array) -> float:
    """The correlation of two columns; NaN for few rows, or if a column never changes."""
    if len(values) < LEAST_CELLS or (np.ptp(values, axis=0) == 0).any():
        return float("nan")
    return float(function(values[:, 0], values[:, 1])[0])
