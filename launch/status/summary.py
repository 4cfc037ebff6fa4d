"""An observation of a sweep -> the numbers of its status: states, hours spent and left, expected
end. Pure.
"""

from __future__ import annotations

import functools
import heapq
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from launch.cost import rates
from launch.plan import Plan
from launch.plan.launcher import Occupancy
from launch.plan.outcome import FINAL, LIVE, STATES, last_line
from launch.status import cell_state
from launch.status.sweep_state import SweepState


@dataclass(frozen=True)
class Line:
    """A line of the status table: a state, how many cells are in it, and what SLURM or the records
    add (`detail`).
    """

    state: str
    detail: str
    cells: int


@dataclass(frozen=True)
class Failure:
    """Cells that failed in one way: class, last line of the traceback, ids."""

    kind: str
    error: str
    cells: Sequence[str]


@dataclass(frozen=True)
class Summary:
    """The status of a sweep in numbers. Hours are GPU-hours or core-hours, as `unit` says."""

    lines: Sequence[Line]
    failures: Sequence[Failure]
    unit: str
    spent: float
    left: float
    unmeasured: int
    """Cells still to be done whose time is not known, and which `left` does not count."""
    end: float | None
    """Seconds until the tasks in the queue will be over, if as many go on running as do now; None
    where not known.
    """
    unknown: str
    """Why `end` is None; empty where nothing is under way."""


def summarise(seen: SweepState, measured: pd.DataFrame, cores: int) -> Summary:
    """The summary of an observation; `measured` is a runs table to take seconds per epoch from, and
    `cores` the number of cells that a local worker trains side by side where its plan leaves that
    open."""
    left = _left(seen, measured)
    plans = {made.sid: made for made in seen.plans}
    share = _shares(seen)
    units = Counter(share[found.id].unit for found in seen.cells.values())
    recorded = "gpu_seconds" in seen.runs and bool((seen.runs["gpu_seconds"] > 0).any())
    unit = "GPU-hours" if recorded else units.most_common(1)[0][0]
    hours = {cell: share[found.id].amount / 3600 for cell, found in seen.cells.items()}
    todo = {cell: left[cell] for cell, found in seen.cells.items() if found.state not in FINAL}
    known = {cell: seconds for cell, seconds in todo.items() if seconds == seconds}
    end, unknown = _end(seen, plans, left, cores)
    return Summary(
        lines=_lines(seen), failures=failures(seen), unit=unit, spent=_spent(seen.runs, hours, unit, units),
        left=sum(seconds * hours[cell] for cell, seconds in known.items()), unmeasured=len(todo) - len(known),
        end=end, unknown=unknown,
    )  # fmt: skip


def hours_committed(seen: SweepState, measured: pd.DataFrame) -> float | None:
    """GPU-hours spent, and still to come from cells that are under way; None where the time of one
    is not known.
    """
    gpus = _shares(seen)
    left = _left(seen, measured)
    seconds = (
        dict(zip(seen.runs["cell"], seen.runs["seconds"].fillna(0.0), strict=True))
        if "seconds" in seen.runs
        else {}
    )
    total = 0.0
    for cell in seen.cells.values():
        takes = gpus[cell.id]
        if takes.unit == "GPU-hours":
            coming = left[cell.id] if cell.state in LIVE else 0.0
            total += (seconds.get(cell.id, 0.0) + coming) * takes.amount / 3600
    return total if total == total else None


def failures(seen: SweepState) -> list[Failure]:
    """Failed cells by class and last line of their traceback, the largest group first."""
    groups: dict[tuple[str, str], list[str]] = {}
    for cell in seen.cells.values():
        if cell.state == "failed" and cell.record:
            groups.setdefault(
                (cell.record.error_class or "error", last_line(cell.record.error)), []
            ).append(cell.id)
    ordered = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    return [Failure(kind, error, cells) for (kind, error), cells in ordered]


def _lines(seen: SweepState) -> list[Line]:
    """In the order of `state.STATES`, preempted cells after the waiting ones; within a state the
    most cells first.
    """
    counts = Counter(_line(seen, cell) for cell in seen.cells.values())
    order: list[str] = [*STATES]
    order.insert(order.index("waiting") + 1, "preempted")
    ranked = sorted(
        counts.items(), key=lambda item: (order.index(item[0][0]), -item[1], item[0][1])
    )
    return [Line(name, detail, count) for (name, detail), count in ranked]


def _line(seen: SweepState, cell: cell_state.CellState) -> tuple[str, str]:
    """The state under which a cell is counted, and its detail."""
    task = seen.tasks.get((cell.placement.sid, cell.placement.task))
    if cell.state == "waiting":
        stopped = cell.record is not None and (cell.record.status, cell.record.error_class) == (
            "stopped",
            "preempted",
        )
        name = "preempted" if stopped else "waiting"
        if task is None or task.state == "RUNNING":
            return name, "its task runs"
        return name, task.reason if task.reason not in ("", "None") else task.state.lower()
    if cell.state == "interrupted" and cell.placement.cancelled:
        return cell.state, "cancelled"
    if cell.state in ("failed", "interrupted"):
        return cell.state, (cell.record.error_class if cell.record else None) or ""
    return cell.state, ""


def _shares(seen: SweepState) -> Mapping[str, Occupancy]:
    """What every cell occupies in the task that it was last given to."""
    plans = {made.sid: made for made in seen.plans}

    @functools.cache
    def of(sid: str, at_a_time: int | None) -> Occupancy:
        return plans[sid].launcher.occupancy(at_a_time)

    places = {cell: found.placement for cell, found in seen.cells.items()}
    return {
        cell: of(place.sid, plans[place.sid].at_a_time(place.task))
        for cell, place in places.items()
    }


def _left(seen: SweepState, measured: pd.DataFrame) -> Mapping[str, float]:
    """Expected seconds that every cell has still to train, NaN where not known."""
    times = rates.left(seen.runs, seen.runs, measured)
    return dict(zip(seen.runs["cell"], times, strict=True))


def _spent(
    runs: pd.DataFrame, hours: Mapping[str, float], unit: str, units: Mapping[str, int]
) -> float:
    if "seconds" not in runs:
        return 0.0
    if (
        unit == "GPU-hours" and unit not in units
    ):  # a GPU of this machine, which no launcher asked for
        return float(runs["gpu_seconds"].sum()) / 3600
    return float((runs["seconds"].fillna(0.0) * runs["cell"].map(hours).fillna(0.0)).sum())


def _end(
    seen: SweepState, plans: Mapping[str, Plan], left: Mapping[str, float], cores: int
) -> tuple[float | None, str]:
    """Each task's time is that of its cells over the cells at a time; the waiting ones follow on
    the running ones.
    """
    loads: dict[tuple[str, int], list[float]] = {}
    for cell in seen.cells.values():
        if cell.state in LIVE:
            loads.setdefault((cell.placement.sid, cell.placement.task), []).append(left[cell.id])
    if not loads:
        return None, ""
    running = {key for key in loads if key in seen.tasks and seen.tasks[key].state == "RUNNING"}
    if not running:
        return None, "no task runs now"
    unmeasured = sum(seconds != seconds for load in loads.values() for seconds in load)
    if unmeasured:
        return None, f"nothing like {unmeasured} of the cells was measured"
    times = {
        key: max(*load, sum(load) / (plans[key[0]].at_a_time(key[1]) or cores))
        for key, load in loads.items()
    }
    busy = [times[key] for key in running]
    heapq.heapify(busy)
    for key in loads:
        if key not in running:
            heapq.heapreplace(busy, busy[0] + times[key])
    return max(busy), ""
