"""Train one cell: data, models, optimisation, checkpoints and logged rows.

Importing this package imports neither torch nor hydra; `train` imports the trainer that the cell
names.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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
    from trainers.config import entry

    outcome: Outcome = entry(cell.trainer)(cell, run)
    return outcome


def metrics(trainer: str) -> tuple[Metric, ...]:
    """The columns that the trainer of that name logs: `METRICS` beside its code, or what the
    attribute `metrics` of its settings names.

    Raises `ConfigError` for an unknown trainer.
    """
    from trainers.config import imported, kinds

    settings: Any = kinds.resolve("trainer", trainer)
    module = settings.entry.partition(":")[0]
    return tuple(imported(getattr(settings, "metrics", f"{module}:METRICS")))
