"""Write files atomically, and identify the process that wrote one.

A process is identified by host, pid and start time. Standard library only.
"""

from __future__ import annotations

import json
import os
import pwd
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any


def own_process() -> dict[str, Any]:
    """The identity of this process: host, pid and start time."""
    return {"host": socket.gethostname(), "pid": os.getpid(), "start": _start(os.getpid())}


def alive(name: Mapping[str, Any]) -> bool | None:
    """Whether the process with this identity is alive; None if it belongs to another host."""
    if name["host"] != socket.gethostname():
        return None
    return bool(_start(name["pid"]) == name["start"])


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


def processes() -> list[int] | None:
    """The numbers of the processes of this machine; None if the system does not list them."""
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdecimal()] or None
    except OSError:
        return None


def command_line(process: int) -> list[str]:
    """The words of a process's command; empty if it is gone, or not known on this system."""
    try:
        content = Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return []
    return content.decode(errors="replace").rstrip("\0").split("\0")


def open_lock(path: Path) -> IO[str]:
    """Open a lock file without changing it, and never through a symbolic link (OSError)."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    return open(handle, "r+", encoding="utf-8")


def _start(pid: int) -> str:
    """Start time of a process as the system reports it; empty if it is gone or a zombie."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
        return "" if fields[0] == "Z" else fields[19]
    except FileNotFoundError:
        if os.path.exists("/proc/self/stat"):
            return ""
        process = subprocess.run(
            ["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
        )
        return process.stdout.strip()
