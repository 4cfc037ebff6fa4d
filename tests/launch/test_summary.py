"""The numbers of a status: states with the scheduler's reasons, hours spent and left, the expected
end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from launch.plan import Plan, PlannedCell
from launch.plan.outcome import State
from launch.report import notes
from launch.report.overview import Overview
from launch.scheduler.slurm import Task
from launch.status import failures, summary
from launch.status.cell_state import CellState, Placement, Record
from launch.status.failures import HeldBack
from launch.status.summary import Failure, Line
from launch.status.sweep_state import SweepState

Flat = Mapping[str, Any]
SID = "20260102T030405-0a1b2c3d"
GPU = {"_target_": "x.SlurmLauncher", "gres": "gpu:v100:1", "cpus_per_task": 4}


@pytest.fixture
def sweep_state(plan_of: Callable[..., Plan], flat: Flat) -> Callable[..., SweepState]:
    """Cells, one a task, from (state, record or None, word of the scheduler or None, facts of the
    run).
    """

    def build(
        *summary: tuple[State, Record | None, Task | None, dict[str, Any]], **changes: Any
    ) -> SweepState:
        ids = [f"c1-{i}" for i in range(len(summary))]
        plan = plan_of(
            cells=[PlannedCell(i, 0, {}, 0) for i in ids],
            tasks=[[i] for i in range(len(ids))],
            **changes,
        )
        cells = {
            i: CellState(i, name, record, Placement(SID, number, 1, None))
            for number, (i, (name, record, _, _)) in enumerate(zip(ids, summary, strict=True))
        }
        runs = pd.DataFrame(
            [{**flat, "cell": i, **facts} for i, (*_, facts) in zip(ids, summary, strict=True)]
        )
        tasks = {(SID, number): task for number, (_, _, task, _) in enumerate(summary) if task}
        return SweepState(Path("logs/demo"), [plan], {}, cells, runs, [], tasks)

    return build


RUNNING = Task("5", 0, "n", "RUNNING")
CANCELLED = Task("5", 0, "n", "CANCELLED")


def pending(reason: str) -> Task:
    return Task("5", 0, "n", "PENDING", reason)


def summarise(state: SweepState) -> summary.Summary:
    return summary.summarise(state, state.runs)


def test_cells_are_counted_by_state_and_reason_or_class_of_failure(
    sweep_state: Callable[..., SweepState],
) -> None:
    summary = summarise(
        sweep_state(
            ("waiting", None, pending("Priority"), {}),
            ("waiting", None, pending("Resources"), {}),
            ("waiting", None, pending("Priority"), {}),
            ("waiting", None, RUNNING, {}),
            ("waiting", Record("stopped", 1, "preempted"), pending("BeginTime"), {}),
            ("waiting", Record("stopped", 1, "timeout"), pending("BeginTime"), {}),
            ("failed", Record("failed", 1, "out of memory", "x"), None, {}),
            ("done", Record("done", 1), None, {}),
            ("interrupted", Record("stopped", 1, "cancelled"), None, {}),
            ("interrupted", Record("stopped", 1, "preempted"), CANCELLED, {}),
            ("missing", None, CANCELLED, {}),
        )
    )
    assert summary.lines == [
        Line("done", "", 1),
        Line("waiting", "Priority", 2),
        Line("waiting", "BeginTime", 1),
        Line("waiting", "Resources", 1),
        Line("waiting", "its task runs", 1),
        Line("preempted", "BeginTime", 1),
        Line("failed", "out of memory", 1),
        Line("interrupted", "cancelled", 2),
        Line("missing", "cancelled", 1),
    ]


def test_errors_that_differ_in_numbers_and_ids_are_one(
    sweep_state: Callable[..., SweepState],
) -> None:
    state = sweep_state(
        *(
            ("failed", Record("failed", 1, "error", f"ValueError: shape {n}"), None, {"code": "a"})
            for n in range(3)
        ),
        ("failed", Record("failed", 1, "error", "ValueError: size 4"), None, {"code": "a"}),
    )
    assert summary.failures(state) == [
        Failure("error", "ValueError: shape 0", ["c1-0", "c1-1", "c1-2"]),
        Failure("error", "ValueError: size 4", ["c1-3"]),
    ]
    held_back = failures.held_back(state.cells, state, "a")
    assert held_back == HeldBack(frozenset({"c1-0", "c1-1", "c1-2"}), "ValueError: shape 0")


def test_failures_are_grouped_by_class_and_last_line(
    sweep_state: Callable[..., SweepState],
) -> None:
    def failed(error: str, kind: str = "error") -> tuple[Any, ...]:
        return "failed", Record("failed", 1, kind, f"Traceback\n  somewhere\n{error}"), None, {}

    state = sweep_state(
        failed("ValueError: a"), failed("KeyError: b"), failed("KeyError: b"), failed("x", "killed")
    )
    assert summary.failures(state) == [
        Failure("error", "KeyError: b", ["c1-1", "c1-2"]),
        Failure("error", "ValueError: a", ["c1-0"]),
        Failure("killed", "x", ["c1-3"]),
    ]


def test_hours_count_the_share_of_a_gpu_that_each_cell_has(
    sweep_state: Callable[..., SweepState],
) -> None:
    complete_run, half = {"epochs": 3, "seconds": 3600.0}, {"epochs": 1, "seconds": 1200.0}
    packing = {"cells": 5, "at_a_time": 2, "minutes": 60, "most": 1000, "slots": 100}
    state = sweep_state(
        ("done", Record("done", 1), None, complete_run),
        ("interrupted", Record("stopped", 1), None, half),
        ("missing", None, None, {}),
        launcher=GPU,
        packing=packing,
    )
    summary = summarise(state)
    assert (summary.unit, summary.unmeasured) == ("GPU-hours", 0)
    assert summary.hours_spent == pytest.approx((3600 + 1200) / 3600 / 2)
    assert summary.hours_left == pytest.approx((2400 + 3600) / 3600 / 2)


def test_percentages_are_rounded_down_and_exact() -> None:
    assert [summary.percent(count / 100) for count in range(101)] == list(range(101))
    assert summary.percent(0.9999) == 99


def test_hours_of_one_unit_are_added(
    sweep_state: Callable[..., SweepState], plan_of: Callable[..., Plan]
) -> None:
    """Ten cells on a CPU of an earlier submission, one on a GPU."""
    hour = {"epochs": 3, "seconds": 3600.0}
    done = ("done", Record("done", 1), None, hour)
    on_gpu = ("done", Record("done", 1), None, {**hour, "gpu_seconds": 3600.0})
    state = sweep_state(*[done] * 10, on_gpu)
    gpu_plan = plan_of(sid="20260103T030405-0a1b2c3d", launcher=GPU, tasks=[[0]])
    last = replace(state.cells["c1-10"], placement=Placement(gpu_plan.sid, 0, 1, None))
    cells = {**state.cells, last.id: last}
    mixed = replace(state, plans=[*state.plans, gpu_plan], cells=cells)
    assert summarise(mixed).unit == "GPU-hours"
    assert summarise(mixed).hours_spent == pytest.approx(1.0)
    assert summary.hours_committed(mixed, mixed.runs) == pytest.approx(1.0)


def test_hours_left_on_a_gpu_of_this_machine_are_shared_as_those_spent(
    sweep_state: Callable[..., SweepState],
) -> None:
    """Two cells at a time had half of the GPU each."""
    state = sweep_state(
        ("done", Record("done", 1), None, {"epochs": 3, "seconds": 3600.0, "gpu_seconds": 1800.0}),
        ("missing", None, None, {}),
        backend="local",
        launcher={"_target_": "x.LocalLauncher"},
    )
    assert summarise(state).hours_spent == pytest.approx(0.5)
    assert summarise(state).hours_left == pytest.approx(0.5)


def test_the_end_depends_on_the_cores_of_the_task_alone(
    sweep_state: Callable[..., SweepState], monkeypatch: pytest.MonkeyPatch
) -> None:
    packing = {"cells": 5, "at_a_time": None, "minutes": 60, "most": 1000, "slots": 100}
    done = ("done", Record("done", 1), None, {"epochs": 3, "seconds": 300.0})
    running = ("running", None, RUNNING, {})
    state = sweep_state(done, *[running] * 4, launcher={"cpus_per_task": 2}, packing=packing)
    plan = replace(state.plans[0], tasks=[[0], [1, 2, 3, 4]])
    in_one_task = {
        cell: replace(state.cells[cell], placement=Placement(SID, 1, 1, None))
        for cell in ("c1-1", "c1-2", "c1-3", "c1-4")
    }
    state = replace(state, plans=[plan], cells={**state.cells, **in_one_task})
    for cores_of_login_node in ("1", "64"):
        monkeypatch.setenv("SLURM_CPUS_PER_TASK", cores_of_login_node)
        assert summarise(state).end == pytest.approx(600.0)


def test_a_cell_on_a_cpu_counts_its_cores(sweep_state: Callable[..., SweepState]) -> None:
    state = sweep_state(
        ("done", Record("done", 1), None, {"epochs": 3, "seconds": 3600.0}),
        launcher={"cpus_per_task": 4},
    )
    summary = summarise(state)
    assert (summary.unit, summary.hours_spent, summary.hours_left) == (
        "core-hours",
        pytest.approx(4.0),
        0,
    )


def test_cells_like_none_that_was_measured_are_counted_apart(
    sweep_state: Callable[..., SweepState],
) -> None:
    state = sweep_state(
        ("done", Record("done", 1), None, {"epochs": 3, "seconds": 30.0}),
        ("missing", None, None, {"model.name": "cnn5"}),
        ("missing", None, None, {}),
    )
    summary = summarise(state)
    assert summary.unmeasured == 1
    assert summary.hours_left == pytest.approx(30 / 3600)


def test_waiting_tasks_follow_on_those_that_run(sweep_state: Callable[..., SweepState]) -> None:
    finished_cell = ("done", Record("done", 1), None, {"epochs": 3, "seconds": 30.0})
    progress = {"epochs": 1, "seconds": 10.0}  # 20 s left
    running = ("running", Record("running", 1), RUNNING, progress)
    fresh = ("running", None, RUNNING, {})  # 30 s left
    waiting = ("waiting", None, pending("Priority"), {})
    assert summarise(sweep_state(finished_cell, running, fresh)).end == pytest.approx(30)
    assert summarise(sweep_state(finished_cell, running, fresh, waiting)).end == pytest.approx(50)
    assert summarise(
        sweep_state(finished_cell, running, fresh, waiting, waiting)
    ).end == pytest.approx(60)


def test_the_condition_of_the_expected_end_is_said_where_cells_wait(
    sweep_state: Callable[..., SweepState],
) -> None:
    finished_cell = ("done", Record("done", 1), None, {"epochs": 3, "seconds": 30.0})
    running = ("running", Record("running", 1), RUNNING, {"epochs": 1, "seconds": 10.0})
    waiting = ("waiting", None, pending("Priority"), {})
    said = []
    for cells in ((finished_cell, running), (finished_cell, running, waiting)):
        state = sweep_state(*cells)
        said.append(notes.hours(Overview(state, summarise(state), 0, None))[-1])
    assert said[0].startswith("expected end of the running cells: ")
    assert "keep running" not in said[0]
    assert said[1].startswith("expected end of the cells that run or wait: ")
    assert said[1].endswith(", if as many tasks keep running as now")


def test_an_end_that_cannot_be_known_is_said_to_be_unknown(
    sweep_state: Callable[..., SweepState],
) -> None:
    finished_cell = ("done", Record("done", 1), None, {"epochs": 3, "seconds": 30.0})
    queued = summarise(sweep_state(finished_cell, ("waiting", None, pending("Priority"), {})))
    assert (queued.end, queued.unknown) == (None, "no task runs now")
    other = summarise(sweep_state(finished_cell, ("running", None, RUNNING, {"model.width": 99})))
    assert (other.end, other.unknown) == (None, "no similar run was measured for 1 cell")
    over = summarise(sweep_state(finished_cell))
    assert (over.end, over.unknown) == (None, "")
