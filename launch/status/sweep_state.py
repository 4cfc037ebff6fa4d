"""The state of a sweep: its plans, what was sent of them, its parts, and its schedulers' answers.

Each is read once; the parts twice where a task ended in between.
"""

from __future__ import annotations

import contextlib
import math
import os
import socket
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import pandas as pd

from analysis import store
from launch.plan import Plan, PlannedCell, files, jobs, load_all, markers
from launch.plan.folder import no_sweep
from launch.plan.jobs import Array
from launch.plan.outcome import FINAL
from launch.scheduler import backend, slurm
from launch.status.cell_state import CellState, Placement, Record, cell_states, in_doubt

UNANSWERED_SECONDS = 120.0
"""If sbatch got no answer and neither squeue nor sacct shows the submission after this time, it was
never accepted: an sbatch that waits for a slow controller gives up earlier, and accounting lags
only by seconds. A send time this far in the future means that the clock was set back."""

ASK_SECONDS = 10.0
"""Least seconds between two queries of a command that watches: SLURM serves other users too."""

RECORD_COLUMNS = (
    "error_class",
    "error",
    "code",
    "earlier_code",
    "source_hash",
    "seconds",
    "gpu_seconds",
    "steps",
)
"""Columns of the records that the state of a grid is computed from; its plans have the rest."""

_NODE_LOST = ("NODE_FAIL", "BOOT_FAIL")

TaskKey = tuple[str, int]
"""A task: its submission, and its number in the plan."""


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
    lost_nodes: frozenset[str] = frozenset()
    """Nodes that recently lost a task, or on which every process died."""

    @cached_property
    def records(self) -> Mapping[str, Record]:
        """The newest record of each cell that has one, including cells in no plan."""
        return records_of(self.runs)

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

    def is_queued(self, plan: Plan, number: int) -> bool:
        """Whether a task waits in SLURM's queue."""
        task = self.tasks.get((plan.sid, number))
        return task is not None and task.state == "PENDING"


@dataclass(frozen=True)
class SweepFiles:
    """What the folder of a sweep has, before its schedulers are asked.

    `columns` are those that were asked of the runs, and `modified` tells when they were read.
    """

    folder: Path
    plans: Sequence[Plan]
    arrays: Mapping[str, Sequence[Array]]
    runs: pd.DataFrame
    columns: Sequence[str] | None
    modified: Sequence[int]

    def read_again(self) -> SweepFiles:
        """The same plans, with the cells and the runs that they have now."""
        now = modified(self.folder)
        sids = [plan.sid for plan in self.plans]
        plans = [plan for plan in load_all(self.folder) if plan.sid in sids]
        return replace(self, plans=plans, runs=runs_of(self.folder, self.columns), modified=now)

    @cached_property
    def records(self) -> Mapping[str, Record]:
        """The newest record of each cell that has one."""
        return records_of(self.runs)

    @cached_property
    def open_plans(self) -> Sequence[Plan]:
        """The plans of which a task may still run."""
        return [plan for plan in self.plans if not _is_over(plan, self.records)]


@dataclass(frozen=True)
class SlurmAnswer:
    """The tasks that SLURM knows, by job and index; None if it does not answer."""

    tasks: Mapping[tuple[str, int], slurm.Task] | None


@dataclass(frozen=True)
class Answers:
    """The schedulers' answers: the tasks that they know, and the submissions without an answer."""

    tasks: Mapping[TaskKey, slurm.Task]
    silent: Sequence[str]


@dataclass(frozen=True)
class Lookup:
    """A scheduler's answer about arrays whose acceptance is unknown.

    `jobs` are those that it knows, by array name. `complete` is False if it may have others.
    `absent` is the error for an array that it never received. `certain` is True if an array that
    it does not know cannot appear later.
    """

    jobs: Mapping[str, str]
    complete: bool
    absent: str
    certain: bool = False


def load_sweep_state(
    folder: Path, *, more_columns: Sequence[str] = (), all_columns: bool = False
) -> SweepState:
    """Read plans and parts, query each scheduler once. Raises UserError if there is no sweep.

    Its runs also have `more_columns` of the records; with `all_columns`, every one, which the
    report shows.
    """
    files = read_files(folder, more_columns=more_columns, all_columns=all_columns)
    return state_of(files)


def read_files(
    folder: Path, *, more_columns: Sequence[str] = (), all_columns: bool = False
) -> SweepFiles:
    """Read the plans, arrays and parts of a sweep. Raises UserError if there is no sweep."""
    plans = load_all(folder) if folder.is_dir() else []
    if not plans:
        raise no_sweep(folder)
    columns = None if all_columns else _columns(plans)
    return _files_of(folder, plans, columns and [*columns, *more_columns])


def _files_of(folder: Path, plans: Sequence[Plan], columns: Sequence[str] | None) -> SweepFiles:
    arrays = {plan.sid: _load_arrays(plan, folder) for plan in plans}
    now = modified(folder)
    return SweepFiles(folder, plans, arrays, runs_of(folder, columns), columns, now)


def modified(folder: Path) -> list[int]:
    """When a file was last added or replaced in the folders of the parts and the store."""
    folders = [folder / name for name in ("curves", "runs", "store")]
    return [path.stat().st_mtime_ns for path in folders if path.exists()]


def load_state_before_submission(
    folder: Path, *, searches: bool = False, abandon_completing: bool = False
) -> SweepState:
    """The state of a sweep that may not have been submitted yet.

    With `searches`, its runs have all columns, which the conditions of a search may name. With
    `abandon_completing`, tasks that have been completing for too long count as ended.
    """
    plans = load_all(folder) if folder.is_dir() else []
    files = _files_of(folder, plans, None if searches else _columns(plans))
    return state_of(files, abandon_completing=abandon_completing)


def _columns(plans: Sequence[Plan]) -> Sequence[str] | None:
    """The columns of the records that a state needs; None for all, which a search may name."""
    return None if any(plan.searches for plan in plans) else RECORD_COLUMNS


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
    searching = any(plan.task_searches for plan in state.plans)
    return searching or any(map(in_doubt, state.cells.values()))


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
        tasks=answers.tasks,
        lost_nodes=_lost_nodes(files.open_plans, folder, answers),
    )


def runs_of(folder: Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """The runs table, empty if nothing was planned or logged yet; `columns` as in store.runs.

    Raises OSError for a folder that cannot be read, in which glob would find nothing.
    """
    for name in ("runs", "store", "submissions"):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            os.listdir(folder / name)
    for pattern in ("runs/*.parquet", "store/runs-*.parquet", "submissions/*/plan.json"):
        if any(folder.glob(pattern)):
            return store.runs(folder, columns)
    return pd.DataFrame()


def records_of(runs: pd.DataFrame) -> dict[str, Record]:
    """The newest record of each cell in a runs table; none for a cell that never started."""
    if runs.empty:
        return {}
    columns = ["cell", "status", "attempt", "error_class", "error"]
    runs_with_records = runs[runs["status"] != "missing"].reindex(columns=columns)
    rows = runs_with_records.astype(object).where(runs_with_records.notna(), None)
    return {cell: Record(*fields) for cell, *fields in rows.itertuples(index=False)}


def is_final(record: Record | None) -> bool:
    """Whether a cell with this record needs no further run."""
    return record is not None and record.status in FINAL


def _is_over(plan: Plan, records: Mapping[str, Record]) -> bool:
    """Whether all cells of a plan have a result from it or from a later one.

    A plan whose tasks add cells to it may go on even then: the scheduler knows.
    """
    return not plan.task_searches and all(
        has_result(cell, records.get(cell.id)) for cell in plan.cells
    )


def has_result(cell: PlannedCell, record: Record | None) -> bool:
    """Whether a planned cell has its result; a calibration also runs cells again that are done."""
    return record is not None and is_final(record) and record.attempt > cell.attempts


def _load_arrays(plan: Plan, folder: Path) -> Sequence[Array]:
    """The arrays of a plan; the scheduler is asked about those whose acceptance is unknown."""
    arrays = jobs.read(plan, folder)
    names = [array.name for array in arrays if array.delivery == "pending"]
    if not names:
        return arrays
    look_up = _look_up_slurm if plan.backend == "slurm" else _look_up_here
    return settle(arrays, look_up(plan, folder, names), time.time())


def _look_up_slurm(plan: Plan, folder: Path, names: Sequence[str]) -> Lookup:
    queue, accounting = slurm.queue(names), slurm.accounting(names)
    job_by_name = {task.name: task.job for task in [*(queue or []), *(accounting or [])]}
    return Lookup(job_by_name, complete=queue is not None, absent=jobs.NEVER_SENT)


def _look_up_here(plan: Plan, folder: Path, names: Sequence[str]) -> Lookup:
    """A worker of this machine records itself when it starts, and until then it is a process here.

    Whoever is about to send cells holds the lock of the sweep, so no other command starts a worker.
    """
    has_worker = markers.local_worker(plan.folder(folder)) is not None
    job_by_name = dict.fromkeys(names if has_worker else (), "local")
    is_ours = (plan.host, plan.user) == (socket.gethostname(), files.user_name(os.getuid()))
    certain = is_ours and backend.has_worker_process(plan) is False
    return Lookup(job_by_name, complete=True, absent=jobs.NEVER_STARTED, certain=certain)


def settle(arrays: Sequence[Array], lookup: Lookup, now: float) -> list[Array]:
    """The arrays of a plan, with the job or error that the lookup found for the pending ones.

    An array that the scheduler does not know stays pending until UNANSWERED_SECONDS have passed,
    unless it is certain that it will not appear.
    """
    settled = []
    for array in arrays:
        if array.delivery == "pending":
            waited = abs(now - array.sent)
            is_over = lookup.certain or (lookup.complete and waited > UNANSWERED_SECONDS)
            job = lookup.jobs.get(array.name)
            absent = lookup.absent if is_over else None
            settled.append(replace(array, job=job, error=None if job else absent))
        else:
            settled.append(array)
    return settled


def ask_scheduler(
    plans: Sequence[Plan],
    folder: Path,
    arrays: Mapping[str, Sequence[Array]],
    answer: SlurmAnswer,
) -> Answers:
    """What the schedulers of these plans say; SLURM's answer is given."""
    tasks: dict[TaskKey, slurm.Task] = {}
    silent: list[str] = []
    for plan in plans:
        if plan.backend != "slurm":
            continue
        if answer.tasks is None:
            silent.append(plan.sid)
        else:
            tasks |= _tasks_of(plan, arrays[plan.sid], answer.tasks)
    for plan in plans:
        if plan.backend == "slurm":
            continue
        here = backend.BACKENDS[plan.backend].tasks(plan, folder, arrays[plan.sid])
        if here is None:
            silent.append(plan.sid)
        tasks |= {(plan.sid, task.index): task for task in here or []}
    return Answers(tasks, silent)


class RecentAnswer:
    """SLURM's answer about a sweep that is watched: asked again after ASK_SECONDS, or when another
    submission was sent.
    """

    def __init__(self) -> None:
        self._answer: SlurmAnswer | None = None
        self._asked = -math.inf
        self._plans = 0

    def about(self, files: SweepFiles) -> SlurmAnswer:
        """The answer, new if it is time."""
        is_old = time.monotonic() - self._asked >= ASK_SECONDS
        if self._answer is None or is_old or len(files.plans) != self._plans:
            self._answer, self._asked = ask_slurm([files]), time.monotonic()
            self._plans = len(files.plans)
        return self._answer


def without_stuck(answers: Answers) -> Answers:
    """The answers without the tasks that have been completing for too long."""
    tasks = {key: task for key, task in answers.tasks.items() if not task.is_stuck}
    return replace(answers, tasks=tasks)


def ask_slurm(sweeps: Sequence[SweepFiles]) -> SlurmAnswer:
    """Ask SLURM once about the open tasks of all these sweeps.

    The queue forgets ended jobs after minutes, and a controller that was restored from an old state
    forgets others, so tasks that may still run according to accounting are added. It also knows
    since when a requeued task completes. Accounting lags and can be absent; without its answer
    nothing is added.
    """
    names = sorted({name for sweep in sweeps for name in _accepted_names(sweep)})
    queue = slurm.queue(names)
    if queue is None:
        return SlurmAnswer(None)
    queue_names = {task.name for task in queue}
    forgotten = {name for name in names if name not in queue_names}
    without_end = {task.name for task in queue if task.state == "COMPLETING" and not task.has_end}
    accounting = slurm.accounting(sorted(forgotten | without_end)) or []
    live = [task for task in accounting if task.live and task.name in forgotten]
    queue = with_ends(queue, accounting)
    return SlurmAnswer({(task.job, task.index): task for task in [*live, *queue]})


def with_ends(queue: Sequence[slurm.Task], accounting: Sequence[slurm.Task]) -> list[slurm.Task]:
    """The tasks of the queue; those that were requeued and still complete with their end, which
    accounting alone has.
    """
    ends = {}
    for task in accounting:
        if task.state == "REQUEUED":
            ends[task.job, task.index] = task.ended_seconds
    tasks = []
    for task in queue:
        if task.state == "COMPLETING" and not task.has_end:
            task = replace(task, ended_seconds=ends.get((task.job, task.index)))
        tasks.append(task)
    return tasks


def _accepted_names(files: SweepFiles) -> set[str]:
    """Names of the arrays of a sweep that SLURM accepted and that may still run."""
    names = set()
    for plan in files.open_plans:
        if plan.backend == "slurm":
            names |= {array.name for array in files.arrays[plan.sid] if array.job}
    return names


def _tasks_of(
    plan: Plan, arrays: Sequence[Array], slurm_tasks: Mapping[tuple[str, int], slurm.Task]
) -> dict[TaskKey, slurm.Task]:
    """The listed tasks that belong to a plan, by their numbers in it."""
    tasks = {}
    for array in arrays:
        for number in array.numbers:
            task = slurm_tasks.get((array.job or "", array.index(number)))
            if task is not None:
                tasks[plan.sid, number] = task
    return tasks


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
                running = task is not None and task.state == "RUNNING"
                for index in plan.tasks[number]:
                    cell = plan.cells[index]
                    place = Placement(plan.sid, number, cell.attempts + 1, live, running)
                    if cell.id in cancelled[plan.sid]:
                        place = _cancelled(place, records.get(cell.id))
                    placements.setdefault(cell.id, []).append(place)
    return placements


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
