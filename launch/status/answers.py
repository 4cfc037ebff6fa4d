"""What the schedulers say about the tasks of sweeps; one query serves them all."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from launch.plan import Plan
from launch.plan.jobs import Array
from launch.scheduler import backend, slurm
from launch.status.cell_state import TaskKey
from launch.status.sweep_files import SweepFiles

ASK_SECONDS = 10.0
"""Least seconds between two queries of a command that watches: SLURM serves other users too."""


@dataclass(frozen=True)
class SlurmAnswer:
    """The tasks that SLURM knows, by job and index; None if it does not answer, and then why."""

    tasks: Mapping[tuple[str, int], slurm.Task] | None
    error: str = ""


@dataclass(frozen=True)
class Answers:
    """The schedulers' answers: the tasks that they know, and the submissions without an answer;
    the error is that of SLURM, if it does not answer.
    """

    tasks: Mapping[TaskKey, slurm.Task]
    silent: Sequence[str]
    error: str = ""


def ask_scheduler(
    plans: Sequence[Plan],
    folder: Path,
    arrays: Mapping[str, Sequence[Array]],
    answer: SlurmAnswer,
) -> Answers:
    """What the schedulers of these plans say; SLURM's answer is given."""
    tasks: dict[TaskKey, slurm.Task] = {}
    silent: list[str] = []
    for plan in plans:
        if plan.backend != "slurm":
            continue
        if answer.tasks is None:
            silent.append(plan.sid)
        else:
            tasks |= _tasks_of(plan, arrays[plan.sid], answer.tasks)
    for plan in plans:
        if plan.backend == "slurm":
            continue
        here = backend.BACKENDS[plan.backend].tasks(plan, folder, arrays[plan.sid])
        if here is None:
            silent.append(plan.sid)
        tasks |= {(plan.sid, task.index): task for task in here or []}
    return Answers(tasks, silent, answer.error)


class RecentAnswer:
    """SLURM's answer about a sweep that is watched: asked again after ASK_SECONDS, or when another
    submission was sent.
    """

    def __init__(self) -> None:
        self._answer: SlurmAnswer | None = None
        self._asked = -math.inf
        self._plans = 0

    def about(self, files: SweepFiles) -> SlurmAnswer:
        """The answer, new if it is time."""
        is_old = time.monotonic() - self._asked >= ASK_SECONDS
        if self._answer is None or is_old or len(files.plans) != self._plans:
            self._answer, self._asked = ask_slurm([files]), time.monotonic()
            self._plans = len(files.plans)
        return self._answer


def without_stuck(answers: Answers) -> Answers:
    """The answers without the tasks that have been completing for too long."""
    tasks = {key: task for key, task in answers.tasks.items() if not task.is_stuck}
    return replace(answers, tasks=tasks)


def ask_slurm(sweeps: Sequence[SweepFiles]) -> SlurmAnswer:
    """Ask SLURM once about the open tasks of all these sweeps.

    The queue forgets ended jobs after minutes, and a controller that was restored from an old state
    forgets others, so tasks that may still run according to accounting are added. It also knows
    since when a requeued task completes. Accounting lags and can be absent; without its answer
    nothing is added.
    """
    names = sorted({name for sweep in sweeps for name in _accepted_names(sweep)})
    answer = slurm.queue(names)
    if answer.tasks is None:
        return SlurmAnswer(None, answer.error)
    queue = answer.tasks
    queue_names = {task.name for task in queue}
    forgotten = {name for name in names if name not in queue_names}
    without_end = {task.name for task in queue if task.state == "COMPLETING" and not task.has_end}
    accounting = slurm.accounting(sorted(forgotten | without_end)) or []
    live = [task for task in accounting if task.live and task.name in forgotten]
    queue = with_ends(queue, accounting)
    return SlurmAnswer({(task.job, task.index): task for task in [*live, *queue]})


def with_ends(queue: Sequence[slurm.Task], accounting: Sequence[slurm.Task]) -> list[slurm.Task]:
    """The tasks of the queue; those that were requeued and still complete with their end, which
    accounting alone has.
    """
    ends = {}
    for task in accounting:
        if task.state == "REQUEUED":
            ends[task.job, task.index] = task.ended_seconds
    tasks = []
    for task in queue:
        if task.state == "COMPLETING" and not task.has_end:
            task = replace(task, ended_seconds=ends.get((task.job, task.index)))
        tasks.append(task)
    return tasks


def _accepted_names(files: SweepFiles) -> set[str]:
    """Names of the arrays of a sweep that SLURM accepted and that may still run."""
    names = set()
    for plan in files.open_plans:
        if plan.backend == "slurm":
            names |= {array.name for array in files.arrays[plan.sid] if array.job}
    return names


def _tasks_of(
    plan: Plan, arrays: Sequence[Array], slurm_tasks: Mapping[tuple[str, int], slurm.Task]
) -> dict[TaskKey, slurm.Task]:
    """The listed tasks that belong to a plan, by their numbers in it."""
    tasks = {}
    for array in arrays:
        for number in array.numbers:
            task = slurm_tasks.get((array.job or "", array.index(number)))
            if task is not None:
                tasks[plan.sid, number] = task
    return tasks
