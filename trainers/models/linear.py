"""The linear layer, in float32 on a CPU through oneDNN's matrix product.

There torch takes MKL's, which on an AMD processor with AVX-512 reaches half the rate. The products are equal but for
the rounding of sums in another order.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

_HAS_ONEDNN = hasattr(torch.ops.mkldnn, "_linear_pointwise")
_PAYS = 2**22
"""Multiplications of a product from which on it saves more than calling an operator written in Python costs."""


class Linear(nn.Linear):
    """`nn.Linear` for rows (r, in) -> (r, out)."""

    def forward(self, x_rd: torch.Tensor) -> torch.Tensor:
        """The layer's output for every row."""
        return linear(x_rd, self.weight, self.bias)


def linear(x_rd: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """`functional.linear` for rows (r, in) and a weight (out, in); oneDNN's for large ones in float32 on a CPU."""
    float32 = x_rd.dtype == weight.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    large = len(x_rd) * weight.numel() >= _PAYS
    if _HAS_ONEDNN and large and float32 and x_rd.device.type == "cpu":
        # rows with gaps between them go the slowest way through oneDNN
        product: torch.Tensor = _product(x_rd.contiguous(), weight.contiguous(), bias)
        return product
    return functional.linear(x_rd, weight, bias)


@torch.library.custom_op("redescent::product", mutates_args=())
def _product(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """x (m, k) times the transpose of weight (n, k), plus bias (n,).

    An operator of our own, which a compiled graph calls as it is: of oneDNN's it expects that the weight never changes.
    """
    product: torch.Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return product


@_product.register_fake
def _(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    return x.new_empty(len(x), len(weight))


def _keep(ctx: Any, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
    ctx.save_for_backward(*inputs[:2])


def _gradients(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    (x, weight), grad = ctx.saved_tensors, grad.contiguous()
    wanted = ctx.needs_input_grad
    return (
        _product(grad, weight.t(), None) if wanted[0] else None,
        _product(grad.t(), x.t(), None) if wanted[1] else None,
        grad.sum(0) if wanted[2] else None,
    )


_product.register_autograd(_gradients, setup_context=_keep)
