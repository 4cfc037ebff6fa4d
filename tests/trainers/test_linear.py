"""The linear layer gives the values and gradients of torch's, whatever the memory layout of what comes in."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.nn import functional

from trainers.models import linear as module
from trainers.models.linear import Linear, linear

pytestmark = pytest.mark.usefixtures("any_size")
needs_onednn = pytest.mark.skipif(not module._HAS_ONEDNN, reason="this build of torch has no oneDNN")


@pytest.fixture
def any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PAYS", 0)


@pytest.fixture(params=[pytest.param(True, marks=needs_onednn), False], ids=["oneDNN", "without"])
def onednn(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(module, "_HAS_ONEDNN", request.param)
    return bool(request.param)


def values(
    layer: Callable[..., torch.Tensor], x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
) -> list[torch.Tensor]:
    """Output and gradients of a loss that weighs every output by another number."""
    inputs = [x, weight] if bias is None else [x, weight, bias]
    for tensor in inputs:
        tensor.requires_grad_()
    y = layer(x, weight, bias)
    loss = (y * torch.arange(y.numel(), dtype=y.dtype).view(y.shape).cos()).sum()
    return [y, *torch.autograd.grad(loss, inputs)]


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("layout", ["rows", "columns", "gaps", "part of the weight", "one row"])
def test_values_and_gradients_are_those_of_float64(onednn: bool, layout: str, biased: bool) -> None:
    torch.manual_seed(0)
    x, weight, bias = torch.randn(70, 24), torch.randn(36, 24), torch.randn(36) if biased else None
    match layout:
        case "columns":
            x = torch.randn(24, 70).t()
        case "gaps":
            x = torch.randn(70, 3, 24)[:, 1]
        case "part of the weight":
            weight = torch.randn(50, 30)[7:43, 3:27]
        case "one row":
            x = torch.randn(1, 24)
    exact = values(functional.linear, x.double(), weight.double(), None if bias is None else bias.double())
    for ours, right in zip(values(linear, x, weight, bias), exact, strict=True):
        torch.testing.assert_close(ours.double(), right, rtol=1e-4, atol=1e-4)


@needs_onednn
def test_a_compiled_layer_has_the_values_of_the_eager_one() -> None:
    torch.manual_seed(0)
    layer, x = Linear(24, 36), torch.randn(70, 24)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")  # needs no C++ compiler
    torch.testing.assert_close(compiled(x), layer(x))
    expected = torch.autograd.grad(layer(x).square().sum(), list(layer.parameters()))
    torch.testing.assert_close(torch.autograd.grad(compiled(x).square().sum(), list(layer.parameters())), expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_formats_are_left_to_torch(dtype: torch.dtype) -> None:
    layer, x = Linear(24, 36).to(dtype), torch.randn(70, 24, dtype=dtype)
    assert torch.equal(layer(x), functional.linear(x, layer.weight, layer.bias))


def test_autocast_decides_the_format() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert Linear(24, 36)(torch.randn(70, 24)).dtype == torch.bfloat16
