"""One task of a job: command line, training, requeue if cells are left, and exit status."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from launch.errors import quantity
from launch.plan import PlanError, load, markers
from launch.plan.outcome import FROZEN_CODE, StopReason
from launch.plan.snapshot import difference_from_plan
from launch.scheduler import own_task
from launch.worker.assignment import Assignment
from launch.worker.children import environment
from launch.worker.messages import Failure
from launch.worker.pool import Pool, RepeatedCrash, log, terminated

MAX_FRUITLESS_RESTARTS = 3
"""A task that makes no progress within its time limit is requeued at most this many times."""


@dataclass(frozen=True)
class TaskState:
    """A task whose pool has ended."""

    reason: StopReason | None
    """Why it was asked to stop; None if it was not."""
    failed: int
    """How many cells failed."""
    remaining: int
    """How many cells are left to train."""
    blocked_by: str | None
    """The error after which no further cell was started."""
    restart: int
    """How often the task was requeued before."""
    progress: bool
    """Whether any cell made progress."""
    in_slurm: bool
    ended_by_scheduler: bool
    """Whether SLURM ends the job for good, so that a requeue would bring it back."""


@dataclass(frozen=True)
class End:
    """How the job of a task ends."""

    status: int
    message: str = ""
    requeue: bool = False


def decide_end(task: TaskState) -> End:
    """Exit status, message and requeue of a task; the status is 0 if no cell failed or is left."""
    if task.blocked_by and task.remaining:
        left = quantity(task.remaining, "cell")
        return End(1, f"{task.blocked_by}. {left} left for `redescent resume`")
    if task.reason is None or not task.remaining:
        return End(1 if task.failed else 0)
    if task.reason == "cancelled":
        return End(0)
    if not task.in_slurm or task.ended_by_scheduler:
        return End(1)
    if _never_progresses(task):
        message = (
            "no cell made progress within the time limit, so the task is not requeued; set a "
            "longer hydra.launcher.timeout_min"
        )
        return End(1, message)
    return End(0, "requeueing the task", requeue=True)


def _never_progresses(task: TaskState) -> bool:
    """Whether the task was restarted often enough without any cell getting further."""
    is_fruitless = task.reason == "timeout" and not task.progress
    return is_fruitless and task.restart >= MAX_FRUITLESS_RESTARTS


def main(arguments: Sequence[str], received: Sequence[int], *, check_code: bool = False) -> int:
    """Work on one task of a plan; returns the exit status: 0 if no cell failed or is left.

    With `check_code`, this process must run the code of the plan; if it does not, every cell is
    recorded as failed for this reason, and none is trained.
    """
    args = _parse(arguments)
    in_slurm = args.task is None
    task, restart = args.task, 0
    if in_slurm:
        task = args.first + int(os.environ["SLURM_ARRAY_TASK_ID"])
        restart = own_task.restarts()
    try:
        plan = load(args.plan, task)
    except (PlanError, OSError) as error:
        log(f"{error}. Nothing was trained")
        return 1
    difference = difference_from_plan(plan.code, plan.code_archive) if check_code else None
    if difference:
        log(f"{difference}. No cell is trained")
    refusal = Failure(FROZEN_CODE.name, difference) if difference else None
    assignment = Assignment(plan, args.plan.resolve().parents[2], task, restart, refusal=refusal)
    if in_slurm:
        return work(assignment, received, in_slurm)
    markers.mark_local_worker(args.plan.parent)
    status = work(assignment, received, in_slurm)
    if not received and refusal is None:
        _follow_up(assignment)
    return status


def work(assignment: Assignment, received: Sequence[int], in_slurm: bool) -> int:
    """Run the task, and requeue it if SLURM stops it while cells are left."""
    end = own_task.end() if in_slurm else None
    deadline = None if end is None else end - assignment.plan.launcher.lead_seconds
    _log_start(assignment, end)
    try:
        pool = _train(assignment, received, deadline, in_slurm)
    except RepeatedCrash as error:
        node = os.environ.get("SLURMD_NODENAME", socket.gethostname())
        markers.mark_bad_node(assignment.submission, node)
        log(f"{error}: the task ends here. Fix the cause named above, then `redescent resume`")
        return 1
    reason = pool.reason
    counts = [f"{count} {status}" for status, count in pool.results.items()]
    log(f"results: {', '.join(counts) or 'none'}")
    # ask SLURM only if its answer matters
    interrupted = in_slurm and reason is not None and bool(pool.queue)
    state = TaskState(
        reason=reason,
        failed=pool.results["failed"],
        remaining=len(pool.queue),
        blocked_by=pool.blocked_by,
        restart=assignment.restart,
        progress=pool.progress,
        in_slurm=in_slurm,
        ended_by_scheduler=interrupted and _ended_by_scheduler(received),
    )
    return _finish(decide_end(state), end)


def _train(
    assignment: Assignment, received: Sequence[int], deadline: float | None, in_slurm: bool
) -> Pool:
    """Train the cells of a task, and the later rounds of the searches that it goes on with.

    Returns the last pool, with the results of all rounds.
    """
    why_stopped = _why_stopped(received) if in_slurm else terminated
    pool = Pool(assignment, received, deadline, why_stopped)
    pool.run()
    while not _is_stopped(pool) and (next_round := _next_round(pool.assignment)):
        log(f"next round: {quantity(len(next_round.numbers), 'cell')}")
        earlier = pool
        pool = Pool(next_round, received, deadline, why_stopped)
        pool.progress = earlier.progress
        pool.run()
        pool.results.update(earlier.results)
    return pool


def _is_stopped(pool: Pool) -> bool:
    """Whether the task was asked to stop, or an error keeps further cells from starting."""
    return pool.reason is not None or pool.blocked_by is not None


def _next_round(assignment: Assignment) -> Assignment | None:
    """The cells that follow from the results so far; None if the task goes on with no search.

    Another process reads the results, because this one imports the standard library alone.
    """
    plan, number = assignment.plan, assignment.task
    if not plan.task_searches or not plan.task_searches[number]:
        return None
    path = assignment.submission / "plan.json"
    _run_module(assignment, "launch.submit.inside", str(path), str(number))
    try:
        later = load(path, number)
    except (PlanError, OSError) as error:
        log(f"{error}. The searches of this task go on when the sweep is resumed")
        return None
    earlier = {plan.cells[index].id for index in plan.tasks[number]}
    cells = [index for index in later.tasks[number] if later.cells[index].id not in earlier]
    return replace(assignment, plan=later, cells=cells) if cells else None


def _finish(end: End, job_end: float | None) -> int:
    """Log the end of a task, requeue it if needed, and return the exit status."""
    if end.message:
        log(end.message)  # before: SLURM kills a task that it requeues
    error = own_task.requeue(until=job_end or time.time() + 60) if end.requeue else ""
    if error:
        hint = "`redescent resume` continues from the checkpoints"
        log(f"SLURM did not requeue the task: {error}; {hint}")
        return 1
    return end.status


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m launch.job")
    parser.add_argument("plan", type=Path)
    task_help = "number of the task; in an array it is --first plus the index"
    parser.add_argument("--task", type=int, help=task_help)
    parser.add_argument("--first", type=int, default=0)
    args = parser.parse_args(arguments)
    if args.task is None and "SLURM_ARRAY_TASK_ID" not in os.environ:
        parser.error("--task: needed outside a SLURM array")
    return args


def _log_start(assignment: Assignment, end: float | None) -> None:
    cells = quantity(len(assignment.numbers), "cell")
    limit = f", until {time.strftime('%F %T', time.localtime(end))}" if end else ""
    log(
        f"task {assignment.task} of {assignment.plan.sid}, start {assignment.restart + 1}: "
        f"{cells} on {socket.gethostname()}{limit}"
    )


def _follow_up(assignment: Assignment) -> None:
    """Do what small jobs do after the last task on SLURM: send the next round, compact, notify.

    The next round counts this process as ended; the worker of the last round compacts. In the
    process of a command (launcher debug), the command sends the next round itself, since it holds
    the lock of the sweep.
    """
    plan, sweep = assignment.plan, str(assignment.sweep)
    if plan.advances_by_itself and plan.backend == "local":
        markers.end_local_worker(assignment.submission)
        _run_module(assignment, "launch.submit.advance", sweep, plan.sid)
    if plan.policy.get("compact") and plan.sid == _newest_submission(assignment):
        _run_module(assignment, "analysis.store.compact", sweep)
    if plan.policy.get("notify"):
        if plan.backend == "local":
            markers.end_local_worker(assignment.submission)
        _run_module(assignment, "launch.submit.notify", sweep, plan.sid)


def _newest_submission(assignment: Assignment) -> str:
    return max(path.name for path in assignment.submission.parent.iterdir())


def _run_module(assignment: Assignment, module: str, *arguments: str) -> None:
    command = [sys.executable, "-P", "-m", module, *arguments]
    subprocess.run(command, env=environment(assignment.plan), check=False)


def _why_stopped(received: Sequence[int]) -> Callable[[], StopReason]:
    """Tells a job that its owner cancelled from one that SLURM preempts, after a signal.

    SLURM sends both SIGTERM; USR2 comes before a preemption or from the user, and never with
    scancel.
    """

    def reason() -> StopReason:
        if signal.SIGTERM in received and own_task.is_cancelled():
            return "cancelled"
        return "preempted"

    return reason


def _ended_by_scheduler(received: Sequence[int]) -> bool:
    """Whether SIGTERM came because SLURM ends the job (scancel, preemption with a requeue).

    A requeue would then bring a cancelled job back. In the grace time of a preemption the job is
    still RUNNING.
    """
    if signal.SIGUSR2 in received or signal.SIGTERM not in received:
        return False
    return own_task.state() != "RUNNING"
