"""Whether a process of this machine is still the one that wrote its name down: pid and start time
together.
"""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def own() -> dict[str, Any]:
    """The name of this process: host, pid and start time."""
    return {"host": socket.gethostname(), "pid": os.getpid(), "start": _start(os.getpid())}


def alive(name: Mapping[str, Any]) -> bool | None:
    """Whether the process with this name lives; None where another host would have to tell."""
    if name["host"] != socket.gethostname():
        return None
    return bool(_start(name["pid"]) == name["start"])


def create(path: Path, text: str) -> bool:
    """Make a file with all of its text at once; False where it is there already. Of several that
    try, one does.

    By a link and not by O_EXCL, which old network file systems do not keep apart.
    """
    draft = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}")
    draft.write_text(text)
    try:
        os.link(draft, path)
    except FileExistsError:
        return False
    finally:
        draft.unlink()
    return True


def _start(pid: int) -> str:
    """Start time of a process in whatever form the system gives; empty if it is gone or a
    zombie.
    """
    try:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
        return "" if fields[0] == "Z" else fields[19]
    except FileNotFoundError:
        if os.path.exists("/proc/self/stat"):
            return ""
        done = subprocess.run(
            ["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
        )
        return done.stdout.strip()
