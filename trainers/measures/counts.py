"""The metrics of an image training: losses, and wrong answers with the samples behind them."""

from __future__ import annotations

from typing import Literal

from trainers.schema import Metric


def _count_metrics(
    name: str,
    wrong: str,
    examples: str | None = None,
    against: str = "",
    best: Literal["min"] | None = None,
) -> tuple[Metric, Metric, Metric]:
    """Wrong answers, the number of samples behind them, and their rate."""
    behind = examples or f"samples behind {name}_wrong"
    rate = f"{name}_wrong / {name}_examples{against}"
    return (
        Metric(f"{name}_wrong", "int32", "samples", wrong),
        Metric(f"{name}_examples", "int32", "samples", behind),
        Metric(f"{name}_error", "float32", "1", rate, best),
    )


METRICS = (
    Metric(
        "train_loss",
        "float32",
        "nats",
        "cross-entropy as seen in training: train mode, augmented, noisy labels",
    ),
    *_count_metrics("train", "wrong answers as seen in training"),
    Metric(
        "train_eval_loss",
        "float32",
        "nats",
        "cross-entropy on the training set in evaluation mode, noisy labels",
    ),
    *_count_metrics(
        "train_eval", "wrong answers on the training set in evaluation mode", best="min"
    ),
    *_count_metrics(
        "clean",
        "the part of train_eval_wrong on samples that kept their label",
        examples="samples that kept their label",
    ),
    *_count_metrics(
        "noisy",
        "the part of train_eval_wrong on samples whose label was changed",
        examples="samples whose label was changed",
        against=", against the changed label",
    ),
    Metric("test_loss", "float32", "nats", "cross-entropy on the clean test set", "min"),
    *_count_metrics("test", "wrong answers on the clean test set", best="min"),
    Metric("lr", "float32", "1", "learning rate of the epoch's last step"),
    Metric(
        "grad_norm",
        "float32",
        "1",
        "L2 norm of the loss gradient, mean over the epoch's steps except skipped_steps",
    ),
    Metric(
        "skipped_steps",
        "int32",
        "steps",
        "the epoch's steps without an update: a float16 gradient overflowed; null in other formats",
    ),
    Metric("weight_norm", "float32", "1", "L2 norm of all parameters at the epoch's end"),
    Metric(
        "examples_per_second",
        "float32",
        "samples/s",
        "training speed of the epoch, evaluation left out",
    ),
)

RECALIBRATED = (
    Metric(
        "recalibrated_test_loss",
        "float32",
        "nats",
        "test_loss with batch norm's statistics recomputed at the present weights",
    ),
    *_count_metrics(
        "recalibrated_test",
        "test_wrong with batch norm's statistics recomputed at the present weights",
    ),
)
"""What a training with `trainer.recalibrate` logs beside the columns of the test set."""


def counts(name: str, wrong: int, examples: int) -> dict[str, float | None]:
    """Count, number of examples and rate; without examples the rate is absent."""
    rate = wrong / examples if examples else None
    return {f"{name}_wrong": wrong, f"{name}_examples": examples, f"{name}_error": rate}
