"""Small SLURM jobs that start after the last task of a submission has ended in any way.

One compacts the store; it is safe at any time, even while somebody resumes the sweep
(analysis/store/claim.py). Another sends the next round of the sweep's searches, if it has any. The
last one runs `notify.command`, after the others. A worker without SLURM does all of it before it
exits (launch/scheduler/task.py).
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from launch.plan import Plan
from launch.plan.jobs import job_name
from launch.scheduler import sbatch, slurm

LIMIT_MINUTES = 60
"""Time limit of a job."""

_KEPT_SETTINGS = (
    "partition", "account", "qos", "comment", "setup", "mem_gb", "stderr_to_stdout",
)  # fmt: skip

_ONLY_FOR_TASKS = (
    "begin", "constraint", "cpus-per-gpu", "deadline", "exclusive", "gpus", "gpus-per-node",
    "gpus-per-socket", "gpus-per-task", "gres", "hold", "licenses", "mem-per-gpu", "tmp",
)  # fmt: skip
"""Additional parameters that a job on one core does without: when tasks start, and what they need
for training.
"""


@dataclass(frozen=True)
class FollowUp:
    """A job after the last task."""

    name: str
    """The end of its SLURM job name."""
    module: str
    """The Python module that it runs."""
    arguments: Sequence[str]
    """The arguments of the module."""
    output: Path
    """The folder of its output."""
    is_last: bool = False
    """Whether it waits for the other follow-ups too."""


def follow_ups(plan: Plan, folder: Path) -> list[FollowUp]:
    """The jobs that follow a submission; `folder` is that of the sweep."""
    output = plan.folder(folder) / "output"
    jobs = []
    if plan.advances_by_itself:
        jobs.append(FollowUp("next", "launch.submit.advance", [str(folder), plan.sid], output))
    if plan.policy.get("compact"):
        jobs.append(FollowUp("compact", "analysis.store.compact", [str(folder)], output))
    if plan.policy.get("notify"):
        arguments = [str(folder), plan.sid]
        jobs.append(FollowUp("notify", "launch.submit.notify", arguments, output, is_last=True))
    return jobs


def send(plan: Plan, folder: Path, jobs: Sequence[str]) -> None:
    """Send the follow-ups of a plan, to start after `jobs` have ended in any way.

    If SLURM refuses a job with one core, as partitions that require a GPU do, it is sent with the
    settings of the tasks. A second refusal is not an error: `redescent compact` and `redescent
    resume` do the same.
    """
    others: list[str] = []
    for follow_up in follow_ups(plan, folder.resolve()):
        before = [*jobs, *others] if follow_up.is_last else jobs
        for settings in (small_settings(plan), full_settings(plan)):
            script = plan.folder(folder) / f"{follow_up.name}.sbatch"
            script.write_text(text(plan, follow_up, before, settings), encoding="utf-8")
            answer = slurm.call("sbatch", "--parsable", str(script), timeout=120)
            if answer.returncode == 0:
                job = slurm.job_number(answer.stdout)
                others += [job] if job else []
                break


def end(plans: Sequence[Plan], folder: Path) -> str:
    """Take the follow-ups of these plans out of the queue; returns SLURM's error, if any.

    One that runs already is left alone.
    """
    names = []
    for plan in plans:
        for follow_up in follow_ups(plan, folder):
            names.append(_job_name(plan, follow_up))
    waiting = slurm.queue(names)
    if waiting.tasks is None:
        return f"squeue does not answer ({waiting.error})"
    return slurm.cancel([job.job for job in waiting.tasks if job.state == "PENDING"])


def small_settings(plan: Plan) -> dict[str, Any]:
    """The launcher's settings for a job on one core, without a GPU."""
    settings = plan.launcher.settings
    kept = {key: settings[key] for key in _KEPT_SETTINGS if key in settings}
    extra = plan.launcher.additional_parameters
    extra = {key: extra[key] for key in extra if key.replace("_", "-") not in _ONLY_FOR_TASKS}
    return {**kept, "cpus_per_task": 1, "additional_parameters": extra}


def full_settings(plan: Plan) -> dict[str, Any]:
    """The launcher's settings for a job with the resources of a task."""
    return {**plan.launcher.released.settings, "array_parallelism": None}


def text(plan: Plan, follow_up: FollowUp, jobs: Sequence[str], settings: dict[str, Any]) -> str:
    """The sbatch script of a follow-up after these jobs."""
    dependency = f"afterany:{':'.join(jobs)}"
    python_path = f"export PYTHONPATH={shlex.quote(plan.code_archive)}"
    limit = min(LIMIT_MINUTES, plan.launcher.limit_minutes or LIMIT_MINUTES)
    settings = settings | {
        "timeout_min": limit,
        "additional_parameters": sbatch.add_dependency(settings, dependency),
        "setup": [*(settings.get("setup") or []), python_path],
    }
    command = shlex.join([plan.python, "-P", "-m", follow_up.module, *follow_up.arguments])
    name = _job_name(plan, follow_up)
    return sbatch.single_script(settings, command, follow_up.output, job_name=name)


def _job_name(plan: Plan, follow_up: FollowUp) -> str:
    """SLURM job name of a follow-up: sweep, submission, and what it does."""
    sweep_and_submission = job_name(plan, 0).rpartition(".")[0]
    return f"{sweep_and_submission}.{follow_up.name}"
