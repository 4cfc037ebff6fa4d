"""A child as its parent sees it: how it starts, what it works on, and how it died."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from typing import IO

from launch.plan import Plan
from launch.plan.outcome import CRASHED, KILLED
from launch.worker.assignment import Assignment
from launch.worker.messages import Failure, Message, to_line

DEATHS_PER_CELL = 2
"""A cell whose process dies this many times in one attempt is recorded as failed."""

FAULTS: dict[int, str] = {
    signal.SIGSEGV: "segmentation fault",
    signal.SIGBUS: "bus error",
    signal.SIGABRT: "abort",
    signal.SIGILL: "illegal instruction",
    signal.SIGFPE: "floating point exception",
}
"""Signals from faults of the process itself; running out of memory sends none of them."""

_STOP_SIGNALS = (signal.SIGUSR2, signal.SIGTERM, signal.SIGINT)


class Child:
    """A process that trains one cell after another, as seen by its parent."""

    def __init__(self, assignment: Assignment, writer: str, concurrency: int) -> None:
        command = [sys.executable, "-P", "-m", "launch.worker.child"]
        command += [str(assignment.sweep), writer, assignment.prefix, str(1.0 / concurrency)]
        command += [assignment.plan.code_archive]
        # Blocked signals stay blocked over exec: a signal to the whole job cannot kill a child that
        # is still importing.
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
        """The cell that it is training, by its number in the plan."""
        self.stop_sent = False
        self.unsaved: list[int] = []
        """Cells that it has trained, but whose results are not on disk yet."""

    @property
    def out(self) -> IO[str]:
        """The child's answers, one per line."""
        assert self.process.stdout is not None
        return self.process.stdout

    @property
    def suspects(self) -> list[int]:
        """The cells that may have killed it: the one it was training, else those not saved yet."""
        return self.unsaved if self.cell is None else [self.cell]

    @property
    def unfinished(self) -> list[int]:
        """The cells whose results are lost if it dies now."""
        return self.unsaved if self.cell is None else [self.cell, *self.unsaved]

    def send(self, message: Message) -> None:
        """Send a message. If the child has died, the end of its answers shows it."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError, ValueError):
            self.process.stdin.write(to_line(message))
            self.process.stdin.flush()

    def close(self) -> None:
        """End the messages: an idle child ends, one that trains saves first."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError, ValueError):
            self.process.stdin.close()


def environment(plan: Plan) -> dict[str, str]:
    """The environment of a child: it imports the plan's code in any working folder."""
    threads = str(plan.bases[0].get("run.threads", 1))
    limits = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    return os.environ | limits | {"PYTHONPATH": plan.code_archive, "PYTHONUNBUFFERED": "1"}


def failure_of(code: int, attempt: int) -> Failure:
    """The failure of a cell whose processes keep dying, from the last exit status."""
    fault = FAULTS.get(-code)
    if fault:
        error = f"crashed: {fault} in the training process; run `redescent doctor`"
        return Failure(CRASHED.name, error)
    cause = "perhaps it ran out of memory" if code < 0 else f"its exit status was {code}"
    deaths = f"its process died {DEATHS_PER_CELL} times in attempt {attempt}"
    return Failure(KILLED.name, f"{deaths}; {cause}: see the job's log")


def death_text(code: int) -> str:
    """How a process died, by its exit status: the name of a signal, or the status."""
    if code >= 0:
        return f"exit status {code}"
    with contextlib.suppress(ValueError):
        return signal.Signals(-code).name
    return f"signal {-code}"
