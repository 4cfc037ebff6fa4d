"""Cancelling a sweep, or the cells of it that meet a condition.

The cells are written down first, in `submissions/SID/cancelled.json`, which every worker looks at:
it leaves them out, saves those that it trains, and does not come back for them. Tasks that hold no
other unfinished cell are then ended by the scheduler; where that gives no answer, the file alone
does it, with a delay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from launch.plan import Plan, markers
from launch.plan.outcome import LIVE
from launch.scheduler import backend
from launch.status.sweep_state import SweepState, load_sweep_state, may_run
from launch.sweep.condition import condition


@dataclass(frozen=True)
class Cancelled:
    """What was cancelled: cells, tasks that the scheduler ended whole, and what schedulers
    complained of.
    """

    cells: int
    tasks: int
    complaints: Sequence[str]


def cancel(folder: Path, where: Sequence[str] = ()) -> Cancelled:
    """Cancel every cell that may still run and meets all conditions. Raises UserError for a bad
    condition.
    """
    seen = load_sweep_state(folder)
    conditions = [condition(text) for text in where]
    live = {cell.id for cell in seen.cells.values() if cell.state in LIVE}
    flats = {cell.id: made.flat(cell) for made in seen.plans for cell in made.cells}
    chosen = live & {
        cell for cell, flat in flats.items() if all(meets(flat) for meets in conditions)
    }
    found = [
        _cancel(made, seen, chosen, live)
        for made in seen.plans
        if any(c.id in chosen for c in made.cells)
    ]
    return Cancelled(
        len(chosen), sum(tasks for tasks, _ in found), [said for _, said in found if said]
    )


def _cancel(made: Plan, seen: SweepState, chosen: set[str], live: set[str]) -> tuple[int, str]:
    """Cancel the chosen cells of one plan; returns how many tasks were ended whole, and a complaint
    or nothing.
    """
    open_tasks = _open(made, seen)
    if not open_tasks:
        return 0, ""
    submission = made.folder(seen.folder)
    held = {cell.id for cell in made.cells} & chosen
    markers.cancel_cells(submission, held)
    unfinished = {
        number: {made.cells[index].id for index in made.tasks[number]} & live
        for number in open_tasks
    }
    whole = {number for number, cells in unfinished.items() if cells and cells <= chosen}
    if not whole:
        return 0, ""
    return len(whole), backend.BACKENDS[made.backend].cancel(
        made, seen.folder, seen.arrays[made.sid], whole
    )


def _open(made: Plan, seen: SweepState) -> list[int]:
    """Numbers of the plan's tasks that may still run."""
    return [
        number
        for array in seen.arrays[made.sid]
        for number in array.numbers
        if may_run(array, seen.tasks.get((made.sid, number)), made.sid in seen.silent) is not False
    ]
