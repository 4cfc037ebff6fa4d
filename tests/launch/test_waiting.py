"""Cells whose tasks will not start or end by themselves, and what a user can do about them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from launch.cli.wait import waiting_lines
from launch.plan import Plan
from launch.plan.jobs import Array
from launch.report.explanation import advice
from launch.scheduler.slurm import Task
from launch.status.answers import Answers, with_ends, without_stuck
from launch.status.cell_state import Record, cell_states
from launch.status.sweep_state import SweepState, place_cells
from launch.status.waiting import never_starts, stuck_tasks

StateOf = Callable[..., SweepState]


@pytest.fixture
def state_of(plan_of: Callable[..., Plan]) -> StateOf:
    """Builds the state of a sweep of two tasks, of which SLURM knows these."""

    def build(*tasks: Task, abandon: bool = False) -> SweepState:
        plan = plan_of()
        answers = Answers({(plan.sid, task.index): task for task in tasks}, [])
        answers = without_stuck(answers) if abandon else answers
        arrays = {plan.sid: [Array("a", 0, 2, 1.0, "7")]}
        records = {cell.id: Record("running", cell.attempts + 1) for cell in plan.cells}
        places = place_cells([plan], arrays, answers, {plan.sid: set()}, records)
        cells = {cell.id: cell for cell in cell_states(places, records)}
        return SweepState(Path("demo"), [plan], arrays, cells, pd.DataFrame(), [], answers.tasks)

    return build


STUCK = Task("7", 0, "a", "COMPLETING", "None", "n3", ended_seconds=600.0)
BRIEF = Task("7", 1, "a", "COMPLETING", "None", "n4", ended_seconds=60.0)


REQUEUED = Task("7", 0, "a", "COMPLETING", "None", "n3")
"""A requeued task that completes: the queue has its time limit instead of its end."""


def test_a_requeued_task_has_its_end_from_accounting() -> None:
    accounting = [
        Task("7", 0, "a", "REQUEUED", "None", ended_seconds=600.0),
        Task("7", 1, "a", "RUNNING", "None"),
    ]
    task, brief = with_ends([REQUEUED, BRIEF], accounting)
    assert (task.is_stuck, task.node, brief) == (True, "n3", BRIEF)
    assert with_ends([REQUEUED], []) == [REQUEUED]
    assert not REQUEUED.is_stuck


def test_a_node_that_does_not_end_its_task_is_named(state_of: StateOf) -> None:
    stuck = stuck_tasks(state_of(STUCK, BRIEF))
    assert stuck is not None
    assert (stuck.nodes, stuck.tasks, stuck.cells) == (["n3"], 1, 2)
    assert "scontrol update nodename=n3 state=down" in stuck.advice("demo")
    assert stuck_tasks(state_of(BRIEF)) is None


def test_why_says_what_to_ask_the_administrator_for(state_of: StateOf) -> None:
    state = state_of(STUCK, BRIEF)
    first, _, third = state.cells.values()
    assert "nodename=n3 state=resume" in advice(state, first)
    assert "resume demo --abandon-completing` sends" in advice(state, first)
    assert "abandon" not in advice(state, third)


def test_abandoned_cells_can_be_sent_again(state_of: StateOf) -> None:
    states = [cell.state for cell in state_of(STUCK, BRIEF).cells.values()]
    assert states == ["waiting", "waiting", "running"]
    states = [cell.state for cell in state_of(STUCK, BRIEF, abandon=True).cells.values()]
    assert states == ["interrupted", "interrupted", "running"]


def test_a_cell_that_never_starts_is_named(state_of: StateOf) -> None:
    state = state_of(
        Task("7", 0, "a", "PENDING", "PartitionTimeLimit"), Task("7", 1, "a", "PENDING", "Priority")
    )
    (wait,) = never_starts(state)
    assert (wait.reason, wait.cells) == ("PartitionTimeLimit", 2)
    first, _, third = state.cells.values()
    assert "it will never start: its time limit is longer" in advice(state, first)
    assert "resume demo` with a shorter hydra.launcher.timeout_min" in advice(state, first)
    assert advice(state, third).startswith("wait")


def test_held_jobs_are_named_with_the_command_that_releases_them(state_of: StateOf) -> None:
    state = state_of(
        Task("7", 0, "a", "PENDING", "JobHeldUser"), Task("7", 1, "a", "PENDING", "Priority")
    )
    (line,) = (line.plain for line in waiting_lines(state))
    assert line.startswith("2 cells held by SLURM: `scontrol release 7` releases them")
    first, _, third = state.cells.values()
    assert "`scontrol release 7` releases it" in advice(state, first)
    assert "release" not in advice(state, third)


def test_status_and_wait_show_what_will_not_start_or_end(state_of: StateOf) -> None:
    state = state_of(STUCK, Task("7", 1, "a", "PENDING", "PartitionTimeLimit"))
    never, stuck = (line.plain for line in waiting_lines(state))
    assert never.startswith("1 cell will never start (PartitionTimeLimit): its time limit")
    assert stuck.startswith("2 cells held by a node: SLURM has been completing 1 task on n3")
    assert waiting_lines(state_of(BRIEF)) == []


def test_a_cell_that_was_preempted_for_good_is_interrupted(state_of: StateOf) -> None:
    ended = Task("7", 0, "a", "PREEMPTED", ended_seconds=500.0)
    just_now = Task("7", 1, "a", "PREEMPTED", ended_seconds=5.0)
    states = [cell.state for cell in state_of(ended, just_now).cells.values()]
    assert states == ["interrupted", "interrupted", "waiting"]
