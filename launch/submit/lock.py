"""The lock on a sweep's folder: flock, or, where the file system has none, a file that its holder
keeps fresh.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from launch.plan import files

FRESH_SECONDS = 10.0
"""How often the holder of a lock file says that it lives."""

STALE_SECONDS = 90.0
"""After so long without a word of its holder, by the clock of the file system, a lock file is taken
away.
"""


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the sweep's lock; it falls with the process that holds it. Waits for another submission
    to end.
    """
    with open(folder / ".lock", "w") as file, contextlib.ExitStack() as held:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:  # no locks on this file system
            held.enter_context(_holding(folder / ".lock.held"))
        yield


@contextlib.contextmanager
def _holding(path: Path) -> Iterator[None]:
    own = json.dumps(files.own())
    while not files.create(path, own):
        if _stale(path):
            _take_away(path)
        else:
            time.sleep(0.2)
    over = threading.Event()

    def stay_fresh() -> None:
        while not over.wait(FRESH_SECONDS):
            with contextlib.suppress(OSError):
                os.utime(path)

    thread = threading.Thread(target=stay_fresh, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        path.unlink(missing_ok=True)


def _stale(path: Path) -> bool:
    """Whether the holder is gone: its process, on this host, or any word of it, on another."""
    try:
        if files.alive(json.loads(path.read_text())) is False:
            return True
        said = path.stat().st_mtime
    except FileNotFoundError:  # let go meanwhile
        return False
    with tempfile.NamedTemporaryFile(dir=path.parent) as now:  # by a clock that all hosts share
        return os.fstat(now.fileno()).st_mtime - said > STALE_SECONDS


def _take_away(path: Path) -> None:
    """Remove a stale lock, one process at a time: another could take away the lock that the first
    then makes.
    """
    breaking = path.with_name(f"{path.name}.breaking")
    if files.create(breaking, json.dumps(files.own())):
        try:
            if _stale(path):
                path.unlink(missing_ok=True)
        finally:
            breaking.unlink(missing_ok=True)
    elif _stale(breaking):
        breaking.unlink(missing_ok=True)
    else:
        time.sleep(0.2)
