"""What calibrations measured: seconds of an epoch or a step, memory, and the best number of cells
at a time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis import store
from launch.cost import concurrency, rates
from launch.plan import Plan, load_all
from launch.plan.outcome import FINAL
from launch.plan.plan import CALIBRATION, ran_in
from launch.status.sweep_files import records_of
from launch.submit.calibration import calibrated_cells, flats_of, smallest_and_largest
from launch.sweep.reading import needs_trained_cell
from launch.sweep.request import Cell, Concurrency, Request


def calibration_runs(folder: Path) -> pd.DataFrame:
    """The calibrations of a sweep as a runs table with extra columns; empty if there are none.

    `measured_seconds`, `measured_epochs` and `measured_steps` cover the second half of a run that
    succeeded. `concurrency` is how many cells its task trained at a time (NaN: one per core),
    `place` names this task and `resources` are those of its launcher; `began` is the Unix time at
    which it began to train.
    """
    calibration = folder / CALIBRATION
    plans = load_all(calibration)
    if not plans:
        return pd.DataFrame()
    runs = store.runs(calibration)
    if "updated" not in runs:  # nothing has started
        return pd.DataFrame()
    return _with_measurements(calibration, _with_places(runs, plans))


def _with_places(runs: pd.DataFrame, plans: Sequence[Plan]) -> pd.DataFrame:
    """The runs that belong to a plan, with their task and its concurrency."""
    attempts = dict.fromkeys(runs["cell"], math.inf)
    attempts |= {cell: record.attempt for cell, record in records_of(runs).items()}
    tasks = ran_in(plans, attempts)
    runs = runs[runs["cell"].isin(list(tasks))].reset_index(drop=True)
    places = [tasks[cell] for cell in runs["cell"]]
    numbers = [plan.planned_concurrency(task) for plan, task in places]
    return runs.assign(
        concurrency=pd.Series(numbers, runs.index, dtype=float),
        place=[f"{plan.sid}.{task}" for plan, task in places],
        began=runs["updated"] - runs["seconds"],
        resources=[plan.launcher.resources for plan, _ in places],
    )


def _with_measurements(folder: Path, runs: pd.DataFrame) -> pd.DataFrame:
    """The runs with the seconds, epochs and steps of their second half, if they succeeded."""
    columns = [name for name in ("seconds", "epochs", "steps") if name in runs]
    measurements = runs[columns].add_prefix("measured_").astype(float)
    has_halves = runs["status"].isin(FINAL) & ~rates.measures(runs)
    halves = _second_halves(folder, list(runs["cell"][has_halves]))
    for row, cell in runs["cell"].items():
        for name, value in halves.get(cell, {}).items():
            measurements.loc[row, f"measured_{name}"] = value
    return pd.concat([runs, measurements], axis="columns")


def _second_halves(folder: Path, cells: Sequence[str]) -> dict[str, dict[str, float]]:
    """Seconds, epochs and steps of the second half of each run that logged more than one row."""
    if not cells:
        return {}
    rows = store.curves(folder, columns=["step", "seconds"], cells=cells)
    halves = {}
    for cell, curve in rows[rows["step"] > 0].groupby("cell", observed=True):
        last = curve.iloc[-1]
        first = curve[curve["step"] >= last["step"] / 2].iloc[0]
        if first["step"] < last["step"]:
            halves[str(cell)] = {
                "seconds": last["seconds"] - first["seconds"],
                "epochs": last["epoch"] - first["epoch"],
                "steps": last["step"] - first["step"],
            }
    return halves


@dataclass(frozen=True)
class Measurement:
    """What a calibration measured for one cell: medians over copies that trained at the same
    time. The numbers are NaN and 0 if a copy failed.
    """

    cell: Cell
    unit: str
    """What `seconds` are those of: epoch, step or block."""
    count: Concurrency
    """How many copies trained at a time; None for one per core."""
    seconds: float = math.nan
    whole_run: float = math.nan
    """Seconds of the whole run."""
    memory: int = 0
    """Bytes of the largest process."""
    compared: bool = False
    """False if the copies hardly trained at the same time, so that they say nothing about the
    count.
    """
    wins: bool = False
    """Whether the count is the best of several that were measured."""
    failure: str | None = None
    """How a copy failed."""


def measurements(request: Request) -> list[Measurement]:
    """The measurements of a sweep's smallest and largest cells with this launcher, by count."""
    runs = calibration_runs(request.folder)
    runs = concurrency.with_resources(runs, request.launcher.resources)
    if runs.empty:
        return []
    cells = smallest_and_largest(calibrated_cells(request))
    groups, run_groups = rates.speed_groups(flats_of(cells), runs)
    runs = runs.assign(best=_winning_counts(runs, run_groups))
    results = []
    for cell, group in zip(cells, groups, strict=True):
        like = runs[run_groups == group]
        for _, copies in like.groupby("concurrency", dropna=False):
            results.append(_measurement(cell, copies))
    return results


def _winning_counts(runs: pd.DataFrame, groups: np.ndarray[Any, Any]) -> pd.Series[float]:
    """The best count for each run; NaN if no other was measured."""
    counts = runs["concurrency"].groupby(groups).transform("nunique")
    return concurrency.best_concurrency(runs).where(counts > 1)


def _measurement(cell: Cell, copies: pd.DataFrame) -> Measurement:
    number = copies["concurrency"].iloc[0]
    unit = "epoch" if cell.flat.get("trainer.steps") is None else "step"
    if needs_trained_cell(cell.flat):
        unit = "block"
    count = None if math.isnan(number) else int(number)
    failure = _failure(copies)
    if failure is not None:
        return Measurement(cell, unit, count, failure=failure)
    seconds = float(rates.pace(concurrency.measured_runs(copies)).median())
    length = float(rates.planned_length(flats_of([cell])).iloc[0])
    return Measurement(
        cell,
        unit,
        count,
        seconds=seconds,
        whole_run=seconds * length,
        memory=int(copies["peak_memory_bytes"].max()),
        compared=not concurrency.throughput_by_group(copies).empty,
        wins=bool((copies["best"] == number).all()),
    )


def _failure(copies: pd.DataFrame) -> str | None:
    """How a copy failed; None if all succeeded."""
    failed = copies[~copies["status"].isin(FINAL)]
    if failed.empty:
        return None
    classes = failed.get("error_class", pd.Series(dtype=str)).dropna()
    return "did not end" if classes.empty else str(classes.iloc[0])


def still_to_measure(request: Request, code: str) -> Request:
    """The calibration cells still to run.

    These are all copies of a cell, unless every copy succeeded with this code, concurrency and
    resources.
    """
    runs = calibration_runs(request.logs)
    if runs.empty:
        return request
    counts = runs["concurrency"].fillna(0) == (request.packing.at_a_time or 0)
    like = counts & (runs["resources"] == request.launcher.resources)
    valid = like & runs["status"].isin(FINAL) & (runs["code"] == code)
    valid_ids = set(runs["cell"][valid])
    size = request.packing.cells or 1
    cells: list[Cell] = []
    for start in range(0, len(request.cells), size):
        copies = request.cells[start : start + size]
        if not valid_ids.issuperset(copy.id for copy in copies):
            cells += copies
    return replace(request, cells=cells)
