"""The states of a cell, and the classes of failure with their consequences.

Read inside jobs: standard library only.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

State = Literal[
    "done", "nonfinite", "running", "waiting", "failed", "interrupted", "missing", "unknown"
]
STATES: Mapping[State, str] = {
    "done": "trained to its end",
    "nonfinite": "the loss became NaN or infinite; kept as a result",
    "running": "training now",
    "waiting": "queued, or its task has not reached it",
    "failed": "raised an error, or its process died repeatedly",
    "interrupted": "stopped or lost; `redescent resume` continues from its checkpoint",
    "missing": "planned, but never started and not queued",
    "unknown": "its scheduler does not answer, or has not confirmed its job yet",
}
FINAL: tuple[State, ...] = ("done", "nonfinite")
"""States, and statuses of a record, after which a cell needs no further run."""

LIVE: tuple[State, ...] = ("running", "waiting", "unknown")
"""States of a cell that a sent job may still train."""

StopReason = Literal["preempted", "timeout", "cancelled", "terminated"]
"""Why a task was asked to stop; outside SLURM, where nothing preempts, a signal terminates it."""

_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_ERROR_LINE = re.compile(r"[\w.]+(Error|Exception|Interrupt): ")


@dataclass(frozen=True)
class FailureClass:
    """Why an attempt ended without a result, and the consequences.

    `advice` is a template of the sweep's `name` and the cell's `short` id.
    """

    name: str
    advice: str
    fewer_at_a_time: bool = False
    """Fewer cells at a time may help: the next submission halves the number."""
    stops_task: bool = False
    """No further cell of the task can succeed."""
    repeats_stop_sweep: bool = False
    """Several cells with the same error stop the submission."""


_RESUMES = "`redescent resume {name}` sends it again; it resumes from its checkpoint if it has one"

ERROR = FailureClass(
    "error",
    "fix the error in the traceback, then `redescent resume {name}`; `redescent logs {short}` "
    "shows the job's output",
    repeats_stop_sweep=True,
)
OUT_OF_MEMORY = FailureClass(
    "out of memory",
    "request more memory or train fewer cells at a time: `redescent resume {name}` with "
    "hydra.launcher.mem_gb=... or task.at_a_time=...",
    fewer_at_a_time=True,
)
KILLED = FailureClass(
    "killed",
    "read the end of its job's output with `redescent logs {short}`; if memory ran out, "
    "`redescent resume {name} hydra.launcher.mem_gb=...`",
    fewer_at_a_time=True,
)
CRASHED = FailureClass(
    "crashed",
    "the training process crashed in compiled code, not in Python: run `redescent doctor` on that "
    "machine, read `redescent logs {short}`, then `redescent resume {name}`",
)
DISK = FailureClass(
    "disk",
    "free space on the disk of the logs or raise your quota, then `redescent resume {name}`",
    stops_task=True,
)
FROZEN_CODE = FailureClass(
    "code",
    "the code that was frozen with its submission is damaged or gone: `redescent resume {name}` "
    "writes it again and sends the cell",
)
NOT_TRAINED = FailureClass(
    "not trained",
    "it reads the weights of a trained cell that are not there yet: train that cell (its id and "
    "the folder of its sweep are in the traceback), then `redescent resume {name}`",
)
PREEMPTED = FailureClass("preempted", _RESUMES)
TIMEOUT = FailureClass("timeout", _RESUMES)
CANCELLED = FailureClass("cancelled", _RESUMES)
TERMINATED = FailureClass("terminated", _RESUMES)

_CLASSES = (
    ERROR, OUT_OF_MEMORY, KILLED, CRASHED, DISK, FROZEN_CODE, NOT_TRAINED,
    PREEMPTED, TIMEOUT, CANCELLED, TERMINATED,
)  # fmt: skip
FAILURES: Mapping[str, FailureClass] = {failure.name: failure for failure in _CLASSES}


def failure_class(name: str | None) -> FailureClass:
    """The class with this name; a failure without a class, or with an unknown one, is an error."""
    return FAILURES.get(name or "", ERROR)


NOT_TRAINED_ERROR = "NotTrainedError"
"""Name of the trainers' exception for weights that are not there; launch/ cannot import it."""


def message_of(error: BaseException) -> str:
    """The message of an error, also of a user's class that cannot say its own."""
    try:
        return str(error)
    except Exception as second:
        return f"(no message: its __str__ raised {type(second).__name__})"


def class_of(error: BaseException) -> FailureClass:
    """The class of a failure that Python raised as an exception."""
    if type(error).__name__ == NOT_TRAINED_ERROR:
        return NOT_TRAINED
    if isinstance(error, MemoryError) or "out of memory" in message_of(error).lower():
        return OUT_OF_MEMORY
    if isinstance(error, OSError) and error.errno in _DISK_ERRORS:
        return DISK
    return ERROR


def last_line(error: str | None) -> str:
    """The line of a traceback that names the error; its message may continue below it."""
    lines = (error or "").strip().splitlines() or [""]
    for line in reversed(lines):
        if _ERROR_LINE.match(line):
            return line
    return lines[-1]


def error_key(line: str) -> str:
    """The last line of a traceback without its numbers and ids: errors that differ only in these
    are the same error.
    """
    return re.sub(r"\w*\d\w*", "#", line)
