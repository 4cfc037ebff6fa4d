"""Marker files by which the tasks of a submission and the commands inform each other.

    logs/NAME/submissions/SID/errors/KEY.1 ... KEY.3   the first cells that failed with one error
    logs/NAME/submissions/SID/errors/stop              after the third: no further cell starts
    logs/NAME/submissions/SID/bad_nodes/NODE           a node on which every process dies
    logs/NAME/submissions/SID/cancelled.json           ids of the cells that the user cancelled
    logs/NAME/submissions/SID/local.json               the process that works on it outside SLURM
    logs/NAME/submissions/SID/notify_error             why `notify.command` failed
    logs/NAME/rounds_stopped                           no round of a search is sent by itself

A thousand tasks write a handful of files, and each task looks for one name at most once a second.
Read inside jobs: standard library only. `submission` is the folder of a submission.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import time
from collections.abc import Collection
from dataclasses import asdict, replace
from pathlib import Path

from launch.errors import UserError
from launch.plan import files
from launch.plan.outcome import error_key
from launch.plan.process import Process, own_process
from launch.plan.reader import Damaged, Fields, as_texts, read_json

SAME_ERROR = 3
"""If this many cells fail with the same error, the submission stops: they share a cause."""

_NODE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
"""What can be the name of a node; another name in the folder would spoil the job script."""

LOOK_SECONDS = 1.0
BAD_NODE_SECONDS = 1800.0
"""How long new submissions avoid a node on which processes died."""


class RepeatedErrors:
    """The errors of a submission's cells; three cells with the same error stop it."""

    def __init__(self, submission: Path) -> None:
        self.folder = submission / "errors"
        self._last_look = -LOOK_SECONDS
        self._error: str | None = None

    def add(self, cell: str, error: str) -> None:
        """Record that a cell failed; the third with one error stops the submission.

        On a full disk nothing is recorded.
        """
        with contextlib.suppress(OSError):
            self.folder.mkdir(exist_ok=True)
            if self._rank(cell, error) == SAME_ERROR:
                files.create(self.folder / "stop", error)
                self._last_look = -LOOK_SECONDS

    def _rank(self, cell: str, error: str) -> int | None:
        """The position of a cell among the first ones with this error; None if they are all
        recorded.
        """
        for number in range(1, SAME_ERROR + 1):
            path = self.folder / f"{_key(error)}.{number}"
            if files.create(path, cell):
                return number
            if _text(path) == cell:
                return None
        return None

    def stopped_by(self) -> str | None:
        """The error that stopped the submission, or None."""
        if self._error is None and time.monotonic() - self._last_look >= LOOK_SECONDS:
            self._last_look = time.monotonic()
            with contextlib.suppress(OSError):
                self._error = _text(self.folder / "stop") or "(an error)"
        return self._error


def mark_bad_node(submission: Path, node: str) -> None:
    """Mark a node as one on which processes die."""
    with contextlib.suppress(OSError):
        (submission / "bad_nodes").mkdir(exist_ok=True)
        (submission / "bad_nodes" / node).touch()


def bad_nodes(submission: Path) -> set[str]:
    """Nodes that were marked within the last BAD_NODE_SECONDS."""
    nodes: set[str] = set()
    with contextlib.suppress(FileNotFoundError):
        for path in (submission / "bad_nodes").iterdir():
            if not _NODE_NAME.fullmatch(path.name):
                continue
            age = time.time() - path.stat().st_mtime
            if age < BAD_NODE_SECONDS:
                nodes.add(path.name)
    return nodes


def cancel_cells(submission: Path, cells: Collection[str]) -> None:
    """Add cells to those that the tasks of a submission skip."""
    everything = cancelled_cells(submission) | set(cells)
    files.write_json(submission / "cancelled.json", sorted(everything))


def cancelled_cells(submission: Path) -> set[str]:
    """Ids of the cells of a submission that the user cancelled. Raises UserError if damaged."""
    path = submission / "cancelled.json"
    try:
        return set(as_texts(read_json(path), ""))
    except FileNotFoundError:
        return set()
    except Damaged as error:
        raise UserError(
            f"{path}: damaged ({error}); expected a list of the ids of the cells that were "
            "cancelled. Move it away and cancel them again (`redescent cancel`)"
        ) from None


def mark_local_worker(submission: Path) -> None:
    """Record this process as the one that works on the submission outside SLURM."""
    files.write_json(submission / "local.json", asdict(own_process()))


def local_worker(submission: Path) -> Process | None:
    """The process that works on the submission outside SLURM; None if none has started.

    Raises UserError if the file is damaged.
    """
    path = submission / "local.json"
    try:
        fields = Fields(read_json(path))
        process = Process.read(fields)
        fields.finish()
        return process
    except FileNotFoundError:
        return None
    except Damaged as error:
        raise UserError(
            f"{path}: damaged ({error}); expected the process that trains the cells of this "
            "submission. If no `launch.job` process of it runs any more (ps), move the file away"
        ) from None


def end_local_worker(submission: Path) -> None:
    """Record that this process has ended its work on the submission, although it is alive."""
    ended = replace(own_process(), start="ended")
    files.write_json(submission / "local.json", asdict(ended))


def remove_local_worker(submission: Path) -> None:
    """Record that the process of the submission is no longer its worker."""
    (submission / "local.json").unlink()


def record_notify_error(submission: Path, error: str) -> None:
    """Record that the user's notification failed. On a full disk nothing is recorded."""
    with contextlib.suppress(OSError):
        files.write_bytes(submission / "notify_error", error.encode())


def notify_error(submission: Path) -> str:
    """Why the user's notification failed; empty if it did not."""
    with contextlib.suppress(OSError):
        return _text(submission / "notify_error")
    return ""


def stop_rounds(sweep: Path) -> None:
    """Let no round of the sweep's searches be sent without the user."""
    (sweep / "rounds_stopped").touch()


def allow_rounds(sweep: Path) -> None:
    """Let the rounds of the sweep's searches follow by themselves again."""
    (sweep / "rounds_stopped").unlink(missing_ok=True)


def rounds_stopped(sweep: Path) -> bool:
    """Whether the user cancelled the sweep since it was last submitted or resumed."""
    return (sweep / "rounds_stopped").exists()


def _text(path: Path) -> str:
    return path.read_bytes().decode(errors="replace")


def _key(error: str) -> str:
    """A name for files about this error."""
    return hashlib.sha256(error_key(error).encode()).hexdigest()[:16]
