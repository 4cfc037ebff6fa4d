"""What a submission reads and freezes; nothing is sent."""

from __future__ import annotations

import subprocess
import time
from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis import store
from launch.errors import UserError
from launch.plan import Plan, PlannedCell, jobs
from launch.plan.jobs import Array
from launch.scheduler import backend, slurm
from launch.status import sweep_state
from launch.status.cell_state import Record
from launch.submit import canary, measurements, submission
from launch.submit.data_check import check_data
from launch.submit.freeze import attempts_before
from launch.sweep.compose import expand_sweep


def test_a_submission_reads_the_plans_and_the_runs_once(
    logs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submission, "deliver", lambda *_: None)
    request = expand_sweep("noop", ["hydra/launcher=local", "seeds={range:[0,2,1]}"])
    submission.submit(request)
    reads: Counter[tuple[str, Path]] = Counter()

    def count(module: Any, name: str) -> None:
        read = getattr(module, name)

        def counting(folder: Path, *arguments: Any, **options: Any) -> Any:
            reads[name, folder] += 1
            return read(folder, *arguments, **options)

        monkeypatch.setattr(module, name, counting)

    for module in (sweep_state, submission, measurements, canary):
        count(module, "load_all")
    count(store, "runs")
    outcome = submission.submit(request)
    assert outcome.plan is not None
    assert [cell.attempts for cell in outcome.plan.cells] == [1, 1]
    assert reads["load_all", logs / "noop"] == 1
    assert reads["runs", logs / "noop"] == 1


def test_attempts_are_those_recorded_or_one_for_each_plan(plan_of: Callable[..., Plan]) -> None:
    plans = [plan_of(cells=[PlannedCell(cell, 0, {}) for cell in ids]) for ids in ("ab", "b")]
    records = {"a": Record("stopped", 3), "b": Record("failed", 1), "c": Record("done", 2)}
    assert attempts_before(plans, records) == {"a": 3, "b": 2, "c": 2}


def test_an_attempt_that_left_no_record_is_not_repeated(plan_of: Callable[..., Plan]) -> None:
    # requeued up to attempt 4, and then sent as attempt 5, which was lost
    plans = [plan_of(cells=[PlannedCell("a", 0, {}, attempts)]) for attempts in (0, 4)]
    assert attempts_before(plans, {"a": Record("failed", 4)}) == {"a": 5}


class _FullDisk(backend.Local):
    """A backend whose disk is full before anything is sent."""

    def send(self, plan: Plan, sweep: Path, array: Array) -> Array:
        raise OSError(28, "No space left on device")


def test_what_could_not_be_sent_is_recorded_as_not_sent(
    plan_of: Callable[..., Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend, "BACKENDS", {"local": _FullDisk()})
    plan = plan_of(backend="local", tasks=[[0, 1, 2]])
    plan.write(tmp_path)
    with pytest.raises(OSError, match="No space left"):
        submission.deliver(plan, tmp_path, jobs.Dependencies())
    (array,) = jobs.read(plan, tmp_path)
    assert array.delivery == "refused"
    assert "No space left" in str(array.error)


class _Silent(backend.Local):
    """A backend that answers for the first array, and not for the second."""

    def __init__(self) -> None:
        self.asked: list[float] = []

    def array_size(self) -> int:
        return 1

    def send(self, plan: Plan, sweep: Path, array: Array) -> Array:
        self.asked.append(time.time())
        if array.first > 0:
            raise backend.Unanswered("no answer")
        return replace(array, job="7")


def test_an_answer_is_waited_for_from_when_its_own_array_was_sent(
    plan_of: Callable[..., Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = _Silent()
    monkeypatch.setattr(backend, "BACKENDS", {"local": silent})
    plan = plan_of(backend="local", tasks=[[0], [1], [2]])
    plan.write(tmp_path)
    with pytest.raises(UserError, match="did not answer"):
        submission.deliver(plan, tmp_path, jobs.Dependencies())
    first, second, third = jobs.read(plan, tmp_path)
    assert [array.delivery for array in (first, second, third)] == ["sent", "pending", "refused"]
    assert first.sent <= silent.asked[0] < silent.asked[1] <= second.sent


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        (0, "invalid partition: nothing was sent. Change"),
        (1, "invalid partition: 1 of 3 tasks was sent; the rest is kept for the next `submit`"),
        (2, "invalid partition: 2 of 3 tasks were sent; the rest is kept for the next `submit`"),
    ],
)
def test_a_refusal_tells_how_many_tasks_were_sent(
    sent: int, told: str, plan_of: Callable[..., Plan]
) -> None:
    plan = plan_of(tasks=[[0], [1], [2]])
    assert told in submission._not_sent(backend.Refused("invalid partition"), sent, plan)


@pytest.mark.parametrize(
    ("silent", "message"),
    [
        ([], "has not confirmed yet whether it has the jobs of 3 cells of one; .* two minutes"),
        (["20260102T030405-0a1b2c3d"], "3 cells of one may be running .* when it answers"),
    ],
)
def test_nothing_is_sent_beside_jobs_that_may_be_queued(
    silent: list[str], message: str, tmp_path: Path
) -> None:
    selection = SimpleNamespace(states={"unknown": 3})
    request = SimpleNamespace(folder=tmp_path / "one")
    proposal = SimpleNamespace(selection=selection, request=request)
    with pytest.raises(UserError, match=message):
        submission._check_sendable(proposal, SimpleNamespace(silent=silent))


CONTACT = "sbatch: error: Batch job submission failed: Unable to contact slurm controller"


@pytest.mark.parametrize(
    ("error", "delivery", "message"),
    [
        (f"{CONTACT} (connect failure)", "refused", "SLURM does not answer .*: nothing was sent"),
        ("sbatch: error: failed to fetch config", "refused", "SLURM does not answer .* try again"),
        (f"{CONTACT} (receive failure)", "pending", "2 tasks may or may not be queued"),
        (
            "sbatch: error: invalid partition specified: x",
            "refused",
            "jobs were refused: .*: nothing was sent. Change the refused setting",
        ),
    ],
)
def test_a_controller_that_is_down_is_not_a_refused_setting(
    error: str,
    delivery: str,
    message: str,
    plan_of: Callable[..., Plan],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answer = subprocess.CompletedProcess((), 1, "", error)
    monkeypatch.setattr(slurm, "call", lambda *_, **__: answer)
    plan = plan_of()
    plan.write(tmp_path)
    with pytest.raises(UserError, match=f"(?i){message}"):
        submission.deliver(plan, tmp_path, jobs.Dependencies())
    (array,) = jobs.read(plan, tmp_path)
    assert array.delivery == delivery


def test_a_missing_sbatch_is_no_refused_setting(
    plan_of: Callable[..., Plan], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    plan = plan_of()
    plan.write(tmp_path)
    expected = r"^sbatch: not found on this machine: nothing was sent\. Run .* on a login node"
    with pytest.raises(UserError, match=expected):
        submission.deliver(plan, tmp_path, jobs.Dependencies())
    (array,) = jobs.read(plan, tmp_path)
    assert array.delivery == "refused"


@pytest.mark.parametrize(
    ("output", "job", "message"),
    [
        ("--- Welcome ---\n123\n", "123", None),
        ("--- Welcome ---\n", None, "sbatch printed no job number: '--- Welcome ---'"),
        ("", None, "sbatch printed no job number"),
    ],
)
def test_a_banner_around_sbatch_is_no_job_number(
    output: str,
    job: str | None,
    message: str | None,
    plan_of: Callable[..., Plan],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answer = subprocess.CompletedProcess((), 0, output, "")
    monkeypatch.setattr(slurm, "call", lambda *_, **__: answer)
    plan = plan_of(policy={"compact": True})
    plan.write(tmp_path)
    with pytest.raises(UserError, match=message) if message else nullcontext():
        submission.deliver(plan, tmp_path, jobs.Dependencies())
    (array,) = jobs.read(plan, tmp_path)
    assert (array.job, array.delivery) == (job, "sent" if job else "pending")


def test_data_without_a_place_is_refused_with_the_ways_to_give_one() -> None:
    with pytest.raises(UserError, match=r"data=svhn: set .* export REDESCENT_SVHN=PATH$"):
        check_data([{"data.name": "svhn", "data.root": None}])
    cifar10 = {"data.name": "cifar10", "data.root": None, "data.download": False}
    with pytest.raises(UserError, match=r"REDESCENT_CIFAR10=PATH, or set data\.download=true"):
        check_data([cifar10])
    check_data([{**cifar10, "data.download": True}])


@pytest.mark.parametrize("ending", ["csv", "parquet", "npz"])
def test_a_column_that_the_table_lacks_is_refused(tmp_path: Path, ending: str) -> None:
    file = tmp_path / f"table.{ending}"
    frame = pd.DataFrame({"length": [1.0, 2.0], "class": [0, 1]})
    if ending == "csv":
        frame.to_csv(file, index=False)
    elif ending == "parquet":
        frame.to_parquet(file)
    else:
        np.savez(file, **{name: frame[name].to_numpy() for name in frame})
    table = {
        "data.name": "table", "data.root": str(file), "data.label": "class", "data.features": None,
    }  # fmt: skip
    check_data([table, {**table, "data.features": ["length"]}])
    with pytest.raises(UserError, match=r"data\.label: .* has no column 'clas'; its columns: leng"):
        check_data([{**table, "data.label": "clas"}])
    with pytest.raises(UserError, match=r"data\.features: .* has no column 'lenght'"):
        check_data([{**table, "data.features": ["lenght"]}])
    file.write_bytes(b"\xff\x00")
    check_data([table])  # cells say why it cannot be read
