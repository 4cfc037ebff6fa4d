"""What a data set gives a trainer: labelled inputs of both splits, before label noise."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainers.data import DataError


@dataclass(frozen=True)
class Labelled:
    """A data set on the CPU, in the order of its source, without noise on its labels.

    Inputs are uint8 images (n, c, h, w), or real features, float32 (n, c, h, w) or (n, d); labels
    are int64 (n,) in 0..classes-1. NumPy arrays and tensors are both taken. `source_index` (n,) has
    the positions of the training samples in the whole source, on which random labels depend; None
    means 0, 1, ... `content_hash` identifies the data in records and checkpoints; None means that
    of all arrays here.
    """

    train_inputs: Any
    train_labels: Any
    test_inputs: Any
    test_labels: Any
    classes: int
    source_index: Tensor | None = None
    content_hash: str | None = None

    def checked(self) -> Labelled:
        """These data as tensors of four dimensions, with a hash; features are images of one pixel.

        Raises `DataError` for inputs and labels that do not fit together.
        """
        if self.classes < 2:
            raise DataError(f"classes: found {self.classes}, expected at least 2")
        train_inputs, train_labels = self._split("training", self.train_inputs, self.train_labels)
        if not len(train_inputs):
            raise DataError("training data: found no samples, expected at least 1")
        test_inputs, test_labels = self._split("test", self.test_inputs, self.test_labels)
        if train_inputs.shape[1:] != test_inputs.shape[1:]:
            raise DataError(
                f"test inputs: found samples of the shape {tuple(test_inputs.shape[1:])}, expected "
                f"{tuple(train_inputs.shape[1:])}, that of the training inputs"
            )
        # images are scaled, features are not
        if len(test_inputs) and train_inputs.dtype != test_inputs.dtype:
            raise DataError(
                f"test inputs: found {_kind(test_inputs)}, expected {_kind(train_inputs)}, as the "
                "training inputs"
            )
        arrays = (train_inputs, train_labels, test_inputs, test_labels)
        content_hash = self.content_hash or hash_of(*arrays)
        return Labelled(*arrays, self.classes, self.source_index, content_hash)

    def _split(self, name: str, inputs: Any, labels: Any) -> tuple[Tensor, Tensor]:
        """Checked inputs and labels of one split."""
        samples, answers = torch.as_tensor(inputs), torch.as_tensor(labels)
        if samples.dtype != torch.uint8:
            samples = samples.float()
        if samples.ndim == 2:
            samples = samples[:, :, None, None]
        if samples.ndim != 4 or answers.ndim != 1 or len(samples) != len(answers):
            raise DataError(
                f"{name} data: found inputs of the shape {tuple(samples.shape)} and labels of the "
                f"shape {tuple(answers.shape)}, expected (n, d) or (n, c, h, w), and (n,)"
            )
        if answers.is_floating_point():
            raise DataError(f"{name} labels: found {answers.dtype}, expected integers")
        whole = answers.long()
        if len(whole) and not 0 <= int(whole.min()) <= int(whole.max()) < self.classes:
            raise DataError(
                f"{name} labels: found {int(whole.min())} to {int(whole.max())}, expected 0 to "
                f"{self.classes - 1}"
            )
        if samples.is_floating_point() and not bool(torch.isfinite(samples).all()):
            raise DataError(f"{name} inputs: found values that are not finite, expected numbers")
        return samples, whole


def _kind(inputs: Tensor) -> str:
    return "uint8 images" if inputs.dtype == torch.uint8 else "real features"


def hash_of(*arrays: Tensor, before: str = "") -> str:
    """16 hexadecimal digits over the text `before`, and types, shapes and values of the arrays."""
    digest = hashlib.sha256(before.encode())
    for tensor in arrays:
        array = tensor.numpy()
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:16]
