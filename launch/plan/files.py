"""Write files atomically, and identify the process that wrote one.

A process is identified by host, pid and start time. Standard library only.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any


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
    temporary.write_text(text)
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        temporary.unlink()
    return True


def write_json(path: Path, content: Any) -> None:
    """Write JSON so that readers see the old file or the new one, never a part."""
    write_bytes(path, json.dumps(content, separators=(",", ":")).encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write through a temporary file of this process, synced and renamed."""
    temporary = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


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
