"""Each class of failure has its own policy: real workers of this machine run cells that fail as
they are told.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from analysis import store
from launch.cost.packing import pack
from launch.plan import markers, plan
from launch.plan.outcome import LIVE
from launch.status import sweep_state
from launch.submit import submission
from launch.submit.preview import Preview, load_preview
from launch.sweep import compose
from launch.sweep.request import Packing

# the workers outlive the command that started them, and nobody waits for them
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def send(cells: int, at_a_time: int, *more: str) -> Preview:
    seeds = f"seeds={{range:[0,{cells},1]}}"
    sent = submission.submit(
        compose.expand_sweep(
            "noop", ["hydra/launcher=local", seeds, f"task.at_a_time={at_a_time}", *more]
        )
    )
    wait(sent.preview.request.folder)
    return sent.preview


def resume(folder: Path, *more: str, retry_errors: bool = False) -> Preview:
    request = submission.resume_request(folder, more)
    sent = submission.submit(request, retry_errors=retry_errors)
    wait(folder)
    return sent.preview


def wait(folder: Path) -> None:
    end = time.monotonic() + 120
    while set(LIVE) & set(states(folder)):
        assert time.monotonic() < end
        time.sleep(0.2)


def states(folder: Path) -> dict[str, int]:
    return Counter(cell.state for cell in sweep_state.load_sweep_state(folder).cells.values())


def test_one_error_in_three_cells_stops_the_sweep_until_retry_errors(logs: Path) -> None:
    send(40, 2, "trainer.fail=error", "trainer.seconds=0.05")
    found = states(logs / "noop")
    assert found["failed"] + found["missing"] == 40
    assert found["failed"] >= 3
    assert found["missing"] > 0
    again = resume(logs / "noop")
    held_back = again.selection.held_back
    assert len(held_back.cells) == found["failed"]
    assert again.selection.held_back_with_them == found["missing"]
    assert again.cells == []
    assert "told to fail" in (held_back.error or "")
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
    held = resume(logs / "noop")
    assert (len(held.selection.needs_more_memory), held.cells) == (2, [])
    assert len(resume(logs / "noop", retry_errors=True).cells) == 2
    with_more = load_preview(
        submission.resume_request(
            logs / "noop", ["hydra/launcher=slurm", "hydra.launcher.mem_gb=64"]
        )
    )
    assert len(with_more.cells) == 2


def test_a_killed_process_leaves_the_cells_beside_it_alone(logs: Path) -> None:
    send(2, 2, "~axes", "+axes={trainer.fail:[none,killed]}", "trainer.seconds=0.3")
    runs = store.runs(logs / "noop").set_index("trainer.fail")
    assert runs.loc["none", "status"].tolist() == ["done", "done"]
    assert runs.loc["killed", "error_class"].tolist() == ["killed", "killed"]


def test_three_cells_with_one_error_stop_all_tasks(tmp_path: Path) -> None:
    here, there = markers.RepeatedErrors(tmp_path), markers.RepeatedErrors(tmp_path)
    here.add("c1-a", "RuntimeError: shapes 3x4 and 5x6")
    there.add("c1-a", "RuntimeError: shapes 3x4 and 5x6")
    there.add("c1-b", "RuntimeError: shapes 7x8 and 9x9")
    there.add("c1-c", "ValueError: shapes 7x8 and 9x9")
    assert markers.RepeatedErrors(tmp_path).stopped_by() is None
    here.add("c1-d", "RuntimeError: shapes 1x1 and 2x2")
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


def test_a_plan_says_how_many_cells_each_task_trains_at_a_time(plan_of: object) -> None:
    made: plan.Plan = plan_of(sizes=[3, None], launcher={"cpus_per_task": 8})  # type: ignore[operator]
    assert [made.cells_at_once(task) for task in (0, 1)] == [3, 8]
