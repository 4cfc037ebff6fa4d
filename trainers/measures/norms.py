"""The norms of a transformer's parameters, together and by group."""

from __future__ import annotations

import torch
from torch import nn

_WORDS = {
    "norm": "layernorm",
    "attention": "attention",
    "qkv": "attention",
    "feedforward": "feedforward",
}
"""Words in the name of a parameter, and the group that it belongs to; the first match decides."""


def norms(model: nn.Module) -> dict[str, float]:
    """L2 norms of all parameters, `weight_norm`, and of each group in the model, `norm_GROUP`."""
    groups = [_group(name) for name, _ in model.named_parameters()]
    parameters = [parameter.detach() for parameter in model.parameters()]
    lengths = torch.stack(torch._foreach_norm(parameters))
    squares = lengths.double().square().tolist()
    sums: dict[str, float] = {}
    for group, square in zip(groups, squares, strict=True):
        sums[group] = sums.get(group, 0.0) + square
    by_group = {f"norm_{group}": total**0.5 for group, total in sums.items()}
    return {"weight_norm": sum(squares) ** 0.5} | by_group


def _group(name: str) -> str:
    for word, group in _WORDS.items():
        if word in name:
            return group
    return "output" if name.startswith("output") else "embedding"
