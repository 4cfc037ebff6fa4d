"""Write files atomically, and say whose they are. Standard library only."""

from __future__ import annotations

import json
import os
import pwd
import socket
from pathlib import Path
from typing import IO, Any

LEAST_BYTES = 65536
"""A disk with less space is full: the files of a small cell take more."""


def create(path: Path, text: str) -> bool:
    """Create a file with its whole text; False if it exists. Only one of several writers succeeds.

    Uses a hard link: old network file systems do not honour O_EXCL.
    """
    temporary = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}")
    temporary.unlink(missing_ok=True)
    try:
        with open(temporary, "x", encoding="utf-8") as file:
            file.write(text)
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        temporary.unlink(missing_ok=True)
    return True


def write_json(path: Path, content: Any) -> None:
    """Write JSON so that readers see the old file or the new one, never a part."""
    write_bytes(path, json.dumps(content, separators=(",", ":")).encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write through a temporary file of this process, synced and renamed."""
    temporary = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)  # of a process with the same number that was killed
    try:
        with open(temporary, "xb") as file:  # never through a link that somebody put there
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def is_full(folder: Path) -> bool:
    """Whether the disk of a folder has no room for a file; a quota that is used up is not seen.

    False where that is not known, and for a disk that is read-only.
    """
    try:
        disk = os.statvfs(folder)
    except OSError:
        return False
    if disk.f_blocks == 0 or disk.f_flag & os.ST_RDONLY:  # some file systems state no sizes
        return False
    has_no_inodes = disk.f_files > 0 and disk.f_favail == 0
    return disk.f_bavail * disk.f_frsize < LEAST_BYTES or has_no_inodes


def owner(path: Path) -> str | None:
    """The user that a file belongs to if it is another one, by name or number; None if it is ours.

    Raises OSError if the file cannot be read.
    """
    number = path.stat().st_uid
    return None if number == os.getuid() else user_name(number)


def user_name(number: int) -> str:
    """The name of a user; the number itself where nothing names it, as in many containers."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def open_lock(path: Path) -> IO[str]:
    """Open a lock file without changing it, and never through a symbolic link (OSError)."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    return open(handle, "r+", encoding="utf-8")
