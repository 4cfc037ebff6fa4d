"""The state of a sweep: its plans, what was sent of them, its parts, and its schedulers' answers.

Each is read once; the parts twice where a task ended in between.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import pandas as pd

from launch.plan import Plan, PlannedCell, load_all, markers
from launch.plan.jobs import Array
from launch.scheduler import slurm
from launch.status.answers import (
    Answers,
    SlurmAnswer,
    ask_scheduler,
    ask_slurm,
    without_stuck,
)
from launch.status.cell_state import (
    CellState,
    Placement,
    Record,
    TaskKey,
    cell_states,
    in_doubt,
)
from launch.status.sweep_files import (
    SweepFiles,
    columns_of,
    files_of,
    has_result,
    is_final,
    modified,
    read_files,
    records_of,
)

_NODE_LOST = ("NODE_FAIL", "BOOT_FAIL")


@dataclass(frozen=True)
class SweepState:
    """A sweep at one moment: its plans, the arrays that were sent, and the state of each cell."""

    folder: Path
    plans: Sequence[Plan]
    arrays: Mapping[str, Sequence[Array]]
    cells: Mapping[str, CellState]
    runs: pd.DataFrame
    silent: Sequence[str]
    """Submissions whose scheduler does not answer."""
    tasks: Mapping[TaskKey, slurm.Task]
    """What the scheduler reports about each task that it knows."""
    cancelled: Mapping[str, Collection[str]] = field(default_factory=dict)
    """The cancelled cells of each plan."""
    silence: str = ""
    """SLURM's message, if it does not answer."""
    lost_nodes: frozenset[str] = frozenset()
    """Nodes that recently lost a task, or on which every process died."""

    @cached_property
    def records(self) -> Mapping[str, Record]:
        """The newest record of each cell that has one, including cells in no plan."""
        return records_of(self.runs)

    @cached_property
    def plan_by_sid(self) -> Mapping[str, Plan]:
        """The plans, by the ids of their submissions."""
        return {plan.sid: plan for plan in self.plans}

    def task_of(self, cell: CellState) -> slurm.Task | None:
        """What the scheduler reports about the task that a cell's state follows from."""
        return self.tasks.get(cell.placement.key)

    def job_id(self, sid: str, number: int) -> str | None:
        """The SLURM id ("5_3") of a task; None outside SLURM, and if it was never accepted."""
        for array in self.arrays[sid]:
            if number in array.numbers:
                return array.job_id(number)
        return None

    def open_tasks(self, plan: Plan) -> list[int]:
        """Numbers of the tasks of a plan that may still run."""
        is_silent = plan.sid in self.silent
        numbers = []
        for array in self.arrays[plan.sid]:
            for number in array.numbers:
                task = self.tasks.get((plan.sid, number))
                if may_run(array, task, silent=is_silent) is not False:
                    numbers.append(number)
        return numbers

    def unconfirmed(self) -> list[str]:
        """Submissions that their scheduler answers about, and has not confirmed yet."""
        sids = []
        for plan in self.plans:
            is_pending = any(array.delivery == "pending" for array in self.arrays[plan.sid])
            if is_pending and plan.sid not in self.silent:
                sids.append(plan.sid)
        return sids

    def is_queued(self, plan: Plan, number: int) -> bool:
        """Whether a task waits in SLURM's queue."""
        task = self.tasks.get((plan.sid, number))
        return task is not None and task.state == "PENDING"


def load_sweep_state(folder: Path, *, more_columns: Sequence[str] = ()) -> SweepState:
    """Read plans and parts, query each scheduler once. Raises UserError if there is no sweep.

    Its runs also have `more_columns` of the records.
    """
    return state_of(read_files(folder, more_columns=more_columns))


def load_state_before_submission(
    folder: Path, *, searches: bool = False, abandon_completing: bool = False
) -> SweepState:
    """The state of a sweep that may not have been submitted yet.

    With `searches`, its runs have all columns, which the conditions of a search may name. With
    `abandon_completing`, tasks that have been completing for too long count as ended.
    """
    plans = load_all(folder) if folder.is_dir() else []
    files = files_of(folder, plans, None if searches else columns_of(plans))
    return state_of(files, abandon_completing=abandon_completing)


def state_of(
    files: SweepFiles, answer: SlurmAnswer | None = None, *, abandon_completing: bool = False
) -> SweepState:
    """The state of a sweep, with what SLURM answered about it, by default when asked now."""
    answers = ask_scheduler(
        files.open_plans, files.folder, files.arrays, answer or ask_slurm([files])
    )
    if abandon_completing:
        answers = without_stuck(answers)
    state = _state(files, answers)
    if _may_be_outdated(state) and modified(files.folder) != files.modified:
        # a task that has ended by now wrote its results before; they may be newer than the runs
        state = _state(files.read_again(), answers)
    return state


def _may_be_outdated(state: SweepState) -> bool:
    """Whether a task that has ended may have written more than the state shows; a task that
    searches also adds cells.
    """
    adds_cells = any(plan.task_searches for plan in state.plans)
    has_doubt = any(map(in_doubt, state.cells.values()))
    return adds_cells or has_doubt or bool(trained_again(state).ended)


def _state(files: SweepFiles, answers: Answers) -> SweepState:
    folder, plans = files.folder, files.plans
    cancelled = {plan.sid: markers.cancelled_cells(plan.folder(folder)) for plan in plans}
    places = place_cells(plans, files.arrays, answers, cancelled, files.records)
    return SweepState(
        folder=folder,
        plans=plans,
        arrays=files.arrays,
        cells={cell.id: cell for cell in cell_states(places, files.records)},
        runs=files.runs,
        silent=answers.silent,
        silence=answers.error,
        tasks=answers.tasks,
        cancelled=cancelled,
        lost_nodes=_lost_nodes(files.open_plans, folder, answers),
    )


def place_cells(
    plans: Sequence[Plan],
    arrays: Mapping[str, Sequence[Array]],
    answers: Answers,
    cancelled: Mapping[str, Collection[str]],
    records: Mapping[str, Record],
) -> dict[str, list[Placement]]:
    """The placements of each cell, oldest plan first. Pure."""
    placements: dict[str, list[Placement]] = {}
    for plan in plans:
        silent = plan.sid in answers.silent
        for array in arrays[plan.sid]:
            for number in array.numbers:
                task = answers.tasks.get((plan.sid, number))
                live = may_run(array, task, silent=silent)
                running = task is not None and task.has_processes
                for index in plan.tasks[number]:
                    cell = plan.cells[index]
                    place = Placement(plan.sid, number, cell.attempts + 1, live, running)
                    if cell.id in cancelled[plan.sid]:
                        place = _cancelled(place, records.get(cell.id))
                    placements.setdefault(cell.id, []).append(place)
    return placements


@dataclass(frozen=True)
class TrainedAgain:
    """Ids of done cells that were sent to be trained again and have no new result: the earlier one
    stays.
    """

    going_on: Sequence[str] = ()
    """A task of theirs runs or waits."""
    unknown: Sequence[str] = ()
    """A task of theirs may run, but its scheduler does not answer."""
    ended: Sequence[str] = ()
    """All their tasks are over."""
    cancelled: Sequence[str] = ()
    """The user cancelled them; they may still save."""

    @property
    def may_run(self) -> Sequence[str]:
        """The cells that may still get a new result."""
        return [*self.going_on, *self.unknown]

    @property
    def without_result(self) -> Sequence[str]:
        """The cells that get no new result unless they are sent once more."""
        return [*self.ended, *self.cancelled]


def trained_again(state: SweepState, sid: str | None = None) -> TrainedAgain:
    """The done cells that train again; with `sid`, only those of that submission."""
    fates: dict[str, list[_Fate]] = {}
    for plan in state.plans:
        if plan.rerun and sid in (None, plan.sid):
            for cell, fate in _sent_cells(state, plan):
                record = state.records.get(cell.id)
                if is_final(record) and not has_result(cell, record):
                    fates.setdefault(cell.id, []).append(fate)
    cells: dict[_Fate, list[str]] = {"goes on": [], "unknown": [], "ended": [], "cancelled": []}
    for cell_id, of_cell in fates.items():
        open_fates = [fate for fate in ("goes on", "unknown") if fate in of_cell]
        cells[open_fates[0] if open_fates else of_cell[-1]].append(cell_id)
    return TrainedAgain(cells["goes on"], cells["unknown"], cells["ended"], cells["cancelled"])


_Fate = Literal["goes on", "unknown", "ended", "cancelled"]
"""What became of a cell in a task; "goes on" while the task may run."""


def _sent_cells(state: SweepState, plan: Plan) -> Iterator[tuple[PlannedCell, _Fate]]:
    """The cells of a plan that the scheduler accepted, and what became of each."""
    fates: Mapping[bool | None, _Fate] = {True: "goes on", None: "unknown", False: "ended"}
    cancelled = state.cancelled.get(plan.sid, ())
    for array in state.arrays[plan.sid]:
        if array.delivery == "refused":
            continue
        for number in array.numbers:
            task = state.tasks.get((plan.sid, number))
            may_still_run = may_run(array, task, silent=plan.sid in state.silent)
            for index in plan.tasks[number]:
                cell = plan.cells[index]
                yield cell, "cancelled" if cell.id in cancelled else fates[may_still_run]


def _cancelled(place: Placement, record: Record | None) -> Placement:
    """The placement of a cancelled cell: ended, unless the cell is training there now."""
    training = (
        place.running
        and record is not None
        and record.status == "running"
        and record.attempt >= place.attempt
    )
    return replace(place, cancelled=True, live=place.live if training else False)


def may_run(array: Array, task: slurm.Task | None, *, silent: bool) -> bool | None:
    """Whether a task of an array may still run; None if the scheduler does not answer."""
    if array.delivery == "refused":
        return False
    if array.delivery == "pending" or silent:
        return None
    return task is not None and task.live


def _lost_nodes(plans: Sequence[Plan], folder: Path, answers: Answers) -> frozenset[str]:
    nodes = set()
    for task in answers.tasks.values():
        if task.state in _NODE_LOST and task.node:
            nodes.add(task.node)
    for plan in plans:
        nodes |= markers.bad_nodes(plan.folder(folder))
    return frozenset(nodes)
