"""A cell that computes nothing, to test rows, checkpoints, stops and failures.

    redescent submit noop hydra/launcher=slurm trainer.seconds=5

Never imports torch.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

from trainers.config import NoOpCell
from trainers.run import Outcome, Run
from trainers.schema import Metric

METRICS = (Metric("progress", "float32", "1", "share of the epochs that are over", "max"),)


def train(cell: NoOpCell, run: Run) -> Outcome:
    """Wait through the remaining epochs, log each, and fail in the last one as set by
    `trainer.fail`.

    Returns "done", "stopped" (an interrupted epoch starts again), or "nonfinite". Raises
    RuntimeError or MemoryError if the cell should fail that way.
    """
    epochs = cell.trainer.epochs
    state = run.restore()
    epoch = state["epoch"] if state else 0
    if state is None:
        run.log(epoch=0, step=0, examples=0, progress=0.0)
    while epoch < epochs:
        if not _wait(cell.trainer.seconds, run.should_stop):
            run.checkpoint({"epoch": epoch}, epoch)
            return "stopped"
        epoch += 1
        if epoch == epochs:
            _fail(cell.trainer.fail, run)
        nonfinite = epoch == epochs and cell.trainer.fail == "nonfinite"
        run.log(
            epoch=epoch,
            step=epoch,
            examples=0,
            progress=float("nan") if nonfinite else epoch / epochs,
        )
        if nonfinite:
            return "nonfinite"
        if run.checkpoint_due():
            run.checkpoint({"epoch": epoch}, epoch)
    return "done"


def _wait(seconds: float, should_stop: Callable[[], bool]) -> bool:
    """Sleep; False as soon as the run must stop."""
    end = time.monotonic() + seconds
    while not should_stop():
        remaining = end - time.monotonic()
        if remaining <= 0:
            return True
        time.sleep(min(remaining, 0.05))
    return False


def _fail(how: str, run: Run) -> None:
    if how == "error":
        raise RuntimeError("failed as requested (trainer.fail=error)")
    if how == "memory" or (how == "crowded" and run.gpu_share < 1):
        raise MemoryError(f"failed as requested (trainer.fail={how})")
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
