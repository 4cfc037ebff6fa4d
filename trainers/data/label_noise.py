"""Noise on training labels, a pure function of the labels, the noise settings and the cell seed.

All samples are drawn in one random order and then cut at the rate. So for a given seed the chosen
samples do not depend on the kind, and a higher rate includes the samples of a lower one.

Kind `random` is the exception: a sample's label depends on the seed and on its position in the
source alone, so that it keeps its label when the subset grows.
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


def apply(
    labels: Tensor,
    noise: LabelNoise,
    classes: int,
    seed: int,
    source_index: Tensor | None = None,
) -> NoisyLabels:
    """`labels` (n,) with noise on `chosen(n)` distinct samples; the input is not changed.

    incorrect: one of the other classes, uniformly. uniform: any class, uniformly, so about 1 /
    classes stay as they were. permute: the labels of the chosen samples are shuffled, which keeps
    the number of samples per class.

    random: any of `noise.classes` classes (null: `classes`), uniformly, for each sample with
    probability `rate`. `source_index` (n,) has the samples' positions in the source; None means 0,
    1, ...
    """
    clean = labels.cpu().numpy().astype(np.int64)
    if noise.kind == "random":
        index = np.arange(len(clean)) if source_index is None else source_index.numpy()
        return _random(clean, index, noise.rate, noise.classes or classes, seed)
    generator = numpy_stream(seed, "label noise")
    indices = generator.permutation(len(clean))[: chosen(noise, len(clean))]
    noisy = clean.copy()
    noisy[indices] = _noisy(clean[indices], len(clean), noise.kind, classes, generator)
    mask = np.zeros(len(clean), dtype=bool)
    mask[indices] = True
    return _labels(clean, noisy, mask)


def chosen(noise: LabelNoise, samples: int) -> int:
    """How many of `samples` are drawn: their number times the rate, as `noise.count` rounds it.

    `floor` is int(n * rate), which is one too low where the product is an integer that floats miss.
    """
    exact = samples * noise.rate
    return round(exact) if noise.count == "nearest" else int(exact)


def _random(
    clean: NDArray[np.int64], index: NDArray[np.int64], rate: float, classes: int, seed: int
) -> NoisyLabels:
    """Labels drawn for the whole source up to the last sample, of which the subset takes its own:
    the draw for a sample does not depend on how many follow it.
    """
    total = int(index.max(initial=-1)) + 1
    labels = numpy_stream(seed, "random labels", 0).integers(0, classes, total)[index]
    chances = numpy_stream(seed, "random labels", 1).random(total)[index]
    is_chosen = chances < rate
    return _labels(clean, np.where(is_chosen, labels, clean), is_chosen)


def _labels(
    clean: NDArray[np.int64], noisy: NDArray[np.int64], is_chosen: NDArray[np.bool_]
) -> NoisyLabels:
    arrays = (noisy, is_chosen, noisy != clean)
    return NoisyLabels(*(torch.from_numpy(array) for array in arrays))


def _noisy(
    clean: NDArray[np.int64], total: int, kind: str, classes: int, generator: np.random.Generator
) -> NDArray[np.int64]:
    """New labels for the drawn samples, given their clean labels in that order."""
    if kind == "permute":
        return clean[generator.permutation(len(clean))]
    if kind == "uniform":
        return generator.integers(0, classes, total)[: len(clean)]
    return (clean + generator.integers(1, classes, total)[: len(clean)]) % classes
