"""The lock on a sweep's folder: flock, or a lock file on a file system without flock."""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import IO

from launch.plan import files
from launch.plan.process import Process, own_process
from launch.plan.reader import Damaged, Fields, read_json

FRESH_SECONDS = 10.0
"""Seconds between touches of a lock file by its holder."""

STALE_SECONDS = 90.0
"""A lock file that was not touched for this long, by the clock of the file system, is removed."""

POLL_SECONDS = 0.1

SILENT_SECONDS = 2.0
"""Seconds to wait without a word: the next round of a search is sent in less."""

SWEEP_LOCK = ".lock"
"""Held by whatever sends cells."""

CANCEL_LOCK = ".cancel.lock"
"""Held while cancelled cells are recorded, which must not wait for a submission."""


@contextlib.contextmanager
def locked(folder: Path, name: str = SWEEP_LOCK) -> Iterator[None]:
    """Wait for a lock of the sweep and hold it; the lock ends with its process.

    Says on standard error that it waits, unless that is short. Raises OSError if somebody put a
    symbolic link in its place.
    """
    with files.open_lock(folder / name) as file, contextlib.ExitStack() as stack:
        try:
            _flock(file, folder / name)
        except OSError:  # no locks on this file system
            stack.enter_context(_lock_file(folder / f"{name}.held"))
        yield


def _flock(file: IO[str], path: Path) -> None:
    """Wait for the lock of an open file. Raises OSError if the file system has no locks."""
    speaks_at = time.monotonic() + SILENT_SECONDS
    while time.monotonic() < speaks_at:
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        time.sleep(POLL_SECONDS)
    _say_waiting(path)
    fcntl.flock(file, fcntl.LOCK_EX)


def _say_waiting(path: Path) -> None:
    print(
        f"{path.parent}: another command is at work on this sweep (it holds {path.name}); waiting "
        "until it ends",
        file=sys.stderr,
        flush=True,
    )


@contextlib.contextmanager
def _lock_file(path: Path) -> Iterator[None]:
    """Hold a lock file, and touch it until it is released."""
    speaks_at = time.monotonic() + SILENT_SECONDS
    while not _create(path):
        if time.monotonic() >= speaks_at:
            _say_waiting(path)
            speaks_at = math.inf
        if _stale(path):
            _remove_stale(path)
        else:
            time.sleep(POLL_SECONDS)
    released = threading.Event()
    thread = threading.Thread(target=_touch_until, args=(released, path), daemon=True)
    thread.start()
    try:
        yield
    finally:
        released.set()
        thread.join()
        path.unlink(missing_ok=True)


def _create(path: Path) -> bool:
    """Create a lock file that names this process; False if it exists."""
    return files.create(path, json.dumps(asdict(own_process())))


def _touch_until(released: threading.Event, path: Path) -> None:
    while not released.wait(FRESH_SECONDS):
        with contextlib.suppress(OSError):
            os.utime(path)


def _stale(path: Path) -> bool:
    """Whether the holder is gone: its process ended, or another host stopped touching the file."""
    try:
        if _holder_is_gone(path):
            return True
        touched = path.stat().st_mtime
    except FileNotFoundError:  # released meanwhile
        return False
    with tempfile.NamedTemporaryFile(dir=path.parent) as now:  # a clock that all hosts share
        return os.fstat(now.fileno()).st_mtime - touched > STALE_SECONDS


def _holder_is_gone(path: Path) -> bool:
    """Whether the process that a lock file names has ended; False for a damaged file."""
    try:
        return Process.read(Fields(read_json(path))).alive() is False
    except Damaged:
        return False


def _remove_stale(path: Path) -> None:
    """Remove a stale lock, one process at a time.

    Otherwise a second process could remove the new lock of the first one.
    """
    breaking = path.with_name(f"{path.name}.breaking")
    if _create(breaking):
        try:
            if _stale(path):
                path.unlink(missing_ok=True)
        finally:
            breaking.unlink(missing_ok=True)
    elif _stale(breaking):
        breaking.unlink(missing_ok=True)
    else:
        time.sleep(0.2)
