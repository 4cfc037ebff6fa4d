"""The numbers of a sweep's status: states, hours spent and left, expected end. Pure."""

from __future__ import annotations

import functools
import heapq
import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from launch.cost import rates
from launch.errors import quantity
from launch.plan.launcher import Occupancy
from launch.plan.outcome import CANCELLED, FINAL, LIVE, PREEMPTED, STATES, error_key, last_line
from launch.scheduler.slurm import Task
from launch.status.cell_state import CellState, Record, TaskKey
from launch.status.sweep_state import SweepState, trained_again


@dataclass(frozen=True)
class Line:
    """A row of the status table: cells in one state, with a detail from SLURM or the records."""

    state: str
    detail: str
    cells: int


@dataclass(frozen=True)
class Failure:
    """Cells that failed in one way: class, last line of the first one's traceback, ids."""

    kind: str
    error: str
    cells: Sequence[str]


@dataclass(frozen=True)
class Summary:
    """The status of a sweep in numbers. Hours are GPU-hours or core-hours, as `unit` says."""

    lines: Sequence[Line]
    failures: Sequence[Failure]
    unit: str
    hours_spent: float
    hours_left: float
    unmeasured: int
    """Unfinished cells of unknown time; `hours_left` does not count them."""
    end: float | None
    """Seconds until the queue is empty, if as many tasks keep running as now; None if unknown."""
    unknown: str
    """Why `end` is None; empty if nothing runs or waits."""


def summarise(state: SweepState, timed_runs: pd.DataFrame) -> Summary:
    """The numbers of a sweep's state.

    `timed_runs` is a runs table to estimate seconds per epoch from. Hours are those of cells whose
    hours have the summary's unit.
    """
    remaining = _remaining_seconds(state, timed_runs)
    unit, occupancy = _hours_of_cells(state)
    unfinished = [cell.id for cell in state.cells.values() if cell.state not in FINAL]
    measured_cells = [cell for cell in unfinished if not math.isnan(remaining[cell])]
    seconds_left = {cell: remaining[cell] for cell in measured_cells}
    end, unknown = _end(state, remaining)
    return Summary(
        lines=_lines(state),
        failures=failures(state),
        unit=unit,
        hours_spent=_hours(_spent_seconds(state), occupancy, unit),
        hours_left=_hours(seconds_left, occupancy, unit),
        unmeasured=len(unfinished) - len(measured_cells),
        end=end,
        unknown=unknown,
    )


def hours_committed(state: SweepState, timed_runs: pd.DataFrame) -> float | None:
    """GPU-hours spent, plus those of running and queued cells; None if unknown."""
    if not state.cells:
        return 0.0
    occupancy = _occupancy(state)
    remaining = _remaining_seconds(state, timed_runs)
    seconds_spent = _spent_seconds(state)
    again = set(trained_again(state).may_run)
    total = 0.0
    for cell in state.cells.values():
        if occupancy[cell.id].unit == "GPU-hours":
            coming = remaining[cell.id] if cell.state in LIVE else 0.0
            if cell.id in again:  # it takes as long as it took
                coming = seconds_spent.get(cell.id, 0.0)
            seconds = seconds_spent.get(cell.id, 0.0) + coming
            total += seconds * occupancy[cell.id].amount / 3600
    return None if math.isnan(total) else total


def failures(state: SweepState) -> list[Failure]:
    """Failed cells by class and error, the largest group first."""
    groups: dict[tuple[str, str], list[str]] = {}
    lines: dict[tuple[str, str], str] = {}
    for cell in state.cells.values():
        if cell.state == "failed" and cell.record:
            line = last_line(cell.record.error)
            key = (cell.record.error_class or "error", error_key(line))
            groups.setdefault(key, []).append(cell.id)
            lines.setdefault(key, line)
    largest_first = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    return [Failure(key[0], lines[key], cells) for key, cells in largest_first]


def percent(share: float) -> int:
    """A share in percent, rounded down: 100 is the whole."""
    return math.floor(100 * share + 1e-9)  # 100 * 0.29 is 28.999999999999996


def share_done(runs: pd.DataFrame) -> float:
    """The share of the planned training that is done, 0 to 1; a cell with a result counts whole.

    `runs` is a runs table with at least one cell.
    """
    has_result = runs["status"].isin(FINAL)  # perhaps before its planned end
    share = (rates.logged(runs) / rates.planned_length(runs)).clip(0, 1).fillna(0.0)
    return float(share.where(~has_result, 1.0).mean())


def _lines(state: SweepState) -> list[Line]:
    """In the order of STATES, preempted cells after the waiting ones; then the most cells first."""
    order: list[str] = [*STATES]
    order.insert(order.index("waiting") + 1, "preempted")
    counts = Counter(shown_state(state, cell) for cell in state.cells.values())
    lines = [Line(name, detail, count) for (name, detail), count in counts.items()]
    return sorted(lines, key=lambda line: (order.index(line.state), -line.cells, line.detail))


def shown_state(state: SweepState, cell: CellState) -> tuple[str, str]:
    """The state under which a cell is counted, and its detail."""
    if cell.state == "waiting":
        task = state.task_of(cell)
        return _waiting_name(cell.record), _waiting_reason(task)
    if cell.state in ("interrupted", "missing") and _was_cancelled(state, cell):
        return cell.state, CANCELLED.name
    if cell.state in ("failed", "interrupted") and cell.record:
        return cell.state, cell.record.error_class or ""
    return cell.state, ""


def _was_cancelled(state: SweepState, cell: CellState) -> bool:
    """Whether `redescent cancel` ended the cell, or scancel its whole task."""
    task = state.task_of(cell)
    return cell.placement.cancelled or (task is not None and task.state == "CANCELLED")


def _waiting_name(record: Record | None) -> str:
    if record is None or record.status != "stopped":
        return "waiting"
    return "preempted" if record.error_class == PREEMPTED.name else "waiting"


def _waiting_reason(task: Task | None) -> str:
    """Why a waiting cell does not train yet."""
    if task is None or task.state == "RUNNING":
        return "its task runs"
    return task.state.lower() if task.reason in ("", "None") else task.reason


def _hours_of_cells(state: SweepState) -> tuple[str, Mapping[str, Occupancy]]:
    """The unit of the sweep's hours, and what each cell occupies: GPU-hours if a run recorded the
    use of a GPU, else the unit of most cells.
    """
    occupancy = _occupancy(state)
    units = Counter(occupancy[cell].unit for cell in state.cells)
    gpu_seconds = state.runs["gpu_seconds"].sum() if "gpu_seconds" in state.runs else 0.0
    if gpu_seconds == 0:
        return units.most_common(1)[0][0], occupancy
    if "GPU-hours" not in units:
        # a GPU of this machine, which no launcher requested
        share = gpu_seconds / state.runs["seconds"].sum()
        occupancy = dict.fromkeys(state.cells, Occupancy("GPU-hours", share))
    return "GPU-hours", occupancy


def _occupancy(state: SweepState) -> Mapping[str, Occupancy]:
    """What each cell occupies in its newest task."""
    plans = state.plan_by_sid

    @functools.cache
    def of_task(sid: str, concurrency: int | None) -> Occupancy:
        return plans[sid].launcher.occupancy(concurrency)

    occupancy = {}
    for cell in state.cells.values():
        place = cell.placement
        occupancy[cell.id] = of_task(place.sid, plans[place.sid].planned_concurrency(place.task))
    return occupancy


def _remaining_seconds(state: SweepState, timed_runs: pd.DataFrame) -> Mapping[str, float]:
    """Expected seconds that each cell still has to train; NaN if unknown."""
    times = rates.remaining_seconds(state.runs, state.runs, timed_runs)
    return dict(zip(state.runs["cell"], times, strict=True))


def _spent_seconds(state: SweepState) -> Mapping[str, float]:
    """Seconds that every cell has trained."""
    if "seconds" not in state.runs:
        return {}
    return dict(zip(state.runs["cell"], state.runs["seconds"].fillna(0.0), strict=True))


def _hours(seconds: Mapping[str, float], occupancy: Mapping[str, Occupancy], unit: str) -> float:
    """Hours that cells occupy in these seconds; cells of another unit do not count."""
    hours = 0.0
    for cell, duration in seconds.items():
        if cell in occupancy and occupancy[cell].unit == unit:
            hours += duration * occupancy[cell].amount / 3600
    return hours


def _end(state: SweepState, remaining: Mapping[str, float]) -> tuple[float | None, str]:
    """Seconds until the queue is empty, or why this is unknown.

    A task takes the time of its cells divided by its concurrency; waiting tasks start when running
    ones end.
    """
    loads: dict[TaskKey, list[float]] = {}
    for cell in state.cells.values():
        if cell.state in LIVE:
            loads.setdefault(cell.placement.key, []).append(remaining[cell.id])
    if not loads:
        return None, ""
    running = {key for key in loads if key in state.tasks and state.tasks[key].state == "RUNNING"}
    if not running:
        return None, "no task runs now"
    unmeasured = sum(math.isnan(seconds) for load in loads.values() for seconds in load)
    if unmeasured:
        return None, f"no similar run was measured for {quantity(unmeasured, 'cell')}"
    return _end_of_queue(_task_times(state, loads), running), ""


def _task_times(
    state: SweepState, loads: Mapping[TaskKey, Sequence[float]]
) -> dict[TaskKey, float]:
    times = {}
    for (sid, number), load in loads.items():
        concurrency = state.plan_by_sid[sid].concurrency(number)
        times[sid, number] = max(*load, sum(load) / concurrency)
    return times


def _end_of_queue(times: Mapping[TaskKey, float], running: Collection[TaskKey]) -> float:
    """When the last task ends if as many tasks keep running as now."""
    ends = [times[key] for key in running]
    heapq.heapify(ends)
    for key, seconds in times.items():
        if key not in running:
            heapq.heapreplace(ends, ends[0] + seconds)
    return max(ends)
