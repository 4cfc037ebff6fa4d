"""The curves of a sweep for a page: mean and standard error over seeds at every point of its grid.

The numbers are those of `analysis.stats.seed_curves`, which the figures draw too. What does not fit
into a page is thinned, and the page says so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis import store
from analysis.figure.provenance import measured_rows
from analysis.stats.seed_curves import SeedCurves, seed_curves
from analysis.store import LoggedMetric
from launch.errors import quantity
from trainers.config.main_metrics import MAIN_METRICS

MOST_VALUES = 600_000
"""Numbers of the curves of one page: about 5 MB."""

POINT = "point"
TIMES = ("epoch", "step")

Values = Sequence[float | None]


@dataclass(frozen=True)
class Series:
    """A metric at one point of the grid."""

    x: int
    """Index into `CurveSet.x`; the values here have the length of that entry."""
    mean: Values
    """The mean over seeds."""
    error: Values | None
    """One standard error of the mean; null with one seed."""
    count: int | Sequence[int]
    """Seeds behind each value; one number where it never changes."""
    cells: Sequence[int]
    """Indices of the cells that logged the metric."""
    seeds: Sequence[Values]
    """The values of each of these cells; none where they did not fit."""


@dataclass(frozen=True)
class Times:
    """Where along their training some curves have values."""

    epoch: Sequence[int] | None
    """Null for curves over steps, whose values lie between epochs too."""
    step: Sequence[int] | None
    """The steps at these epochs; null if a cell lacks one of them."""


@dataclass(frozen=True)
class CurveSet:
    """All curves of a page."""

    metrics: Sequence[LoggedMetric] = ()
    x: Sequence[Times] = ()
    series: Mapping[str, Sequence[Series | None]] = field(default_factory=dict)
    """For each metric a Series for each point, or null."""
    thinned: Sequence[str] = ()
    """What was left out, one sentence each."""
    main: Sequence[SeedCurves] = ()
    """The first metric in full, at each point; not part of the page."""

    def to_json(self) -> dict[str, Any]:
        """What the page has."""
        return {"metrics": self.metrics, "x": self.x, "series": self.series}


@dataclass(frozen=True)
class Sizes:
    """How much a sweep has logged."""

    metrics: int
    points: int
    cells: int
    rows: int
    """The most rows of one cell."""


@dataclass(frozen=True)
class Thinning:
    """How much a page keeps; None keeps all."""

    metrics: int | None
    values: int | None
    """The most values of one curve."""
    has_seeds: bool
    """Whether the curves of single seeds are kept."""
    stride: int = 1
    """Every so many points one is kept."""

    def size(self, sizes: Sizes) -> float:
        """Numbers that remain of a sweep."""
        metrics = min(sizes.metrics, self.metrics or sizes.metrics)
        values = min(sizes.rows, self.values or sizes.rows)
        numbers_per_point = 2 if sizes.cells > sizes.points else 1
        curves = sizes.points * numbers_per_point
        if self.has_seeds and sizes.cells > sizes.points:
            curves += sizes.cells
        return metrics * values * curves / self.stride

    def sentences(self, sizes: Sizes) -> list[str]:
        """What a reader of the page must know; none if nothing was left out."""
        lines = []
        if self.metrics and self.metrics < sizes.metrics:
            lines.append(f"curves of {self.metrics} of {sizes.metrics} metrics are in this page")
        if self.values and self.values < sizes.rows:
            lines.append(f"curves have at most {self.values} of {sizes.rows} logged values each")
        if not self.has_seeds and sizes.cells > sizes.points:
            lines.append("curves of single seeds are left out")
        if self.stride > 1:
            kept = math.ceil(sizes.points / self.stride)
            lines.append(f"curves are those of {quantity(kept, 'point')} out of {sizes.points}")
        return lines


STEPS = (
    Thinning(None, None, True),
    Thinning(None, 200, True),
    Thinning(None, 200, False),
    Thinning(None, 80, False),
    Thinning(6, 80, False),
    Thinning(3, 48, False),
    Thinning(2, 40, False),
    Thinning(1, 40, False),
)
"""From nothing left out to the least that is worth drawing."""


def thinning_for(sizes: Sizes, most: int = MOST_VALUES) -> Thinning:
    """The first of STEPS that fits into `most` numbers; the last one with fewer points, if none."""
    for step in STEPS:
        if step.size(sizes) <= most:
            return step
    last = STEPS[-1]
    stride = int(np.ceil(last.size(sizes) / most))
    return Thinning(last.metrics, last.values, last.has_seeds, stride)


def load_curves(
    folder: Path, runs: pd.DataFrame, point_of_cell: Sequence[int], most: int = MOST_VALUES
) -> CurveSet:
    """The curves of these runs, at most `most` numbers; empty if nothing is logged.

    point_of_cell: (cells,) the point of each row of `runs`. Raises StoreError for damaged logs.
    """
    metrics = in_order(store.metrics(folder))
    if not metrics:
        return CurveSet()
    position = store.curves(folder, ["step"], runs["cell"].tolist())
    time = time_column(position)
    if time is None or position.empty:
        return CurveSet()
    rows = int(position.groupby("cell", observed=True).size().max())
    sizes = Sizes(len(metrics), len(set(point_of_cell)), len(runs), rows)
    thinning = thinning_for(sizes, most)
    metrics = metrics[: thinning.metrics]
    names = [metric.name for metric in metrics]
    logged = store.curves(folder, ["step", *names], runs["cell"].tolist())
    measured, by_epoch = measured_rows(runs, logged, time), measured_rows(runs, logged)
    collector = _Collector(runs, measured, time, thinning)
    at_points = runs.assign(**{POINT: list(point_of_cell)})
    series: dict[str, list[Series | None]] = {}
    main: list[SeedCurves] = []
    for name in names:
        curves = seed_curves(at_points, measured, POINT, name, time)
        series[name] = [collector.series(of_point) for of_point in curves]
        main = main or _main_curves(at_points, by_epoch, name, curves)
    return CurveSet(metrics, collector.times, series, thinning.sentences(sizes), main)


def _main_curves(
    runs: pd.DataFrame, logged: pd.DataFrame, name: str, curves: list[SeedCurves]
) -> list[SeedCurves]:
    """`curves`, or those over epochs where the rows between epochs are more than every epoch's."""
    trained = logged[logged["epoch"] >= 1].groupby("cell", observed=True)["epoch"]
    has_every_epoch = bool((trained.nunique() == trained.max()).all())
    if has_every_epoch and curves and curves[0].x_name != "epoch":
        return seed_curves(runs, logged, POINT, name)
    return curves


def in_order(metrics: Sequence[LoggedMetric]) -> list[LoggedMetric]:
    """The metrics with the preferred ones first, and counts of answers last."""
    return sorted(metrics, key=lambda metric: _rank(metric.name))


def _rank(name: str) -> int:
    if name in MAIN_METRICS:
        return MAIN_METRICS.index(name)
    is_count = name.endswith(("_wrong", "_examples"))
    return len(MAIN_METRICS) + is_count


def time_column(rows: pd.DataFrame) -> str | None:
    """The column that counts the rows of every cell: its epochs, else its steps; None if neither
    does, as in a measured surface.
    """
    for name in TIMES:
        if not rows.duplicated(["cell", name]).any():
            return name
    return None


class _Collector:
    """Turns SeedCurves into Series; curves with the same x share one entry of `times`."""

    def __init__(
        self, runs: pd.DataFrame, rows: pd.DataFrame, time: str, thinning: Thinning
    ) -> None:
        self.times: list[Times] = []
        self._time, self._thinning = time, thinning
        self._index = {cell: number for number, cell in enumerate(runs["cell"].tolist())}
        self._numbers: dict[bytes, int] = {}
        by_cell = rows.groupby("cell", observed=True)
        self._rows = {str(cell): part for cell, part in by_cell} if time == "epoch" else {}

    def series(self, curves: SeedCurves) -> Series | None:
        """The series of one point; None if nothing is logged there, or the point is left out."""
        if not curves.cells or int(curves.value) % self._thinning.stride:
            return None
        kept = kept_positions(curves.x, self._thinning.values)
        counts = curves.count[kept]
        has_seeds = self._thinning.has_seeds and len(curves.cells) > 1
        return Series(
            x=self._number(curves, kept),
            mean=to_json(curves.mean[kept]),
            error=to_json(curves.error[kept]) if len(curves.cells) > 1 else None,
            count=int(counts[0]) if len(set(counts.tolist())) == 1 else counts.tolist(),
            cells=[self._index[cell] for cell in curves.cells],
            seeds=[to_json(values[kept]) for values in curves.values] if has_seeds else [],
        )

    def _number(self, curves: SeedCurves, kept: NDArray[np.intp]) -> int:
        """The index of the kept x among `times`, which it may extend."""
        x = curves.x[kept]
        steps = self._steps(curves, x)
        key = x.tobytes() + (b"" if steps is None else steps.tobytes())
        if key not in self._numbers:
            self._numbers[key] = len(self.times)
            if self._time == "step":
                self.times.append(Times(None, x.tolist()))
            else:
                self.times.append(Times(x.tolist(), None if steps is None else steps.tolist()))
        return self._numbers[key]

    def _steps(self, curves: SeedCurves, epochs: NDArray[np.int64]) -> NDArray[np.int64] | None:
        """The steps at these epochs, from the cell that logged most; None if it lacks one."""
        if self._time == "step":
            return None
        longest = curves.cells[int(np.isfinite(curves.values).sum(axis=1).argmax())]
        rows = self._rows[longest]
        places = np.searchsorted(rows["epoch"].to_numpy(), epochs)
        if places.max() >= len(rows) or (rows["epoch"].to_numpy()[places] != epochs).any():
            return None
        steps: NDArray[np.int64] = rows["step"].to_numpy(np.int64)[places]
        return steps


def kept_positions(x: NDArray[np.int64], most: int | None) -> NDArray[np.intp]:
    """Positions of at most `most` of the increasing x, first and last among them: half of them at
    equal ratios, half at equal distances, so that both kinds of axis look smooth.
    """
    if most is None or len(x) <= most:
        return np.arange(len(x))
    ratios = np.geomspace(max(x[0], 1), x[-1], most // 2)
    distances = np.linspace(x[0], x[-1], most // 2)
    places = np.searchsorted(x, np.concatenate([ratios, distances]).round())
    return np.unique(np.append(places, [0, len(x) - 1]).clip(0, len(x) - 1))


def to_json(values: NDArray[Any]) -> list[float | None]:
    """Numbers with six digits; null where there is none, or none that is finite."""
    return [float(f"{value:.6g}") if math.isfinite(value) else None for value in values.tolist()]
