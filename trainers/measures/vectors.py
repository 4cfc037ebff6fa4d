"""The tensors of a network as one vector (parameters,), and back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor


def flat(tensors: Iterable[Tensor]) -> Tensor:
    """All entries of the tensors, one tensor after another."""
    return torch.cat([tensor.flatten() for tensor in tensors])


def shaped(vector: Tensor, tensors: Sequence[Tensor]) -> list[Tensor]:
    """The parts of a vector in the shapes of the tensors."""
    parts = torch.split(vector, [tensor.numel() for tensor in tensors])
    return [part.view(tensor.shape) for part, tensor in zip(parts, tensors, strict=True)]
