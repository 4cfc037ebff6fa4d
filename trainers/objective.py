"""The objectives of trainings: cross-entropy, and that of samples whose true label is to be wrong.

Shapes: b samples of a batch, k classes.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional


def not_label(logits_bk: Tensor, y_b: Tensor) -> Tensor:
    """Mean of -log(1 - p_y) over a batch, in nats.

    It is logsumexp(z) - logsumexp of the logits other than y, finite at any finite logits. Its
    gradient is p - q, where q is the softmax over the other classes (the poisoned objective of
    Huang et al. 2020, arXiv 1906.03291; their form, -log(1 - softmax), overflows).
    """
    others_bk = logits_bk.scatter(1, y_b[:, None], -torch.inf)
    return (logits_bk.logsumexp(1) - others_bk.logsumexp(1)).mean()


def poison_loss(
    kind: Literal["not_label", "wrong_label", "label"], logits_bk: Tensor, y_b: Tensor
) -> Tensor:
    """Mean loss of poison samples; `y_b` has the true labels for `not_label`, else those to fit."""
    if kind == "not_label":
        return not_label(logits_bk, y_b)
    return functional.cross_entropy(logits_bk, y_b)
