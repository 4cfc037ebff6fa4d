"""Poison samples: more samples of the distribution that a training treats apart from its clean
ones. They are never among the clean samples, and never of the test set.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from trainers.config import (
    CIFAR10,
    SVHN,
    ConfigError,
    Digits,
    MinimaCell,
    Poison,
    Rings,
    Spirals,
    SwissRoll,
)
from trainers.data import images, points, svhn
from trainers.seeding import numpy_stream


@dataclass(frozen=True)
class PoisonSet:
    """Samples as the data set stores them, their true labels, and the labels that their loss
    takes: other ones for wrong_label.
    """

    images: Tensor
    labels: Tensor
    targets: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: Tensor) -> PoisonSet:
        """The samples of these positions, in that order."""
        return PoisonSet(self.images[index], self.labels[index], self.targets[index])

    def to(self, device: torch.device) -> PoisonSet:
        """These samples on a device."""
        return PoisonSet(self.images.to(device), self.labels.to(device), self.targets.to(device))


def load(cell: MinimaCell, classes: int, epoch: int = 0) -> PoisonSet:
    """The poison set of a cell, on the CPU; `epoch` counts only for fresh samples.

    A smaller set of a cell is the beginning of a larger one. Raises ConfigError if the source has
    too few samples or labels that the network has no output for, and `DataError` if it cannot be
    used.
    """
    settings, seed = cell.trainer.poison, cell.seed
    if isinstance(cell.data, SwissRoll):
        samples, labels = _generated(cell, epoch)
    else:
        samples, labels = _from_source(cell, settings)
    if len(labels) and int(labels.max()) >= classes:
        raise ConfigError(
            f"data.label_noise.classes: found {classes} with poison, whose true labels go up to "
            f"{int(labels.max())}; expected null, or no poison"
        )
    targets = labels
    if settings.kind == "wrong_label":
        # drawn for all samples of a larger set too, so that a label does not depend on the size
        stream = numpy_stream(seed, "poison labels", epoch)
        shift = torch.from_numpy(stream.integers(1, classes, len(labels)))
        targets = (labels + shift) % classes
    return PoisonSet(samples, labels, targets)


def _generated(cell: MinimaCell, epoch: int) -> tuple[Tensor, Tensor]:
    assert isinstance(cell.data, SwissRoll)
    settings = cell.trainer.poison
    if settings.share is not None:
        raise ConfigError(
            f"trainer.poison.share: found {settings.share} with generated data, expected null; "
            "set trainer.poison.samples"
        )
    index = epoch if settings.fresh else 0
    drawn = points.swiss_roll(cell.data, settings.samples, cell.seed, "poison", index)
    return drawn.points, drawn.labels


def _from_source(cell: MinimaCell, settings: Poison) -> tuple[Tensor, Tensor]:
    """The first samples of a permutation of the source; all of it for a share of each batch."""
    if settings.fresh:
        raise ConfigError(
            f"trainer.poison.fresh: found true with data {cell.data.name}, expected false: only "
            "swiss_roll can draw new samples"
        )
    samples, labels = _source(cell, settings)
    count = len(labels) if settings.share else settings.samples
    if count > len(labels):
        raise ConfigError(
            f"trainer.poison.samples: found {count}, expected at most {len(labels)}, which the "
            "clean samples leave"
        )
    order = torch.from_numpy(numpy_stream(cell.seed, "poison").permutation(len(labels)))[:count]
    return samples[order], labels[order]


def _source(cell: MinimaCell, settings: Poison) -> tuple[Tensor, Tensor]:
    if settings.source == "extra":
        if not isinstance(cell.data, SVHN):
            raise ConfigError(
                f"trainer.poison.source: found extra with data {cell.data.name}, expected rest: "
                "only svhn has a set extra"
            )
        arrays = svhn.decode(cell.data, "extra")
        return torch.from_numpy(arrays[0]), torch.from_numpy(arrays[1])
    if isinstance(cell.data, CIFAR10 | Digits | SVHN):
        whole = images.load(cell.data)
        return images.rest(whole, cell.data, cell.seed)
    if isinstance(cell.data, SwissRoll | Spirals | Rings):
        left = points.load(cell.data, cell.seed).rest
        return left.points, left.labels
    raise ConfigError(
        f"trainer.poison: found data {cell.data.name}, which leaves no samples for poison; "
        "expected trainer.poison.samples=0 and trainer.poison.share=null"
    )


def in_epoch(order: Tensor, steps: int, step: int) -> Tensor:
    """Positions of the poison samples of 0-based `step` of the `steps` of an epoch: one of `steps`
    equal parts of `order` (poison,), so that each sample is used once an epoch.
    """
    begin, end = (round(len(order) * k / steps) for k in (step, step + 1))
    return order[begin:end]


def in_turn(poison: int, count: int, step: int, seed: int) -> Tensor:
    """Positions of the `count` poison samples of the training's 0-based `step`: the source in one
    random order after another.
    """
    first = step * count
    positions: list[int] = []
    while len(positions) < count:
        turn, place = divmod(first + len(positions), poison)
        order = numpy_stream(seed, "poison order", turn).permutation(poison)
        positions += order[place : place + count - len(positions)].tolist()
    return torch.tensor(positions, dtype=torch.int64)
