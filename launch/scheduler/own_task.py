"""The task of SLURM that this process runs in: what its environment says, and what SLURM does."""

from __future__ import annotations

import os
import time

from launch.scheduler import slurm
from launch.scheduler.slurm import Task

MOST_REFUSALS = 5
"""If SLURM refuses a requeue this many times, as for a job with --no-requeue, the task ends."""


def from_environment() -> Task | None:
    """The task that this process runs in, from its environment; None outside SLURM."""
    job = os.environ.get("SLURM_ARRAY_JOB_ID") or os.environ.get("SLURM_JOB_ID")
    if not job:
        return None
    text = os.environ.get("SLURM_ARRAY_TASK_ID", "")
    index = int(text) if text.isdecimal() else 0
    name = os.environ.get("SLURM_JOB_NAME", "")
    return Task(job, index, name, state="RUNNING")


def job_id() -> str:
    """The id of this task for SLURM's programs: JOB_INDEX in an array.

    SLURM_JOB_ID of the last task is that of the array, for which they answer with all its tasks.
    """
    array, index = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{index}" if array and index else os.environ["SLURM_JOB_ID"]


def state() -> str:
    """State of the task that this process runs in; empty if SLURM does not answer."""
    return _field("%T")


def _field(field: str) -> str:
    """A field of squeue for this task; empty if SLURM does not answer."""
    options = ["-h", "-a", "-t", "all", "-j", job_id(), "-o", field]
    answer = slurm.call("squeue", *options, timeout=20)
    return answer.stdout.strip() if answer.returncode == 0 else ""


def is_cancelled() -> bool:
    """Whether somebody cancelled the task that this process runs in; False if SLURM does not say so
    within the seconds that are left for saving.
    """
    job, earlier = job_id(), restarts()
    executions = _call_while_stopping("sacct", "-X", "-D", "-n", "-P", "-j", job, "-o", "State")
    word = executions[min(earlier, len(executions) - 1)] if executions else ""
    if word.startswith(("CANCELLED", "PREEMPTED", "REQUEUED")):
        return word.startswith("CANCELLED")
    lines = _call_while_stopping("scontrol", "-o", "show", "job", job)
    return bool(lines) and _says_cancelled(lines[-1], earlier)


def restarts() -> int:
    """How often the task that this process runs in was requeued before."""
    return int(os.environ.get("SLURM_RESTART_COUNT", "0"))


def _call_while_stopping(*command: str) -> list[str]:
    """The lines that a program prints, none without an answer.

    SLURM signals all processes of a job twice, which can end a first call.
    """
    for _ in range(2):
        answer = slurm.call(*command, timeout=2)
        if answer.returncode >= 0:
            break
    return answer.stdout.strip().splitlines() if answer.returncode == 0 else []


def _says_cancelled(text: str, restarts: int) -> bool:
    """Whether a line of `scontrol -o show job` is that of a job that ends for good although no
    other job takes its place. While its processes end, its state is COMPLETING.
    """
    values = dict(word.partition("=")[::2] for word in text.split())
    if values.get("JobState") not in ("COMPLETING", "CANCELLED"):
        return False
    is_requeued = values.get("Restarts", str(restarts)) != str(restarts)
    return not is_requeued and values.get("PreemptTime", "None") == "None"


def end() -> float | None:
    """Unix time of this task's time limit; None if neither the environment nor SLURM has it."""
    text = os.environ.get("SLURM_JOB_END_TIME", "")
    if text.isdigit():
        return float(text)
    for _ in range(3):  # just after its start, the end of a job can be N/A
        limit = slurm.unix_time(_field("%e"))
        if limit is not None:
            return limit
        time.sleep(1)
    return None


def requeue(until: float) -> str:
    """Requeue this task; returns SLURM's error if it refused, empty if it did not.

    Retries until the Unix time `until` while slurmctld does not answer, and a few times if it
    refuses.
    """
    refusals = 0
    while True:
        answer = slurm.call("scontrol", "requeue", job_id(), timeout=30)
        if answer.returncode == 0 or state() in ("PENDING", "REQUEUED"):
            return ""
        if not slurm.is_unanswered(answer):
            refusals += 1
        if refusals == MOST_REFUSALS or time.time() > until:
            return slurm.error_of(answer)
        time.sleep(2)
