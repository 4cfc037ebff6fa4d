"""The parent inside a job: hands cells to children, and handles stops and crashes.

The parent imports only the standard library. A child imports torch once, trains one cell after
another, and is the only writer of its part. When one dies, the parent starts another, and the cell
resumes from its checkpoint.
"""

from __future__ import annotations

import contextlib
import math
import selectors
import subprocess
import sys
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Sequence

from launch.errors import UserError, quantity
from launch.plan import markers
from launch.plan.outcome import StopReason, failure_class
from launch.worker.assignment import Assignment
from launch.worker.children import DEATHS_PER_CELL, Child, death_text, failure_of
from launch.worker.messages import (
    CellJob,
    CellResult,
    NotSaved,
    Saved,
    StopRequest,
    from_line,
)

GRACE_SECONDS = 600.0
"""Seconds for a child to save after a request to stop; the scheduler usually allows less."""

LOOK_SECONDS = 5.0
"""Seconds between checks for cells of this task that the user cancelled."""

TIMEOUT_MARGIN_SECONDS = 60.0
"""A signal within this many seconds of the deadline comes from the time limit, not a preemption."""


class RepeatedCrash(RuntimeError):
    """Every process dies: the node, the disk or the installation is at fault."""


def terminated() -> StopReason:
    """Why a process outside SLURM is asked to stop."""
    return "terminated"


class Pool:
    """The children of one task and the queue of its cells.

    `received` holds the signals to this process so far; their handlers add to it. At `deadline`, a
    Unix time, the cells save and stop. `why_stopped` says what a signal means that neither the time
    limit nor `redescent cancel` explains.
    """

    def __init__(
        self,
        assignment: Assignment,
        received: Sequence[int],
        deadline: float | None,
        why_stopped: Callable[[], StopReason] = terminated,
    ) -> None:
        self.assignment, self.received, self.deadline = assignment, received, deadline
        self.why_stopped = why_stopped
        self.plan = assignment.plan
        self.queue = deque(assignment.numbers)
        self.concurrency = self.plan.concurrency(assignment.task)
        self.writer = f"{assignment.prefix}r{assignment.restart}.{uuid.uuid4().hex[:8]}"
        self.children: list[Child] = []
        self.child_count = 0
        self.deaths: Counter[int] = Counter()
        """For each cell, how many processes may have died of it."""
        self.exit_codes: dict[int, int] = {}
        """For each cell, the exit status of the process that last died while training it."""
        self.results: Counter[str] = Counter()
        """How many cells ended in each way."""
        self.progress = False
        """Whether any cell made progress."""
        self.reason: StopReason | None = None
        """Why the task was asked to stop."""
        self.kill_at = math.inf
        """When children that have not stopped are killed, in monotonic seconds."""
        self.blocked_by: str | None = None
        """An error after which no further cell starts; running cells continue."""
        self.cancelled: set[int] = set()
        """The cells of the task that the user cancelled."""
        self.last_look = -math.inf
        """When these were last read, in monotonic seconds."""
        self.repeated_errors = markers.RepeatedErrors(assignment.submission)
        self.selector = selectors.DefaultSelector()

    def run(self) -> StopReason | None:
        """Train all cells; returns why it stopped early, None if every cell has its result."""
        try:
            while self.children or (self.queue and self._may_start()):
                self._remove_cancelled()
                self._start_children()
                self._read_answers()
                self._check_stop()
                self._kill_unresponsive_children()
        finally:
            self._end_children()
        return self.reason

    def _may_start(self) -> bool:
        """Whether another cell may start."""
        if self.blocked_by is None and not self.plan.retry_errors:
            error = self.repeated_errors.stopped_by()
            if error:
                failed = "several cells of this submission failed with the same error"
                self.blocked_by = f"{failed}: {error}"
        return self.reason is None and self.blocked_by is None

    def _start_children(self) -> None:
        while self._may_start() and self.queue and len(self.children) < self.concurrency:
            child = Child(self.assignment, f"{self.writer}.{self.child_count}", self.concurrency)
            self.child_count += 1
            self.children.append(child)
            self.selector.register(child.out, selectors.EVENT_READ, child)
            self._next_cell(child)

    def _next_cell(self, child: Child) -> None:
        """Send a child its next cell, or dismiss it."""
        if child.stop_sent or not self._may_start() or not self.queue:
            child.close()
            return
        child.cell = self.queue.popleft()
        child.send(self._job(child.cell))

    def _job(self, number: int) -> CellJob:
        """The message that lets a child train a cell, or record why it cannot be trained."""
        cell = self.plan.cells[number]
        attempt = cell.attempts + 1 + self.assignment.restart
        failure = self.assignment.refusal
        if self.deaths[number] >= DEATHS_PER_CELL:
            failure = failure_of(self.exit_codes[number], attempt)
        return CellJob(
            cell=cell.id,
            flat=self.plan.flat(cell),
            attempt=attempt,
            code=self.plan.code,
            environment=self.plan.environment,
            failure=failure,
            again=self.plan.rerun,
        )

    def _read_answers(self) -> None:
        for key, _ in self.selector.select(timeout=0.25):
            self._on_line(key.data)

    def _on_line(self, child: Child) -> None:
        line = child.out.readline()
        if not line:
            self._on_exit(child)
            return
        answer = from_line(line)
        if isinstance(answer, Saved):
            child.unsaved.clear()
        elif isinstance(answer, NotSaved):
            self._block(answer.error)
            self.queue.extendleft(reversed(child.unsaved))
            child.unsaved.clear()
        elif isinstance(answer, CellResult):
            self._on_result(child, answer)
            self._next_cell(child)

    def _on_result(self, child: Child, result: CellResult) -> None:
        assert child.cell is not None
        self.results[result.status] += 1
        self.progress = self.progress or result.progress
        if result.status == "stopped":
            self.queue.append(child.cell)
        else:
            child.unsaved.append(child.cell)
        if result.saved:
            child.unsaved.clear()
        child.cell = None
        error = f": {result.error}" if result.error else ""
        length = quantity(result.epochs, "epoch")
        log(f"cell {result.cell}: {result.status} after {length}{result.metric}{error}")
        if result.failure is not None:
            self._on_failure(result.cell, result.failure, result.error or "")

    def _on_failure(self, cell: str, name: str, error: str) -> None:
        failure = failure_class(name)
        if failure.repeats_stop_sweep and not self.plan.retry_errors:
            self.repeated_errors.add(cell, error)
        if failure.stops_task:
            self._block(error)

    def _block(self, error: str) -> None:
        self.blocked_by = f"cannot write to the disk of the logs: {error}"

    def _on_exit(self, child: Child) -> None:
        """Requeue the cells that a child left unfinished; a dismissed child leaves none."""
        self.selector.unregister(child.out)
        code = child.process.wait()
        child.close()
        child.out.close()
        self.children.remove(child)
        if not child.unfinished:
            return
        self.deaths.update(child.suspects)
        self.exit_codes.update(dict.fromkeys(child.suspects, code))
        self.queue.extendleft(reversed(child.unfinished))
        first, death = child.suspects[0], death_text(code)
        cell = self.plan.cells[first].id
        log(f"cell {cell}: its process died ({death}); it resumes from its checkpoint")
        if self.deaths[first] > DEATHS_PER_CELL:
            raise RepeatedCrash(f"the process that should record the failure died too ({death})")

    def _check_stop(self) -> None:
        """Ask all children to save after a signal or near the deadline."""
        expired = self.deadline is not None and time.time() > self.deadline
        if self.reason is not None or not (self.received or expired):
            return
        self._remove_cancelled(look=True)
        self.reason = stop_reason(self.deadline, time.time(), self._only_cancelled_left())
        self.reason = self.reason or self.why_stopped()
        log(f"stopping ({self.reason}): saving {quantity(len(self.children), 'cell')}")
        for child in self.children:
            child.send(StopRequest(self.reason))
        self.kill_at = time.monotonic() + GRACE_SECONDS

    def _kill_unresponsive_children(self) -> None:
        """Kill the children that did not stop in time: a user's class may wait for ever."""
        if time.monotonic() < self.kill_at:
            return
        self.kill_at = math.inf
        for child in self.children:
            log(f"a process did not stop within {GRACE_SECONDS:.0f} s: killed")
            child.process.kill()

    def _only_cancelled_left(self) -> bool:
        """Whether nothing is left to train because the user cancelled the rest."""
        training = [child for child in self.children if child.cell is not None]
        stopping = all(child.stop_sent for child in training)
        return bool(self.cancelled) and not self.queue and stopping

    def _remove_cancelled(self, look: bool = False) -> None:
        """Skip the cells that the user cancelled; one that is training saves and stops."""
        if look or time.monotonic() - self.last_look > LOOK_SECONDS:
            self.last_look = time.monotonic()
            self.cancelled = self._cancelled_numbers()
        self.queue = deque(number for number in self.queue if number not in self.cancelled)
        for child in self.children:
            if child.cell in self.cancelled and not child.stop_sent:
                child.stop_sent = True
                child.send(StopRequest("cancelled"))

    def _cancelled_numbers(self) -> set[int]:
        """The cancelled cells of the task; those known so far if their file cannot be read."""
        try:
            ids = markers.cancelled_cells(self.assignment.submission)
        except (UserError, OSError) as error:
            log(f"{error}; no further cell is cancelled meanwhile")
            return self.cancelled
        numbers = self.plan.tasks[self.assignment.task]
        return {number for number in numbers if self.plan.cells[number].id in ids}

    def _end_children(self) -> None:
        """Let every child save and end, even after an exception or sys.exit."""
        for child in self.children:
            child.close()
        for child in self.children:
            try:
                child.process.wait(GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                child.process.kill()


def stop_reason(deadline: float | None, now: float, only_cancelled_left: bool) -> StopReason | None:
    """Why a task was asked to stop; None if neither its end time nor a marker file says.

    The job's end time distinguishes a time limit from a preemption; a marker file shows a
    cancellation by `redescent cancel`.
    """
    if only_cancelled_left:
        return "cancelled"
    if deadline is not None and now > deadline - TIMEOUT_MARGIN_SECONDS:
        return "timeout"
    return None


def log(text: str) -> None:
    """Write a line to the job's log, with the time; a full disk may have no room for it."""
    with contextlib.suppress(OSError):
        print(f"[{time.strftime('%F %T')}] {text}", file=sys.stderr, flush=True)
