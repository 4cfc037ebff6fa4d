"""What an image training works on: both splits on the training device, with label noise and other
inputs applied.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trainers.config import CIFAR10, Digits
from trainers.data import augment, images, inputs, label_noise


@dataclass(frozen=True)
class Split:
    """Samples on the device: images_nchw uint8, labels_n int64, changed_n bool (label noise)."""

    images: Tensor
    labels: Tensor
    is_changed: Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Data:
    """Both splits on the device, the training images' channel statistics, and facts of the run."""

    train: Split
    test: Split
    mean: Tensor
    std: Tensor
    classes: int
    facts: dict[str, Any]


def load(config: CIFAR10 | Digits, seed: int, device: torch.device) -> Data:
    """The data set of a cell with its label noise, on `device`.

    Raises `DataError` for a source that cannot be used, and `ConfigError` for a subset that the
    source cannot give.
    """
    whole = images.load(config)
    index = images.train_index(whole, config, seed)
    subset = _with_inputs(images.select(whole, config, seed), whole, config, index, seed)
    noise = config.label_noise
    noisy = label_noise.apply(subset.train_labels, noise, subset.classes, seed, index)
    clean = torch.zeros(len(subset.test_labels), dtype=torch.bool)
    mean, std = augment.channel_statistics(subset.train_images)
    facts = {
        "noise_rate": noisy.rate,
        "noise_chosen": int(noisy.is_chosen.sum()),
        "noise_mask_hash": noisy.mask_hash,
        "data_hash": subset.content_hash,
    }
    train = (subset.train_images, noisy.labels, noisy.is_changed)
    test = (subset.test_images, subset.test_labels, clean)
    return Data(
        Split(*(tensor.to(device) for tensor in train)),
        Split(*(tensor.to(device) for tensor in test)),
        mean.to(device),
        std.to(device),
        noise.classes or subset.classes,
        facts,
    )


def _with_inputs(
    subset: images.ImageSet,
    whole: images.ImageSet,
    config: CIFAR10 | Digits,
    index: Tensor,
    seed: int,
) -> images.ImageSet:
    if config.inputs == "noise":
        return inputs.noise(subset, index, images.pool_statistics(whole, config), seed)
    if config.inputs == "shuffled_pixels":
        return inputs.shuffled_pixels(subset, seed)
    return subset
