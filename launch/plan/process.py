"""Processes by host, pid and start time, since a pid alone is used again. Standard library only."""

from __future__ import annotations

import os
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

from launch.plan.reader import Fields


@dataclass(frozen=True)
class Process:
    """A process of any host, as lock files and `local.json` name it."""

    host: str
    pid: int
    start: str
    """Start time as the system reports it; "ended" for a worker that ended its work."""

    @classmethod
    def read(cls, fields: Fields) -> Process:
        """The process that a JSON object names. Raises Damaged."""
        return cls(fields.text("host"), fields.count("pid", 1), fields.text("start"))

    def alive(self) -> bool | None:
        """Whether it is alive; None if it belongs to another host."""
        if self.host != socket.gethostname():
            return None
        return start_of(self.pid) == self.start


def own_process() -> Process:
    """This process."""
    return Process(socket.gethostname(), os.getpid(), start_of(os.getpid()))


def process_ids() -> list[int] | None:
    """The numbers of the processes of this machine; None if the system does not list them."""
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdecimal()] or None
    except OSError:
        return None


def command_line(pid: int) -> list[str]:
    """The words of a process's command; empty if it is gone, or not known on this system."""
    try:
        content = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return []
    return content.decode(errors="replace").rstrip("\0").split("\0")


def start_of(pid: int) -> str:
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
