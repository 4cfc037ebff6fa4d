"""What a child answers about the cells that it trained."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from launch.worker._child import CellTrainer, Inbox, Writer
from launch.worker.messages import CellJob, CellResult

NOOP: Mapping[str, Any] = {
    "seed": 0, "model.name": "none", "data.name": "none", "optim.name": "none",
    "trainer.name": "noop", "trainer.epochs": 4, "trainer.seconds": 0.0, "trainer.fail": "error",
    "run.device": "auto", "run.threads": 1, "run.compile": False, "run.checkpoint_seconds": 60.0,
}  # fmt: skip
"""A cell that fails in its fourth epoch."""


class Calm(Inbox):
    """The messages of a parent that never asks to stop."""

    def __init__(self) -> None:
        self.reason = ""

    def stop_requested(self) -> bool:
        return False


def train(folder: Path, flat: Mapping[str, Any]) -> CellResult:
    """Train one cell in this process."""
    trainer = CellTrainer(Writer(folder, "w", "p.", 1.0, ""), Calm())
    trainer.differences["c0de"] = None  # this process runs the code of the plan
    return trainer.train(CellJob("c1-0", flat, 1, "c0de", "e0"))


def test_a_cell_that_failed_tells_how_far_it_was(tmp_path: Path) -> None:
    result = train(tmp_path, NOOP)
    assert (result.status, result.epochs) == ("failed", 3)
    unreadable = train(tmp_path, {**NOOP, "trainer.name": "unknown"})
    assert (unreadable.status, unreadable.epochs) == ("failed", 0)
