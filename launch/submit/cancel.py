"""Cancel a sweep, or its cells that meet a condition.

The cells are first recorded in `submissions/SID/cancelled.json`, which every worker reads: it skips
these cells, and saves and stops those that it is training. Then the scheduler ends the tasks that
have no other unfinished cell. If it does not answer, the file still stops the cells, a little
later. If the file cannot be written, as on a full disk, the tasks are ended all the same.

Conditions also choose cells that ended without a result, such as those of a value that is no longer
in the sweep file. They are recorded in the same file, and then leave the sweep complete.

The follow-ups of a submission stay, and start when the tasks that ran have saved: they compact what
these wrote. If none ever started, there is nothing to follow, and SLURM may never start them
either, as in a partition with too short a limit. Then they end too.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from launch.errors import UserError, none_of
from launch.plan import Plan, files, load_all, markers
from launch.plan.outcome import FINAL, LIVE
from launch.plan.plan import CALIBRATION, name_of
from launch.scheduler import backend
from launch.status.sweep_state import SweepState, load_sweep_state, trained_again
from launch.submit import followup
from launch.submit.lock import CANCEL_LOCK, locked
from launch.sweep.condition import conditions_on


@dataclass(frozen=True)
class Cancellation:
    """What was cancelled."""

    cells: int
    """How many cells that ran or waited."""
    done: int
    """How many of these are done, and were being trained again."""
    tasks: int
    """How many tasks end as a whole."""
    complaints: Sequence[str]
    """What could not be recorded, or was not done by a scheduler, with advice."""
    ended: int = 0
    """How many cells that had ended without a result."""


@dataclass(frozen=True)
class Targets:
    """The cells that a command cancels, by their ids."""

    named: frozenset[str]
    """The cells that meet its conditions."""
    live: frozenset[str]
    """All cells that may still run."""

    @property
    def cancelled(self) -> frozenset[str]:
        """The named cells that may still run."""
        return self.named & self.live


def cancel(folder: Path, where: Sequence[str] = ()) -> Cancellation:
    """Cancel every cell that has no result and meets all conditions; without conditions, every
    cell that may still run.

    Tasks that wait although all their cells were cancelled, because the scheduler did not answer
    then, are ended too. Without conditions, the sweep's calibration ends as well, and no further
    round of its searches is sent until the user submits or resumes it.

    Raises UserError for a bad condition, and for conditions that no cell meets.
    """
    cancelled = _cancel_cells(folder, where)
    trials = folder / CALIBRATION
    if where or not (trials.is_dir() and load_all(trials)):
        return cancelled
    of_trials = _cancel_cells(trials, ())
    return Cancellation(
        cells=cancelled.cells + of_trials.cells,
        done=cancelled.done + of_trials.done,
        tasks=cancelled.tasks + of_trials.tasks,
        complaints=[*cancelled.complaints, *of_trials.complaints],
    )


def _cancel_cells(folder: Path, where: Sequence[str]) -> Cancellation:
    """Cancel cells of one sweep, without those of its calibration."""
    not_recorded: set[str] = set()
    if not where and folder.is_dir() and any(plan.searches for plan in load_all(folder)):
        with _recording(not_recorded):
            markers.stop_rounds(folder)
    state = load_sweep_state(folder)
    waiting_or_running = {cell.id for cell in state.cells.values() if cell.state in LIVE}
    training_again = frozenset(trained_again(state).may_run)
    targets = Targets(_cells_that_meet(state, where), training_again | waiting_or_running)
    tasks, complaints = _cancel_live(state, targets, not_recorded)
    ended = 0
    if where:
        with _recording(not_recorded):
            ended = _cancel_ended(state, targets)
    for error in sorted(not_recorded):
        complaints.append(
            f"the cells cannot be marked as cancelled ({error}): tasks with other cells still "
            "train them, and searches may go on. Run this again when the disk can be written"
        )
    return Cancellation(
        cells=len(targets.cancelled),
        done=len(targets.cancelled & training_again),
        tasks=tasks,
        complaints=complaints,
        ended=ended,
    )


def _cancel_live(
    state: SweepState, targets: Targets, not_recorded: set[str]
) -> tuple[int, list[str]]:
    """Mark the live cells, and end their tasks; returns the number of tasks that end, and what
    was not done.
    """
    tasks = 0
    complaints: list[str] = []
    never_start: list[Plan] = []
    for plan in state.plans:
        if targets.named.isdisjoint(cell.id for cell in plan.cells):
            continue
        with _recording(not_recorded):
            _mark(plan, state, targets)
        numbers = _tasks_to_end(plan, state, targets)
        complaint = _end_tasks(plan, state, numbers, are_marked=not not_recorded)
        if complaint:
            complaints.append(complaint)
            continue
        tasks += len(numbers)
        if _never_starts(plan, state, numbers):
            never_start.append(plan)
    complaint = followup.end(never_start, state.folder)
    if complaint:
        complaints.append(f"{complaint}. Run this again to remove the small jobs after the tasks")
    return tasks, complaints


@contextlib.contextmanager
def _recording(not_recorded: set[str]) -> Iterator[None]:
    """Add to `not_recorded` why a record cannot be written, as on a full disk. Raises
    PermissionError for a user who may not write it.
    """
    try:
        yield
    except PermissionError:
        raise
    except OSError as error:
        not_recorded.add(error.strerror or str(error))


def _cancel_ended(state: SweepState, targets: Targets) -> int:
    """Mark the named cells that ended without a result; returns how many were not marked before."""
    by_submission: dict[str, list[str]] = {}
    for cell in state.cells.values():
        has_ended = cell.state not in FINAL and cell.id not in targets.live
        if has_ended and cell.id in targets.named and not cell.placement.cancelled:
            by_submission.setdefault(cell.placement.sid, []).append(cell.id)
    for plan in state.plans:
        if plan.sid in by_submission:
            with locked(state.folder, CANCEL_LOCK):
                markers.cancel_cells(plan.folder(state.folder), by_submission[plan.sid])
    return sum(map(len, by_submission.values()))


def _cells_that_meet(state: SweepState, where: Sequence[str]) -> frozenset[str]:
    """Ids of the planned cells that meet all conditions, in any of their plans."""
    flats = {}
    for plan in state.plans:
        for cell in plan.cells:
            flats[cell.id] = plan.flat(cell)
    conditions = conditions_on(where, flats.values())
    cells = {cell for cell, flat in flats.items() if all(meets(flat) for meets in conditions)}
    if where and not cells:
        raise UserError(
            f"{none_of(len(flats), 'cell')} of {name_of(state.folder)} meets "
            f"{' and '.join(where)}; nothing was cancelled"
        )
    return frozenset(cells)


def _mark(plan: Plan, state: SweepState, targets: Targets) -> None:
    """Mark the cancelled cells of one plan for its tasks. Raises OSError."""
    cells = {cell.id for cell in plan.cells} & targets.cancelled
    if cells and state.open_tasks(plan):
        with locked(state.folder, CANCEL_LOCK):
            markers.cancel_cells(plan.folder(state.folder), cells)


def _tasks_to_end(plan: Plan, state: SweepState, targets: Targets) -> list[int]:
    """The tasks of one plan without other live cells.

    A task in the queue without any is one that the scheduler did not end when asked before.
    """
    marked = markers.cancelled_cells(plan.folder(state.folder)) & targets.named
    numbers = []
    for number in state.open_tasks(plan):
        ids = {plan.cells[index].id for index in plan.tasks[number]}
        unfinished = ids & targets.live
        is_left_over = state.is_queued(plan, number) and not unfinished and bool(ids & marked)
        if is_left_over or (unfinished and unfinished <= targets.cancelled):
            numbers.append(number)
    return numbers


def _end_tasks(plan: Plan, state: SweepState, numbers: Collection[int], *, are_marked: bool) -> str:
    """Ask the scheduler to end tasks; returns its error and what follows from it, if any."""
    if not numbers:
        return ""
    arrays = state.arrays[plan.sid]
    error = backend.BACKENDS[plan.backend].cancel(plan, state.folder, arrays, set(numbers))
    if not error:
        return ""
    marked = " The cells are marked, and tasks skip them when they start." if are_marked else ""
    other = files.owner(plan.folder(state.folder) / "plan.json")
    if other is not None:
        return (
            f"{error}.{marked} The tasks of {plan.sid} belong to {other}, and only {other} can "
            "remove them from the queue"
        )
    return f"{error}.{marked} Run this again to remove waiting tasks from the queue"


def _never_starts(plan: Plan, state: SweepState, ended: Collection[int]) -> bool:
    """Whether no task of a plan in SLURM has started, and none will after SLURM ended these."""
    was_sent = any(array.job for array in state.arrays[plan.sid])
    if plan.backend != "slurm" or not was_sent or set(state.open_tasks(plan)) - set(ended):
        return False
    output = plan.folder(state.folder) / "output"
    return not output.exists() or not any(output.iterdir())
