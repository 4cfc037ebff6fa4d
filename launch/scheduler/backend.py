"""Where tasks run: SLURM, this machine in the background, or the process of the command itself.

The three are twins: each sends a range of a plan's tasks off and says which of them may still run.
Sending to SLURM goes through submitit's executor, which checks the parameters and writes the sbatch
text. Two pieces of it are replaced:

* its pickles and entry module, by one plan and `launch.job`: a pickle for every task means files by
  the thousand, submitting dies at arrays over MaxArraySize, and a signal during its imports kills
  the job unsaved;
* its call of sbatch, which hands a surrounding job's SLURM_* variables on to the new job.

Its local executor is not used: it starts every task at once, while one worker with a queue keeps
within the cores.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import submitit
from submitit.slurm.slurm import SlurmExecutor

from launch.errors import UserError
from launch.plan import Launcher, Plan, files, markers
from launch.plan.jobs import Array
from launch.scheduler import slurm, task


class Refused(Exception):
    """The scheduler refused an array; the message is its own."""


class Unanswered(Exception):
    """Whether the scheduler accepted an array is not known: its answer was lost. Its name tells,
    later.
    """


class Backend(Protocol):
    """What each of the twins can do."""

    one_task: bool
    """Whether all cells of a plan belong into one task."""

    def array_size(self) -> int:
        """Most tasks of one array."""

    def send(self, plan: Plan, sweep: Path, array: Array) -> Array:
        """Send the array off and return it with its job; raises Refused or Unanswered."""

    def tasks(self, plan: Plan, sweep: Path, arrays: Sequence[Array]) -> list[slurm.Task] | None:
        """The tasks of these arrays that the scheduler knows, None if it gave no answer."""

    def cancel(
        self, plan: Plan, sweep: Path, arrays: Sequence[Array], numbers: Collection[int]
    ) -> str:
        """End the plan's tasks with these numbers; returns a complaint or nothing."""


_LOST = re.compile("timed out|zero bytes|connection reset|transport endpoint", re.IGNORECASE)
"""What sbatch says where the controller may have taken the job all the same."""


class Slurm:
    """SLURM arrays through submitit's executor."""

    one_task = False

    def array_size(self) -> int:
        """MaxArraySize of the cluster, less one: it bounds the index, which begins at 0."""
        return slurm.array_size()

    def send(self, plan: Plan, sweep: Path, array: Array) -> Array:
        """Write the sbatch script beside the plan and submit it.

        The folder for the jobs' output stands before sbatch: a task that starts where it is missing
        fails without a word (exit 0:53).
        """
        folder = plan.folder(sweep)
        output = (folder / "output").resolve()
        output.mkdir(exist_ok=True)
        script = folder / f"{array.first:05d}.sbatch"
        script.write_text(sbatch_text(plan, (folder / "plan.json").resolve(), output, array))
        done = slurm.call("sbatch", "--parsable", str(script), timeout=120)
        if done.returncode == 124 or (done.returncode != 0 and _LOST.search(done.stderr)):
            raise Unanswered(done.stderr.strip())
        if done.returncode != 0:
            raise Refused(done.stderr.strip() or f"sbatch ended with status {done.returncode}")
        return replace(array, job=done.stdout.strip().split(";")[0])

    def tasks(self, plan: Plan, sweep: Path, arrays: Sequence[Array]) -> list[slurm.Task] | None:
        """One squeue, by job name."""
        return slurm.queue(sorted({array.name for array in arrays}))

    def cancel(
        self, plan: Plan, sweep: Path, arrays: Sequence[Array], numbers: Collection[int]
    ) -> str:
        """One scancel."""
        jobs = []
        for array in (array for array in arrays if array.job):
            indices = array.indices(numbers)
            if len(indices) == array.count:
                jobs.append(str(array.job))
            elif indices:
                jobs.append(f"{array.job}_[{slurm.ranges(indices)}]")
        return slurm.cancel(jobs)


class Local:
    """One background process of this machine, which outlives the command and the terminal."""

    one_task = True

    def array_size(self) -> int:
        """One task."""
        return 1

    def send(self, plan: Plan, sweep: Path, array: Array) -> Array:
        """Start the worker in a session of its own, and wait until it has said who it is."""
        folder = plan.folder(sweep)
        (folder / "output").mkdir(exist_ok=True)
        command = [*_job_command(plan, folder / "plan.json"), "--task", str(array.first)]
        with open(folder / "output" / "local_0_log.out", "ab") as log:
            worker_process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=_job_environment(plan),
            )
        while markers.local_worker(folder) is None:
            if worker_process.poll() is not None:
                raise Refused(f"the worker ended at once; see {log.name}")
            time.sleep(0.02)
        return replace(array, job="local")

    def tasks(self, plan: Plan, sweep: Path, arrays: Sequence[Array]) -> list[slurm.Task] | None:
        """The worker's own word of who it is, held against the processes of this machine."""
        process = markers.local_worker(plan.folder(sweep))
        if process is None:
            return []
        alive = files.alive(process)
        if alive is None:
            return None
        return [
            slurm.Task(a.job or "", a.offset, a.name, "RUNNING" if alive else "COMPLETED")
            for a in arrays
        ]

    def cancel(
        self, plan: Plan, sweep: Path, arrays: Sequence[Array], numbers: Collection[int]
    ) -> str:
        """SIGTERM to the worker, which saves and ends."""
        name = markers.local_worker(plan.folder(sweep))
        if name is None or not files.alive(name):
            return (
                ""
                if name is None or files.alive(name) is False
                else f"it runs on {name['host']}: cancel it there"
            )
        os.kill(name["pid"], signal.SIGTERM)
        return ""


class Debug(Local):
    """The process of the command itself: `send` returns when the cells are trained."""

    def send(self, plan: Plan, sweep: Path, array: Array) -> Array:
        """Run the worker here."""
        task.main([str(plan.folder(sweep) / "plan.json"), "--task", str(array.first)], [])
        markers.remove_local_worker(plan.folder(sweep))  # this process lives on, as no worker
        return replace(array, job="local")


BACKENDS: Mapping[str, Backend] = {"slurm": Slurm(), "local": Local(), "debug": Debug()}


def with_launcher(overrides: Sequence[str]) -> list[str]:
    """The overrides, with SLURM or this machine as launcher where they choose none."""
    if any(text.startswith("hydra/launcher=") for text in overrides):
        return list(overrides)
    default = "slurm" if slurm.present() else "local"
    return [f"hydra/launcher={default}", *overrides]


def check(launcher: Launcher) -> None:
    """Raises UserError for SLURM settings that submitit does not know, with the list of those it
    does.
    """
    if launcher.kind == "slurm":
        _parameters(launcher.settings)


def sbatch_text(plan: Plan, plan_path: Path, output: Path, array: Array) -> str:
    """The sbatch script of an array, a pure function of its arguments.

    The worker runs as a step, through srun, because `scancel --signal` reaches steps only; the
    shell around it ignores the signals, which else would end it and the step with it.
    """
    parameters = _parameters(plan.launcher.settings) | {
        "job_name": array.name,
        "map_count": array.count,
    }
    if array.after:
        parameters["additional_parameters"] = dependent(
            parameters, f"afterok:{':'.join(array.after)}"
        )
    if plan.excluded:
        parameters["exclude"] = ",".join(
            [*([parameters["exclude"]] if "exclude" in parameters else []), *plan.excluded]
        )
    parameters["setup"] = [*(parameters.get("setup") or []), "trap : USR2 TERM"]
    parameters["setup"].append(f"export PYTHONPATH={shlex.quote(plan.code_archive)}")
    command = shlex.join([*_job_command(plan, plan_path), "--first", str(array.first)])
    # ignored until Python has installed its handlers: a signal during its start-up is then lost,
    # not deadly
    command = "bash -c " + shlex.quote(f"trap '' USR2 TERM; exec {command}")
    return str(
        _render(command=command, folder=output, srun_args=["--open-mode=append"], **parameters)
    )


def dependent(settings: Mapping[str, Any], dependency: str) -> dict[str, Any]:
    """The additional parameters with one more dependency; a job whose dependency cannot come true
    is taken away.
    """
    extra = dict(settings.get("additional_parameters") or {})
    both = [str(extra["dependency"]), dependency] if extra.get("dependency") else [dependency]
    return extra | {"dependency": ",".join(both), "kill-on-invalid-dep": "yes"}


def single_text(settings: Mapping[str, Any], command: str, folder: Path, **others: Any) -> str:
    """The sbatch script of a job that is no array and has no step; `others` are submitit's own
    keys.
    """
    return str(
        _render(command=command, folder=folder, use_srun=False, **_parameters(settings) | others)
    )


def _parameters(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The launcher's settings under submitit's names for sbatch."""
    rename = {"timeout_min": "time", "tasks_per_node": "ntasks_per_node", "mem_gb": "mem"}
    skip = {"_target_", "max_num_timeout", "name", "submitit_folder"}
    parameters = {
        rename.get(k, k): v for k, v in settings.items() if k not in skip and v is not None
    }
    if "mem" in parameters:
        parameters["mem"] = f"{round(1024 * parameters['mem'])}MB"
    known = SlurmExecutor._valid_parameters()
    unknown = sorted(set(parameters) - known)
    if unknown:
        raise UserError(
            f"hydra.launcher: unknown {', '.join(unknown)}; submitit {submitit.__version__} knows "
            f"{', '.join(sorted(known))}"
        )
    return parameters


def _render(**parameters: Any) -> str:
    from submitit.slurm.slurm import _make_sbatch_string

    return str(_make_sbatch_string(**parameters))


def _job_command(plan: Plan, plan_path: Path) -> list[str]:
    """-P keeps the folder that the job stands in out of the import path: the plan's code is what
    runs.
    """
    return [plan.python, "-P", "-u", "-m", "launch.job", str(plan_path.resolve())]


def _job_environment(plan: Plan) -> dict[str, str]:
    return slurm.clean_environment() | {"PYTHONPATH": plan.code_archive}
