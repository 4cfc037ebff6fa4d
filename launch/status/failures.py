"""Which failed cells are held back, and which run again with fewer cells per task. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from launch.plan import Launcher, Plan
from launch.plan.markers import SAME_ERROR
from launch.plan.outcome import OUT_OF_MEMORY, error_key, failure_class, last_line
from launch.plan.plan import ran_in
from launch.status.cell_state import Record
from launch.status.sweep_state import SweepState

TasksByCell = Mapping[str, tuple[Plan, int]]
"""Plan and task that each cell last ran in."""


@dataclass(frozen=True)
class HeldBack:
    """Failed cells that are held back because they share an error, and the most frequent error."""

    cells: frozenset[str] = frozenset()
    error: str | None = None


def held_back(cells: Collection[str], state: SweepState, code: str) -> HeldBack:
    """The cells that failed with this code and share their error with several others."""
    failed_records = _failed_records(cells, state)
    codes = _codes(state.runs) if failed_records else {}
    cells_by_error: dict[str, list[str]] = {}
    for cell, record in failed_records.items():
        if codes.get(cell) == code and failure_class(record.error_class).repeats_stop_sweep:
            cells_by_error.setdefault(error_key(last_line(record.error)), []).append(cell)
    shared = [group for group in cells_by_error.values() if len(group) >= SAME_ERROR]
    if not shared:
        return HeldBack()
    most_frequent = max(shared, key=lambda group: len(group))
    example = min(most_frequent)
    return HeldBack(frozenset().union(*shared), last_line(failed_records[example].error))


def _codes(runs: pd.DataFrame) -> dict[str, Any]:
    """The code that each cell of a runs table last ran with."""
    return dict(zip(runs["cell"], runs["code"], strict=True)) if "code" in runs else {}


def _failed_records(cells: Collection[str], state: SweepState) -> dict[str, Record]:
    """The records of the failed ones among the cells."""
    records = {}
    for cell in cells:
        cell_state = state.cells.get(cell)
        if cell_state and cell_state.state == "failed" and cell_state.record:
            records[cell] = cell_state.record
    return records


def out_of_memory_cells(cells: Collection[str], state: SweepState) -> TasksByCell:
    """Cells whose latest attempt ran out of memory or was killed, with their tasks."""
    attempts = {}
    for cell, record in _failed_records(cells, state).items():
        if failure_class(record.error_class).fewer_at_a_time:
            attempts[cell] = record.attempt
    return ran_in(state.plans, attempts) if attempts else {}


def concurrency_limits(tasks: TasksByCell) -> dict[str, int]:
    """Half the earlier concurrency for each cell that lacked memory."""
    limits = {}
    for cell, (plan, task) in tasks.items():
        limits[cell] = max(1, plan.concurrency(task) // 2)
    return limits


def needs_more_memory(tasks: TasksByCell, state: SweepState, launcher: Launcher) -> list[str]:
    """Cells that ran out of memory on their own, and would not get more from this launcher."""
    cells = []
    for cell, (plan, task) in tasks.items():
        has_own_task = plan.concurrency(task) == 1
        if has_own_task and plan.launcher == launcher and _raised_out_of_memory(cell, state):
            cells.append(cell)
    return sorted(cells)


def _raised_out_of_memory(cell: str, state: SweepState) -> bool:
    record = state.cells[cell].record
    return record is not None and record.error_class == OUT_OF_MEMORY.name
