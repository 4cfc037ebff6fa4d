"""The state of every cell, from plans, records and the scheduler's answer. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from launch.plan.outcome import FINAL, State

TaskKey = tuple[str, int]
"""A task: its submission, and its number in the plan."""


@dataclass(frozen=True)
class Record:
    """The newest record of a cell in the parts."""

    status: str
    attempt: int
    error_class: str | None = None
    error: str | None = None


@dataclass(frozen=True)
class Placement:
    """Where a plan put a cell, and the state of its task there."""

    sid: str
    task: int
    attempt: int
    """The number of the first attempt at the cell there."""
    live: bool | None
    """Whether the task may still run; None if the scheduler does not answer."""
    running: bool = False
    """Whether the task has processes; a queued one has none."""
    cancelled: bool = False
    """Whether the user removed the cell from the task."""

    @property
    def key(self) -> TaskKey:
        """The task."""
        return self.sid, self.task


@dataclass(frozen=True)
class CellState:
    """The state of one cell, with the record and placement behind it."""

    id: str
    state: State
    record: Record | None
    placement: Placement


def cell_states(
    placements: Mapping[str, Sequence[Placement]], records: Mapping[str, Record]
) -> list[CellState]:
    """The state of each placed cell.

    "done" follows from the record; "running" also needs the scheduler. A cell is live while any of
    its placements is live; after a node was lost, two may be. If the scheduler does not answer, a
    cell without a final record is "unknown" and is not sent again.
    """
    return [_cell(cell, places, records.get(cell)) for cell, places in placements.items()]


def _cell(cell: str, places: Sequence[Placement], record: Record | None) -> CellState:
    newest = places[-1]
    if record is not None and record.status in FINAL:
        return CellState(cell, "done" if record.status == "done" else "nonfinite", record, newest)
    live_states = []
    for place in reversed(places):
        if place.live:
            live_states.append(CellState(cell, _live(place, record), record, place))
    for state in live_states:
        if state.state != "failed":
            return state
    if any(place.live is None for place in places):
        return CellState(cell, "unknown", record, newest)
    if live_states:
        return live_states[0]
    return CellState(cell, _over(record, newest), record, newest)


def _live(place: Placement, record: Record | None) -> State:
    if record is None or record.attempt < place.attempt:
        return "waiting"
    if record.status == "failed":
        return "failed"
    return "running" if place.running and record.status == "running" else "waiting"


def _over(record: Record | None, newest: Placement) -> State:
    if record is None:
        return "interrupted" if newest.cancelled else "missing"
    return "failed" if record.status == "failed" else "interrupted"


def in_doubt(cell: CellState) -> bool:
    """Whether the task of a cell has ended, and may have written a result after this record."""
    if cell.state not in ("interrupted", "missing", "failed"):
        return False
    record = cell.record
    return record is None or record.status != "failed" or record.attempt < cell.placement.attempt
