"""Each class of failure has its own policy: real workers of this machine run cells that fail as
they are told.
"""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from pathlib import Path

import pytest
from waiting import wait_for, wait_for_cells

from analysis import store
from launch.cost.packing import pack
from launch.plan import markers, plan
from launch.report import explanation
from launch.report.overview import load_overview
from launch.status import failures, sweep_state
from launch.submit import submission
from launch.submit.preview import Preview, load_preview
from launch.submit.resume import resume_request
from launch.sweep import compose
from launch.sweep.request import Packing
from launch.worker import children, pool
from launch.worker.assignment import Assignment

# the workers outlive the command that started them, and nobody waits for them
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def send(cells: int, at_a_time: int, *more: str) -> Preview:
    seeds = f"seeds={{range:[0,{cells},1]}}"
    outcome = submission.submit(
        compose.expand_sweep(
            "noop",
            ["hydra/launcher=local", seeds, f"task.at_a_time={at_a_time}", "compact=false", *more],
        )
    )
    wait_for_cells(outcome.preview.request.folder)
    return outcome.preview


def resume(folder: Path, *more: str, retry_errors: bool = False) -> Preview:
    request = resume_request(folder, more)
    outcome = submission.submit(request, retry_errors=retry_errors)
    wait_for_cells(folder)
    return outcome.preview


def states(folder: Path) -> dict[str, int]:
    return Counter(cell.state for cell in sweep_state.load_sweep_state(folder).cells.values())


def test_one_error_in_three_cells_stops_the_sweep_until_retry_errors(logs: Path) -> None:
    send(40, 2, "trainer.fail=error", "trainer.seconds=0.05")
    result = states(logs / "noop")
    assert result["failed"] + result["missing"] == 40
    assert result["failed"] >= 3
    assert result["missing"] > 0
    overview = load_overview(sweep_state.load_sweep_state(logs / "noop"))
    assert (overview.not_started, overview.silent_ends) == (result["missing"], [])
    not_started = next(c for c in overview.state.cells.values() if c.state == "missing")
    what_next = explanation.advice(overview.state, not_started)
    assert what_next.startswith("it was not started, because three cells of its submission failed")
    assert "`redescent resume noop --retry-errors` sends the rest" in what_next
    failed = next(c for c in overview.state.cells.values() if c.state == "failed")
    what_next = explanation.advice(overview.state, failed)
    assert "cells share an error: unless the code changes, add --retry-errors" in what_next
    repeat = resume(logs / "noop")
    held_back = repeat.selection.held_back
    assert len(held_back.cells) == result["failed"]
    assert repeat.selection.held_back_with_them == result["missing"]
    assert repeat.cells == []
    assert "failed as requested" in (held_back.error or "")
    resume(logs / "noop", retry_errors=True)
    assert states(logs / "noop") == {"failed": 40}


def test_cells_without_enough_memory_run_with_fewer_beside_them(logs: Path) -> None:
    send(6, 4, "trainer.fail=crowded")
    for size in (2, 1):
        assert states(logs / "noop") == {"failed": 6}
        (task,) = resume(logs / "noop").tasks
        assert task.concurrency == size
    assert states(logs / "noop") == {"done": 6}


def test_a_cell_without_memory_alone_is_sent_only_with_more_of_it(logs: Path) -> None:
    send(2, 1, "trainer.fail=memory")
    preview = resume(logs / "noop")
    assert (len(preview.selection.needs_more_memory), preview.cells) == (2, [])
    assert len(resume(logs / "noop", retry_errors=True).cells) == 2
    with_more = load_preview(
        resume_request(logs / "noop", ["hydra/launcher=slurm", "hydra.launcher.mem_gb=64"])
    )
    assert len(with_more.cells) == 2


def test_a_killed_process_leaves_the_cells_beside_it_alone(logs: Path) -> None:
    send(2, 2, "~axes", "+axes={trainer.fail:[none,killed]}", "trainer.seconds=0.3")
    runs = store.runs(logs / "noop").set_index("trainer.fail")
    assert runs.loc["none", "status"].tolist() == ["done", "done"]
    assert runs.loc["killed", "error_class"].tolist() == ["killed", "killed"]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes through /proc")
def test_a_crashed_process_does_not_count_as_out_of_memory(logs: Path) -> None:
    """The first death is a kill and the second a segmentation fault: the last one names the
    failure.
    """
    outcome = submission.submit(
        compose.expand_sweep(
            "noop",
            [
                "hydra/launcher=local",
                "seeds={range:[0,1,1]}",
                "task.at_a_time=2",
                "trainer.seconds=60",
            ],
        )
    )
    folder = outcome.preview.request.folder
    parent = int(json.loads(next(folder.rglob("local.json")).read_text())["pid"])
    first = child_of(parent)
    os.kill(first, signal.SIGKILL)
    os.kill(child_of(parent, other_than=first), signal.SIGSEGV)
    wait_for_cells(folder)

    sweep = sweep_state.load_sweep_state(folder)
    (cell,) = sweep.cells.values()
    record = cell.record
    assert record is not None
    assert record.error_class == "crashed"
    assert (
        record.error
        == "crashed: segmentation fault in the training process; run `redescent doctor`"
    )
    assert failures.out_of_memory_cells([cell.id], sweep) == {}
    assert "redescent doctor" in explanation.advice(sweep, cell)


def child_of(parent: int, other_than: int | None = None) -> int:
    """A process that the worker `parent` started, as soon as there is one."""
    children = Path(f"/proc/{parent}/task/{parent}/children")

    def another() -> list[int]:
        return [pid for pid in map(int, children.read_text().split()) if pid != other_than]

    return wait_for(another, "a process of the worker")[0]


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (signal.SIGSEGV, "segmentation fault"),
        (signal.SIGBUS, "bus error"),
        (signal.SIGABRT, "abort"),
        (signal.SIGILL, "illegal instruction"),
        (signal.SIGFPE, "floating point exception"),
    ],
)
def test_a_signal_of_a_crash_is_named_in_words(number: signal.Signals, words: str) -> None:
    failure = children.failure_of(-number, attempt=1)
    assert failure.name == "crashed"
    assert failure.error.startswith(f"crashed: {words} in the training process")


@pytest.mark.parametrize("code", [-signal.SIGKILL, -signal.SIGTERM, 0, 1, signal.SIGSEGV])
def test_other_deaths_are_no_crashes(code: int) -> None:
    failure = children.failure_of(code, attempt=3)
    assert failure.name == "killed"
    assert "in attempt 3" in failure.error
    assert ("out of memory" in failure.error) == (code < 0)


def test_three_cells_with_one_error_stop_all_tasks(tmp_path: Path) -> None:
    first_task, second_task = markers.RepeatedErrors(tmp_path), markers.RepeatedErrors(tmp_path)
    first_task.add("c1-a", "RuntimeError: shapes 3x4 and 5x6")
    second_task.add("c1-a", "RuntimeError: shapes 3x4 and 5x6")
    second_task.add("c1-b", "RuntimeError: shapes 7x8 and 9x9")
    second_task.add("c1-c", "ValueError: shapes 7x8 and 9x9")
    assert markers.RepeatedErrors(tmp_path).stopped_by() is None
    first_task.add("c1-d", "RuntimeError: shapes 1x1 and 2x2")
    assert markers.RepeatedErrors(tmp_path).stopped_by() == "RuntimeError: shapes 1x1 and 2x2"
    assert len(list((tmp_path / "errors").iterdir())) == 5


def test_a_node_is_avoided_for_a_while(tmp_path: Path) -> None:
    assert markers.bad_nodes(tmp_path) == set()
    for node in ("n1", "n2"):
        markers.mark_bad_node(tmp_path, node)
    old = (tmp_path / "bad_nodes" / "n2").stat().st_mtime - markers.BAD_NODE_SECONDS
    os.utime(tmp_path / "bad_nodes" / "n2", (old, old))
    assert markers.bad_nodes(tmp_path) == {"n1"}


@pytest.mark.parametrize("one_task", [False, True])
def test_cells_of_another_concurrency_get_tasks_of_their_own(one_task: bool) -> None:
    concurrency = [4, 1, 4, 2, 1]
    tasks = pack([1.0] * 5, concurrency, Packing(cells=2), one_task=one_task)
    assert sorted(i for task in tasks for i in task.cells) == list(range(5))
    for task in tasks:
        assert task.concurrency == min(concurrency[i] for i in task.cells)
        assert one_task or len({concurrency[i] for i in task.cells}) == 1


def test_a_plan_says_how_many_cells_each_task_trains_at_a_time(
    plan_of: object, tmp_path: Path
) -> None:
    cells: plan.Plan = plan_of(sizes=[3, None], launcher={"cpus_per_task": 8})  # type: ignore[operator]
    assert [cells.concurrency(task) for task in (0, 1)] == [3, 8]
    tasks = [Assignment(cells, tmp_path, task, restart=0) for task in (0, 1)]
    assert [pool.Pool(task, [], None).concurrency for task in tasks] == [3, 8]
