"""What a training works on: both splits on the training device, with label noise and other inputs
applied.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from trainers.config import SVHN, Images, LabelNoise, Plane, Rings, Spirals, SwissRoll
from trainers.data import augment, images, inputs, label_noise, points

Scaling = Literal["unit", "symmetric", "standardised"]

_CLEAN = LabelNoise("incorrect", 0.0, None, "floor")


@dataclass(frozen=True)
class Split:
    """Samples on the device: images_nchw uint8, or points float32 (n, 2, 1, 1), labels_n int64,
    changed_n bool (label noise).
    """

    images: Tensor
    labels: Tensor
    is_changed: Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Data:
    """Both splits on the device, the training images' channel statistics, and facts of the run.

    scaling: of images, None for points. has_test: whether a test set of the network's classes
    exists. random_classes: number of classes if all labels are random.
    """

    train: Split
    test: Split
    mean: Tensor
    std: Tensor
    classes: int
    facts: dict[str, Any]
    scaling: Scaling | None
    augment: bool
    has_test: bool
    random_classes: int | None

    def scaled(self, x_bchw: Tensor) -> Tensor:
        """Network inputs, float32, of stored images or points."""
        if self.scaling is None:
            return x_bchw
        return augment.scale(x_bchw, self.scaling, self.mean, self.std)


def load(config: Images | Plane, seed: int, device: torch.device) -> Data:
    """The data set of a cell with its label noise, on `device`.

    Raises `DataError` for a source that cannot be used, and `ConfigError` for a subset that the
    source cannot give.
    """
    if isinstance(config, SwissRoll | Spirals | Rings):
        return _load_points(config, seed, device)
    whole = images.load(config)
    index = images.train_index(whole, config, seed)
    subset = _with_inputs(images.select(whole, config, seed), whole, config, index, seed)
    noise = _CLEAN if isinstance(config, SVHN) else config.label_noise
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
    classes = noise.classes or subset.classes
    return Data(
        Split(*(tensor.to(device) for tensor in train)),
        Split(*(tensor.to(device) for tensor in test)),
        mean.to(device),
        std.to(device),
        classes,
        facts,
        scaling=config.scaling,
        augment=config.augment,
        has_test=noise.classes is None,
        random_classes=classes if noise.is_random else None,
    )


def _load_points(config: Plane, seed: int, device: torch.device) -> Data:
    whole = points.load(config, seed)
    facts = {
        "noise_rate": 0.0,
        "noise_chosen": 0,
        "data_hash": whole.content_hash,
    }
    return Data(
        split_of(whole.train.points, whole.train.labels, device),
        split_of(whole.test.points, whole.test.labels, device),
        torch.zeros(2, device=device),
        torch.ones(2, device=device),
        points.CLASSES,
        facts,
        scaling=None,
        augment=False,
        has_test=len(whole.test) > 0,
        random_classes=None,
    )


def split_of(samples: Tensor, labels: Tensor, device: torch.device) -> Split:
    """Samples with their true labels, on `device`."""
    is_changed = torch.zeros(len(labels), dtype=torch.bool)
    return Split(samples.to(device), labels.to(device), is_changed.to(device))


def _with_inputs(
    subset: images.ImageSet,
    whole: images.ImageSet,
    config: Images,
    index: Tensor,
    seed: int,
) -> images.ImageSet:
    if isinstance(config, SVHN):
        return subset
    if config.inputs == "noise":
        return inputs.noise(subset, index, images.pool_statistics(whole, config), seed)
    if config.inputs == "shuffled_pixels":
        return inputs.shuffled_pixels(subset, seed)
    return subset
