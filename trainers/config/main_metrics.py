"""Which metric of a training is shown first, where one has to stand for all. Standard library."""

from __future__ import annotations

from collections.abc import Collection

MAIN_METRICS = (
    "test_error", "test_accuracy", "train_eval_error", "train_accuracy", "test_loss",
    "train_eval_loss", "train_error", "train_loss", "noisy_error", "clean_error",
    "radius", "loss", "progress",
)  # fmt: skip
"""The most telling metric first."""


def main_metric(names: Collection[str]) -> str | None:
    """The most telling one among these metrics; None if none of them is known to be."""
    for name in MAIN_METRICS:
        if name in names:
            return name
    return None
