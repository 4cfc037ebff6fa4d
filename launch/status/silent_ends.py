"""Tasks that ended without a result of their cells, and left no error of them: what their output
says.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from launch.plan import Plan, markers
from launch.plan.outcome import FINAL, LIVE, PREEMPTED, TIMEOUT, last_line
from launch.status.cell_state import CellState, Record, TaskKey
from launch.status.sweep_state import SweepState

MOST_OUTPUTS = 20
"""At most this many outputs are read: tasks that die at their start mostly share the cause."""

TAIL_BYTES = 8000

_SRUN_EXIT = re.compile(r"^srun: error: .*Exited with exit code \d+\n?", re.MULTILINE)
"""What srun writes below the last line of a task that fails."""


@dataclass(frozen=True)
class SilentEnd:
    """Cells whose task ended without a result of them, and the line of its output that names the
    error; the line is empty if the task wrote nothing.
    """

    cells: Sequence[str]
    line: str

    @property
    def cause(self) -> str:
        """What the output says, for a sentence about the task."""
        if self.line:
            return f"its output ends with: {self.line}"
        return "it wrote no output: removed from the queue, or the scheduler could not start it"


def silent_ends(state: SweepState) -> list[SilentEnd]:
    """The cells whose newest task ended without a result or an error, by what its output says.

    Reads at most MOST_OUTPUTS outputs; the cells of other tasks are left out.
    """
    by_task: dict[TaskKey, list[str]] = {}
    not_started = set(not_started_cells(state))
    for cell in state.cells.values():
        if cell.id not in not_started and ended_silently(state, cell):
            by_task.setdefault(cell.placement.key, []).append(cell.id)
    by_line: dict[str, list[str]] = {}
    for (sid, task), cells in list(by_task.items())[:MOST_OUTPUTS]:
        by_line.setdefault(output_line(state, sid, task), []).extend(cells)
    ends = [SilentEnd(cells, line) for line, cells in by_line.items()]
    return sorted(ends, key=lambda end: -len(end.cells))


def not_started_cells(state: SweepState) -> list[str]:
    """Ids of the cells that were not started because cells of their submission share an error."""
    stopped = set()
    for plan in state.plans:
        if markers.RepeatedErrors(plan.folder(state.folder)).stopped_by() is not None:
            stopped.add(plan.sid)
    cells = []
    for cell in state.cells.values():
        never_began = cell.state == "missing" and cell.record is None
        if never_began and cell.placement.sid in stopped:
            cells.append(cell.id)
    return cells


def ended_silently(state: SweepState, cell: CellState) -> bool:
    """Whether the newest task of a cell was sent and ended, and left no result or error of it.

    A record that still says "running" is that of a process that was killed, or of a lost node. A
    task that stops for a preemption or its time limit should have been requeued.
    """
    place = cell.placement
    if cell.state in (*FINAL, *LIVE) or place.cancelled:
        return False
    record = cell.record
    is_of_task = record is not None and record.attempt >= place.attempt
    if is_of_task and record is not None and not _should_go_on(record):
        return False
    return was_sent(state, place.sid, place.task)


def _should_go_on(record: Record) -> bool:
    """Whether a record is one that another attempt of the same task should have followed."""
    return record.status == "running" or record.error_class in (PREEMPTED.name, TIMEOUT.name)


def was_sent(state: SweepState, sid: str, task: int) -> bool:
    """Whether the scheduler accepted a task."""
    for array in state.arrays.get(sid, ()):
        if task in array.numbers:
            return array.delivery == "sent"
    return False


def output_line(state: SweepState, sid: str, task: int) -> str:
    """The line of a task's output that names its error, or the last one; empty without output."""
    path = newest_output(state.plan_by_sid[sid], state.folder, state.job_id(sid, task))
    if path is None:
        return ""
    with open(path, "rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
        return last_line(_SRUN_EXIT.sub("", file.read().decode(errors="replace")))


def newest_output(plan: Plan, folder: Path, job: str | None) -> Path | None:
    """The newest file that a task wrote its output to, one with content if any; None without one.

    `job` is the SLURM id of the task ("5_3"), None for a task outside SLURM.
    """
    paths = (plan.folder(folder) / "output").glob(f"{job}_*" if job else "*")
    times = {}
    for path in paths:
        status = path.stat()
        times[path] = (status.st_size > 0, status.st_mtime)
    return max(times, key=lambda path: times[path], default=None)
