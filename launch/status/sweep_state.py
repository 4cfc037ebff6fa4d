"""A sweep as it stands: its plans and what was sent of them, its parts, and each scheduler's word,
asked once.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from analysis import store
from launch.errors import UserError
from launch.plan import Plan, jobs, markers, plan
from launch.plan.jobs import Array
from launch.plan.outcome import FINAL
from launch.scheduler import backend, slurm
from launch.status import cell_state

UNANSWERED_SECONDS = 120.0
"""After this long without a trace in squeue and sacct, a submission whose answer was lost was never
accepted: an sbatch that blocks on a slow controller gives up before, and accounting lags by seconds
only. A time of sending that lies as far ahead is that of a clock which was set back since."""


@dataclass(frozen=True)
class SweepState:
    """A sweep as it stands: its plans, what was sent of them, and the state of every cell."""

    folder: Path
    plans: Sequence[Plan]
    arrays: Mapping[str, Sequence[Array]]
    cells: Mapping[str, cell_state.CellState]
    runs: pd.DataFrame
    silent: Sequence[str]
    """Submissions whose scheduler gave no answer."""
    tasks: Mapping[tuple[str, int], slurm.Task]
    """What the scheduler says of a task, by submission and number of the task; absent where it
    knows nothing.
    """
    lost_nodes: frozenset[str] = frozenset()
    """Nodes that lost a task or on which processes die whatever they are given, a short while
    ago.
    """


def load_sweep_state(folder: Path) -> SweepState:
    """Read plans and parts, ask each scheduler once, and fold them. Raises UserError for a folder
    without a sweep.
    """
    plans = plan.load_all(folder) if folder.is_dir() else []
    if not plans:
        raise UserError(f"{folder}: no submitted sweep there; `redescent submit NAME` makes one")
    arrays = {made.sid: _settled(made, folder) for made in plans}
    runs = store.runs(folder)
    records = records_of(runs)
    open_plans = [
        p for p in plans if not all(_is_over(records.get(cell.id), cell) for cell in p.cells)
    ]
    known, silent = _ask(open_plans, folder, arrays)
    tasks = _located(plans, arrays, known)
    cells = cell_state.cell_states(
        _placements(folder, plans, arrays, tasks, silent, records), records
    )
    lost = {
        task.node
        for task in known.values()
        if task.state in ("NODE_FAIL", "BOOT_FAIL") and task.node
    }
    lost = lost.union(*(markers.bad_nodes(p.folder(folder)) for p in open_plans))
    found = {cell.id: cell for cell in cells}
    return SweepState(folder, plans, arrays, found, runs, silent, tasks, frozenset(lost))


def runs_of(folder: Path) -> pd.DataFrame:
    """The runs table, empty where nothing was planned or logged yet."""
    known = ("runs/*.parquet", "store/runs-*.parquet", "submissions/*/plan.json")
    return (
        store.runs(folder)
        if any(any(folder.glob(pattern)) for pattern in known)
        else pd.DataFrame()
    )


def records_of(runs: pd.DataFrame) -> dict[str, cell_state.Record]:
    """The newest record of every cell in a runs table; none for a cell that never started."""
    if runs.empty:
        return {}
    wanted = runs[runs["status"] != "missing"].reindex(
        columns=["cell", "status", "attempt", "error_class", "error"]
    )
    rows = wanted.astype(object).where(wanted.notna(), None)
    return {cell: cell_state.Record(*rest) for cell, *rest in rows.itertuples(index=False)}


def job_of(seen: SweepState, sid: str, number: int) -> str | None:
    """The SLURM id ("5_3") of a task of a submission; None outside SLURM, and where it was never
    accepted.
    """
    for array in seen.arrays[sid]:
        if number in array.numbers:
            return array.job_id(number)
    return None


def is_final(record: cell_state.Record | None) -> bool:
    """Whether a cell with this record needs no further run."""
    return record is not None and record.status in FINAL


def _is_over(record: cell_state.Record | None, cell: plan.PlannedCell) -> bool:
    """Whether a cell has its result from this plan or a later one; a calibration is repeated though
    it is done.
    """
    return record is not None and is_final(record) and record.attempt > cell.attempts


def _settled(made: Plan, folder: Path) -> list[Array]:
    """The arrays of a plan; one whose answer was lost is looked up by its job name."""
    arrays = jobs.read(made, folder)
    if all(array.delivery != "pending" for array in arrays):
        return arrays
    if made.backend != "slurm":
        return [_settled_here(made, folder, array) for array in arrays]
    names = [a.name for a in arrays if a.delivery == "pending"]
    found = slurm.queue(names), slurm.accounting(names)
    by_name = {task.name: task.job for answer in found for task in answer or []}
    sure = (
        found[0] is not None and abs(time.time() - min(a.sent for a in arrays)) > UNANSWERED_SECONDS
    )
    return [
        a
        if a.delivery != "pending"
        else replace(
            a,
            job=by_name.get(a.name),
            error=None if a.name in by_name or not sure else jobs.NEVER_SENT,
        )
        for a in arrays
    ]


def _settled_here(made: Plan, folder: Path, array: Array) -> Array:
    """A worker of this machine names itself when it starts; one that has not done so by now never
    will.
    """
    if markers.local_worker(made.folder(folder)) is not None:
        return replace(array, job="local")
    return (
        replace(array, error=jobs.NEVER_STARTED)
        if abs(time.time() - array.sent) > UNANSWERED_SECONDS
        else array
    )


def _ask(
    plans: Sequence[Plan], folder: Path, arrays: Mapping[str, Sequence[Array]]
) -> tuple[dict[tuple[str, int], slurm.Task], list[str]]:
    """Tasks by (job, index) that some scheduler knows, and the submissions of which none would
    speak.
    """
    known: dict[tuple[str, int], slurm.Task] = {}
    silent: list[str] = []
    batch = [p for p in plans if p.backend == "slurm"]
    names = sorted({a.name for p in batch for a in arrays[p.sid] if a.job})
    answer = slurm.queue(names) if names else []
    if answer is None:
        silent += [p.sid for p in batch]
    known |= {(task.job, task.index): task for task in [*_doubted(names, answer), *(answer or [])]}
    for made in (p for p in plans if p.backend != "slurm"):
        tasks = backend.BACKENDS[made.backend].tasks(made, folder, arrays[made.sid])
        if tasks is None:
            silent.append(made.sid)
        known |= {(made.sid, task.index): task for task in tasks or []}
    return known, silent


def _doubted(names: Sequence[str], answer: Sequence[slurm.Task] | None) -> list[slurm.Task]:
    """Tasks of arrays that the queue does not list at all, if accounting says that they may still
    run.

    The queue forgets ended jobs after minutes, and a controller that was restored from an old state
    forgets others. Accounting lags and can be absent: no answer of it changes nothing.
    """
    listed = {task.name for task in answer or []}
    gone = [name for name in names if name not in listed]
    return (
        [task for task in slurm.accounting(gone) or [] if task.live] if answer is not None else []
    )


def _located(
    plans: Sequence[Plan],
    arrays: Mapping[str, Sequence[Array]],
    known: Mapping[tuple[str, int], slurm.Task],
) -> dict[tuple[str, int], slurm.Task]:
    """The tasks that the scheduler knows, by submission and number of the task in its plan."""
    located = {}
    for made in plans:
        for array in arrays[made.sid]:
            job = array.job if made.backend == "slurm" else made.sid
            for number in array.numbers:
                task = known.get((job or "", array.index(number)))
                if task is not None:
                    located[made.sid, number] = task
    return located


def _placements(
    folder: Path, plans: Sequence[Plan], arrays: Mapping[str, Sequence[Array]],
    tasks: Mapping[tuple[str, int], slurm.Task], silent: Iterable[str], records: Mapping[str, cell_state.Record],
) -> dict[str, list[cell_state.Placement]]:  # fmt: skip
    placements: dict[str, list[cell_state.Placement]] = {}
    quiet = set(silent)
    for made in plans:
        gone = markers.cancelled_cells(made.folder(folder))
        for array in arrays[made.sid]:
            for number in array.numbers:
                task = tasks.get((made.sid, number))
                live, runs = (
                    may_run(array, task, made.sid in quiet),
                    task is not None and task.state == "RUNNING",
                )
                for index in made.tasks[number]:
                    cell = made.cells[index]
                    place = cell_state.Placement(
                        made.sid, number, cell.attempts + 1, live, runs, cell.id in gone
                    )
                    if place.cancelled and not (runs and _training(records.get(cell.id), place)):
                        place = replace(place, live=False)
                    placements.setdefault(cell.id, []).append(place)
    return placements


def _training(record: cell_state.Record | None, place: cell_state.Placement) -> bool:
    """Whether the record is that of a cell in the midst of its training in this place."""
    return record is not None and record.status == "running" and record.attempt >= place.attempt


def may_run(array: Array, task: slurm.Task | None, silent: bool) -> bool | None:
    """Whether a task of an array may still run, by the scheduler's word of it; None where there was
    no answer.
    """
    if array.delivery == "refused":
        return False
    if array.delivery == "pending" or silent:
        return None
    return task is not None and task.live
