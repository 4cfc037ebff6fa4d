"""Train one cell: data, models, optimisation, checkpoints and logged rows.

Importing this package imports neither torch nor hydra; `train` imports the trainer that the cell
names.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

from trainers.config.measure import MEASURES

if TYPE_CHECKING:
    from trainers.config import Cell
    from trainers.run import Outcome, Run
    from trainers.schema import Metric


def train(cell: Cell, run: Run) -> Outcome:
    """Train `cell` to its end, or until `run.should_stop()`. Rows, checkpoints and facts go to
    `run`.

    Returns "done", "stopped", or "nonfinite": a loss that is not finite is a result, not an error.
    Exceptions of the trainer are not caught.
    """
    outcome: Outcome = _module(cell.trainer.name).train(cell, run)
    return outcome


def metrics(trainer: str) -> tuple[Metric, ...]:
    """The columns that the trainer of that name logs."""
    if trainer in MEASURES:
        columns = importlib.import_module("trainers.measures.columns")
        return tuple(columns.METRICS[trainer])
    return tuple(_module(trainer).METRICS)


def _module(trainer: str) -> ModuleType:
    """The file of a trainer; all measures share one."""
    name = "landscape" if trainer in MEASURES else trainer
    return importlib.import_module(f"trainers.{name}")
