"""The lock on a sweep's folder: flock, or a lock file on a file system without flock."""

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
"""Seconds between touches of a lock file by its holder."""

STALE_SECONDS = 90.0
"""A lock file that was not touched for this long, by the clock of the file system, is removed."""


SWEEP_LOCK = ".lock"
"""Held by whatever sends cells."""

CANCEL_LOCK = ".cancel.lock"
"""Held while cancelled cells are recorded, which must not wait for a submission."""


@contextlib.contextmanager
def locked(folder: Path, name: str = SWEEP_LOCK) -> Iterator[None]:
    """Wait for a lock of the sweep and hold it; the lock ends with its process.

    Raises OSError if somebody put a symbolic link in its place.
    """
    with files.open_lock(folder / name) as file, contextlib.ExitStack() as stack:
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:  # no locks on this file system
            stack.enter_context(_lock_file(folder / f"{name}.held"))
        yield


@contextlib.contextmanager
def _lock_file(path: Path) -> Iterator[None]:
    """Hold a lock file, and touch it until it is released."""
    while not files.create(path, json.dumps(files.own_process())):
        if _stale(path):
            _remove_stale(path)
        else:
            time.sleep(0.2)
    released = threading.Event()
    thread = threading.Thread(target=_touch_until, args=(released, path), daemon=True)
    thread.start()
    try:
        yield
    finally:
        released.set()
        thread.join()
        path.unlink(missing_ok=True)


def _touch_until(released: threading.Event, path: Path) -> None:
    while not released.wait(FRESH_SECONDS):
        with contextlib.suppress(OSError):
            os.utime(path)


def _stale(path: Path) -> bool:
    """Whether the holder is gone: its process ended, or another host stopped touching the file."""
    try:
        if files.alive(json.loads(path.read_text())) is False:
            return True
        touched = path.stat().st_mtime
    except FileNotFoundError:  # released meanwhile
        return False
    with tempfile.NamedTemporaryFile(dir=path.parent) as now:  # a clock that all hosts share
        return os.fstat(now.fileno()).st_mtime - touched > STALE_SECONDS


def _remove_stale(path: Path) -> None:
    """Remove a stale lock, one process at a time.

    Otherwise a second process could remove the new lock of the first one.
    """
    breaking = path.with_name(f"{path.name}.breaking")
    if files.create(breaking, json.dumps(files.own_process())):
        try:
            if _stale(path):
                path.unlink(missing_ok=True)
        finally:
            breaking.unlink(missing_ok=True)
    elif _stale(breaking):
        breaking.unlink(missing_ok=True)
    else:
        time.sleep(0.2)
