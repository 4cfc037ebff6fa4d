"""Gradients at parameters that a value may not depend on."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def gradients(
    value: Tensor,
    parameters: Sequence[Tensor],
    *,
    create_graph: bool = False,
    retain_graph: bool | None = None,
) -> list[Tensor]:
    """The gradient of a scalar at each parameter: zeros where it is frozen or not used.

    create_graph, retain_graph: as in `torch.autograd.grad`.
    """
    free = [parameter for parameter in parameters if parameter.requires_grad]
    gradients_of_free = torch.autograd.grad(
        value,
        free,
        create_graph=create_graph,
        retain_graph=retain_graph,
        allow_unused=True,
        materialize_grads=True,
    )
    remaining = iter(gradients_of_free)
    return [next(remaining) if p.requires_grad else torch.zeros_like(p) for p in parameters]
