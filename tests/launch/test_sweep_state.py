"""From arrays and the schedulers' answers to the tasks and the places of cells; no process runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from launch.plan import Plan
from launch.plan.jobs import NEVER_SENT, Array
from launch.scheduler.slurm import Task
from launch.status.cell_state import Record
from launch.status.sweep_state import (
    UNANSWERED_SECONDS,
    Answers,
    Lookup,
    may_run,
    place_cells,
    settle,
)

SENT = 1000.0
PENDING = Array("demo.S.0", 0, 3, SENT)
LATER = SENT + UNANSWERED_SECONDS + 1


@pytest.mark.parametrize(
    ("jobs", "complete", "now", "delivery"),
    [
        ({"demo.S.0": "5"}, True, SENT, "sent"),
        ({"demo.S.0": "5"}, False, LATER, "sent"),
        ({"demo.other.0": "5"}, True, LATER, "refused"),
        ({}, True, SENT + UNANSWERED_SECONDS - 1, "pending"),
        ({}, True, SENT - UNANSWERED_SECONDS - 1, "refused"),  # a clock that was set back
        ({}, False, LATER, "pending"),
    ],
)
def test_a_lost_answer_is_settled_by_name_or_by_time(
    jobs: dict[str, str], complete: bool, now: float, delivery: str
) -> None:
    (array,) = settle([PENDING], Lookup(jobs, complete, NEVER_SENT), now)
    assert array.delivery == delivery


def test_an_array_that_was_answered_is_left_as_it_is() -> None:
    arrays = [Array("a", 0, 1, SENT, "7"), Array("b", 1, 1, SENT, error="full")]
    assert settle(arrays, Lookup({"a": "8", "b": "9"}, True, NEVER_SENT), LATER) == arrays


@pytest.mark.parametrize(
    ("array", "task", "silent", "live"),
    [
        (Array("a", 0, 1, SENT, "7"), Task("7", 0, "a", "PENDING"), False, True),
        (Array("a", 0, 1, SENT, "7"), Task("7", 0, "a", "FAILED"), False, False),
        (Array("a", 0, 1, SENT, "7"), None, False, False),
        (Array("a", 0, 1, SENT, "7"), None, True, None),
        (PENDING, None, False, None),
        (Array("a", 0, 1, SENT, error="full"), None, True, False),
    ],
)
def test_a_task_may_run_unless_its_scheduler_denies_it(
    array: Array, task: Task | None, silent: bool, live: bool | None
) -> None:
    assert may_run(array, task, silent=silent) is live


def test_a_cancelled_cell_is_live_only_while_it_trains(
    plan_of: Callable[..., Plan], cell_ids: Sequence[str]
) -> None:
    first, second, third = cell_ids
    plan = plan_of(tasks=[[0, 1, 2]])
    task = Task("7", 0, "a", "RUNNING")
    places = place_cells(
        [plan],
        {plan.sid: [Array("a", 0, 1, SENT, "7")]},
        Answers({(plan.sid, 0): task}, []),
        {plan.sid: {first, second}},
        {first: Record("running", 1), second: Record("stopped", 1)},
    )
    live = {cell: (place.live, place.cancelled) for cell, (place,) in places.items()}
    assert live == {first: (True, True), second: (False, True), third: (True, False)}
