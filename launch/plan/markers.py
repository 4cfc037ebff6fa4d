"""The word among the tasks of a submission that one error repeats itself: no further cell of it is
to start.

    logs/NAME/submissions/SID/errors/KEY.1 ... KEY.3   the first cells that failed with an error, a file for each
    logs/NAME/submissions/SID/errors/stop              made with the third, and all that the other tasks look for
    logs/NAME/submissions/SID/bad_nodes/NODE           a node on which processes die whatever they are given

A thousand tasks so make a handful of files, and each looks for one name a second at most. Read
inside jobs: standard library alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import time
from pathlib import Path

from launch.plan import files

SAME_ERROR = 3
"""So many cells that fail with the same last line are the fault of what they share: no more are
started or sent.
"""

LOOK_SECONDS = 1.0
BAD_NODE_SECONDS = 1800.0
"""How long a node is avoided on which processes died."""


class Halt:
    """What the task of a submission says and hears about errors; `folder` is the submission's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "errors"
        self._looked = -LOOK_SECONDS
        self._error: str | None = None

    def note(self, cell: str, error: str) -> None:
        """Tell that a cell failed; the third cell with one error halts the submission. A full disk
        says nothing.
        """
        with contextlib.suppress(OSError):
            self.folder.mkdir(exist_ok=True)
            for number in range(1, SAME_ERROR + 1):
                path = self.folder / f"{_key(error)}.{number}"
                if files.create(path, cell):
                    if number == SAME_ERROR:
                        files.create(self.folder / "stop", error)
                        self._looked = -LOOK_SECONDS
                    return
                if path.read_text() == cell:
                    return

    def error(self) -> str | None:
        """The error that halted the submission, or None."""
        if self._error is None and time.monotonic() - self._looked >= LOOK_SECONDS:
            self._looked = time.monotonic()
            with contextlib.suppress(OSError):
                self._error = (self.folder / "stop").read_text() or "(an error)"
        return self._error


def avoid(folder: Path, node: str) -> None:
    """Mark a node as one on which processes die."""
    with contextlib.suppress(OSError):
        (folder / "bad_nodes").mkdir(exist_ok=True)
        (folder / "bad_nodes" / node).touch()


def avoided(folder: Path) -> set[str]:
    """Nodes that were marked within the last BAD_NODE_SECONDS."""
    with contextlib.suppress(FileNotFoundError):
        return {
            p.name
            for p in (folder / "bad_nodes").iterdir()
            if time.time() - p.stat().st_mtime < BAD_NODE_SECONDS
        }
    return set()


def _key(error: str) -> str:
    """One key for errors that differ in numbers and ids alone."""
    return hashlib.sha256(re.sub(r"\w*\d\w*", "#", error).encode()).hexdigest()[:16]
