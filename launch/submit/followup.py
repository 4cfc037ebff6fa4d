"""The job that folds the parts of a sweep into its store when the last task of a submission has
ended.

It is safe at any time, also while somebody resumes the sweep (analysis/store/claim.py). A worker
without SLURM does the same at its own end.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from launch.plan import Plan
from launch.plan.jobs import job_name
from launch.scheduler import sbatch, slurm

MINUTES = 60
"""Time limit of the job."""

_KEPT = (
    "partition",
    "account",
    "qos",
    "comment",
    "setup",
    "mem_gb",
    "additional_parameters",
    "stderr_to_stdout",
)


def send(plan: Plan, sweep: Path, jobs: Sequence[str]) -> None:
    """Have SLURM compact the sweep after `jobs`, whatever becomes of them.

    Where the job is refused on a core alone, as in partitions that want a GPU, it is sent with the
    settings of the tasks. A second refusal is no error: `redescent compact` does the same.
    """
    folder = plan.folder(sweep)
    for modest in (True, False):
        (folder / "compact.sbatch").write_text(
            text(plan, sweep.resolve(), (folder / "output").resolve(), jobs, modest)
        )
        if (
            slurm.call(
                "sbatch", "--parsable", str(folder / "compact.sbatch"), timeout=120
            ).returncode
            == 0
        ):
            return


def text(plan: Plan, sweep: Path, output: Path, jobs: Sequence[str], modest: bool) -> str:
    """The sbatch script; a `modest` one asks for a core and no GPU."""
    settings: dict[str, Any] = {
        key: value for key, value in plan.launcher.settings.items() if key in _KEPT or not modest
    }
    settings |= {"cpus_per_task": 1} if modest else {"array_parallelism": None}
    settings["timeout_min"] = min(MINUTES, plan.launcher.limit_minutes or MINUTES)
    settings["additional_parameters"] = sbatch.add_dependency(
        settings, f"afterany:{':'.join(jobs)}"
    )
    settings["setup"] = [
        *(settings.get("setup") or []),
        f"export PYTHONPATH={shlex.quote(plan.code_archive)}",
    ]
    command = shlex.join([plan.python, "-P", "-m", "analysis.store.compact", str(sweep)])
    name = job_name(plan, 0).rpartition(".")[0] + ".compact"
    return sbatch.single_script(settings, command, output, job_name=name)
