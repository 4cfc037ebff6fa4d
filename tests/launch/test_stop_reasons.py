"""Why a task was asked to stop, and the lines that its output has meanwhile."""

from __future__ import annotations

import logging
import signal
from collections.abc import Sequence
from subprocess import CompletedProcess

import pytest

from launch.plan.outcome import StopReason
from launch.scheduler import slurm, task
from launch.worker.pool import stop_reason, terminated
from trainers import log_lines
from trainers.log_lines import LogLines

TERM, USR2 = int(signal.SIGTERM), int(signal.SIGUSR2)


ENDS = "JobId=7 JobState=COMPLETING PreemptEligibleTime=2026-01-02T03:04:05 PreemptTime="


@pytest.mark.parametrize(
    ("received", "accounting", "job", "expected"),
    [
        ([TERM], "PREEMPTED\nCANCELLED by 0\n", "", "cancelled"),
        ([USR2, TERM], "CANCELLED by 0\n", "", "cancelled"),
        ([TERM], "PREEMPTED\nPREEMPTED\nCANCELLED by 0\n", "", "preempted"),
        ([TERM], "", f"{ENDS}None Restarts=2", "preempted"),
        ([TERM], "RUNNING\n", f"{ENDS}None", "cancelled"),
        ([TERM], "", "JobId=7 JobState=COMPLETING Reason=None", "cancelled"),
        ([TERM], "", f"{ENDS}2026-01-02T03:04:06", "preempted"),
        ([TERM], "RUNNING\n", "JobId=7 JobState=RUNNING Reason=None", "preempted"),
        ([TERM], "", "", "preempted"),
        ([USR2], "CANCELLED by 0\n", "", "preempted"),
    ],
)
def test_slurm_tells_a_cancelled_job_from_a_preempted_one(
    received: Sequence[int],
    accounting: str,
    job: str,
    expected: StopReason,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The texts are those of SLURM 24.11 in the moment in which the job gets SIGTERM."""
    interrupted = ["sacct", "scontrol"]

    def call(*words: str, timeout: float = 60) -> CompletedProcess[str]:
        assert timeout <= 2, "the rest of the time is for saving"
        if words[0] in interrupted:
            interrupted.remove(words[0])
            return CompletedProcess(words, -TERM, "", "")
        answer = accounting if words[0] == "sacct" else job
        return CompletedProcess(words, 0 if answer else 1, answer, "")

    monkeypatch.setattr(slurm, "call", call)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert task._why_stopped(received)() == expected


def test_the_time_limit_and_a_marker_come_before_what_slurm_says() -> None:
    assert stop_reason(1000.0, 950.0, only_cancelled_left=False) == "timeout"
    assert stop_reason(1000.0, 950.0, only_cancelled_left=True) == "cancelled"
    assert stop_reason(1000.0, 100.0, only_cancelled_left=False) is None
    assert stop_reason(None, 100.0, only_cancelled_left=False) is None
    assert terminated() == "terminated", "nothing preempts outside SLURM"


def test_a_task_writes_a_line_of_progress_every_ten_seconds(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = [100.0]
    monkeypatch.setattr(log_lines.time, "monotonic", lambda: clock[0])
    caplog.set_level(logging.INFO)
    lines = LogLines("c1-a", {"trainer.epochs": 100}, share=0.5)
    for epoch in range(1, 51):
        clock[0] += 1.0
        lines.add({"epoch": epoch, "step": 4 * epoch, "test_error": 0.5 / epoch, "lr": 1.0})
    assert caplog.messages == [
        "cell c1-a: epoch 20 of 100, test_error 0.025",
        "cell c1-a: epoch 40 of 100, test_error 0.0125",
    ]


def test_a_line_of_progress_counts_what_the_trainer_counts() -> None:
    row = {"epoch": 2, "step": 80, "test_error": None, "train_loss": 1.25}
    assert log_lines.position_text(row, {"trainer.steps": 200}) == "step 80 of 200"
    assert log_lines.position_text(row, {}) == "step 80"
    assert log_lines.metric_text(row) == ", train_loss 1.25"
    assert log_lines.metric_text({"epoch": 2, "lr": 0.1}) == ""
