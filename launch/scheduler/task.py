"""One task of a plan, from the command line of its job to its exit status: its cells, and the
requeue of the rest.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from launch.plan import markers
from launch.plan import plan as plans
from launch.scheduler import slurm
from launch.worker.pool import Assignment, ChildrenDie, Worker, environment, say

FRUITLESS_TURNS = 3
"""A task that got nowhere before its limit, after this many turns before, would only go round in a
circle.
"""


def main(arguments: Sequence[str], received: Sequence[int]) -> int:
    """Work on one task of a plan; returns the exit status: 0 unless a cell failed or is left
    undone.
    """
    parser = argparse.ArgumentParser(prog="python -m launch.job")
    parser.add_argument("plan", type=Path)
    parser.add_argument(
        "--task", type=int, help="number of the task; inside an array, --first and the index tell"
    )
    parser.add_argument("--first", type=int, default=0)
    args = parser.parse_args(arguments)
    in_slurm = args.task is None
    task = args.first + int(os.environ["SLURM_ARRAY_TASK_ID"]) if in_slurm else args.task
    restart = int(os.environ.get("SLURM_RESTART_COUNT", "0")) if in_slurm else 0
    assignment = Assignment(plans.load(args.plan), args.plan.resolve().parents[2], task, restart)
    if not in_slurm:
        markers.mark_local_worker(args.plan.parent)
    status = work(assignment, received, in_slurm)
    if assignment.plan.policy.get("compact") and not in_slurm and not received:
        compact = [sys.executable, "-P", "-m", "analysis.store.compact", str(assignment.sweep)]
        subprocess.run(compact, env=environment(assignment.plan), check=False)
    return status


def work(assignment: Assignment, received: Sequence[int], in_slurm: bool) -> int:
    """Run the task and, where SLURM stops it with cells left, put it back into the queue."""
    end = slurm.own_end() if in_slurm else None
    lead = assignment.plan.launcher.lead_seconds
    worker = Worker(assignment, received, end - lead if end is not None else None)
    limit = f", until {time.strftime('%F %T', time.localtime(end))}" if end else ""
    say(
        f"task {assignment.task} of {assignment.plan.sid}, start {assignment.restart + 1}: "
        f"{len(worker.waiting)} cells "
        f"on {socket.gethostname()}{limit}"
    )
    try:
        reason = worker.run()
    except ChildrenDie as error:
        markers.mark_bad_node(
            assignment.plan.folder(assignment.sweep),
            os.environ.get("SLURMD_NODENAME", socket.gethostname()),
        )
        say(
            f"{error}: this task ends here; the reason stands above. `redescent resume` goes on "
            "once it is mended"
        )
        return 1
    say(
        "results: " + (", ".join(f"{n} {status}" for status, n in worker.results.items()) or "none")
    )
    if worker.halted and worker.waiting:
        say(f"{worker.halted}. {len(worker.waiting)} cells are left for `redescent resume`")
        return 1
    if reason is None or not worker.waiting:
        return 1 if worker.results["failed"] else 0
    if not in_slurm or reason == "cancelled" or _ended_by_scheduler(received):
        return 0 if reason == "cancelled" else 1
    if reason == "timeout" and not worker.progress and assignment.restart >= FRUITLESS_TURNS:
        say(
            "no cell gets further within the time limit: not requeued. Give it more: "
            "hydra.launcher.timeout_min"
        )
        return 1
    if slurm.requeue_self(until=end or time.time() + 60):
        say("requeued")
        return 0
    say("SLURM took no requeue; `redescent resume` will go on from the checkpoints")
    return 1


def _ended_by_scheduler(received: Sequence[int]) -> bool:
    """Whether SIGTERM came because SLURM itself ends the job (scancel, preemption with its own
    requeue).

    Requeueing then would bring a cancelled job back. In the grace time of a preemption the job
    still is RUNNING.
    """
    if signal.SIGUSR2 in received or signal.SIGTERM not in received:
        return False
    return slurm.own_state() != "RUNNING"
