"""The linear layer, and the library that multiplies its float32 matrices on a CPU: oneDNN, or MKL
through torch.

On an AMD processor with AVX-512 MKL reaches half of oneDNN's rate; with only AVX2, MKL is faster,
above all for the gradient of the weights, where oneDNN first copies a transposed matrix
(algorithmic_speed_avx2.txt in docs/results). Their products differ only by the rounding of sums in
another order.
"""

from __future__ import annotations

import os
from typing import Any, Literal, get_args

import torch
from torch import nn
from torch.nn import functional

Library = Literal["onednn", "mkl"]

_HAS_ONEDNN = hasattr(torch.ops.mkldnn, "_linear_pointwise")
BEFORE: Library = "onednn" if _HAS_ONEDNN else "mkl"
"""The library of a checkpoint that names none: on CPUs such runs used oneDNN on every processor."""

_PAYS = 2**22
"""From this many multiplications on, a product saves more time than calling an operator written in
Python costs.
"""


def fastest(capability: str, onednn_limit: str, has_onednn: bool, has_mkl: bool) -> Library:
    """The library for a processor: the same processor and variables always give the same one.

    capability: that of torch.backends.cpu, which follows ATEN_CPU_CAPABILITY. onednn_limit:
    ONEDNN_MAX_CPU_ISA or "". If torch has no MKL, as on ARM, "mkl" means the library behind torch's
    own product.
    """
    if not has_onednn:
        return "mkl"
    limited = onednn_limit.upper() == "AVX" or onednn_limit.upper().startswith(("SSE", "AVX2"))
    wide = capability == "AVX512" and not limited
    return "onednn" if wide or not has_mkl else "mkl"


def fastest_here() -> Library:
    """The library for this process."""
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", os.environ.get("DNNL_MAX_CPU_ISA", ""))
    capability = torch.backends.cpu.get_cpu_capability()
    has_mkl = torch.backends.mkl.is_available()  # type: ignore[no-untyped-call]
    return fastest(capability, limit, _HAS_ONEDNN, has_mkl)


def is_available(library: str) -> bool:
    """Whether this build of torch has the library."""
    return library in get_args(Library) and (library == "mkl" or _HAS_ONEDNN)


def use(library: Library, model: nn.Module) -> None:
    """Make all linear layers of a model multiply with `library`."""
    for module in model.modules():
        if isinstance(module, Linear):
            module.library = library


class Linear(nn.Linear):
    """`nn.Linear` for rows (r, in) -> (r, out)."""

    library: Library = "mkl"

    def forward(self, x_rd: torch.Tensor) -> torch.Tensor:
        """The layer's output for every row."""
        return linear(x_rd, self.weight, self.bias, self.library)


def linear(
    x_rd: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    library: Library = "mkl",
) -> torch.Tensor:
    """`functional.linear` of (r, in) and weight (out, in); `library` is for large ones."""
    float32 = x_rd.dtype == weight.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    large = len(x_rd) * weight.numel() >= _PAYS
    if library == "onednn" and large and float32 and x_rd.device.type == "cpu":
        # oneDNN is slowest for rows with gaps between them
        product: torch.Tensor = _product(x_rd.contiguous(), weight.contiguous(), bias)
        return product
    return functional.linear(x_rd, weight, bias)


@torch.library.custom_op("redescent::product", mutates_args=())
def _product(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
    """x (m, k) times the transpose of weight (n, k), plus bias (n,).

    A custom operator, which compiled graphs call unchanged: for oneDNN's operator they assume that
    the weight never changes.
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
    needs_x, needs_weight, needs_bias = ctx.needs_input_grad
    grad_x = _product(grad, weight.t(), None) if needs_x else None
    grad_weight = _product(grad.t(), x.t(), None) if needs_weight else None
    grad_bias = grad.sum(0) if needs_bias else None
    return grad_x, grad_weight, grad_bias


_product.register_autograd(_gradients, setup_context=_keep)
