"""Train one cell: data, models, optimisation, checkpoints and logged rows.

Importing this package imports neither torch nor hydra; `train` imports the trainer that the cell
names.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trainers.config import Cell
    from trainers.run import Outcome, Run


def train(cell: Cell, run: Run) -> Outcome:
    """Train `cell` to its end, or until `run.should_stop()`. Rows, checkpoints and facts go to
    `run`.

    Returns "done", "stopped", or "nonfinite": a loss that is not finite is a result, not an error.
    Exceptions of the trainer are not caught.
    """
    outcome: Outcome = importlib.import_module(f"trainers.{cell.trainer.name}").train(cell, run)
    return outcome
