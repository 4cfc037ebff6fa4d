"""The sbatch scripts, as pure functions; submitit renders the text and checks the parameters."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import submitit
from submitit.slurm.slurm import SlurmExecutor, _make_sbatch_string

from launch.errors import UserError
from launch.plan import Launcher, Plan
from launch.plan.jobs import Array

_SBATCH_NAMES = {"timeout_min": "time", "tasks_per_node": "ntasks_per_node", "mem_gb": "mem"}
_NOT_FOR_SBATCH = {"_target_", "max_num_timeout", "name", "submitit_folder"}

_MORE_PROCESSES = (
    "nodes", "ntasks", "tasks_per_node", "ntasks_per_node", "ntasks_per_gpu", "ntasks_per_core",
    "ntasks_per_socket", "N", "n",
)  # fmt: skip
"""Settings, with "-" written as "_", of which any value but 1 starts a task's worker repeatedly."""


def check(launcher: Launcher) -> None:
    """Raise UserError for SLURM settings that submitit does not know, or that cannot work.

    A task is one process: every further one would train the same cells again.
    """
    if launcher.kind != "slurm":
        return
    _parameters(launcher.settings)
    for key, value in [*launcher.settings.items(), *launcher.additional_parameters.items()]:
        if key.replace("-", "_") in _MORE_PROCESSES and value not in (None, 1, "1"):
            raise UserError(
                f"hydra.launcher.{key}: found {value!r}, expected 1: a task is one process, and "
                "every further one would train the same cells again; use task.at_a_time=N to "
                "train several cells in a task"
            )
    _check_time_limit(launcher.settings)


def _check_time_limit(settings: Mapping[str, Any]) -> None:
    """Raise UserError for a time limit of no minutes, or one that ends before its own signal."""
    minutes, delay = settings.get("timeout_min"), settings.get("signal_delay_s")
    if minutes is None:
        return
    if type(minutes) not in (int, float) or not 1 <= minutes < math.inf:
        raise UserError(
            f"hydra.launcher.timeout_min: found {minutes!r}, expected at least 1 minute, or null"
        )
    if delay is not None and not (type(delay) in (int, float) and 0 <= delay < 60 * minutes):
        raise UserError(
            f"hydra.launcher.signal_delay_s: found {delay!r}, expected less than the "
            f"{60 * minutes:g} s of hydra.launcher.timeout_min, and at least 0: a task would be "
            "told to stop before it starts"
        )


def array_script(plan: Plan, plan_path: Path, output: Path, array: Array) -> str:
    """The sbatch script of an array.

    The worker runs as a step, through srun, because `scancel --signal` reaches only steps. The
    shell around it ignores the signals, which would otherwise end it and the step with it.
    """
    parameters = _parameters(plan.launcher.settings)
    parameters |= {"job_name": array.name, "map_count": array.count}
    for kind, jobs in (("afterok", array.after), ("afterany", array.follows)):
        if jobs:
            dependency = f"{kind}:{':'.join(jobs)}"
            parameters["additional_parameters"] = add_dependency(parameters, dependency)
    if plan.excluded:
        nodes = [parameters["exclude"]] if "exclude" in parameters else []
        parameters["exclude"] = ",".join([*nodes, *plan.excluded])
    path = f"export PYTHONPATH={shlex.quote(plan.code_archive)}"
    parameters["setup"] = [*(parameters.get("setup") or []), "trap : USR2 TERM", path]
    command = shlex.join([*job_command(plan, plan_path), "--first", str(array.first)])
    # Ignored until Python has installed its handlers: an early signal is lost, but does not kill.
    command = "bash -c " + shlex.quote(f"trap '' USR2 TERM; exec {command}")
    return _render(command=command, folder=output, srun_args=["--open-mode=append"], **parameters)


def single_script(settings: Mapping[str, Any], command: str, folder: Path, **extra: Any) -> str:
    """The sbatch script of a job without an array or a step; `extra` are keys of submitit."""
    parameters = _parameters(settings) | extra
    return _render(command=command, folder=folder, use_srun=False, **parameters)


def add_dependency(settings: Mapping[str, Any], dependency: str) -> dict[str, Any]:
    """The additional parameters with one more dependency.

    SLURM removes the job when the dependency can no longer be met.
    """
    extra = dict(settings.get("additional_parameters") or {})
    dependencies = [dependency]
    if extra.get("dependency"):
        dependencies.insert(0, str(extra["dependency"]))
    return extra | {"dependency": ",".join(dependencies), "kill-on-invalid-dep": "yes"}


def job_command(plan: Plan, plan_path: Path) -> list[str]:
    """The command of a task's worker.

    With -P, the job's working folder is not on the import path, so the plan's code runs.
    """
    return [plan.python, "-P", "-u", "-m", "launch.job", str(plan_path.resolve())]


def _parameters(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The launcher's settings, by submitit's names."""
    parameters = {}
    for key, value in settings.items():
        is_set = value not in (None, "")  # SBATCH_PARTITION can be set and empty
        if key not in _NOT_FOR_SBATCH and is_set:
            parameters[_SBATCH_NAMES.get(key, key)] = value
    if settings.get("mem_gb"):
        parameters["mem"] = f"{round(1024 * settings['mem_gb'])}MB"
    valid = SlurmExecutor._valid_parameters()
    unknown = sorted(set(parameters) - valid)
    if unknown:
        raise UserError(
            f"hydra.launcher: unknown {', '.join(unknown)}; submitit {submitit.__version__} knows "
            f"{', '.join(sorted(valid))}"
        )
    return parameters


def _render(**parameters: Any) -> str:
    return str(_make_sbatch_string(**parameters))
