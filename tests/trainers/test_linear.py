"""The linear layer gives the values and gradients of torch's, whatever the memory layout of what
comes in.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.nn import functional

from trainers.models import linear as module
from trainers.models.linear import Library, Linear, fastest, linear

pytestmark = pytest.mark.usefixtures("any_size")
needs_onednn = pytest.mark.skipif(
    not module._HAS_ONEDNN, reason="this build of torch has no oneDNN"
)


@pytest.fixture
def any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PAYS", 0)


@pytest.fixture(params=[pytest.param("onednn", marks=needs_onednn), "mkl"])
def library(request: pytest.FixtureRequest) -> Library:
    library: Library = request.param
    return library


def values(
    layer: Callable[..., torch.Tensor],
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
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
def test_values_and_gradients_are_those_of_float64(
    library: Library, layout: str, biased: bool
) -> None:
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
    exact = values(
        functional.linear, x.double(), weight.double(), None if bias is None else bias.double()
    )
    ours = values(lambda *inputs: linear(*inputs, library), x, weight, bias)
    for result, right in zip(ours, exact, strict=True):
        torch.testing.assert_close(result.double(), right, rtol=1e-4, atol=1e-4)


@needs_onednn
def test_a_compiled_layer_has_the_values_of_the_eager_one() -> None:
    torch.manual_seed(0)
    layer, x = Linear(24, 36), torch.randn(70, 24)
    module.use("onednn", layer)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")  # needs no C++ compiler
    torch.testing.assert_close(compiled(x), layer(x))
    expected = torch.autograd.grad(layer(x).square().sum(), list(layer.parameters()))
    torch.testing.assert_close(
        torch.autograd.grad(compiled(x).square().sum(), list(layer.parameters())), expected
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_formats_are_left_to_torch(library: Library, dtype: torch.dtype) -> None:
    layer, x = Linear(24, 36).to(dtype), torch.randn(70, 24, dtype=dtype)
    module.use(library, layer)
    assert torch.equal(layer(x), functional.linear(x, layer.weight, layer.bias))


def test_autocast_decides_the_format(library: Library) -> None:
    layer = Linear(24, 36)
    module.use(library, layer)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.randn(70, 24)).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("capability", "limit", "onednn", "mkl", "expected"),
    [
        ("AVX512", "", True, True, "onednn"),
        ("AVX512", "ALL", True, True, "onednn"),
        ("AVX512", "AVX512_CORE", True, True, "onednn"),
        ("AVX512", "AVX2", True, True, "mkl"),
        ("AVX512", "avx2_vnni", True, True, "mkl"),
        ("AVX512", "AVX", True, True, "mkl"),
        ("AVX512", "SSE41", True, True, "mkl"),
        ("AVX512", "", False, True, "mkl"),
        ("AVX2", "", True, True, "mkl"),
        ("AVX2", "AVX512_CORE", True, True, "mkl"),
        ("DEFAULT", "", True, True, "mkl"),
        ("SVE256", "", True, False, "onednn"),
        ("DEFAULT", "", False, False, "mkl"),
    ],
)
def test_the_processor_decides_the_library(
    capability: str, limit: str, onednn: bool, mkl: bool, expected: Library
) -> None:
    assert fastest(capability, limit, onednn, mkl) == expected


def test_the_library_of_this_process_follows_the_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: True)
    monkeypatch.setattr(module, "_HAS_ONEDNN", True)
    monkeypatch.delenv("DNNL_MAX_CPU_ISA", raising=False)
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    assert module.fastest_here() == "onednn"
    monkeypatch.setenv("DNNL_MAX_CPU_ISA", "AVX2")
    assert module.fastest_here() == "mkl"
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX512_CORE")
    assert module.fastest_here() == "onednn"


@needs_onednn
def test_a_layer_multiplies_by_the_library_chosen_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    product = module._product
    monkeypatch.setattr(module, "_product", lambda *inputs: calls.append(1) or product(*inputs))
    model, x = torch.nn.Sequential(Linear(24, 36), Linear(36, 8)), torch.randn(70, 24)
    for library, times in (("onednn", 2), ("mkl", 0)):
        calls.clear()
        module.use(library, model)
        model(x)
        assert len(calls) == times
