"""Waiting for what other processes do."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

Answer = TypeVar("Answer")


def wait_for(
    condition: Callable[[], Answer], what: str | Callable[[], str], seconds: float = 120
) -> Answer:
    """The first true answer of `condition`; fails with `what` after so many seconds.

    It sleeps for five times as long as a look took, and at most for a second: a look reads files or
    asks SLURM, and must not slow down what it waits for.
    """
    end = time.monotonic() + seconds
    while True:
        look = time.monotonic()
        if answer := condition():
            return answer
        now = time.monotonic()
        if now > end:
            raise AssertionError(
                f"waited {seconds} s for {what if isinstance(what, str) else what()}"
            )
        time.sleep(min(max(0.1, 5 * (now - look)), 1.0))


def wait_for_cells(folder: Path, seconds: float = 120) -> None:
    """Wait until no cell of a sweep is queued or running."""
    from launch.plan.outcome import LIVE
    from launch.status.sweep_state import load_sweep_state

    wait_for(
        lambda: all(cell.state not in LIVE for cell in load_sweep_state(folder).cells.values()),
        "the last cell",
        seconds,
    )
