"""From runs and curves to what a figure draws: SeedCurves per axis value, tidy tables, features.

Pure functions. No drawing, no files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.stats import features as stats
from analysis.stats.verdict import FLOOR, Verdict, has_double_descent, judge

Array = NDArray[np.float64]


@dataclass(frozen=True)
class SeedCurves:
    """All that the logs hold at one value of the axis.

    value: of the axis. cells, seeds: those with rows, in the order of `values`. missing: planned
    cells without rows. x: (X,) where along the curve, increasing: epochs, steps or examples that
    any of the cells logged, or widths. values: (cells, X), NaN where a cell has none. std:
    (X,) population standard deviation that an aggregate came with, else None. seeds_per_row: how
    many seeds one row stands for, 1 if it is a run of its own. x_name: what `x` counts. per_epoch:
    how much of `x` is an epoch.
    """

    value: float
    cells: tuple[str, ...]
    seeds: tuple[str, ...]
    missing: tuple[str, ...]
    x: NDArray[np.int64]
    values: Array
    std: Array | None = None
    seeds_per_row: int = 1
    x_name: str = "epoch"
    per_epoch: int = 1

    def span(self, last: int) -> int:
        """How far before the end of `x`, exclusive, the `last` last epochs begin."""
        return (last - 1) * self.per_epoch + 1

    @property
    def count(self) -> NDArray[np.int64]:
        """(X,) seeds behind each x."""
        seeds: NDArray[np.int64] = np.isfinite(self.values).sum(axis=0) * self.seeds_per_row
        return seeds

    @property
    def mean(self) -> Array:
        """(X,) mean over the seeds that have the x."""
        finite = np.isfinite(self.values)
        total: Array = np.where(finite, self.values, 0).sum(axis=0)
        return total / np.where(finite.any(axis=0), finite.sum(axis=0), np.nan)

    @property
    def spread(self) -> Array:
        """(X,) population standard deviation (ddof 0) over seeds; NaN with one seed."""
        if self.std is not None:
            return self.std
        deviation = np.where(np.isfinite(self.values), self.values - self.mean, 0)
        finite = np.isfinite(self.values).sum(axis=0)
        variance: Array = (deviation**2).sum(axis=0) / np.where(finite > 1, finite, np.nan)
        return np.sqrt(variance)

    @property
    def error(self) -> Array:
        """(X,) standard error of the mean, spread / sqrt(n - 1); NaN with one seed."""
        return self.spread / np.sqrt(np.where(self.count > 1, self.count - 1, np.nan))


def seed_curves(
    runs: pd.DataFrame, curves: pd.DataFrame, axis: str, metric: str, time: str = "epoch"
) -> list[SeedCurves]:
    """SeedCurves of the given runs for each value of `axis`, in increasing order.

    `time` is the column of `curves` to take for x: "epoch", "step" or "examples". Over epochs, the
    last row of an epoch stands for it. Rows without the metric, and those before training, are left
    out; a measure of trained cells counts its rows from 0. A column `<metric>_std` in the curves,
    with `seeds` in the runs, marks rows that are aggregates already.
    """
    names = {"cell": "cell", time: "x", metric: "value", f"{metric}_std": "std"}
    present = [name for name in names if name in curves.columns]
    if time == "epoch":
        curves = curves[~curves.duplicated(["cell", "epoch"], keep="last")]
    first = 0 if "trainer.of" in runs and runs["trainer.of"].notna().any() else 1
    logged = curves.loc[(curves[time] >= first) & curves[metric].notna(), present]
    by_cell = logged.rename(columns=names).groupby("cell", observed=True)
    rows = {str(cell): group for cell, group in by_cell}
    lengths = epoch_lengths(curves, time)
    data = []
    for value, group in runs.groupby(axis):
        length = max((lengths.get(cell, 1) for cell in group["cell"].astype(str)), default=1)
        data.append(replace(_at_value(float(str(value)), group, rows, time), per_epoch=length))
    return data


def first_time(data: Sequence[SeedCurves]) -> int:
    """Where an axis of time begins: at 1, or at the first logged number of examples."""
    logged = [int(curves.x[0]) for curves in data if len(curves.x)]
    return min(logged, default=1) if data[0].x_name == "examples" else 1


def epoch_lengths(curves: pd.DataFrame, time: str) -> dict[str, int]:
    """How much of the column `time` an epoch of each cell takes: 1 for epochs, else what its rows
    say, such as the steps at an epoch's end over the number of that epoch.
    """
    if time == "epoch" or "epoch" not in curves.columns:
        return {}
    trained = curves[curves["epoch"] >= 1]
    longest = (trained[time] / trained["epoch"]).groupby(trained["cell"].astype(str)).max()
    return {str(cell): max(1, round(length)) for cell, length in longest.items()}


def _at_value(
    value: float, runs: pd.DataFrame, rows: Mapping[str, pd.DataFrame], x_name: str
) -> SeedCurves:
    """The SeedCurves of the runs at one value; `rows` have x, value and perhaps std."""
    ids = runs["cell"].astype(str).tolist()
    seed_column = "seed" if "seed" in runs.columns else "cell"
    seeds = dict(zip(ids, runs[seed_column].map(str), strict=True))
    logged = [cell for cell in ids if cell in rows]
    cells = tuple(sorted(logged, key=lambda cell: (seeds[cell], cell)))
    missing = tuple(sorted(set(ids) - set(cells)))
    x = _logged_x(cells, rows)
    std, seeds_per_row = _aggregate(runs, cells, rows)
    return SeedCurves(
        value=value,
        cells=cells,
        seeds=tuple(seeds[cell] for cell in cells),
        missing=missing,
        x=x,
        values=matrix(cells, rows, x),
        std=std,
        seeds_per_row=seeds_per_row,
        x_name=x_name,
    )


def _logged_x(cells: Sequence[str], rows: Mapping[str, pd.DataFrame]) -> NDArray[np.int64]:
    """Every x that one of the cells logged, increasing."""
    logged = [rows[cell]["x"].to_numpy(np.int64) for cell in cells]
    return np.unique(np.concatenate([*logged, np.zeros(0, np.int64)]))


def matrix(cells: Sequence[str], rows: Mapping[str, pd.DataFrame], x: NDArray[np.int64]) -> Array:
    """(cells, x) of the values in `rows`, NaN where a cell did not log."""
    values = np.full((len(cells), len(x)), np.nan)
    for i, cell in enumerate(cells):
        logged = np.searchsorted(x, rows[cell]["x"].to_numpy())
        values[i, logged] = rows[cell]["value"].to_numpy(np.float64)
    return values


def _aggregate(
    runs: pd.DataFrame, cells: Sequence[str], rows: Mapping[str, pd.DataFrame]
) -> tuple[Array | None, int]:
    """Standard deviation and number of seeds of a single row that is an aggregate, else None, 1."""
    if len(cells) != 1 or "std" not in rows[cells[0]].columns:
        return None, 1
    seeds = int(runs["seeds"].iloc[0]) if "seeds" in runs.columns else 1
    return rows[cells[0]]["std"].to_numpy(np.float64), seeds


def tidy(data: Sequence[SeedCurves], name: str = "lambda") -> pd.DataFrame:
    """Columns `name`, epoch (or what x counts), mean, std (population), n; one row per value and
    logged epoch.
    """
    return pd.concat([_tidy(curves, name) for curves in data], ignore_index=True)


def _tidy(curves: SeedCurves, name: str) -> pd.DataFrame:
    """The rows of one value."""
    return pd.DataFrame(
        {
            name: curves.value,
            curves.x_name: curves.x,
            "mean": curves.mean,
            "std": curves.spread,
            "n": curves.count,
        }
    )


def complete_block(values: Array) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """Seeds (indices) and epochs (mask) of the largest block without gaps; values: (seeds, epochs).

    Features of a mean over changing seeds would take the change for a rise; so seeds that stopped
    early are left out where they would cost more epochs than they add. Seeds are tried in the order
    of how many epochs they have.
    """
    finite = np.isfinite(values)
    order = np.argsort(-finite.sum(axis=1), kind="stable")
    common = np.logical_and.accumulate(finite[order], axis=0)
    best = int((common.sum(axis=1) * np.arange(1, len(order) + 1)).argmax())
    return np.sort(order[: best + 1]), common[best]


def outside_block(curves: SeedCurves) -> tuple[list[str], list[int]]:
    """The seeds, and the places along x, that the complete block leaves out."""
    kept, has_place = complete_block(curves.values)
    seeds = [seed for index, seed in enumerate(curves.seeds) if index not in kept]
    return seeds, curves.x[~has_place].tolist()


def _block(curves: SeedCurves) -> tuple[Array, NDArray[np.int64]]:
    """The values of the complete block, (seeds, x), and its x."""
    seeds, mask = complete_block(curves.values)
    return curves.values[seeds][:, mask], curves.x[mask]


def feature_table(
    data: Sequence[SeedCurves], window: int, name: str = "lambda", last: int = stats.LAST
) -> pd.DataFrame:
    """One row per value: every feature, its bootstrap bounds (`_low`, `_high`), n_seeds, verdict.

    `last` counts epochs, whatever x counts. `reason` says why. Positions are named after what x
    counts: `peak_epoch`, `epochs_used`. Values without rows have NaN features and no double
    descent. Aggregates have no interval: their seeds are not known.
    """
    rows = []
    for curves in data:
        rows.append({name: curves.value, **_feature_row(curves, window, last)})
    return pd.DataFrame(rows)


def _feature_row(curves: SeedCurves, window: int, last: int) -> dict[str, Any]:
    """Features, bounds and verdict at one value."""
    x_name = curves.x_name
    used = f"{x_name.removesuffix('s')}s_used"
    if not curves.cells:
        absent = {"double_descent": False, "reason": "nothing logged"}
        return {"n_seeds": 0, used: 0, **absent}
    block, x = _block(curves)
    span = curves.span(last)
    features = stats.features(block.mean(axis=0), window, x, span)
    verdict = _verdict(curves, features, window, span)
    return {
        "n_seeds": len(block) * curves.seeds_per_row,
        used: len(x),
        f"last_{x_name}": int(x[-1]),
        **_bounded(features, stats.bootstrap(block, window, x, span), x_name),
        "double_descent": verdict.double_descent,
        "reason": verdict.reason,
    }


def _bounded(
    features: stats.Features, interval: stats.Interval, x_name: str
) -> dict[str, float | int]:
    """Every feature with its bounds; positions are whole numbers named after x."""
    row: dict[str, float | int] = {}
    for field in stats.FIELDS:
        number = float(getattr(features, field))
        is_position = field.endswith("_epoch")
        name = f"{field.removesuffix('epoch')}{x_name}" if is_position else field
        row[name] = int(number) if is_position else number
        row[f"{name}_low"] = float(getattr(interval.low, field))
        row[f"{name}_high"] = float(getattr(interval.high, field))
    return row


def _verdict(curves: SeedCurves, features: stats.Features, window: int, last: int) -> Verdict:
    """Double descent of the block, or of an aggregate, whose seeds are not known."""
    if curves.std is None:
        block, x = _block(curves)
        return has_double_descent(block, window, x, last)
    errors = _aggregate_errors(curves, features, window, last)
    return judge(float(features.rise), float(features.second_descent), errors)


def _aggregate_errors(
    curves: SeedCurves, features: stats.Features, window: int, last: int
) -> tuple[float, float]:
    """Standard errors of rise and second descent where only the spread at each epoch is known.

    The two ends of each difference are taken as independent, and the spread is not reduced by
    smoothing: both err on the side of a larger error.
    """
    errors = stats.smooth(curves.error, window)
    peak = errors[np.searchsorted(curves.x, features.peak_epoch)]
    low = errors[np.searchsorted(curves.x, features.first_minimum_epoch)]
    end = stats.final(curves.error, curves.x, last)
    return float(np.hypot(peak, low)), float(np.hypot(peak, end))


def threshold_table(data: Sequence[SeedCurves], below: float, name: str = "lambda") -> pd.DataFrame:
    """One row per value: first epoch at which the mean is below `below`, with its interval:
    `threshold_epoch`, or the name of what x counts.

    For the training error it is the time of interpolation. NaN if never, or if nothing is logged.
    """
    return pd.DataFrame([{name: curves.value, **_threshold_row(curves, below)} for curves in data])


def _threshold_row(curves: SeedCurves, below: float) -> dict[str, float]:
    """The threshold and its bounds at one value."""
    reached = low = high = float("nan")
    if curves.cells:
        block, x = _block(curves)
        reached = float(stats.threshold_epoch(block.mean(axis=0), below, x))
        low, high = stats.threshold_interval(block, below, x)
    name = f"threshold_{curves.x_name}"
    return {name: reached, f"{name}_low": low, f"{name}_high": high}


def slices(features: pd.DataFrame) -> list[int]:
    """Rows of `feature_table` to show as curves: the largest value, a U-shaped one, the smallest.

    The table is in increasing order of the axis. The one between the ends is, of those without
    double descent, the one that rises most; without such a one, the middle.
    """
    logged = np.flatnonzero(features["n_seeds"].to_numpy() > 0).tolist()
    if len(logged) < 3:
        return logged[::-1]
    inner = logged[1:-1]
    rise = features["rise"].to_numpy(np.float64)
    double_descent = features["double_descent"].to_numpy(bool)
    u_shaped = [i for i in inner if rise[i] > FLOOR and not double_descent[i]]
    middle = max(u_shaped, key=lambda i: rise[i], default=inner[len(inner) // 2])
    return [logged[-1], middle, logged[0]]
