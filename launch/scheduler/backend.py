"""Where tasks run: on SLURM, in the background of this machine, or in the process of the command.

The three have the same methods: each sends a range of a plan's tasks and reports which may still
run. Sending to SLURM goes through submitit's executor, which checks the parameters and writes the
sbatch text. Two parts of it are replaced:

* its pickles and entry module, by one plan and `launch.job`: a pickle per task makes thousands of
  files, submission fails for arrays over MaxArraySize, and a signal during its imports kills the
  job unsaved;
* its call of sbatch, which passes the SLURM_* variables of a surrounding job to the new job.

Its local executor is not used: it starts every task at once. One worker with a queue uses only the
cores that exist.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from launch.plan import Plan, markers
from launch.plan.jobs import Array
from launch.plan.outcome import last_line
from launch.plan.process import command_line, process_ids
from launch.scheduler import cluster, sbatch, slurm, task


class Refused(Exception):
    """The scheduler refused an array; the message is the scheduler's."""


class Unreachable(Refused):
    """The scheduler cannot be reached, so it got nothing; the message is that of its program."""


class Missing(Refused):
    """There is no sbatch on this machine, so nothing was sent; the message says so."""


class Unanswered(Exception):
    """The scheduler did not answer; a later lookup by name finds whether it accepted the array."""


class Backend(Protocol):
    """What each backend can do."""

    one_task: bool
    """Whether all cells of a plan go into one task."""

    def array_size(self) -> int:
        """Most tasks of one array."""

    def send(self, plan: Plan, sweep: Path, array: Array) -> Array:
        """Send the array and return it with its job. Raises Refused or Unanswered."""

    def tasks(self, plan: Plan, sweep: Path, arrays: Sequence[Array]) -> list[slurm.Task] | None:
        """The tasks of these arrays that the scheduler knows; None if it does not answer."""

    def cancel(
        self, plan: Plan, sweep: Path, arrays: Sequence[Array], numbers: Collection[int]
    ) -> str:
        """End the plan's tasks with these numbers; returns the scheduler's error, if any."""


class Slurm:
    """SLURM arrays through submitit's executor."""

    one_task = False

    def array_size(self) -> int:
        """MaxArraySize of the cluster, less one: it bounds the index, which begins at 0."""
        return cluster.array_size()

    def send(self, plan: Plan, sweep: Path, array: Array) -> Array:
        """Write the sbatch script next to the plan and submit it.

        The folder for the jobs' output is created before sbatch: a task that starts without it
        fails without a message (exit 0:53).
        """
        folder = plan.folder(sweep)
        output = (folder / "output").resolve()
        output.mkdir(exist_ok=True)
        script = folder / f"{array.first:05d}.sbatch"
        text = sbatch.array_script(plan, (folder / "plan.json").resolve(), output, array)
        script.write_text(text, encoding="utf-8")
        answer = slurm.call("sbatch", "--parsable", str(script), timeout=120)
        return replace(array, job=_accepted_job(answer))

    def tasks(self, plan: Plan, sweep: Path, arrays: Sequence[Array]) -> list[slurm.Task] | None:
        """One squeue, by job name."""
        return slurm.queue(sorted({array.name for array in arrays})).tasks

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


def _accepted_job(answer: subprocess.CompletedProcess[str]) -> str:
    """The number of the job that sbatch reports. Raises Refused or Unanswered."""
    if answer.returncode == 124 or (answer.returncode != 0 and slurm.LOST.search(answer.stderr)):
        raise Unanswered(answer.stderr.strip())
    if answer.returncode != 0:
        error = answer.stderr.strip() or f"sbatch ended with status {answer.returncode}"
        if answer.returncode == 127:
            raise Missing(error)
        raise Unreachable(error) if slurm.UNREACHABLE.search(error) else Refused(error)
    job = slurm.job_number(answer.stdout)
    if job is None:
        raise Unanswered(f"sbatch printed no job number: {last_line(answer.stdout)!r}")
    return job


class Local:
    """One background process on this machine, which outlives the command and the terminal."""

    one_task = True

    def array_size(self) -> int:
        """One task."""
        return 1

    def send(self, plan: Plan, sweep: Path, array: Array) -> Array:
        """Start the worker in its own session, and wait until it has recorded its process."""
        folder = plan.folder(sweep)
        (folder / "output").mkdir(exist_ok=True)
        command = [*sbatch.job_command(plan, folder / "plan.json"), "--task", str(array.first)]
        with open(folder / "output" / "local_0_log.out", "ab") as log:
            worker_process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                env=slurm.clean_environment() | {"PYTHONPATH": plan.code_archive},
            )
        while markers.local_worker(folder) is None:
            if worker_process.poll() is not None:
                text = Path(log.name).read_bytes()[-8000:].decode(errors="replace")
                raise Refused(f"the worker exited immediately: {last_line(text)}; see {log.name}")
            time.sleep(0.02)
        return replace(array, job="local")

    def tasks(self, plan: Plan, sweep: Path, arrays: Sequence[Array]) -> list[slurm.Task] | None:
        """The recorded worker, if it still runs on this machine."""
        process = markers.local_worker(plan.folder(sweep))
        if process is None:
            return []
        alive = process.alive()
        if alive is None:
            return None
        state = "RUNNING" if alive else "COMPLETED"
        return [slurm.Task(array.job or "", array.offset, array.name, state) for array in arrays]

    def cancel(
        self, plan: Plan, sweep: Path, arrays: Sequence[Array], numbers: Collection[int]
    ) -> str:
        """Send SIGTERM to the worker, which saves and ends."""
        process = markers.local_worker(plan.folder(sweep))
        if process is None or process.alive() is False:
            return ""
        if process.alive() is None:
            return f"it runs on {process.host}; cancel it there"
        if not _may_be_worker(command_line(process.pid), plan):
            return (
                f"local.json of {plan.sid} names process {process.pid}, which is no worker of "
                "this submission and was left alone"
            )
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGTERM)
        return ""


def has_worker_process(plan: Plan) -> bool | None:
    """Whether a process of this machine is a worker of the plan; None if that cannot be known."""
    pids = process_ids()
    if pids is None:
        return None
    return any(_names_plan(command_line(pid), plan) for pid in pids)


def _may_be_worker(command: Sequence[str], plan: Plan) -> bool:
    """Whether a command is that of a worker of this plan.

    `launch.train` composes its own configuration, so its command does not name the plan.
    """
    return "launch.train" in command or _names_plan(command, plan)


def _names_plan(command: Sequence[str], plan: Plan) -> bool:
    """Whether a command starts a worker with the file of this plan."""
    return "launch.job" in command and any(f"/{plan.sid}/" in word for word in command)


class Debug(Local):
    """The process of the command: `send` returns when the cells have ended."""

    def cancel(
        self, plan: Plan, sweep: Path, arrays: Sequence[Array], numbers: Collection[int]
    ) -> str:
        """Nothing to do: the command stops its own cells when it sees that they are cancelled."""
        return ""

    def send(self, plan: Plan, sweep: Path, array: Array) -> Array:
        """Run the worker here."""
        folder = plan.folder(sweep)
        task.main([str(folder / "plan.json"), "--task", str(array.first)], [])
        markers.remove_local_worker(folder)  # the process continues, but no longer as a worker
        return replace(array, job="local")


BACKENDS: Mapping[str, Backend] = {"slurm": Slurm(), "local": Local(), "debug": Debug()}


@dataclass(frozen=True)
class LauncherChoice:
    """Overrides that name a launcher, and why it is this one."""

    overrides: Sequence[str]
    reason: str


def choose_launcher(overrides: Sequence[str]) -> LauncherChoice:
    """The overrides, plus SLURM or this machine as the launcher if they name none."""
    if any(text.startswith("hydra/launcher=") for text in overrides):
        return LauncherChoice(list(overrides), "named on the command line")
    if slurm.present():
        return LauncherChoice(["hydra/launcher=slurm", *overrides], "SLURM is on this machine")
    return LauncherChoice(["hydra/launcher=local", *overrides], "no SLURM on this machine")
