"""The state of a cell: "done" needs a record's word, "running" the scheduler's, and silence frees
nothing.
"""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch.plan.outcome import FINAL, LIVE, STATES
from launch.status.cell_state import CellState, Placement, Record, cell_states

CALLS = [(True, True), (True, False), (False, False), (None, False)]  # live, running
RECORDS = [
    None,
    *(
        Record(s, a)
        for s in ("running", "done", "stopped", "nonfinite", "failed")
        for a in (1, 2, 3)
    ),
]
HISTORIES = [
    [Placement(f"s{i}", i, i + 1, *call) for i, call in enumerate(placed)]
    for count in (1, 2, 3)
    for placed in itertools.product(CALLS, repeat=count)
]
"""All cells that were placed up to three times, oldest first, each with one more attempt before it
than the last.
"""

CASES = list(itertools.product(HISTORIES, RECORDS))


def state(places: list[Placement], record: Record | None) -> CellState:
    (result,) = cell_states({"c": places}, {"c": record} if record else {})
    return result


def place(live: bool | None, running: bool = False, attempt: int = 1) -> Placement:
    return Placement(f"s{attempt}", 0, attempt, live, running)


RUNS, QUEUED, OVER, SILENT = place(True, True), place(True), place(False), place(None)


@pytest.mark.parametrize(
    ("placement", "status", "expected"),
    [
        (RUNS, None, "waiting"),
        (RUNS, "running", "running"),
        (RUNS, "stopped", "waiting"),
        (RUNS, "failed", "failed"),
        (RUNS, "done", "done"),
        (RUNS, "nonfinite", "nonfinite"),
        (QUEUED, None, "waiting"),
        (QUEUED, "running", "waiting"),
        (QUEUED, "stopped", "waiting"),
        (QUEUED, "done", "done"),
        (OVER, None, "missing"),
        (OVER, "running", "interrupted"),
        (OVER, "stopped", "interrupted"),
        (OVER, "failed", "failed"),
        (OVER, "done", "done"),
        (OVER, "nonfinite", "nonfinite"),
        (SILENT, None, "unknown"),
        (SILENT, "running", "unknown"),
        (SILENT, "stopped", "unknown"),
        (SILENT, "failed", "unknown"),
        (SILENT, "done", "done"),
        (SILENT, "nonfinite", "nonfinite"),
    ],
)
def test_state_of_a_cell_that_was_placed_once(
    placement: Placement, status: str | None, expected: str
) -> None:
    record = Record(status, 1) if status else None
    assert state([placement], record) == CellState("c", expected, record, placement)


@pytest.mark.parametrize(
    ("older", "newer", "record", "expected"),
    [
        (
            OVER,
            place(True, True, 2),
            Record("failed", 1),
            "waiting",
        ),  # the new attempt has not begun the cell
        (OVER, place(True, True, 2), Record("running", 1), "waiting"),
        (OVER, place(True, True, 2), Record("running", 2), "running"),
        (OVER, place(True, True, 2), Record("failed", 2), "failed"),
        (OVER, place(False, False, 2), Record("failed", 1), "failed"),
        (OVER, place(None, False, 2), Record("failed", 1), "unknown"),
        (
            RUNS,
            place(False, False, 2),
            Record("running", 1),
            "running",
        ),  # a lost node whose steps go on
        (RUNS, place(True, False, 2), Record("running", 1), "waiting"),
        (RUNS, place(None, False, 2), Record("running", 1), "running"),
        (
            RUNS,
            place(None, False, 2),
            Record("failed", 1),
            "unknown",
        ),  # the newer attempt may be running
        (SILENT, place(False, False, 2), Record("running", 2), "unknown"),
        (SILENT, place(False, False, 2), None, "unknown"),
        (RUNS, place(True, True, 2), Record("done", 1), "done"),
    ],
)
def test_state_of_a_cell_that_was_placed_twice(
    older: Placement, newer: Placement, record: Record | None, expected: str
) -> None:
    assert state([older, newer], record).state == expected


def test_done_is_what_a_record_says_and_nothing_else() -> None:
    for places, record in CASES:
        result = state(places, record).state
        assert (result == "done") == (record is not None and record.status == "done")
        assert (result in FINAL) == (record is not None and record.status in FINAL)


def test_a_cell_is_running_only_if_the_scheduler_says_so() -> None:
    for places, record in CASES:
        if state(places, record).state == "running":
            assert any(place.live and place.running for place in places)


def test_a_silent_scheduler_never_frees_a_cell() -> None:
    for places, record in CASES:
        if any(place.live is None for place in places):
            assert state(places, record).state in (*FINAL, *LIVE), (places, record)


def test_a_cell_whose_tasks_are_over_is_neither_live_nor_unknown() -> None:
    for places, record in CASES:
        if all(place.live is False for place in places):
            assert state(places, record).state in (*FINAL, "failed", "interrupted", "missing")


def test_a_live_cell_without_a_failure_is_never_free() -> None:
    for places, record in CASES:
        if any(place.live for place in places) and (record is None or record.status != "failed"):
            assert state(places, record).state in (*FINAL, *LIVE)


def test_every_state_is_explained_and_points_at_one_of_the_placements() -> None:
    for places, record in CASES:
        result = state(places, record)
        assert result.state in STATES
        assert result.placement in places
        assert result.record == record


@given(st.dictionaries(st.text(max_size=3), st.sampled_from(CASES), max_size=5))
def test_cells_are_folded_independently_and_in_order(
    cells: dict[str, tuple[list[Placement], Record | None]],
) -> None:
    result = cell_states(
        {c: places for c, (places, _) in cells.items()}, {c: r for c, (_, r) in cells.items() if r}
    )
    assert [cell.id for cell in result] == list(cells)
    for cell in result:
        assert cell.state == state(*cells[cell.id]).state
