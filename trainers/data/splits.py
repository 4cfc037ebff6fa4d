"""What a training works on: both splits on the training device, with label noise and other inputs
applied.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from trainers.config import Kind, LabelNoise, entry, source_hash
from trainers.config.kinds import check_returned
from trainers.data import augment, label_noise
from trainers.data.labelled import Labelled

Scaling = Literal["unit", "symmetric", "standardised"]

_CLEAN = LabelNoise("incorrect", 0.0, None, "floor")


@dataclass(frozen=True)
class Split:
    """Samples on the device.

    images: (n, c, h, w), uint8, or float32 for real features. labels: int64 (n,). is_changed: bool
    (n,), whether label noise changed the label.
    """

    images: Tensor
    labels: Tensor
    is_changed: Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Data:
    """Both splits of a data set on the training device.

    mean, std: of each channel of the training images, (c,). facts: columns of the runs table.
    scaling: of images, None for real features. augment: whether batches are cropped and flipped at
    random. has_test: whether a test set of the network's classes exists. random_classes: number of
    classes if all labels are random, else None.
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
        """Network inputs, float32, of stored images or features."""
        if self.scaling is None:
            return x_bchw
        return augment.scale(x_bchw, self.scaling, self.mean, self.std)


def load(config: Kind, seed: int, device: torch.device) -> Data:
    """The data set of a cell with its label noise, on `device`.

    Raises `DataError` for a source that cannot be used, and `ConfigError` for a subset that the
    source cannot give, or an entry of the user's that returns something else.
    """
    source: Labelled = entry(config)(config, seed)
    check_returned(config, source, Labelled, "a Labelled")
    source = source.checked()
    noise = getattr(config, "label_noise", _CLEAN)
    noisy = label_noise.apply(source.train_labels, noise, source.classes, seed, source.source_index)
    facts = {
        "noise_rate": noisy.rate,
        "noise_chosen": int(noisy.is_chosen.sum()),
        "noise_mask_hash": noisy.mask_hash,
        "data_hash": source.content_hash,
        "source_hash": source_hash(config),
    }
    train = (source.train_inputs, noisy.labels, noisy.is_changed)
    classes = noise.classes or source.classes
    mean, std = _statistics(source.train_inputs)
    is_image = source.train_inputs.dtype == torch.uint8
    return Data(
        train=Split(*(tensor.to(device) for tensor in train)),
        test=split_of(source.test_inputs, source.test_labels, device),
        mean=mean.to(device),
        std=std.to(device),
        classes=classes,
        facts=facts,
        scaling=getattr(config, "scaling", "unit") if is_image else None,
        augment=is_image and getattr(config, "augment", False),
        has_test=noise.classes is None and len(source.test_labels) > 0,
        random_classes=classes if noise.is_random else None,
    )


def _statistics(inputs_nchw: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation of every channel of images, (c,) each; 0 and 1 of real features."""
    if inputs_nchw.dtype == torch.uint8:
        return augment.channel_statistics(inputs_nchw)
    channels = inputs_nchw.shape[1]
    return torch.zeros(channels), torch.ones(channels)


def split_of(samples: Tensor, labels: Tensor, device: torch.device) -> Split:
    """Samples with their true labels, on `device`."""
    is_changed = torch.zeros(len(labels), dtype=torch.bool)
    return Split(samples.to(device), labels.to(device), is_changed.to(device))
