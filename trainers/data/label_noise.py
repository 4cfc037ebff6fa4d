"""Noise on training labels, a pure function of the labels, the noise settings and the cell seed.

All samples are drawn in one random order and then cut at the rate. So for a given seed the chosen
samples do not depend on the kind, and a higher rate includes the samples of a lower one.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainers.config import LabelNoise
from trainers.seeding import numpy_stream


@dataclass(frozen=True)
class NoisyLabels:
    """Labels to train on (int64), which samples were drawn, and which labels differ."""

    labels: Tensor
    is_chosen: Tensor
    is_changed: Tensor

    @property
    def rate(self) -> float:
        """The share of labels that differ from the clean ones, 0 for an empty set."""
        return int(self.is_changed.sum()) / max(len(self.is_changed), 1)

    @property
    def mask_hash(self) -> str:
        """16 hexadecimal digits that identify this choice of samples and labels."""
        digest = hashlib.sha256(self.is_chosen.numpy().astype("u1").tobytes())
        digest.update(self.labels.numpy().astype("<i8").tobytes())
        return digest.hexdigest()[:16]


def apply(labels: Tensor, noise: LabelNoise, classes: int, seed: int) -> NoisyLabels:
    """`labels` (n,) with noise on int(n * rate) distinct samples; the input is not changed.

    incorrect: one of the other classes, uniformly. uniform: any class, uniformly, so about 1 /
    classes stay as they were. permute: the labels of the chosen samples are shuffled, which keeps
    the number of samples per class.
    """
    clean = labels.cpu().numpy().astype(np.int64)
    generator = numpy_stream(seed, "label noise")
    indices = generator.permutation(len(clean))[: int(len(clean) * noise.rate)]
    noisy = clean.copy()
    noisy[indices] = _noisy(clean[indices], len(clean), noise.kind, classes, generator)
    mask = np.zeros(len(clean), dtype=bool)
    mask[indices] = True
    return NoisyLabels(
        torch.from_numpy(noisy), torch.from_numpy(mask), torch.from_numpy(noisy != clean)
    )


def _noisy(
    clean: NDArray[np.int64], total: int, kind: str, classes: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    """New labels for the drawn samples, given their clean labels in that order."""
    if kind == "permute":
        return clean[generator.permutation(len(clean))]
    if kind == "uniform":
        return generator.integers(0, classes, total)[: len(clean)]
    return (clean + generator.integers(1, classes, total)[: len(clean)]) % classes
