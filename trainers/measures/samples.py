"""Loss and wrong answers of a network on a fixed set of samples, summed in float64."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

LossFunction = Callable[[Tensor, Tensor], Tensor]
"""Outputs (b, ...) and targets (b, ...) -> losses (b,)."""


def cross_entropy(logits_bk: Tensor, y_b: Tensor) -> Tensor:
    """Cross-entropy of each sample in nats."""
    return functional.cross_entropy(logits_bk, y_b, reduction="none")


@dataclass(frozen=True)
class Samples:
    """Network inputs (n, ...), float32, and labels or targets (n, ...), on one device."""

    inputs: Tensor
    targets: Tensor
    batch: int

    def __len__(self) -> int:
        return len(self.targets)

    def batches(self) -> Iterator[slice]:
        """The positions of the samples of each batch."""
        for start in range(0, len(self), self.batch):
            yield slice(start, min(start + self.batch, len(self)))


@dataclass(frozen=True)
class Point:
    """Mean loss and wrong answers, None where an evaluation ended above its limit."""

    loss: float | None
    wrong: int | None

    @property
    def value(self) -> float:
        """The loss, infinite where it is only known to be above the limit."""
        return float("inf") if self.loss is None else self.loss


@torch.inference_mode()
def sum_losses(
    samples: Samples,
    outputs: Callable[[slice], Tensor],
    loss: LossFunction,
    above: float | None = None,
) -> Point:
    """Mean loss and wrong answers over all samples; see `Plane.at` for `above`."""
    limit = None if above is None else above * len(samples)
    device = samples.targets.device  # sums stay there, so that a GPU does not wait for the CPU
    total = torch.zeros((), dtype=torch.float64, device=device)
    wrong = torch.zeros((), dtype=torch.int64, device=device)
    for batch in samples.batches():
        output, targets = outputs(batch), samples.targets[batch]
        total += loss(output, targets).double().sum()
        if not targets.is_floating_point():
            wrong += (output.argmax(1) != targets).sum()
        if limit is not None and not float(total) <= limit:  # NaN is above it too
            return Point(None, None)
    return Point(float(total) / len(samples), int(wrong))
