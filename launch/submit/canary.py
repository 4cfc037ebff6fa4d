"""The newest calibration as a canary: which of its cells failed, and what that held back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from analysis import store
from launch.plan import Plan, load_all
from launch.plan.outcome import LIVE
from launch.plan.plan import CALIBRATION
from launch.status.sweep_files import has_result, is_final, records_of
from launch.status.sweep_state import SweepState, trained_again
from launch.submit.calibration import fixed_concurrency
from launch.sweep.request import Cell


def failed_cells(folder: Path, at_a_time: int | Literal["auto"] | None) -> list[tuple[str, str]]:
    """Id and traceback of each cell that failed in the newest calibration of a sweep.

    Only calibrations with this `task.at_a_time` count.
    """
    number = fixed_concurrency(at_a_time)
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
