"""Tasks that will not start by themselves: what SLURM never starts, and what it does not clear."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from launch.errors import quantity
from launch.plan import files
from launch.plan.jobs import NEVER_SENT
from launch.plan.plan import name_of
from launch.scheduler.slurm import Task
from launch.status.sweep_state import SweepState, trained_again

_CHANGE = "`redescent cancel {name}`, then `redescent resume {name}` with"

NEVER_STARTS: Mapping[str, str] = {
    "PartitionTimeLimit": "its time limit is longer than the partition allows: "
    f"{_CHANGE} a shorter hydra.launcher.timeout_min or another hydra.launcher.partition",
    "PartitionNodeLimit": "the partition does not run jobs of one node: "
    f"{_CHANGE} another hydra.launcher.partition",
    "PartitionConfig": "it asks for what its partition does not allow: "
    f"{_CHANGE} another hydra.launcher.partition or other limits",
    "BadConstraints": "no node has what it asks for: "
    f"{_CHANGE} other hydra.launcher.constraint, gres, cpus_per_task or mem_gb",
    "AccountNotAllowed": "its account may not use the partition: "
    f"{_CHANGE} another hydra.launcher.account or partition",
    "InvalidAccount": f"its account is not known: {_CHANGE} another hydra.launcher.account",
    "InvalidQOS": f"its quality of service is not known: {_CHANGE} another hydra.launcher.qos",
    "QOSNotAllowed": "its quality of service may not use the partition: "
    f"{_CHANGE} another hydra.launcher.qos or partition",
    "AssocMaxWallDurationPerJobLimit": "its time limit is longer than your account allows: "
    f"{_CHANGE} a shorter hydra.launcher.timeout_min",
    "QOSMaxWallDurationPerJobLimit": "its time limit is longer than its quality of service allows: "
    f"{_CHANGE} a shorter hydra.launcher.timeout_min",
    "MaxMemPerLimit": f"it asks for more memory than a job may have: {_CHANGE} less "
    "hydra.launcher.mem_gb",
    "DependencyNeverSatisfied": "what it waits for has failed: `redescent cancel {name}`, then "
    "`redescent resume {name}`",
}
"""Reasons of SLURM for which a task waits until somebody changes it, and what to do: a template of
the sweep's `name`."""


REQUEUED_AND_HELD = ("job requeued in held state", "launch failed requeued held")
HELD = ("JobHeldUser", "JobHeldAdmin", *REQUEUED_AND_HELD)
"""Reasons of SLURM for which a task waits until somebody releases it."""


@dataclass(frozen=True)
class HeldJobs:
    """SLURM jobs that wait until somebody releases them, and how many cells they hold."""

    jobs: Sequence[str]
    cells: int

    @property
    def advice(self) -> str:
        """What to do about them."""
        return f"`scontrol release {' '.join(self.jobs)}` releases them, once the reason is gone"


@dataclass(frozen=True)
class NeverStarts:
    """Cells whose tasks SLURM will never start, with its reason and what to do."""

    reason: str
    advice: str
    cells: int


@dataclass(frozen=True)
class StuckTasks:
    """Tasks that have been completing for too long, the nodes that hold them, and their cells."""

    nodes: Sequence[str]
    tasks: int
    cells: int

    def advice(self, name: str) -> str:
        """What to do about them; `name` is that of the sweep."""
        nodes = ",".join(self.nodes)
        return (
            f"SLURM has been completing {quantity(self.tasks, 'task')} on {nodes} for more than "
            "five minutes: a node does not report that its processes have ended. Ask the "
            f"administrator to set it down and up again (`scontrol update nodename={nodes} "
            f"state=down reason=completing`, then `scontrol update nodename={nodes} state=resume`)."
            f" If you cannot wait, `redescent resume {name} --abandon-completing` sends the cells "
            "again; if a process of them is still alive, or SLURM requeues the tasks later, two "
            "attempts train the same cells at once, which costs time and spoils no result"
        )


def never_starts(state: SweepState) -> list[NeverStarts]:
    """The waiting cells that SLURM will never start, by reason."""
    counts: dict[tuple[str, bool], int] = {}
    again = set(trained_again(state).going_on)
    for cell in state.cells.values():
        task = state.task_of(cell)
        is_waiting = cell.state == "waiting" or cell.id in again
        if is_waiting and task is not None and task.reason in NEVER_STARTS:
            key = task.reason, cell.id in again
            counts[key] = counts.get(key, 0) + 1
    waits = []
    for (reason, is_again), count in counts.items():
        waits.append(NeverStarts(reason, never_starts_advice(state, reason, is_again), count))
    return waits


def never_starts_advice(state: SweepState, reason: str, is_again: bool) -> str:
    """What to do about a task that never starts; `resume` does not send cells that are done."""
    name = name_of(state.folder)
    advice = NEVER_STARTS[reason].format(name=name)
    if not is_again:
        return advice
    resume, submit = f"`redescent resume {name}`", f"`redescent submit {name} --again`"
    sends = f"{submit} with the same overrides and conditions"
    return advice.replace(f"{resume} with", f"{sends}, and").replace(resume, sends)


def held_jobs(state: SweepState) -> HeldJobs | None:
    """The waiting jobs of a sweep that SLURM holds; None without any."""
    jobs, cells = set(), 0
    for cell in state.cells.values():
        task = state.task_of(cell)
        if cell.state == "waiting" and task is not None and task.reason in HELD:
            jobs.add(task.job)
            cells += 1
    return HeldJobs(sorted(jobs), cells) if cells else None


def refusal(state: SweepState, sid: str) -> str:
    """Why the scheduler refused tasks of a submission; empty if it accepted them."""
    for array in state.arrays[sid]:
        if array.error and array.error != NEVER_SENT:
            return array.error.strip()
    return ""


def unconfirmed_advice(name: str) -> str:
    """What to do about jobs of which it is not known yet whether the scheduler has them."""
    return (
        f"`redescent resume {name}`, two minutes after the jobs were sent, finds those that were "
        "accepted and sends the rest"
    )


def disk_advice(state: SweepState) -> str:
    """What to do if the disk of the logs is full now; empty if it is not."""
    if not files.is_full(state.folder):
        return ""
    return f"no space left on device: free space on the disk of {state.folder}"


def refused_advice(name: str) -> str:
    """What to do about cells that the scheduler refused."""
    return (
        f"`redescent resume {name} hydra.launcher.KEY=VALUE` sends them with the setting that it "
        "accepts"
    )


def stuck_tasks(state: SweepState) -> StuckTasks | None:
    """The tasks of a sweep that have been completing for too long; None without any."""
    stuck = {key: task for key, task in state.tasks.items() if task.is_stuck}
    if not stuck:
        return None
    cells = sum(cell.placement.key in stuck for cell in state.cells.values())
    nodes = sorted({task.node for task in stuck.values() if task.node})
    return StuckTasks(nodes or ["unknown nodes"], len(stuck), cells)


def stuck_task(task: Task | None) -> StuckTasks | None:
    """The task of one cell, if it has been completing for too long; None if not."""
    if task is None or not task.is_stuck:
        return None
    return StuckTasks([task.node or "an unknown node"], 1, 1)
