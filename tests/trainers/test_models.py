"""Models: published parameter counts, shapes, and what follows from the seed."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
from torch import nn

from trainers.config import CNN5, MLP, ResNet18
from trainers.models import build

WIDTHS = [*range(1, 21), 32, 63, 64, 65, 128]
Config = ResNet18 | CNN5 | MLP


def resnet(variant: Literal["preactivation", "postactivation"], width: int) -> ResNet18:
    return ResNet18("resnet18", variant, width)


def parameters(config: Config, channels: int = 3, size: int = 32) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in build(config, channels, size, 10).parameters())


ALL = [
    resnet("preactivation", 3),
    resnet("postactivation", 3),
    resnet("postactivation", 64),
    CNN5("cnn5", 3),
    MLP("mlp", 7, 1),
    MLP("mlp", 7, 3),
]


@pytest.mark.parametrize("k", WIDTHS)
def test_preactivation_has_the_published_count_at_every_width(k: int) -> None:
    assert parameters(resnet("preactivation", k)) == 2724 * k**2 + 213 * k + 10


@pytest.mark.parametrize("k", WIDTHS)
def test_postactivation_has_the_published_count_at_every_width(k: int) -> None:
    expected = 2715 * k**2 + 870 * k + 1866 - (4224 if k == 64 else 0)
    assert parameters(resnet("postactivation", k)) == expected


@pytest.mark.parametrize("k", WIDTHS)
def test_cnn5_has_the_published_count_at_every_width(k: int) -> None:
    assert parameters(CNN5("cnn5", k)) == 378 * k**2 + 152 * k + 10


def test_counts_at_width_64_are_those_of_the_papers() -> None:
    assert parameters(resnet("preactivation", 64)) == 11_171_146
    assert parameters(resnet("postactivation", 64)) == 11_173_962


@pytest.mark.parametrize(("width", "depth"), [(1, 1), (16, 1), (16, 2), (5, 4)])
def test_mlp_counts_weights_and_biases_of_every_layer(width: int, depth: int) -> None:
    expected = (64 + 1) * width + (depth - 1) * (width + 1) * width + (width + 1) * 10
    assert parameters(MLP("mlp", width, depth), channels=1, size=8) == expected


@pytest.mark.parametrize("config", ALL, ids=str)
@pytest.mark.parametrize(("channels", "size"), [(1, 8), (3, 32)])
def test_every_model_maps_images_to_logits_and_trains_all_its_parameters(
    config: Config, channels: int, size: int
) -> None:
    torch.manual_seed(0)
    model = build(config, channels, size, 7)
    logits = model(torch.rand(4, channels, size, size))
    assert logits.shape == (4, 7)
    logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("config", ALL, ids=str)
def test_parameters_follow_from_the_global_seed(config: Config) -> None:
    def drawn(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return nn.utils.parameters_to_vector(build(config, 3, 32, 10).parameters())

    assert torch.equal(drawn(1), drawn(1))
    assert not torch.equal(drawn(1), drawn(2))


@pytest.mark.parametrize("variant", ["preactivation", "postactivation"])
def test_stages_halve_the_map_three_times(
    variant: Literal["preactivation", "postactivation"],
) -> None:
    model = build(resnet(variant, 2), 3, 32, 10)
    shapes: list[torch.Size] = []
    for block in model.get_submodule("blocks").children():
        block.register_forward_hook(
            lambda _module, _inputs, output: shapes.append(output.shape[1:])
        )
    model(torch.rand(1, 3, 32, 32))
    expected = [(2, 32, 32), (4, 16, 16), (8, 8, 8), (16, 4, 4)]
    assert [tuple(shape) for shape in shapes] == [shape for shape in expected for _ in range(2)]


def test_a_preactivation_shortcut_projects_the_activated_input() -> None:
    first, second = list(
        build(resnet("preactivation", 2), 3, 32, 10).get_submodule("blocks").children()
    )[1:3]
    for block in (first, second):
        nn.init.zeros_(block.get_parameter("conv2.weight"))
        block.eval()
    x = torch.randn(2, 2, 8, 8)
    assert torch.equal(first(x), x)
    projected = nn.functional.conv2d(
        x.relu() / (1 + 1e-5) ** 0.5, second.get_parameter("shortcut.weight"), stride=2
    )
    torch.testing.assert_close(second(x), projected)


def test_a_postactivation_block_without_residual_passes_its_input() -> None:
    block = list(build(resnet("postactivation", 2), 3, 32, 10).get_submodule("blocks").children())[
        1
    ].eval()
    nn.init.zeros_(block.get_parameter("conv2.weight"))
    x = torch.randn(2, 2, 8, 8)
    assert torch.equal(block(x), x.relu())


def test_cnn5_refuses_images_that_it_cannot_pool() -> None:
    with pytest.raises(ValueError, match="found 3, expected at least 4"):
        build(CNN5("cnn5", 2), 1, 3, 10)


@pytest.mark.parametrize("variant", ["preactivation", "postactivation"])
def test_overwritten_activations_leave_the_gradients_of_the_plain_form(
    variant: Literal["preactivation", "postactivation"], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same network with a copy wherever something is overwritten has the same logits and
    gradients, bit for bit.
    """
    x_nchw = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(1))

    def gradients() -> list[torch.Tensor]:
        torch.manual_seed(0)
        model = build(resnet(variant, 3), 3, 16, 7)
        logits = model(x_nchw)
        logits.square().sum().backward()
        return [logits.detach(), *(p.grad for p in model.parameters() if p.grad is not None)]

    ours = gradients()
    plain = torch.nn.functional.relu
    monkeypatch.setattr(torch.nn.functional, "relu", lambda x, inplace=False: plain(x))
    monkeypatch.setattr(torch.Tensor, "add_", torch.Tensor.add)
    monkeypatch.setattr(torch.Tensor, "relu_", torch.Tensor.relu)
    for result, expected in zip(ours, gradients(), strict=True):
        assert torch.equal(result, expected)
