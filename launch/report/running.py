"""Where the cells of a sweep train now: jobs and nodes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from launch.errors import quantity
from launch.plan import markers
from launch.status.sweep_state import SweepState

SHOWN_JOBS = 4
"""Jobs that `status` names; more are counted."""


@dataclass(frozen=True)
class RunningTask:
    """A task that runs: its SLURM id ("5_3"), or the process of a worker without SLURM."""

    job: str
    node: str


def running_tasks(state: SweepState) -> list[RunningTask]:
    """The tasks that run, in the order of the submissions."""
    running = []
    for (sid, number), task in state.tasks.items():
        if task.state != "RUNNING":
            continue
        job = state.job_id(sid, number)
        if job is not None:
            running.append(RunningTask(f"job {job}", task.node))
            continue
        worker = markers.local_worker(state.plan_by_sid[sid].folder(state.folder))
        if worker is not None:
            running.append(RunningTask(f"process {worker.pid}", worker.host))
    return running


def running_text(tasks: Sequence[RunningTask]) -> str:
    """What runs, such as "job 5_3 on n1, job 5_4 on n2"; empty if nothing does."""
    shown = [f"{task.job} on {task.node}" if task.node else task.job for task in tasks]
    more = len(shown) - SHOWN_JOBS
    text = ", ".join(shown[:SHOWN_JOBS])
    return f"{text} and {quantity(more, 'other task')}" if more > 0 else text
