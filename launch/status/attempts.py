"""The attempts at one cell, from the plans, the scheduler's accounting and the cell's records."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis import store
from launch.plan.outcome import FINAL
from launch.scheduler import slurm
from launch.scheduler.slurm import Execution
from launch.status.sweep_state import SweepState


@dataclass(frozen=True)
class RunRecord:
    """The newest record of an attempt."""

    attempt: int
    status: str
    error_class: str | None
    host: str
    updated: float | None
    """The Unix time of the record."""
    epochs: int | None
    """How many epochs are logged; None if none is."""
    steps: int | None
    """How many steps are logged; None if none is."""
    is_final: bool = True
    """False if the attempt ended without a final record: its process was killed, or its node was
    lost.
    """

    @property
    def ending(self) -> str:
        """How the attempt ended, by its record."""
        if not self.is_final:
            return "no final record: killed, or its node was lost"
        return f"{self.status} ({self.error_class})" if self.error_class else self.status

    @property
    def progress(self) -> str:
        """The last logged epoch and step."""
        counts = {"epoch": self.epochs, "step": self.steps}
        return ", ".join(f"{name} {count}" for name, count in counts.items() if count is not None)


@dataclass(frozen=True)
class CellPlacement:
    """The task of a submission that held a cell."""

    sid: str
    first_attempt: int
    """The number of the first attempt at the cell there."""
    job: str
    """The SLURM id of the task; empty outside SLURM."""


@dataclass(frozen=True)
class Attempt:
    """One attempt at a cell: its task's execution in accounting, and the cell's record."""

    number: int
    sid: str
    execution: Execution
    record: RunRecord | None

    @property
    def node(self) -> str:
        """The node that it ran on; empty if unknown."""
        return self.execution.node or (self.record.host if self.record else "")

    @property
    def start(self) -> str:
        """When it started, as accounting says; empty if unknown."""
        return self.execution.start

    @property
    def end(self) -> str:
        """When it ended; without accounting, the time of its last record."""
        if self.execution.end or self.record is None or not self.record.updated:
            return self.execution.end
        return time.strftime("%FT%T", time.localtime(self.record.updated))

    @property
    def ending(self) -> str:
        """How it ended, by its record and by SLURM."""
        parts = []
        if self.record is not None:
            parts.append(self.record.ending)
        elif self.execution.start:
            parts.append("no record: it wrote none")
        elif self.execution.state or not self.execution.job:
            parts.append("no record: not started")
        if self.execution.state:
            code = "" if self.execution.exit == "0:0" else f" {self.execution.exit}"
            parts.append(f"SLURM: {self.execution.state}{code}")
        return "; ".join(parts)

    @property
    def progress(self) -> str:
        """The last epoch and step that it logged."""
        return self.record.progress if self.record else ""


def attempts(state: SweepState, cell: str) -> list[Attempt]:
    """The attempts at a cell, oldest first; accounting is queried once."""
    placements = placements_of(state, cell)
    executions = slurm.history([place.job for place in placements if place.job]) or []
    records = load_records(state.folder, cell, is_open=_is_open(state, cell))
    finals = [record.attempt for record in records if record.status in FINAL]
    in_accounting = from_accounting(placements, executions, finals)
    return from_records(in_accounting, records, placements)


def _is_open(state: SweepState, cell: str) -> bool:
    """Whether a cell runs, or is suspended while it does."""
    task = state.task_of(state.cells[cell])
    is_suspended = task is not None and task.state == "SUSPENDED"
    return is_suspended or state.cells[cell].state == "running"


def load_records(folder: Path, cell: str, is_open: bool) -> list[RunRecord]:
    """The newest record of each attempt at a cell, oldest attempt first.

    A record that says "running" is not final, unless it is the last one and the cell is open.
    """
    rows = store.records(folder, cell)
    records = []
    for number, row in enumerate(rows, 1):
        is_last = is_open and number == len(rows)
        records.append(_record(row, is_final=is_last or row["status"] != "running"))
    return records


def _record(row: Mapping[str, Any], is_final: bool) -> RunRecord:
    return RunRecord(
        attempt=row["attempt"],
        status=row["status"],
        error_class=row.get("error_class"),
        host=str(row.get("host") or ""),
        updated=row.get("updated"),
        epochs=row.get("epochs"),
        steps=row.get("steps"),
        is_final=is_final,
    )


def placements_of(state: SweepState, cell: str) -> list[CellPlacement]:
    """The tasks that contained a cell and were not refused, in the order of the submissions."""
    placements = []
    for plan in state.plans:
        refused: set[int] = set()
        for array in state.arrays[plan.sid]:
            if array.delivery == "refused":
                refused.update(array.numbers)
        for number, task in enumerate(plan.tasks):
            for index in task:
                planned_cell = plan.cells[index]
                if planned_cell.id == cell and number not in refused:
                    job = state.job_id(plan.sid, number) or ""
                    placements.append(CellPlacement(plan.sid, planned_cell.attempts + 1, job))
    return placements


def from_accounting(
    placements: Sequence[CellPlacement],
    executions: Sequence[Execution],
    finals: Sequence[int] = (),
) -> list[Attempt]:
    """One attempt per execution of each task; a task without executions counts as one attempt.

    A requeue starts a new execution, which is the next attempt, unless the cell had its result
    before: then it trained the other cells of the task. `finals` are the attempts with a result.
    """
    attempts = {}
    for place in placements:
        of_task = [execution for execution in executions if execution.job == place.job]
        results = [number for number in finals if number >= place.first_attempt]
        if results:
            of_task = of_task[: min(results) - place.first_attempt + 1]
        for restart, execution in enumerate(of_task or [Execution(job=place.job)]):
            if restart == 0 or execution.state:
                number = place.first_attempt + restart
                attempts[number] = Attempt(number, place.sid, execution, None)
    return [attempts[number] for number in sorted(attempts)]


def from_records(
    attempts: Sequence[Attempt],
    records: Sequence[RunRecord],
    placements: Sequence[CellPlacement],
) -> list[Attempt]:
    """The attempts with their records, and those that only a record shows.

    Accounting may not answer, or may have forgotten an attempt. The attempt then belongs to the
    newest submission that could have started it.
    """
    by_number = {attempt.number: attempt for attempt in attempts}
    for record in records:
        attempt = by_number.get(record.attempt)
        sid = attempt.sid if attempt else _submission_of(record.attempt, placements)
        execution = attempt.execution if attempt else Execution()
        by_number[record.attempt] = Attempt(record.attempt, sid, execution, record)
    return [by_number[number] for number in sorted(by_number)]


def _submission_of(attempt: int, placements: Sequence[CellPlacement]) -> str:
    earlier = [place for place in placements if place.first_attempt <= attempt]
    newest = max(earlier, key=lambda place: place.first_attempt, default=None)
    return newest.sid if newest else ""
