"""Train one cell: data, models, optimisation, checkpoints and logged rows.

Importing this package imports neither torch nor hydra; `train` imports the trainer that the cell
names.
"""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainers.config import Cell
    from trainers.run import Outcome, Run
    from trainers.schema import Metric


OUTCOMES = ("done", "stopped", "nonfinite")
"""What a trainer returns."""


def train(cell: Cell, run: Run) -> Outcome:
    """Train `cell` to its end, or until `run.should_stop()`. Rows, checkpoints and facts go to
    `run`.

    Returns "done", "stopped", or "nonfinite": a loss that is not finite is a result, not an error.
    Exceptions of the trainer are not caught. Raises TypeError for a trainer that returns anything
    else.
    """
    from trainers.config import entry, kinds

    gc.disable()  # torch makes so many objects that Python would collect for a sixth of its import
    try:
        trainer = entry(cell.trainer)
    finally:
        gc.enable()
    with kinds.torch_defaults():
        outcome: Outcome = trainer(cell, run)
    if outcome not in OUTCOMES:
        raise TypeError(
            f"{cell.trainer.entry} returned {outcome!r}, expected one of {', '.join(OUTCOMES)}"
        )
    return outcome


def metrics(trainer: str) -> tuple[Metric, ...]:
    """The columns that the trainer of that name logs: `METRICS` beside its code, or what the
    attribute `metrics` of its settings names.

    Raises `ConfigError` for an unknown trainer.
    """
    from trainers.config import imported, kinds

    settings = kinds.resolve("trainer", trainer)
    place = _metrics_place(settings)
    if place is not None:
        return tuple(imported(place))
    module = settings.entry.partition(":")[0]  # type: ignore[attr-defined]
    return tuple(imported(f"{module}:METRICS"))


_METRICS = {
    "trainers.vision:train": "trainers.measures.trainings:VISION",
    "trainers.minima:train": "trainers.measures.trainings:MINIMA",
    "trainers.algorithmic:train": "trainers.measures.trainings:ALGORITHMIC",
    "trainers.noop:train": "trainers.noop:METRICS",
}
"""Where the columns of our trainers are, by their entry; none of these modules imports torch."""


def _metrics_place(settings: Any) -> str | None:
    """Where the columns of a trainer are, apart from its code; None if they are beside it."""
    place: str | None = getattr(settings, "metrics", _METRICS.get(settings.entry))
    return place


def run_columns(trainer: str) -> list[str] | None:
    """The columns of the runs table of a trainer, without keys of the user's classes, found without
    torch; None for a trainer of the user's with its metrics beside its code.

    Raises `ConfigError` for an unknown trainer.
    """
    from trainers.config import imported, kinds
    from trainers.schema import run_schema

    place = _metrics_place(kinds.resolve("trainer", trainer))
    return None if place is None else list(run_schema(imported(place)).names)


def check_metrics(trainer: str) -> None:
    """Raise `ConfigError` unless the attribute `metrics` of a user's trainer, if it has one, names
    a tuple of `Metric` in a module that imports no torch.
    """
    from trainers.config import ConfigError, kinds
    from trainers.schema import Metric, run_schema

    place = getattr(kinds.resolve("trainer", trainer), "metrics", None)
    if not kinds.is_import_path(trainer) or place is None:
        return
    key = f"trainer.name: the metrics of {trainer}, {place}"
    module, _, name = place.partition(":")
    advice = "put the metrics into a module of their own"
    metrics: Any = getattr(kinds.module_without_torch(key, module, advice), name, None)
    example = 'expected a tuple such as (Metric("flatness", "float32", "1", "what it is"),)'
    is_sequence = isinstance(metrics, tuple | list)
    if not is_sequence or not all(isinstance(metric, Metric) for metric in metrics):
        raise ConfigError(f"{key}: found {metrics!r}, {example}")
    try:
        run_schema(metrics)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{key}: {error}; {example}") from None
