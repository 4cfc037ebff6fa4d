"""From runs and curves to what a figure draws: one SeedCurves per axis value, tidy tables, and the
features of each.

Pure functions. No drawing, no files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.stats import features as stats

Array = NDArray[np.float64]


@dataclass(frozen=True)
class SeedCurves:
    """All that the logs hold at one value of the axis.

    value: of the axis. cells, seeds: those with rows, in the order of `values`. missing: planned
    cells without rows. epochs: (E,) logged by any of them, >= 1. values: (cells, E), NaN where a
    cell did not log. std: (E,) population standard deviation that an aggregate came with, else
    None; `seeds_per_row`: how many seeds one row stands for, 1 if it is a run of its own.
    """

    value: float
    cells: tuple[str, ...]
    seeds: tuple[str, ...]
    missing: tuple[str, ...]
    x: NDArray[np.int64]
    values: Array
    std: Array | None = None
    seeds_per_row: int = 1

    @property
    def count(self) -> NDArray[np.int64]:
        """(E,) seeds behind each epoch."""
        seeds: NDArray[np.int64] = np.isfinite(self.values).sum(axis=0) * self.seeds_per_row
        return seeds

    @property
    def mean(self) -> Array:
        """(E,) mean over the seeds that have the epoch."""
        finite = np.isfinite(self.values)
        total: Array = np.where(finite, self.values, 0).sum(axis=0) / finite.sum(axis=0)
        return total

    @property
    def spread(self) -> Array:
        """(E,) population standard deviation (ddof 0) over seeds; NaN with one seed."""
        if self.std is not None:
            return self.std
        deviation = np.where(np.isfinite(self.values), self.values - self.mean, 0)
        finite = np.isfinite(self.values).sum(axis=0)
        return np.where(finite > 1, np.sqrt((deviation**2).sum(axis=0) / finite), np.nan)

    @property
    def error(self) -> Array:
        """(E,) standard error of the mean, spread / sqrt(n - 1); NaN with one seed."""
        return self.spread / np.sqrt(np.where(self.count > 1, self.count - 1, np.nan))


def seed_curves(
    runs: pd.DataFrame, curves: pd.DataFrame, axis: str, metric: str, time: str = "epoch"
) -> list[SeedCurves]:
    """One SeedCurves per value of `axis`, in increasing order, from chosen runs and their curves.

    `time` is the curves' column to take for epochs: "step" where steps are the time of a figure.
    Rows without the metric, and those before training, are left out. A column `<metric>_std` in the
    curves, with `seeds` in the runs, marks rows that are aggregates already.
    """
    std = f"{metric}_std" if f"{metric}_std" in curves.columns else None
    logged = curves[(curves[time] >= 1) & curves[metric].notna()].assign(
        epoch=lambda rows: rows[time]
    )
    rows = {str(cell): group for cell, group in logged.groupby("cell", observed=True)}
    return [
        _column(float(str(value)), group, rows, metric, std) for value, group in runs.groupby(axis)
    ]


def _column(
    value: float, runs: pd.DataFrame, rows: dict[str, pd.DataFrame], metric: str, std: str | None
) -> SeedCurves:
    """The SeedCurves of the runs at one value."""
    ids = runs["cell"].astype(str).tolist()
    seeds = dict(
        zip(ids, (runs["seed"] if "seed" in runs.columns else runs["cell"]).map(str), strict=True)
    )
    cells = tuple(sorted((c for c in ids if c in rows), key=lambda c: (seeds[c], c)))
    epochs = np.unique(
        np.concatenate(
            [rows[c]["epoch"].to_numpy(np.int64) for c in cells] or [np.zeros(0, np.int64)]
        )
    )
    values = np.full((len(cells), len(epochs)), np.nan)
    for i, cell in enumerate(cells):
        values[i, np.searchsorted(epochs, rows[cell]["epoch"].to_numpy())] = rows[cell][
            metric
        ].to_numpy(np.float64)
    spread = rows[cells[0]][std].to_numpy(np.float64) if std and len(cells) == 1 else None
    each = int(runs["seeds"].iloc[0]) if spread is not None and "seeds" in runs.columns else 1
    names = tuple(seeds[c] for c in cells)
    return SeedCurves(
        value, cells, names, tuple(sorted(set(ids) - set(cells))), epochs, values, spread, each
    )


def tidy(data: Sequence[SeedCurves], name: str = "lambda") -> pd.DataFrame:
    """Columns `name`, epoch, mean, std (population), n; one row per value and logged epoch."""
    frames = [
        pd.DataFrame({name: c.value, "epoch": c.x, "mean": c.mean, "std": c.spread, "n": c.count})
        for c in data
    ]
    return pd.concat(frames, ignore_index=True)


def complete_block(values: Array) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Seeds (indices) and epochs (mask) of the block without gaps that holds the most values of
    (seeds, epochs).

    Features of a mean over changing seeds would take the change for a rise; so seeds that stopped
    early are left out where they would cost more epochs than they add. Seeds are tried in the order
    of how many epochs they have.
    """
    finite = np.isfinite(values)
    order = np.argsort(-finite.sum(axis=1), kind="stable")
    common = np.logical_and.accumulate(finite[order], axis=0)
    best = int((common.sum(axis=1) * np.arange(1, len(order) + 1)).argmax())
    return np.sort(order[: best + 1]), common[best]


def feature_table(
    data: Sequence[SeedCurves], window: int, name: str = "lambda", last: int = stats.LAST
) -> pd.DataFrame:
    """One row per SeedCurves: every feature, its bootstrap bounds (`_low`, `_high`), n_seeds, epochs
    used, verdict, reason.

    Columns without rows have NaN features and no verdict. Aggregates have no interval: their seeds
    are not known.
    """
    return pd.DataFrame([{name: c.value, **_feature_row(c, window, last)} for c in data])


def threshold_table(data: Sequence[SeedCurves], below: float, name: str = "lambda") -> pd.DataFrame:
    """One row per SeedCurves: first epoch at which the mean falls below `below` (`threshold_epoch`),
    with its interval.

    For columns of training error it is the time of interpolation. NaN if never, or if nothing is
    logged.
    """
    return pd.DataFrame([{name: c.value, **_threshold_row(c, below)} for c in data])


def _threshold_row(column: SeedCurves, below: float) -> dict[str, float]:
    reached = low = high = float("nan")
    if column.cells:
        seeds, mask = complete_block(column.values)
        block, epochs = column.values[seeds][:, mask], column.x[mask]
        reached = float(stats.threshold_epoch(block.mean(axis=0), below, epochs))
        low, high = stats.threshold_interval(block, below, epochs)
    return {"threshold_epoch": reached, "threshold_epoch_low": low, "threshold_epoch_high": high}


def _feature_row(column: SeedCurves, window: int, last: int) -> dict[str, Any]:
    """Features, bounds and verdict of one SeedCurves."""
    if not column.cells:
        return {"n_seeds": 0, "epochs_used": 0, "double_descent": False, "reason": "nothing logged"}
    seeds, mask = complete_block(column.values)
    block, epochs = column.values[seeds][:, mask], column.x[mask]
    found = stats.features(block.mean(axis=0), window, epochs, last)
    interval = stats.bootstrap(block, window, epochs, last)
    if column.std is None:
        verdict = stats.has_double_descent(block, window, epochs, last)
    else:
        errors = _aggregate_errors(column, found, window)
        verdict = stats.judge(float(found.rise), float(found.second_descent), *errors)
    row: dict[str, Any] = {
        "n_seeds": len(seeds) * column.seeds_per_row,
        "epochs_used": len(epochs),
        "last_epoch": int(epochs[-1]),
    }
    for field in stats.FIELDS:
        number = float(getattr(found, field))
        row[field] = int(number) if field.endswith("epoch") else number
        row[f"{field}_low"], row[f"{field}_high"] = (
            float(getattr(b, field)) for b in (interval.low, interval.high)
        )
    return row | {"double_descent": verdict.found, "reason": verdict.reason}


def _aggregate_errors(
    column: SeedCurves, found: stats.Features, window: int
) -> tuple[float, float]:
    """Standard errors of rise and second descent where only the spread at each epoch is known.

    The two ends of each difference are taken as independent, and the spread is not reduced by
    smoothing: both err on the side of a larger error.
    """
    errors = stats.smooth(column.error, window)
    peak, low = (
        errors[np.searchsorted(column.x, e)] for e in (found.peak_epoch, found.first_minimum_epoch)
    )
    return float(np.hypot(peak, low)), float(np.hypot(peak, stats.final(column.error, column.x)))


def slices(features: pd.DataFrame) -> list[int]:
    """Rows of `feature_table` (in increasing order of the axis) to show as curves: the largest
    value, the most U-shaped one between the ends (of those without double descent, the one that
    rises most; else the middle), the smallest."""
    there = [int(i) for i in np.flatnonzero(features["n_seeds"].to_numpy() > 0)]
    if len(there) < 3:
        return there[::-1]
    inner = there[1:-1]
    single = [
        i
        for i in inner
        if not features["double_descent"].iloc[i] and features["rise"].iloc[i] > stats.FLOOR
    ]
    middle = max(
        single, key=lambda i: float(features["rise"].iloc[i]), default=inner[len(inner) // 2]
    )
    return [there[-1], middle, there[0]]
