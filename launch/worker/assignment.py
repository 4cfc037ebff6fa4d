"""What a worker is to do: one task of a plan, or some of its cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from launch.plan import Plan
from launch.worker.messages import Failure


@dataclass(frozen=True)
class Assignment:
    """The task of a plan that this process works on, and the names of its files."""

    plan: Plan
    sweep: Path
    task: int
    restart: int
    cells: Sequence[int] | None = None
    """Numbers of the cells to train; None for all cells of the task."""
    refusal: Failure | None = None
    """Why no cell may be trained: each is recorded as failed."""

    @property
    def numbers(self) -> Sequence[int]:
        """Numbers of the cells to train, in the plan."""
        return self.plan.tasks[self.task] if self.cells is None else self.cells

    @property
    def prefix(self) -> str:
        """Prefix of the names of all parts of this task, over all of its attempts."""
        return f"{self.plan.sid}.{self.task:05d}."

    @property
    def submission(self) -> Path:
        """The folder of the plan."""
        return self.plan.folder(self.sweep)
