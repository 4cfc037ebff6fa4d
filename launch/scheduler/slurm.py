"""Call SLURM's programs and parse their output.

One squeue and at most one sacct serve a whole sweep. An error of SLURM never means "no jobs":
queries then return None.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from launch.errors import UserError

ENDED = {
    "COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL",
    "OUT_OF_MEMORY", "BOOT_FAIL", "DEADLINE", "REVOKED",
}  # fmt: skip
"""States after which a task never runs again. A task in any other state may still run."""

REQUEUE_SECONDS = 120.0
"""SLURM requeues a preempted task within seconds, if at all: one that is still PREEMPTED after this
time has ended, as in a partition that cancels what it preempts."""

COMPLETING_SECONDS = 300.0
"""A task that completes for longer is stuck: its node does not report that its processes ended."""

NOTICE_SECONDS = 3.0
"""After this time a command says which of SLURM's programs it waits for."""

CLOCK_SECONDS = 30.0
"""An end that lies further ahead is not one that another clock wrote: a time limit is longer."""

LOST = re.compile(
    "timed out|zero bytes|connection reset|transport endpoint|(send|receive|shutdown) failure",
    re.IGNORECASE,
)
"""What a program prints if the controller may have done what was asked although the call failed."""

UNREACHABLE = re.compile(
    "unable to contact|failed to fetch config|SLURM_CONF: found", re.IGNORECASE
)
"""What a program prints if it had no connection to the controller."""


@dataclass(frozen=True)
class Task:
    """One element of an array as SLURM knows it."""

    job: str
    index: int
    name: str
    state: str
    reason: str = ""
    node: str = ""
    ended_seconds: float | None = None
    """For a task that may run again, how long ago its processes ended; None if unknown."""

    @property
    def live(self) -> bool:
        """Whether it may still run."""
        if self.state == "PREEMPTED" and (self.ended_seconds or 0.0) > REQUEUE_SECONDS:
            return False
        return self.state not in ENDED

    @property
    def has_end(self) -> bool:
        """Whether it is known when its processes ended."""
        return self.ended_seconds is not None

    @property
    def is_stuck(self) -> bool:
        """Whether it completes for longer than it should."""
        return self.state == "COMPLETING" and (self.ended_seconds or 0.0) > COMPLETING_SECONDS

    @property
    def has_processes(self) -> bool:
        """Whether its processes run: those of a task that was ended first save what they have."""
        return self.state == "RUNNING" or (self.state == "COMPLETING" and not self.is_stuck)


def present() -> bool:
    """Whether this machine has SLURM's client programs and a configuration.

    Without a configuration even --version fails. Whether the controller is up is not checked.
    Raises UserError if SLURM_CONF names no file: SLURM's programs would look for a minute.
    """
    if shutil.which("sbatch") is None:
        return False
    problem = _wrong_configuration()
    if problem:
        raise UserError(f"{problem}; correct or unset it")
    return call("scontrol", "--version").returncode == 0


def _wrong_configuration() -> str | None:
    """What is wrong with SLURM_CONF; None if it is not set or names a file."""
    path = os.environ.get("SLURM_CONF")
    if path is None or os.path.isfile(path):
        return None
    return f"SLURM_CONF: found {path!r}, which is no file, expected SLURM's configuration"


def clean_environment() -> dict[str, str]:
    """The environment for SLURM's programs, without the variables that change what they do.

    Those of a surrounding job would become settings of the new job; those of squeue and sacct, such
    as SQUEUE_PARTITION, would hide tasks. SLURM_CONF is kept: it names the cluster.
    """
    prefixes = (
        "SLURM_", "SBATCH_", "SRUN_", "SALLOC_", "SQUEUE_", "SACCT_", "SINFO_", "SCONTROL_",
        "SCANCEL_",
    )  # fmt: skip
    environment = {}
    for name, value in os.environ.items():
        if name == "SLURM_CONF" or not name.startswith(prefixes):
            environment[name] = value
    return environment


def call(
    *command: str, timeout: float = 60, input: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a SLURM program with `input` on its standard input.

    Returns code 127 if it is missing, 124 if it does not answer in time, 1 with a message if
    SLURM_CONF names no file. Says on standard error, once for each program, that it waits.
    """
    problem = _wrong_configuration()
    if problem:
        return subprocess.CompletedProcess(command, 1, "", problem)
    try:
        with _notice(command[0], timeout):
            return subprocess.run(
                command,
                input=input,
                capture_output=True,
                text=True,
                timeout=timeout,
                env=clean_environment(),
                check=False,
            )
    except FileNotFoundError:
        message = f"{command[0]}: not found on this machine"
        return subprocess.CompletedProcess(command, 127, "", message)
    except subprocess.TimeoutExpired:
        message = f"{command[0]}: no answer within {timeout:.0f} s"
        return subprocess.CompletedProcess(command, 124, "", message)


_noticed: set[str] = set()
"""The programs that this process said it waits for."""


@contextlib.contextmanager
def _notice(program: str, timeout: float) -> Iterator[None]:
    """Say after NOTICE_SECONDS that a program has not answered yet, unless that was said before."""

    def say() -> None:
        _noticed.add(program)
        print(f"waiting for {program}, at most {timeout:.0f} s", file=sys.stderr, flush=True)

    if program in _noticed or timeout <= NOTICE_SECONDS:
        yield
        return
    timer = threading.Timer(NOTICE_SECONDS, say)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


_JOB = re.compile(r"(\d+)(;\S+)?")
"""What `sbatch --parsable` prints of a job: its number, and the cluster if there are several."""


def job_number(text: str) -> str | None:
    """The number of the job in the output of `sbatch --parsable`; None if there is none.

    Where a site wraps sbatch, other lines can surround it.
    """
    for line in reversed(text.splitlines()):
        job = _JOB.fullmatch(line.strip())
        if job:
            return job.group(1)
    return None


@dataclass(frozen=True)
class Queue:
    """The tasks that squeue lists; None if it does not answer, and then why."""

    tasks: list[Task] | None
    error: str = ""


def queue(names: Sequence[str]) -> Queue:
    """All tasks of the jobs with these names that slurmctld knows, including ended ones."""
    if not names:
        return Queue([])
    options = ["-h", "-r", "-a", "-t", "all", "-o", "%F|%K|%j|%T|%N|%r|%e"]
    answer = call("squeue", *options, "--name", ",".join(names))
    if answer.returncode != 0:
        return Queue(None, error_of(answer))
    return Queue(parse_queue(answer.stdout, time.time()))


def is_unanswered(answer: subprocess.CompletedProcess[str]) -> bool:
    """Whether a program failed because it got no answer from the controller."""
    if answer.returncode == 0:
        return False
    patterns = (LOST, UNREACHABLE)
    return answer.returncode == 124 or any(pattern.search(answer.stderr) for pattern in patterns)


def error_of(answer: subprocess.CompletedProcess[str]) -> str:
    """The last line of what a program printed about its error, or its exit status."""
    lines = answer.stderr.strip().splitlines()
    return lines[-1] if lines else f"{answer.args[0]} ended with status {answer.returncode}"


def parse_queue(text: str, now: float = 0.0) -> list[Task]:
    """The tasks in the output of squeue with the format above, at the Unix time `now`."""
    tasks = []
    for line in text.splitlines():
        line, end = _without_time(line.strip())
        job, index, name, state, node, reason = (line.split("|", 5) + [""] * 6)[:6]
        if job.isdigit():  # other lines are those of a program around squeue
            number = int(index) if index.isdigit() else 0
            seconds = _ended_seconds(state, end, now)
            tasks.append(Task(job, number, name, state, reason, node, seconds))
    return tasks


def _without_time(line: str) -> tuple[str, float | None]:
    """A line without the time at its end, and that time; None if there is none, or if it is N/A."""
    rest, _, last = line.rpartition("|")
    end = unix_time(last)
    if end is None and last not in ("N/A", "NONE", "Unknown"):
        return line, None
    return rest, end


def _ended_seconds(state: str, end: float | None, now: float) -> float | None:
    """How long ago a task ended that may run again; the end of others is their time limit.

    So is that of a requeued task which completes, in the queue: accounting has its end.
    """
    if state not in ("PREEMPTED", "COMPLETING", "REQUEUED") or end is None:
        return None
    return max(0.0, now - end) if end < now + CLOCK_SECONDS else None


def unix_time(text: str) -> float | None:
    """The Unix time of a local time as SLURM writes it; None for any other text."""
    try:
        return time.mktime(time.strptime(text, "%Y-%m-%dT%H:%M:%S"))
    except (ValueError, OverflowError):
        return None


def accounting(names: Sequence[str]) -> list[Task] | None:
    """The newest state of each task of these jobs in accounting, which lags by seconds.

    None without an answer.
    """
    if not names:
        return []
    options = ["-X", "-n", "-P", "-S", "now-90days", "-o", "JobID,JobName,State,Reason,End"]
    answer = call("sacct", *options, "--name", ",".join(names))
    return parse_accounting(answer.stdout, time.time()) if answer.returncode == 0 else None


@dataclass(frozen=True)
class Execution:
    """One execution of a task in accounting; times are SLURM's texts, empty if unknown."""

    job: str = ""
    state: str = ""
    start: str = ""
    end: str = ""
    node: str = ""
    exit: str = ""


def history(jobs: Sequence[str]) -> list[Execution] | None:
    """Every execution of these tasks (as "5_3"), oldest first; None without an answer.

    Each requeue of a task is a separate execution.
    """
    if not jobs:
        return []
    columns = "JobID,State,Start,End,NodeList,ExitCode"
    answer = call("sacct", "-X", "-D", "-n", "-P", "-j", ",".join(jobs), "-o", columns)
    return parse_history(answer.stdout) if answer.returncode == 0 else None


def parse_history(text: str) -> list[Execution]:
    """The executions in the output of sacct with the columns above."""
    executions = []
    for line in text.splitlines():
        if line.count("|") != 5:
            continue
        fields = [_clean_field(field.strip()) for field in line.split("|")]
        job, state, start, end, node, code = fields
        word = state.split(" ")[0]  # "CANCELLED by 1000"
        executions.append(Execution(job, word, start, end, node, code))
    return sorted(executions, key=lambda one: (one.start or "~", one.end or "~"))


def _clean_field(field: str) -> str:
    """A field of sacct, empty if SLURM does not know it."""
    return "" if field in ("Unknown", "None", "None assigned") else field


def parse_accounting(text: str, now: float = 0.0) -> list[Task]:
    """The tasks in the output of `sacct -X -n -P -o JobID,JobName,State,Reason,End`, at the Unix
    time `now`.

    "5_[0-3]" stands for four tasks. SLURM shortens long lists ("5_[0-3,...]"): the indices that
    remain are returned, and the job in any case.
    """
    tasks = []
    for line in text.splitlines():
        line, end = _without_time(line.strip())
        job_id, name, state, reason = (line.split("|", 3) + [""] * 4)[:4]
        job, _, indices = job_id.partition("_")
        is_step = re.match(r"\d+\.", indices)  # 5_3.0 and 5_3.batch
        if not job.isdigit() or not indices or is_step:
            continue
        for index in _indices(indices):
            word = state.split(" ")[0]
            seconds = _ended_seconds(word, end, now)
            tasks.append(Task(job, index, name, word, reason, ended_seconds=seconds))
    return tasks


def _indices(text: str) -> list[int]:
    """Indices in SLURM's short form, as `7`, `[0-3,9]`, `[0-10:5%2]`; [0] if none can be read."""
    indices: list[int] = []
    spans = text.strip("[]").partition("%")[0]
    for first, last, step in re.findall(r"(\d+)(?:-(\d+)(?::(\d+))?)?", spans):
        indices += range(int(first), int(last or first) + 1, int(step or 1))
    return indices or [0]


def ranges(indices: Sequence[int]) -> str:
    """Indices, in order, in SLURM's short form: [0, 1, 2, 5] is "0-2,5"."""
    spans: list[list[int]] = []
    for index in indices:
        if spans and index == spans[-1][1] + 1:
            spans[-1][1] = index
        else:
            spans.append([index, index])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in spans)


def cancel(jobs: Sequence[str]) -> str:
    """Cancel jobs or tasks in one call; returns SLURM's error message, or an empty text."""
    answer = call("scancel", "-Q", *jobs) if jobs else None
    return answer.stderr.strip() if answer and answer.returncode != 0 else ""
