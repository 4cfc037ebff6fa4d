"""The job that compacts the store of a sweep after the last task of a submission has ended.

It is safe at any time, even while somebody resumes the sweep (analysis/store/claim.py). A worker
without SLURM compacts before it exits.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from launch.plan import Plan
from launch.plan.jobs import job_name
from launch.scheduler import sbatch, slurm

LIMIT_MINUTES = 60
"""Time limit of the job."""

_KEPT_SETTINGS = (
    "partition", "account", "qos", "comment", "setup", "mem_gb", "additional_parameters",
    "stderr_to_stdout",
)  # fmt: skip


def send(plan: Plan, folder: Path, jobs: Sequence[str]) -> None:
    """Send a job that compacts the sweep after `jobs` have ended in any way.

    If SLURM refuses a job with one core, as partitions that require a GPU do, it is sent with the
    settings of the tasks. A second refusal is not an error: `redescent compact` does the same.
    """
    for settings in (small_settings(plan), full_settings(plan)):
        script = plan.folder(folder) / "compact.sbatch"
        script.write_text(text(plan, folder.resolve(), jobs, settings))
        answer = slurm.call("sbatch", "--parsable", str(script), timeout=120)
        if answer.returncode == 0:
            return


def small_settings(plan: Plan) -> dict[str, Any]:
    """The launcher's settings for a job on one core, without a GPU."""
    settings = plan.launcher.settings
    return {key: settings[key] for key in _KEPT_SETTINGS if key in settings} | {"cpus_per_task": 1}


def full_settings(plan: Plan) -> dict[str, Any]:
    """The launcher's settings for a job with the resources of a task."""
    return {**plan.launcher.settings, "array_parallelism": None}


def text(plan: Plan, folder: Path, jobs: Sequence[str], settings: dict[str, Any]) -> str:
    """The sbatch script that compacts the sweep in `folder` after these jobs."""
    dependency = f"afterany:{':'.join(jobs)}"
    python_path = f"export PYTHONPATH={shlex.quote(plan.code_archive)}"
    limit = min(LIMIT_MINUTES, plan.launcher.limit_minutes or LIMIT_MINUTES)
    settings = settings | {
        "timeout_min": limit,
        "additional_parameters": sbatch.add_dependency(settings, dependency),
        "setup": [*(settings.get("setup") or []), python_path],
    }
    command = shlex.join([plan.python, "-P", "-m", "analysis.store.compact", str(folder)])
    sweep_and_submission = job_name(plan, 0).rpartition(".")[0]
    output = plan.folder(folder) / "output"
    return sbatch.single_script(
        settings, command, output, job_name=f"{sweep_and_submission}.compact"
    )
