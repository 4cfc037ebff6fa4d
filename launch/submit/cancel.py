"""Cancel a sweep, or its cells that meet a condition.

The cells are first recorded in `submissions/SID/cancelled.json`, which every worker reads: it skips
these cells, and saves and stops those that it is training. Then the scheduler ends the tasks that
have no other unfinished cell. If it does not answer, the file still stops the cells, a little
later.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from launch.errors import UserError, quantity
from launch.plan import Plan, load_all, markers
from launch.plan.outcome import LIVE
from launch.scheduler import backend
from launch.status.sweep_state import SweepState, load_sweep_state
from launch.submit.lock import CANCEL_LOCK, locked
from launch.sweep.condition import conditions_on


@dataclass(frozen=True)
class Cancellation:
    """What was cancelled: cells, whole tasks, and errors from the schedulers."""

    cells: int
    tasks: int
    complaints: Sequence[str]


def cancel(folder: Path, where: Sequence[str] = ()) -> Cancellation:
    """Cancel every cell that may still run and meets all conditions.

    Without conditions, no further round of the sweep's searches is sent until the user submits or
    resumes it.

    Raises UserError for a bad condition, and for conditions that no cell meets.
    """
    if not where and folder.is_dir() and any(plan.searches for plan in load_all(folder)):
        markers.stop_rounds(folder)
    state = load_sweep_state(folder)
    live = {cell.id for cell in state.cells.values() if cell.state in LIVE}
    cancelled = live & _cells_that_meet(state, where)
    tasks, complaints = 0, []
    for plan in state.plans:
        if cancelled.isdisjoint(cell.id for cell in plan.cells):
            continue
        numbers = _cancel_in_plan(plan, state, cancelled, live)
        tasks += len(numbers)
        complaint = _end_tasks(plan, state, numbers)
        if complaint:
            complaints.append(complaint)
    return Cancellation(len(cancelled), tasks, complaints)


def _cells_that_meet(state: SweepState, where: Sequence[str]) -> set[str]:
    """Ids of the planned cells that meet all conditions, in any of their plans."""
    flats = {}
    for plan in state.plans:
        for cell in plan.cells:
            flats[cell.id] = plan.flat(cell)
    conditions = conditions_on(where, flats.values())
    cells = set()
    for cell_id, flat in flats.items():
        if all(meets(flat) for meets in conditions):
            cells.add(cell_id)
    if where and not cells:
        raise UserError(
            f"none of the {quantity(len(flats), 'cell')} of {state.folder.name} meets "
            f"{' and '.join(where)}; nothing was cancelled"
        )
    return cells


def _cancel_in_plan(
    plan: Plan, state: SweepState, cancelled: set[str], live: set[str]
) -> list[int]:
    """Mark the cancelled cells of one plan; returns its tasks without other live cells."""
    open_tasks = state.open_tasks(plan)
    if open_tasks:
        cells = {cell.id for cell in plan.cells}
        with locked(state.folder, CANCEL_LOCK):
            markers.cancel_cells(plan.folder(state.folder), cells & cancelled)
    numbers = []
    for number in open_tasks:
        unfinished = {plan.cells[index].id for index in plan.tasks[number]} & live
        if unfinished and unfinished <= cancelled:
            numbers.append(number)
    return numbers


def _end_tasks(plan: Plan, state: SweepState, numbers: Collection[int]) -> str:
    """Ask the scheduler to end tasks; returns its error, if any."""
    if not numbers:
        return ""
    arrays = state.arrays[plan.sid]
    return backend.BACKENDS[plan.backend].cancel(plan, state.folder, arrays, set(numbers))
