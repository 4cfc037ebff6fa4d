"""What runs inside a job: a light parent that gives cells to its children, and knows when to stop.

The parent imports the standard library alone. A child imports torch once, takes cell after cell,
and is the only writer of its part; when one dies, the parent starts another, and the cell goes on
from its checkpoint.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import selectors
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from launch.plan import markers
from launch.plan import plan as plans
from launch.plan.launcher import cores
from launch.plan.outcome import StopReason, failure_class

DEATHS_PER_CELL = 2
"""A cell whose child died this often in one attempt is given up: something kills it each time."""

GRACE_SECONDS = 600.0
"""How long a child may take to save after it was told to stop. The scheduler's own limit is usually
shorter.
"""

LOOK_SECONDS = 5.0
"""Between two looks at whether the user cancelled cells of this task."""


@dataclass(frozen=True)
class Assignment:
    """The part of a plan that this process works on, and what names its files."""

    plan: plans.Plan
    sweep: Path
    task: int
    restart: int

    @property
    def prefix(self) -> str:
        """Beginning of the names of all parts of this task, over all of its attempts."""
        return f"{self.plan.sid}.{self.task:05d}."


class Child:
    """A process that trains one cell after another, as its parent sees it."""

    def __init__(self, assignment: Assignment, number: int, writer: str, at_a_time: int) -> None:
        command = [sys.executable, "-P", "-m", "launch.worker.child", str(assignment.sweep), f"{writer}.{number}",
                   assignment.prefix, str(1.0 / at_a_time)]  # fmt: skip
        # Blocked signals stay blocked over exec: a signal to the whole job cannot kill a child that
        # still imports.
        signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)
        try:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=environment(assignment.plan),
                text=True,
            )
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP_SIGNALS)
        self.cell: int | None = None
        self.told = False
        self.unsaved: list[int] = []
        """Cells that ended, and whose results it has yet to write."""

    @property
    def out(self) -> IO[str]:
        """The child's answers, one JSON object a line."""
        assert self.process.stdout is not None
        return self.process.stdout

    def send(self, message: dict[str, Any]) -> None:
        """Write a message; a child that is gone will show by the end of its answers."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError, ValueError):
            self.process.stdin.write(json.dumps(message) + "\n")
            self.process.stdin.flush()

    def close(self) -> None:
        """End of messages: the child finishes, or, in the middle of a cell, saves and ends."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError, ValueError):
            self.process.stdin.close()


class ChildrenDie(RuntimeError):
    """Processes die whatever they are given: the fault lies with the node, the disk or the
    installation.
    """


class Worker:
    """The loop over the cells of one task."""

    def __init__(
        self, assignment: Assignment, received: Sequence[int], deadline: float | None
    ) -> None:
        self.assignment, self.received, self.deadline = assignment, received, deadline
        self.plan = assignment.plan
        self.waiting = deque(self.plan.tasks[assignment.task])
        self.at_a_time = self.plan.at_a_time(assignment.task) or cores()
        self.writer = f"{assignment.prefix}r{assignment.restart}.{uuid.uuid4().hex[:8]}"
        self.children: list[Child] = []
        self.started = 0
        self.deaths: Counter[int] = Counter()
        self.exits: dict[int, int] = {}
        """Exit status of the process that last died over a cell; a signal's number is negative."""
        self.results: Counter[str] = Counter()
        self.progress = False
        self.reason: StopReason | None = None
        self.cancelled: set[int] = set()
        self.looked = -math.inf
        self.repeated_errors = markers.RepeatedErrors(self.plan.folder(assignment.sweep))
        self.halted: str | None = None
        """Why no further cell is started, though nobody told this task to stop."""
        self.selector = selectors.DefaultSelector()

    def run(self) -> StopReason | None:
        """Train all cells, or stop early; returns why it stopped, None if every cell has its
        result.
        """
        try:
            while self.children or (self.waiting and self._goes_on()):
                self._drop_cancelled()
                self._start_children()
                for key, _ in self.selector.select(timeout=0.25):
                    self._read(key.data)
                self._check_stop()
        finally:
            self._end_children()
        return self.reason

    def _start_children(self) -> None:
        while self._goes_on() and self.waiting and len(self.children) < self.at_a_time:
            child = Child(self.assignment, self.started, self.writer, self.at_a_time)
            self.started += 1
            self.children.append(child)
            self.selector.register(child.out, selectors.EVENT_READ, child)
            self._next_cell(child)

    def _goes_on(self) -> bool:
        """Whether another cell may start."""
        error = None if self.plan.retry_errors or self.halted else self.repeated_errors.stopped_by()
        if error:
            self.halted = f"several cells of this submission failed with one error: {error}"
        return self.reason is None and self.halted is None

    def _next_cell(self, child: Child) -> None:
        if child.told or not self._goes_on() or not self.waiting:
            child.close()
            return
        child.cell = self.waiting.popleft()
        cell = self.plan.cells[child.cell]
        attempt = cell.attempts + 1 + self.assignment.restart
        died_too_often = self.deaths[child.cell] >= DEATHS_PER_CELL
        child.send({
            "cell": cell.id, "flat": self.plan.flat(cell), "attempt": attempt, "code": self.plan.code,
            "environment": self.plan.environment,
            "given_up": given_up(self.exits[child.cell], attempt) if died_too_often else None,
        })  # fmt: skip

    def _read(self, child: Child) -> None:
        line = child.out.readline()
        if not line:
            self._bury(child)
            return
        answer = json.loads(line)
        if "cell" in answer:
            self._take(child, answer)
        if answer["saved"]:
            child.unsaved.clear()
        if "cell" in answer:
            self._next_cell(child)

    def _take(self, child: Child, answer: dict[str, Any]) -> None:
        self.results[answer["status"]] += 1
        self.progress = self.progress or answer["progress"]
        assert child.cell is not None
        if answer["status"] == "stopped":
            self.waiting.append(child.cell)
        else:
            child.unsaved.append(child.cell)
        child.cell = None
        say(f"cell {answer['cell']}: {answer['status']} after {answer['epochs']} epochs"
            + (f": {answer['error']}" if answer["error"] else ""))  # fmt: skip
        if answer["class"] is None:
            return
        failure = failure_class(answer["class"])
        if failure.repeats_stop_sweep and not self.plan.retry_errors:
            self.repeated_errors.add(answer["cell"], answer["error"])
        if failure.stops_task:
            self.halted = f"the disk of the logs takes nothing more: {answer['error']}"

    def _bury(self, child: Child) -> None:
        """A child's answers ended: it was let go, or it died. What it had not finished and saved
        goes first again.
        """
        self.selector.unregister(child.out)
        code = child.process.wait()
        child.close()
        child.out.close()
        self.children.remove(child)
        lost = child.unsaved if child.cell is None else [child.cell]
        if not lost:
            return
        self.deaths.update(lost)
        self.exits.update(dict.fromkeys(lost, code))
        self.waiting.extendleft(
            reversed([*lost, *(child.unsaved if child.cell is not None else [])])
        )
        say(
            f"cell {self.plan.cells[lost[0]].id}: its process died ({_death(code)}); going on from "
            "its checkpoint"
        )
        if self.deaths[lost[0]] > DEATHS_PER_CELL:
            raise ChildrenDie(
                f"a process that only had to record the end of a cell died too ({_death(code)})"
            )

    def _check_stop(self) -> None:
        if self.reason is not None:
            return
        if self.received or (self.deadline is not None and time.time() > self.deadline):
            self.reason = self._why()
            say(f"told to stop ({self.reason}): saving {len(self.children)} cells")
            for child in self.children:
                child.send({"stop": self.reason})

    def _drop_cancelled(self, look: bool = False) -> None:
        """Leave out the cells that the user cancelled; one that trains saves, and its process makes
        way for another.
        """
        if look or time.monotonic() - self.looked > LOOK_SECONDS:
            gone = markers.cancelled_cells(self.plan.folder(self.assignment.sweep))
            self.looked = time.monotonic()
            self.cancelled = {
                i for i in self.plan.tasks[self.assignment.task] if self.plan.cells[i].id in gone
            }
        self.waiting = deque(cell for cell in self.waiting if cell not in self.cancelled)
        for child in self.children:
            if child.cell in self.cancelled and not child.told:
                child.told = True
                child.send({"stop": "cancelled"})

    def _why(self) -> StopReason:
        """Preemption is told from a time limit by the job's end, and both from a cancellation by
        the user's mark.
        """
        self._drop_cancelled(look=True)
        if (
            self.cancelled
            and not self.waiting
            and all(child.told for child in self.children if child.cell is not None)
        ):
            return "cancelled"
        if self.deadline is not None and time.time() > self.deadline - 60:
            return "timeout"
        return "preempted"

    def _end_children(self) -> None:
        """Let every child save and end, also when an exception or sys.exit passes through here."""
        for child in self.children:
            child.close()
        for child in self.children:
            try:
                child.process.wait(GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                child.process.kill()


def say(text: str) -> None:
    """A line of the job's log, with the time."""
    print(f"[{time.strftime('%F %T')}] {text}", file=sys.stderr, flush=True)


_KILLED = f"its process died {DEATHS_PER_CELL} times in attempt {{}}; killed for memory, perhaps: see the job's log"
_FAULTS: dict[int, str] = {
    signal.SIGSEGV: "segmentation fault",
    signal.SIGBUS: "bus error",
    signal.SIGABRT: "abort",
    signal.SIGILL: "illegal instruction",
    signal.SIGFPE: "floating point exception",
}
"""Signals that a process brings on itself, and nobody sends for lack of memory."""
_STOP_SIGNALS = (signal.SIGUSR2, signal.SIGTERM, signal.SIGINT)


def environment(plan: plans.Plan) -> dict[str, str]:
    """The child imports the plan's code and nothing of the folder that the job happens to stand
    in.
    """
    threads = str(plan.bases[0].get("run.threads", 1))
    few = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    return os.environ | few | {"PYTHONPATH": plan.code_archive, "PYTHONUNBUFFERED": "1"}


def _death(code: int) -> str:
    if code >= 0:
        return f"exit status {code}"
    with contextlib.suppress(ValueError):
        return signal.Signals(-code).name
    return f"signal {-code}"
