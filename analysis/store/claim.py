"""Who may delete a part: one compaction at a time, and only the very file that it read.

A live writer may replace its part at any moment. To delete a part, it is first renamed to a hidden
name, then compared with what was read; a file that turned out to be newer gets its name back.
Renaming and comparing in this order leaves no moment at which a newer file could be deleted.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from analysis.store.listing import CLAIMED, list_parts

LOCK = ".compact.lock"


class CompactionRunning(RuntimeError):
    """Another compaction holds the folder; the message says which."""


@dataclass(frozen=True)
class Part:
    """A part file as it was listed.

    identity: inode, bytes and ns of last change, which differ once the file is replaced.
    """

    path: Path
    identity: tuple[int, int, int]

    @staticmethod
    def of(path: Path) -> Part:
        """The part as it is now; raises FileNotFoundError."""
        status = path.stat()
        return Part(path, (status.st_ino, status.st_size, status.st_mtime_ns))


@contextlib.contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Holds an flock on `folder/.compact.lock`; raises CompactionRunning if it is held.

    The lock goes with its process, so a crashed compaction blocks nobody; the file itself stays.
    """
    with _open_lock(folder / LOCK) as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            holder = file.read().strip() or "an unnamed process"
            raise CompactionRunning(
                f"{folder}: a compaction is running ({holder}); wait until it ends. Nothing was "
                "changed"
            ) from error
        file.seek(0)
        file.truncate()
        file.write(f"{socket.gethostname()} process {os.getpid()}\n")
        file.flush()
        yield


def _open_lock(path: Path) -> IO[str]:
    """The lock file, unchanged; OSError for a symbolic link in its place."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    return open(handle, "r+", encoding="utf-8")


def delete_consumed(parts: Sequence[Part]) -> None:
    """Deletes the parts that are still the files that were read; newer ones keep their name."""
    for part in parts:
        claimed = part.path.with_name(f".{part.path.name}{CLAIMED}")
        with contextlib.suppress(FileNotFoundError):  # its writer may have removed it
            # the usual case of a live writer; claiming would hide its file for a moment
            if Part.of(part.path).identity != part.identity:
                continue
            os.rename(part.path, claimed)
            if Part.of(claimed).identity == part.identity:
                os.unlink(claimed)
            else:
                _give_back(claimed, part.path)


def restore_claimed(folder: Path) -> None:
    """Gives parts that a crash left claimed their names back; to be called under the lock."""
    for part in [*list_parts(folder / "curves"), *list_parts(folder / "runs")]:
        if part.name.endswith(CLAIMED):
            _give_back(part, part.with_name(part.name[1:].removesuffix(CLAIMED)))


def _give_back(claimed: Path, path: Path) -> None:
    """Renames `claimed` to `path` unless that exists: then it is newer and has all the rows."""
    with contextlib.suppress(FileExistsError):
        os.link(claimed, path)
    os.unlink(claimed)
