"""What finished cells have in the runs table: mean and standard error over seeds at every point."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from analysis.store import LoggedMetric
from launch.errors import quantity
from launch.report.curves import Values, to_json

MOST_VALUES = 200_000
"""Numbers of the results of one page: about 2 MB."""

OVER_ROWS: Mapping[str, str] = {"radius_mean": "", "radius_median": "", "barrier": "nats"}
"""Numbers over all rows of a measure, such as its directions, with their units; its last row is one
of them.
"""

FACTS: Mapping[str, str] = {
    "fit_step": "steps", "best_wrong": "training samples", "bits": "bits",
    "distance": "L2 distance",
    "lambda_max": "", "noise_rate": "1", "parameters": "parameters", "seconds": "s",
    "gpu_seconds": "s", "peak_memory_bytes": "bytes",
}  # fmt: skip
"""Numbers of a run that are no metric, with their units."""


@dataclass(frozen=True)
class Result:
    """A column of the runs table, over the finished seeds of each point."""

    column: str
    label: str
    unit: str
    mean: Values
    error: Values
    """One standard error of the mean."""
    count: Sequence[int]
    """How many seeds have a value."""


@dataclass(frozen=True)
class Results:
    """The columns of a page, the most interesting first."""

    columns: Sequence[Result] = ()
    thinned: Sequence[str] = field(default_factory=list)


def results_of(
    runs: pd.DataFrame, point_of_cell: Sequence[int], metrics: Sequence[LoggedMetric]
) -> Results:
    """The results of the cells that are done.

    A diverged cell has none: the last row of its training is no measurement. An unfinished one has
    none yet: its last rows say nothing about its end.
    """
    label_and_unit = _columns(metrics)
    names = [name for name in label_and_unit if name in runs]
    is_done = (runs["status"] == "done").to_numpy()
    finished = runs[is_done]
    points = np.asarray(point_of_cell)[is_done]
    every_point = range(max(point_of_cell) + 1)
    columns = []
    for name in names:
        values = pd.to_numeric(finished[name], errors="coerce").astype("float64")
        if values.notna().any():
            by_point = values.groupby(points)
            mean = to_json(by_point.mean().reindex(every_point).to_numpy(np.float64))
            error = to_json(by_point.sem().reindex(every_point).to_numpy(np.float64))
            count = by_point.count().reindex(every_point, fill_value=0).tolist()
            columns.append(Result(name, *label_and_unit[name], mean, error, count))
    most = max(1, MOST_VALUES // (3 * len(every_point)))
    thinned = []
    if len(columns) > most:
        kept = quantity(most, "result")
        thinned.append(f"{kept} out of {len(columns)} can be chosen for the map")
    return Results(columns[:most], thinned)


def _columns(metrics: Sequence[LoggedMetric]) -> dict[str, tuple[str, str]]:
    """Label and unit of each column of the runs table that a page may show."""
    columns = {name: (name, unit) for name, unit in OVER_ROWS.items()}
    for metric in metrics:
        columns[f"final_{metric.name}"] = (f"{metric.name}, last row", metric.unit)
        columns[f"best_{metric.name}"] = (f"{metric.name}, best row", metric.unit)
    for name, unit in FACTS.items():
        columns[name] = (name, unit)
    return columns
