"""Whether the batches of an epoch can be trained on: batch norm needs more than one value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainers.config.reader import ConfigError

DIGITS_SIZE, DIGITS_TRAINING = 8, 999
"""Pixels of a side, and images of the training split."""

CIFAR10_SIZE = 32

_HALVINGS: Mapping[str, int] = {"resnet18": 3, "resnet20": 2, "cnn5": 2}
"""How often a model halves its maps before its last batch norm."""


def check_last_batch(flat: Mapping[str, Any]) -> None:
    """Raise ConfigError if batch norm would see a single value: one image with a last map of 1x1.

    A step on all samples goes through them in blocks of `trainer.eval_batch_size`. Nothing is
    raised where the number of images is not known before the data is read.
    """
    samples, (key, size) = _samples(flat), _block_size(flat)
    if samples is None or size is None or samples == 1:
        return
    last_batch = samples % size or size
    if last_batch != 1:
        return
    halvings = _HALVINGS.get(str(flat.get("model.name")))
    if halvings is None or _image_size(flat) > 2**halvings:
        return
    part = "batch" if key == "trainer.batch_size" else "block of a step on all samples"
    raise ConfigError(
        f"{key}: found {size} with {samples} training images, which leaves 1 for the last {part}: "
        f"batch norm of {flat['model.name']} cannot train on its single value there; use a size "
        "that leaves more, or another data.train_samples"
    )


def _block_size(flat: Mapping[str, Any]) -> tuple[str, int | None]:
    """The key that decides how many images go through the network at once, and its value; None for
    a trainer without such a key, and where poison joins every block.
    """
    size = flat.get("trainer.batch_size")
    if size is not None:
        return "trainer.batch_size", size
    has_poison = flat.get("trainer.poison.samples") or flat.get("trainer.poison.share")
    in_blocks = "trainer.batch_size" in flat and not has_poison
    return "trainer.eval_batch_size", flat.get("trainer.eval_batch_size") if in_blocks else None


def _samples(flat: Mapping[str, Any]) -> int | None:
    """Training images of a cell; None if only its data tells."""
    samples = flat.get("data.train_samples")
    if samples is not None:
        return int(samples)
    if flat.get("data.name") == "digits":
        return DIGITS_TRAINING
    if flat.get("data.name") == "cifar10" and flat.get("data.classes") is None:
        return int(flat["data.source_rows"][0])
    return None


def _image_size(flat: Mapping[str, Any]) -> int:
    """Pixels of an image's side."""
    if flat.get("data.name") == "digits":
        return DIGITS_SIZE
    return CIFAR10_SIZE // int(flat.get("data.downscale", 1))
