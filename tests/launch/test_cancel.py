"""Cells cancelled by condition: saved and left out by their worker, shown as interrupted, brought
back on demand.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from waiting import wait_for

from analysis import store
from launch.errors import UserError
from launch.plan import Plan, files, jobs
from launch.plan.jobs import Array
from launch.plan.process import own_process, start_of
from launch.scheduler import backend, slurm
from launch.scheduler.slurm import ranges
from launch.status import sweep_state
from launch.submit.cancel import cancel

LONG_AND_SHORT = (
    "hydra/launcher=local",
    "task.at_a_time=1",
    "seeds=[0]",
    "+axes={trainer.epochs:[1000000,2000000,3]}",
    "trainer.seconds=0.05",
    "compact=false",
)

LONG_ARE_CANCELLED = {1_000_000: "interrupted", 2_000_000: "interrupted", 3: "done"}


def states(folder: Path) -> dict[int, str]:
    """State of the cell of every length, in epochs."""
    sweep = sweep_state.load_sweep_state(folder)
    return {
        epochs: sweep.cells[cell].state
        for cell, epochs in sweep.runs[["cell", "trainer.epochs"]].to_numpy()
    }


def test_a_running_task_skips_cells_cancelled_by_condition(redescent: Any, logs: Path) -> None:
    folder = logs / "noop"
    redescent("submit", "noop", *LONG_AND_SHORT)
    wait_for(lambda: states(folder)[1_000_000] == "running", "the first cell")
    output = redescent(
        "cancel", "noop", "trainer.epochs>5", "trainer.epochs in [1000000, 2000000]"
    ).stdout
    assert "cancelled 2 cells, 0 whole tasks" in output
    assert states(folder)[2_000_000] == "interrupted", "a cell that has not begun"
    wait_for(
        lambda: states(folder) == LONG_ARE_CANCELLED,
        "the cell that is left",
    )
    records = store.runs(folder).set_index("trainer.epochs")
    assert (records.at[1_000_000, "status"], records.at[1_000_000, "error_class"]) == (
        "stopped",
        "cancelled",
    )
    assert records.at[2_000_000, "status"] == "missing"
    assert (
        "no running or waiting cell matches"
        in redescent("cancel", "noop", "trainer.epochs=3").stdout
    )
    with pytest.raises(UserError, match=r"trainer\.epohcs"):  # though nothing is left to cancel
        cancel(folder, ["trainer.epohcs=3"])

    redescent("resume", "noop")
    wait_for(lambda: "running" in states(folder).values(), "a cell that was cancelled before")
    assert "cancelled 2 cells, 1 whole task" in redescent("cancel", "noop").stdout
    wait_for(lambda: states(folder) == LONG_ARE_CANCELLED, "the end")


def test_a_bad_condition_cancels_nothing(tmp_path: Path, plan_of: Callable[..., Any]) -> None:
    plan = plan_of()
    plan.write(tmp_path / "demo")
    with pytest.raises(UserError, match=r"expected a condition such as 'model.width <= 16'"):
        cancel(tmp_path / "demo", ["model.width <"])
    with pytest.raises(UserError, match=r"none of the 3 cells of demo meets model.width=5"):
        cancel(tmp_path / "demo", ["model.width=5"])
    with pytest.raises(UserError, match=r"seed is a number, .* write 1 without quotes"):
        cancel(tmp_path / "demo", ["seed == '1'"])
    assert not list(tmp_path.rglob("cancelled.json"))
    result = cancel(tmp_path / "demo", ["model.width=4"])
    assert (result.cells, result.complaints) == (0, [])


@pytest.mark.parametrize(
    ("indices", "text"),
    [([], ""), ([3], "3"), ([0, 1, 2, 5], "0-2,5"), ([0, 2, 4], "0,2,4"), ([7, 8], "7-8")],
)
def test_indices_are_written_in_the_short_form_of_slurm(indices: list[int], text: str) -> None:
    assert ranges(indices) == text


def test_only_a_worker_of_the_plan_is_ended(plan_of: Callable[..., Any], tmp_path: Path) -> None:
    plan = plan_of(backend="local")
    path = plan.write(tmp_path)
    process = subprocess.Popen(["sleep", "60"])
    try:
        identity = replace(own_process(), pid=process.pid, start=start_of(process.pid))
        files.write_json(path.with_name("local.json"), asdict(identity))
        complaint = backend.Local().cancel(plan, tmp_path, [], {0})
        assert f"names process {process.pid}, which is no worker" in complaint
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()
    assert backend.Local().cancel(plan, tmp_path, [], {0}) == ""


@pytest.mark.parametrize(
    ("command", "is_worker"),
    [
        ("python -P -u -m launch.job /logs/demo/submissions/{sid}/plan.json --task 0", True),
        ("python -P -u -m launch.job /logs/demo/submissions/other/plan.json --task 0", False),
        ("python -m launch.train name=demo", True),
        ("vim /logs/demo/submissions/{sid}/plan.json", False),
        ("", False),
    ],
)
def test_a_worker_is_known_by_its_command(
    plan_of: Callable[..., Any], command: str, is_worker: bool
) -> None:
    plan = plan_of()
    assert backend._may_be_worker(command.format(sid=plan.sid).split(), plan) is is_worker


@dataclass
class Queue:
    """A queue with a waiting array of two tasks, 7, and the compaction that follows it, 8."""

    plan: Plan
    folder: Path
    jobs: dict[str, str]
    error: str = ""
    asked: list[str] = field(default_factory=list)

    def call(self, *words: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Answer as squeue and scancel do; nothing else is installed."""
        if words[0] == "scancel" and not self.error:
            self.asked += words[2:]
            self.jobs = {job: name for job, name in self.jobs.items() if job not in words}
        elif words[0] == "squeue":
            names = words[-1].split(",")
            tasks = {"7": ("0", "1"), "8": ("N/A",)}
            lines = [
                f"{job}|{index}|{name}|PENDING||PartitionTimeLimit|N/A"
                for job, name in self.jobs.items()
                if name in names
                for index in tasks[job]
            ]
            return subprocess.CompletedProcess(words, 0, "\n".join(lines), "")
        return subprocess.CompletedProcess(words, bool(self.error), "", self.error)


@pytest.fixture
def queue(plan_of: Callable[..., Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Queue:
    plan, folder = plan_of(policy={"compact": True}), tmp_path / "demo"
    plan.write(folder)
    name = jobs.job_name(plan, 0)
    jobs.write(plan, folder, [Array(name, 0, 2, 1.5, job="7")])
    (plan.folder(folder) / "output").mkdir()
    queue = Queue(plan, folder, {"7": name, "8": f"{name.removesuffix('.0')}.compact"})
    monkeypatch.setattr(slurm, "call", queue.call)
    return queue


def test_a_submission_that_never_started_leaves_no_job_in_the_queue(queue: Queue) -> None:
    assert cancel(queue.folder, ["seed=2"]).tasks == 1
    assert queue.asked == ["7_[1]"], "the compaction still follows the other task"
    assert cancel(queue.folder).tasks == 2
    assert queue.jobs == {}


def test_what_a_task_wrote_is_still_compacted_after_a_cancel(queue: Queue) -> None:
    (queue.plan.folder(queue.folder) / "output" / "7_0_log.out").touch()
    cancel(queue.folder)
    assert list(queue.jobs) == ["8"]


def test_tasks_that_slurm_did_not_end_are_ended_by_the_next_cancel(queue: Queue) -> None:
    queue.error = "Unable to contact slurm controller"
    refused = cancel(queue.folder)
    assert (refused.cells, refused.tasks) == (3, 0)
    assert "Run this again to remove waiting tasks" in refused.complaints[0]
    queue.error = ""
    result = cancel(queue.folder)
    assert (result.cells, result.tasks, result.complaints) == (0, 2, [])
    assert queue.jobs == {}


def test_conditions_also_cancel_what_ended_without_a_result(queue: Queue) -> None:
    queue.jobs.clear()
    cell = queue.plan.cells[2].id
    assert sweep_state.load_sweep_state(queue.folder).cells[cell].state == "missing"
    assert cancel(queue.folder).ended == 0
    assert cancel(queue.folder, ["seed=2"]).ended == 1
    assert cancel(queue.folder, ["seed=2"]).ended == 0
    states = sweep_state.load_sweep_state(queue.folder).cells
    assert [state.placement.cancelled for state in states.values()] == [False, False, True]


def test_a_sweep_is_complete_without_cells_that_left_its_file(redescent: Any, logs: Path) -> None:
    words = ("hydra/launcher=local", "seeds=[0]", "trainer.epochs=1", "task.at_a_time=1")
    before, after = ("+axes={trainer.fail:[none,error]}", "+axes={trainer.fail:[none]}")
    redescent("submit", "noop", *words, before, "--wait", check=False)
    assert "not complete" in redescent("status", "noop").stdout
    again = ("submit", "noop", *words, after, "--wait")
    waited = redescent(*again, check=False)
    assert waited.returncode == 1
    assert "1 cell is of earlier submissions alone and without a result" in waited.stdout
    assert "cancelled 1 cell that ended" in redescent("cancel", "noop", "trainer.fail=error").stdout
    shown = redescent("status", "noop").stdout
    assert "complete but for 1 cancelled cell: `redescent resume noop` sends it" in shown
    assert "not complete" not in shown
    assert redescent(*again, check=False).returncode == 0
    assert "sent 1 cell" in redescent("resume", "noop", "--wait", check=False).stdout
    assert redescent(*again, check=False).returncode == 1, "it failed again since"


def test_tasks_of_a_colleague_are_left_to_them(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "owner", lambda _: "ada")
    queue.error = "Access/permission denied"
    for cells in (3, 0):
        result = cancel(queue.folder)
        assert (result.cells, result.tasks) == (cells, 0)
        (complaint,) = result.complaints
        assert "belong to ada" in complaint
        assert "skip them when they start" in complaint
        assert "Run this again" not in complaint
