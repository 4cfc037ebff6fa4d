"""What figures call the columns of the logs: words with units where there are any, never keys."""

from __future__ import annotations

from collections.abc import Iterable

TIMES = {"epochs": "epoch", "steps": "step", "examples": "examples"}
"""The choices of --time, and the column of the curves that each is."""

NAMES = {
    "data.label_noise.rate": "label-noise rate",
    "data.label_noise.kind": "kind of label noise",
    "data.train_samples": "training samples",
    "epoch": "training time t (epochs)",
    "examples": "training time t (examples seen)",
    "model.depth": "depth",
    "model.width": "width k",
    "optim.lr": "learning rate",
    "optim.momentum": "momentum",
    "optim.name": "optimiser",
    "optim.weight_decay": "weight decay λ",
    "recalibrated_test_error": "test error, batch norm recalibrated",
    "recalibrated_test_loss": "test loss (nats), batch norm recalibrated",
    "seed": "seed",
    "step": "training time t (steps)",
    "test_error": "test error",
    "test_loss": "test loss (nats)",
    "train_error": "training error",
    "train_loss": "training loss (nats)",
    "trainer.batch_size": "batch size (examples)",
    "trainer.epochs": "training time (epochs)",
}


def name(column: str) -> str:
    """The name of a column; one that the table lacks is the end of its key, in words."""
    return NAMES.get(column, column.rpartition(".")[2].replace("_", " "))


def quantity(count: int, noun: str, plural: str | None = None) -> str:
    """A count with its noun: "1 seed", "2 seeds"."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {plural or noun + 's'}"


def none_of(count: int, noun: str, plural: str | None = None) -> str:
    """The subject of a sentence about all of so many: "no chosen run", "none of the 2 chosen
    runs".
    """
    return f"no {noun}" if count == 1 else f"none of the {count:,} {plural or noun + 's'}"


def quantities(counts: Iterable[int], noun: str) -> str:
    """The range of several counts with their noun: "3 seeds", "1 to 3 seeds"."""
    distinct = sorted(set(counts))
    most = quantity(distinct[-1], noun)
    return most if len(distinct) == 1 else f"{distinct[0]:,} to {most}"
