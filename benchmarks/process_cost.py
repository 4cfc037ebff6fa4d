"""What a step of a benchmark costs, measured in a process of its own."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """What a process took: CPU seconds, seconds by the clock, and peak memory in bytes."""

    cpu: float
    wall: float
    memory: int


def in_child_process(action: Callable[[], None]) -> Cost:
    """The cost of an action in a process of its own. Exits if it fails."""
    began = time.time()
    pid = os.fork()
    if not pid:
        try:
            action()
            os._exit(0)
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            os._exit(1)
    return cost_of(pid, began)


def cost_of(pid: int, began: float) -> Cost:
    """The cost of a child process, once it has ended. Exits if it failed."""
    _, status, usage = os.wait4(pid, 0)
    if status:
        raise SystemExit("a step failed")
    memory = usage.ru_maxrss * 1024
    return Cost(usage.ru_utime + usage.ru_stime, time.time() - began, memory)
