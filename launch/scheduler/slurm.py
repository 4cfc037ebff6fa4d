"""Every word with the scheduler: one squeue and at most one sacct for a whole sweep, scancel,
requeue, limits.

An error of SLURM is never taken for "no jobs": queries return None where no answer came.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

ENDED = {
    "COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "BOOT_FAIL", "DEADLINE", "REVOKED",
}  # fmt: skip
"""States after which a task never runs again. Any other word, known or not, is taken for a task
that may still run.
"""


@dataclass(frozen=True)
class Task:
    """One element of an array as SLURM knows it."""

    job: str
    index: int
    name: str
    state: str
    reason: str = ""
    node: str = ""

    @property
    def live(self) -> bool:
        """Whether it may still run."""
        return self.state not in ENDED


def present() -> bool:
    """Whether this machine can submit to SLURM: the client programs are here and know of a cluster.

    Where they do not, even asking for the version fails; a controller that is merely down does not
    matter here.
    """
    return shutil.which("sbatch") is not None and call("scontrol", "--version").returncode == 0


def clean_environment() -> dict[str, str]:
    """The environment for sbatch: without SLURM_* and SBATCH_* of a surrounding job, which would
    become the new job's own settings, but with SLURM_CONF, without which no cluster is found."""
    drop = ("SLURM_", "SBATCH_", "SRUN_", "SALLOC_")
    return {k: v for k, v in os.environ.items() if not k.startswith(drop) or k == "SLURM_CONF"}


def call(*command: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Run a SLURM command; a command that is missing or does not answer in time returns code 127 or
    124.
    """
    try:
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=timeout,
            env=clean_environment(),
            check=False,
        )
    except FileNotFoundError:
        return subprocess.CompletedProcess(
            command, 127, "", f"{command[0]}: not found on this machine"
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(
            command, 124, "", f"{command[0]}: no answer in {timeout:.0f} s"
        )


def queue(names: Sequence[str]) -> list[Task] | None:
    """All tasks of the jobs with these names that slurmctld knows, ended ones included; None
    without an answer.
    """
    if not names:
        return []
    done = call(
        "squeue",
        "-h",
        "-r",
        "-a",
        "-t",
        "all",
        "--name",
        ",".join(names),
        "-o",
        "%F|%K|%j|%T|%N|%r",
    )
    if done.returncode != 0:
        return None
    return parse_queue(done.stdout)


def parse_queue(text: str) -> list[Task]:
    """The tasks in the output of squeue with the format above."""
    tasks = []
    for line in text.splitlines():
        job, index, name, state, node, reason = (line.strip().split("|", 5) + [""] * 6)[:6]
        if job:
            tasks.append(Task(job, int(index) if index.isdigit() else 0, name, state, reason, node))
    return tasks


def accounting(names: Sequence[str]) -> list[Task] | None:
    """The newest state of every task of these jobs by accounting, which lags by seconds; None
    without an answer.
    """
    if not names:
        return []
    done = call(
        "sacct",
        "-X",
        "-n",
        "-P",
        "-S",
        "now-90days",
        "--name",
        ",".join(names),
        "-o",
        "JobID,JobName,State,Reason",
    )
    return parse_accounting(done.stdout) if done.returncode == 0 else None


@dataclass(frozen=True)
class Execution:
    """One execution of a task as accounting tells it; times are SLURM's texts, empty where it knows
    none.
    """

    job: str
    state: str
    start: str
    end: str
    node: str
    exit: str


def history(jobs: Sequence[str]) -> list[Execution] | None:
    """Every execution of these tasks (as "5_3"), requeued ones apart, oldest first; None without an
    answer.
    """
    if not jobs:
        return []
    columns = "JobID,State,Start,End,NodeList,ExitCode"
    done = call("sacct", "-X", "-D", "-n", "-P", "-j", ",".join(jobs), "-o", columns)
    return parse_history(done.stdout) if done.returncode == 0 else None


def parse_history(text: str) -> list[Execution]:
    """The executions in the output of sacct with the columns above."""
    rows = [
        [field.strip() for field in line.split("|")]
        for line in text.splitlines()
        if line.count("|") == 5
    ]
    known = [
        ["" if field in ("Unknown", "None", "None assigned") else field for field in row]
        for row in rows
    ]
    found = [Execution(job, state.split(" ")[0], *rest) for job, state, *rest in known]
    return sorted(found, key=lambda execution: (execution.start or "~", execution.end or "~"))


def parse_accounting(text: str) -> list[Task]:
    """The tasks in the output of `sacct -X -n -P -o JobID,JobName,State,Reason`; "5_[0-3]" stands
    for four of them.

    A long list of indices is cut short by SLURM ("5_[0-3,...]"): what is left of it is returned,
    the job in any case.
    """
    tasks = []
    for line in text.splitlines():
        job_id, name, state, reason = (line.strip().split("|", 3) + [""] * 4)[:4]
        job, _, indices = job_id.partition("_")
        if (
            job.isdigit() and indices and not re.match(r"\d+\.", indices)
        ):  # 5_3.0 and 5_3.batch are steps
            tasks += [
                Task(job, index, name, state.split(" ")[0], reason) for index in _indices(indices)
            ]
    return tasks


def _indices(text: str) -> list[int]:
    """Indices in SLURM's short form, as `7`, `[0-3,9]`, `[0-10:5%2]`; [0] if none can be read."""
    found: list[int] = []
    for first, last, step in re.findall(
        r"(\d+)(?:-(\d+)(?::(\d+))?)?", text.strip("[]").partition("%")[0]
    ):
        found += range(int(first), int(last or first) + 1, int(step or 1))
    return found or [0]


def ranges(indices: Sequence[int]) -> str:
    """Indices, in order, in SLURM's short form: [0, 1, 2, 5] is "0-2,5"."""
    spans: list[list[int]] = []
    for index in indices:
        if spans and index == spans[-1][1] + 1:
            spans[-1][1] = index
        else:
            spans.append([index, index])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in spans)


def nodes_in_service(partition: str | None) -> set[str] | None:
    """Nodes that could take a job of the partition (None: of any), or None without an answer."""
    chosen = ["-p", partition] if partition else []
    done = call("sinfo", "-h", "-N", "-t", "idle,mix,alloc,comp", *chosen, "-o", "%N")
    return set(done.stdout.split()) if done.returncode == 0 else None


def limits() -> Mapping[str, int]:
    """`MaxArraySize` and the like from `scontrol show config`; empty where SLURM does not
    answer.
    """
    text = call("scontrol", "show", "config").stdout
    found = {
        key: int(value)
        for key, value in re.findall(r"^(MaxArraySize|MaxJobCount)\s*=\s*(\d+)", text, re.M)
    }
    tasks = re.search(r"max_array_tasks=(\d+)", text)
    return found | ({"max_array_tasks": int(tasks.group(1))} if tasks else {})


def array_size() -> int:
    """Most tasks that one array may have: MaxArraySize bounds the index, which begins at 0 here.
    1000 if unknown.
    """
    known = limits()
    return max(1, min(known.get("MaxArraySize", 1001) - 1, known.get("max_array_tasks", 10**9)))


def cancel(jobs: Sequence[str]) -> str:
    """scancel jobs or tasks in one call; returns SLURM's complaint, empty if there was none."""
    done = call("scancel", "-Q", *jobs) if jobs else None
    return done.stderr.strip() if done and done.returncode != 0 else ""


def own_task() -> Task | None:
    """The task that this process runs in, from its environment; None outside SLURM."""
    job = os.environ.get("SLURM_ARRAY_JOB_ID") or os.environ.get("SLURM_JOB_ID")
    if not job:
        return None
    index = int(os.environ.get("SLURM_ARRAY_TASK_ID", "0"))
    return Task(job, index, os.environ.get("SLURM_JOB_NAME", ""), "RUNNING")


def own_id() -> str:
    """The id by which scontrol knows the own task: JOB_INDEX in an array."""
    array, index = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{index}" if array and index else os.environ["SLURM_JOB_ID"]


def own_state() -> str:
    """State of the job that this process runs in; empty where SLURM does not answer."""
    done = call(
        "squeue", "-h", "-a", "-t", "all", "-j", os.environ["SLURM_JOB_ID"], "-o", "%T", timeout=20
    )
    return done.stdout.strip() if done.returncode == 0 else ""


def own_end() -> float | None:
    """Unix time at which this job's limit strikes; None where neither the environment nor SLURM
    tells.
    """
    told = os.environ.get("SLURM_JOB_END_TIME")
    if told and told.isdigit():
        return float(told)
    for _ in range(3):  # just after its start a job's end can still read N/A
        done = call("squeue", "-h", "-j", os.environ["SLURM_JOB_ID"], "-o", "%e", timeout=20)
        with contextlib.suppress(ValueError):
            return time.mktime(time.strptime(done.stdout.strip(), "%Y-%m-%dT%H:%M:%S"))
        time.sleep(1)
    return None


def requeue_self(until: float) -> bool:
    """Put the own task back into the queue; tried again until the unix time `until` while slurmctld
    is away.
    """
    while True:
        done = call("scontrol", "requeue", own_id(), timeout=30)
        if done.returncode == 0 or own_state() in ("PENDING", "REQUEUED"):
            return True
        if time.time() > until:
            return False
        time.sleep(2)
