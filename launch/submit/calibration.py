"""Short runs of the smallest and largest cells, to estimate what a sweep costs and check that it
starts.

They run through the sweep's own launcher, as a separate sweep in `logs/NAME/calibration`. They are
never results of the sweep; its cost is estimated from their times.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from analysis import store
from launch.cost import concurrency, rates
from launch.errors import UserError
from launch.plan import Plan, identity, load_all
from launch.plan.outcome import FINAL, LIVE
from launch.plan.plan import CALIBRATION, ran_in
from launch.status.sweep_files import has_result, is_final, records_of
from launch.status.sweep_state import SweepState, trained_again
from launch.sweep.adaptive import calibration_cells
from launch.sweep.request import (
    AUTO,
    CALIBRATION_EPOCHS,
    CALIBRATION_STEPS,
    Cell,
    Concurrency,
    Policy,
    Request,
)
from launch.sweep.trained import needs_trained_cell

MOST = 16
"""At most this many cells are calibrated: the smallest and largest of each family."""


def calibration_request(
    request: Request,
    epochs: int = CALIBRATION_EPOCHS,
    steps: int = CALIBRATION_STEPS,
    count: int | None = None,
) -> Request:
    """The calibration of a sweep: `count` copies of each of its extremes, trained together in one
    task.

    Without a count, the number comes from the packing, or is one if the packing sets none.
    """
    number = count or _fixed_concurrency(request.packing.at_a_time)
    cells = []
    calibrated = calibrated_cells(request)
    for cell in smallest_and_largest(calibrated):
        if needs_trained_cell(cell.flat):
            cells += _measures_like(cell, calibrated, number or 1)
        else:
            cells += _copies(_shortened(cell, epochs, steps), number or 1)
    return replace(
        request,
        name=CALIBRATION,
        logs=request.folder,
        cells=cells,
        again=(),  # a condition on the cells of the sweep
        searches=(),
        packing=replace(request.packing, cells=number or 1, at_a_time=number),
        policy=Policy(),
    )


def calibrated_cells(request: Request) -> Sequence[Cell]:
    """The cells from which a calibration takes the smallest and largest.

    A search has no cells before its first results: the ends of its first round stand for them.
    """
    return request.cells or calibration_cells(request.searches)


def smallest_and_largest(cells: Sequence[Cell]) -> list[Cell]:
    """The smallest and largest cell of each family by `model.width`; at most MOST.

    The cells of a family share all settings that affect the speed, except the width. If there are
    more than MOST, evenly spaced ones are taken.
    """
    ends = _ends_of_families(cells)
    places = np.linspace(0, len(ends) - 1, min(MOST, len(ends))).round().astype(int)
    return [ends[place] for place in np.unique(places)]


def covers_all_families(cells: Sequence[Cell]) -> bool:
    """Whether `smallest_and_largest` includes every family of these cells."""
    return len(_ends_of_families(cells)) <= MOST


def _ends_of_families(cells: Sequence[Cell]) -> list[Cell]:
    """The smallest and largest cell of each family, by width."""
    if not cells:
        return []
    flats = pd.DataFrame([dict(cell.flat) for cell in cells])
    width = pd.Series(0, flats.index)
    if rates.WIDTH in flats:
        width = pd.to_numeric(flats[rates.WIDTH])
    rows: set[int] = set()
    families = rates.width_families(flats)
    for family in np.unique(families):
        members = np.flatnonzero(families == family)
        widths = width.to_numpy()[members]
        rows |= {int(members[widths.argmin()]), int(members[widths.argmax()])}
    return [cells[row] for row in sorted(rows, key=lambda row: (width[row], row))]


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
    """What a calibration measured for one cell: medians over copies that trained at the same time.

    Seconds of an epoch (or step) and of the whole run, bytes of the largest process. They are NaN
    and 0 if a copy failed; `failure` then says how. `count` is None for one per core. If `compared`
    is False, the copies hardly trained at the same time, so they say nothing about the count.
    """

    cell: Cell
    unit: str
    count: Concurrency
    seconds: float = math.nan
    whole_run: float = math.nan
    memory: int = 0
    compared: bool = False
    wins: bool = False
    failure: str | None = None


def measurements(request: Request) -> list[Measurement]:
    """The measurements of a sweep's smallest and largest cells with this launcher, by count."""
    runs = calibration_runs(request.folder)
    runs = concurrency.with_resources(runs, request.launcher.resources)
    if runs.empty:
        return []
    cells = smallest_and_largest(calibrated_cells(request))
    groups, run_groups = rates.speed_groups(_flats(cells), runs)
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
    length = float(rates.planned_length(_flats([cell])).iloc[0])
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


def failed_cells(folder: Path, at_a_time: int | Literal["auto"] | None) -> list[tuple[str, str]]:
    """Id and traceback of each cell that failed in the newest calibration of a sweep.

    Only calibrations with this `task.at_a_time` count.
    """
    number = _fixed_concurrency(at_a_time)
    plans = load_all(folder / CALIBRATION)
    plans = [plan for plan in plans if plan.packing["at_a_time"] == number]
    if not plans:
        return []
    runs = store.runs(folder / CALIBRATION)
    newest = {cell.id for cell in plans[-1].cells}
    failed = runs[runs["cell"].isin(newest) & (runs["status"] == "failed")]
    return [(row["cell"], row["error"] or "") for row in failed.to_dict("records")]


def failed_canary(state: SweepState, plan: Plan) -> tuple[str, str] | None:
    """Id and traceback of a cell whose failure took cells of this plan out of the queue; None
    without any.
    """
    if not plan.policy.get("canary") or not _was_held_back(state, plan):
        return None
    failed = failed_cells(state.folder, plan.packing["at_a_time"])
    return next(iter([*failed, *_without_new_result(state.folder)]), None)


def _was_held_back(state: SweepState, plan: Plan) -> bool:
    """Whether a cell of a plan has ended without a result of it."""
    ended = set(trained_again(state, plan.sid).without_result)
    for planned in plan.cells:
        cell = state.cells.get(planned.id)
        if planned.id in ended or (cell and cell.state in ("missing", "interrupted")):
            return True
    return False


def _without_new_result(folder: Path) -> list[tuple[str, str]]:
    """The cells of the newest calibration that kept an earlier result, with what to say of it."""
    plans = load_all(folder / CALIBRATION)
    if not plans:
        return []
    records = records_of(store.runs(folder / CALIBRATION))
    cells = []
    for planned in plans[-1].cells:
        record = records.get(planned.id)
        if is_final(record) and not has_result(planned, record):
            cells.append((planned.id, "it was trained again without a new result"))
    return cells


def running_jobs(state: SweepState, cells: Sequence[Cell]) -> list[str]:
    """SLURM jobs of a calibration that may still run some of these cells."""
    jobs = set()
    for cell in cells:
        cell_state = state.cells.get(cell.id)
        if cell_state is None:
            continue
        place = cell_state.placement
        job = state.job_id(place.sid, place.task)
        # a cell that is done keeps its state while other code trains it again
        if job and (cell_state.state in LIVE or place.live is not False):
            jobs.add(job.partition("_")[0])
    return sorted(jobs)


def _flats(cells: Sequence[Cell]) -> pd.DataFrame:
    return pd.DataFrame([dict(cell.flat) for cell in cells])


def _fixed_concurrency(at_a_time: int | Literal["auto"] | None) -> Concurrency:
    """How many copies a calibration without a count trains at a time; None for one per core."""
    return 1 if at_a_time == AUTO else at_a_time


def _copies(flat: Mapping[str, Any], count: int) -> list[Cell]:
    """Copies that train at the same time. No two counts share a seed: 0; 1, 2; 3, 4, 5."""
    first = count * (count - 1) // 2
    flats = [{**flat, "seed": seed} for seed in range(first, first + count)]
    return [Cell(identity.cell_id(flat), flat) for flat in flats]


def _measures_like(cell: Cell, cells: Sequence[Cell], count: int) -> list[Cell]:
    """Measures as fast as `cell`, to run at the same time: blocks of the sweep as they are.

    A measure has the seed of its trained cell, so copies cannot have seeds of their own. No two
    counts share a cell, if the sweep has enough.
    """
    group, groups = rates.speed_groups(_flats([cell]), _flats(cells))
    like = [other for other, number in zip(cells, groups, strict=True) if number == group[0]]
    first = count * (count - 1) // 2
    own = like[first : first + count]
    return own if len(own) == count else like[:count]


def _shortened(cell: Cell, epochs: int, steps: int) -> dict[str, Any]:
    key, most = "trainer.epochs", epochs
    if cell.flat.get("trainer.steps") is not None:
        key, most = "trainer.steps", steps
    if key not in cell.flat:
        raise UserError(
            f"calibrate: the trainer {cell.flat['trainer.name']} has neither trainer.epochs nor "
            "trainer.steps, so its trainings cannot be shortened; submit a few cells instead"
        )
    return {**cell.flat, key: min(most, cell.flat[key])}
