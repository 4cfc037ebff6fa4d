"""What the folder of a sweep has: its plans, the arrays that were sent, its records. Schedulers are
asked about arrays whose acceptance is unknown, and about nothing else.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Mapping, Sequence
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
from launch.status.cell_state import Record

UNANSWERED_SECONDS = 120.0
"""If sbatch got no answer and neither squeue nor sacct shows the submission after this time, it was
never accepted: an sbatch that waits for a slow controller gives up earlier, and accounting lags
only by seconds. A send time this far in the future means that the clock was set back."""

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


@dataclass(frozen=True)
class SweepFiles:
    """What the folder of a sweep has, before its schedulers are asked."""

    folder: Path
    plans: Sequence[Plan]
    arrays: Mapping[str, Sequence[Array]]
    """The arrays of each plan, by its id."""
    runs: pd.DataFrame
    columns: Sequence[str] | None
    """The columns that were asked of the runs; None for all."""
    modified: Sequence[int]
    """When a file was last added before the runs were read; see `modified` below."""

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
class Lookup:
    """A scheduler's answer about arrays whose acceptance is unknown."""

    jobs: Mapping[str, str]
    """The jobs that it knows, by array name."""
    complete: bool
    """False if it may have others."""
    absent: str
    """The error for an array that it never received."""
    certain: bool = False
    """Whether an array that it does not know cannot appear later."""


def read_files(
    folder: Path, *, more_columns: Sequence[str] = (), all_columns: bool = False
) -> SweepFiles:
    """Read the plans, arrays and parts of a sweep. Raises UserError if there is no sweep."""
    plans = load_all(folder) if folder.is_dir() else []
    if not plans:
        raise no_sweep(folder)
    columns = None if all_columns else columns_of(plans)
    return files_of(folder, plans, columns and [*columns, *more_columns])


def files_of(folder: Path, plans: Sequence[Plan], columns: Sequence[str] | None) -> SweepFiles:
    """What the folder has of these plans, with these columns of the runs; None for all."""
    arrays = {plan.sid: _load_arrays(plan, folder) for plan in plans}
    now = modified(folder)
    return SweepFiles(folder, plans, arrays, runs_of(folder, columns), columns, now)


def modified(folder: Path) -> list[int]:
    """When a file was last added or replaced in the folders of the parts and the store."""
    folders = [folder / name for name in ("curves", "runs", "store")]
    return [path.stat().st_mtime_ns for path in folders if path.exists()]


def columns_of(plans: Sequence[Plan]) -> Sequence[str] | None:
    """The columns of the records that a state needs; None for all, which a search may name."""
    return None if any(plan.searches for plan in plans) else RECORD_COLUMNS


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
    if plan.task_searches:
        return False
    return all(has_result(cell, records.get(cell.id)) for cell in plan.cells)


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
    queue, accounting = slurm.queue(names).tasks, slurm.accounting(names)
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
