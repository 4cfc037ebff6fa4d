"""The loss and the wrong answers of a network on the samples of a split."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from trainers import precision
from trainers.data.splits import Split


@dataclass(frozen=True)
class Evaluation:
    """Mean loss in nats, wrong answers, and those among the changed labels."""

    loss: float
    wrong: int
    changed_wrong: int


@torch.inference_mode()
def evaluate(
    logits_of: Callable[[Tensor], Tensor], split: Split, batch_size: int, number_format: str
) -> Evaluation:
    """Evaluate a model that maps uint8 images (b, c, h, w) to logits (b, classes)."""
    device = split.labels.device
    sums = torch.zeros(3, dtype=torch.float64, device=device)
    for start in range(0, len(split), batch_size):
        batch = slice(start, start + batch_size)
        y_b = split.labels[batch]
        with precision.autocast(number_format, device):
            logits = logits_of(split.images[batch])
            loss = functional.cross_entropy(logits, y_b, reduction="sum")
        wrong_b = logits.argmax(1) != y_b
        changed_wrong = (wrong_b & split.is_changed[batch]).sum()
        sums += torch.stack([loss.double(), wrong_b.sum().double(), changed_wrong.double()])
    loss_sum, wrong, changed_wrong = sums.tolist()
    return Evaluation(loss_sum / len(split), int(wrong), int(changed_wrong))
