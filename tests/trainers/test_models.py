"""Models: published parameter counts, shapes, and what follows from the seed."""

from __future__ import annotations

import re
from types import SimpleNamespace
from typing import Any, Literal, get_args

import pytest
import torch
from torch import nn

from trainers.config import (
    CNN5,
    MLP,
    VGG13,
    Activation,
    ConfigError,
    ConvNet,
    FullyConnected,
    Kind,
    Quadratic,
    ResNet18,
    ResNet20,
    ViT,
)
from trainers.models import build, channels_last
from trainers.models.quadratic import Products

WIDTHS = [*range(1, 21), 32, 63, 64, 65, 128]
ACTIVATIONS: tuple[Activation, ...] = get_args(Activation)


def resnet(variant: Literal["preactivation", "postactivation"], width: int) -> ResNet18:
    return ResNet18("resnet18", variant, width)


def parameters(config: Kind, channels: int = 3, size: int = 32) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in build(config, channels, size, 10).parameters())


ALL = [
    resnet("preactivation", 3),
    resnet("postactivation", 3),
    resnet("postactivation", 64),
    CNN5("cnn5", 3),
    MLP("mlp", 7, 1, "relu"),
    MLP("mlp", 7, 3, "tanh"),
    ConvNet("convnet", 3, 3, 1, "stride", "none", "relu"),
    ConvNet("convnet", 2, 2, 2, "pool", "batch", "gelu"),
    ViT("vit", 6, 2, 3, 2, 4),
    FullyConnected("fully_connected", (5, 4), "relu", "glorot_uniform", "classes"),
    ResNet20("resnet20", 2),
    Quadratic("quadratic", 2),
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
    assert parameters(MLP("mlp", width, depth, "relu"), channels=1, size=8) == expected


@pytest.mark.parametrize("config", ALL, ids=str)
@pytest.mark.parametrize(("channels", "size"), [(1, 8), (3, 32)])
def test_every_model_maps_images_to_logits_and_trains_all_its_parameters(
    config: Kind, channels: int, size: int
) -> None:
    torch.manual_seed(0)
    model = build(config, channels, size, 7)
    logits = model(torch.rand(4, channels, size, size))
    assert logits.shape == (4, 7)
    logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("config", ALL, ids=str)
def test_parameters_follow_from_the_global_seed(config: Kind) -> None:
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


COUNTED = [
    (MLP("mlp", 10, 1, "relu"), 3, 8, 2_040),
    (MLP("mlp", 8, 1, "relu"), 1, 8, 610),
    (ConvNet("convnet", 8, 2, 1, "stride", "none", "relu"), 3, 8, 2_042),
    (ConvNet("convnet", 4, 2, 1, "pool", "none", "relu"), 3, 8, 738),
    (ViT("vit", 9, 2, 3, 2, 4), 3, 8, 2_089),
]
"""Models with their channels, image size and parameters for 10 classes, counted by hand."""


@pytest.mark.parametrize(("config", "channels", "size", "expected"), COUNTED, ids=str)
def test_the_formula_gives_the_counts_made_by_hand(
    config: MLP | ConvNet | ViT, channels: int, size: int, expected: int
) -> None:
    assert config.parameters(channels, size, 10) == expected
    assert parameters(config, channels, size) == expected


@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("width", [2, 9])
def test_the_formula_of_the_mlp_counts_the_built_module(width: int, depth: int) -> None:
    config = MLP("mlp", width, depth, "relu")
    assert config.parameters(3, 16, 10) == parameters(config, 3, 16)


@pytest.mark.parametrize("norm", ["none", "batch"])
@pytest.mark.parametrize(("stages", "size"), [(2, 8), (3, 16), (4, 32), (5, 64)])
@pytest.mark.parametrize("blocks", [1, 3])
def test_the_formula_of_the_convnet_counts_the_built_module(
    norm: Literal["none", "batch"], stages: int, size: int, blocks: int
) -> None:
    config = ConvNet("convnet", 3, stages, blocks, "stride", norm, "relu")
    assert config.parameters(3, size, 10) == parameters(config, 3, size)


@pytest.mark.parametrize(("width", "heads", "feedforward"), [(6, 2, 1), (12, 3, 4)])
@pytest.mark.parametrize("patch", [2, 4])
def test_the_formula_of_the_vit_counts_the_built_module(
    width: int, heads: int, feedforward: int, patch: int
) -> None:
    config = ViT("vit", width, 3, heads, feedforward, patch)
    assert config.parameters(1, 8, 10) == parameters(config, 1, 8)


@pytest.mark.parametrize("down", ["stride", "pool"])
def test_a_convnet_halves_the_map_once_a_stage(down: Literal["stride", "pool"]) -> None:
    model = build(ConvNet("convnet", 2, 3, 2, down, "none", "relu"), 3, 16, 10)
    body = model.get_submodule("body")
    assert isinstance(body, nn.Sequential)
    assert body[:-1](torch.rand(1, 3, 16, 16)).shape == (1, 8, 2, 2)


@pytest.mark.parametrize(
    ("config", "size", "message"),
    [
        (ConvNet("convnet", 2, 3, 1, "stride", "none", "relu"), 12, "not a multiple of 8"),
        (ConvNet("convnet", 2, 3, 1, "stride", "batch", "relu"), 8, "model.norm=none"),
        (ViT("vit", 4, 1, 2, 1, 3), 8, "expected a divisor of 8"),
    ],
)
def test_images_that_do_not_fit_a_model_are_refused(
    config: ConvNet | ViT, size: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        build(config, 3, size, 10)


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("kind", ["mlp", "convnet"])
def test_hidden_units_have_the_activation_of_the_configuration(
    name: Activation, kind: Literal["mlp", "convnet"]
) -> None:
    functions = {
        "relu": torch.relu, "leaky_relu": nn.functional.leaky_relu, "tanh": torch.tanh,
        "sigmoid": torch.sigmoid, "gelu": nn.functional.gelu, "silu": nn.functional.silu,
        "identity": lambda x: x,
    }  # fmt: skip
    config = MLP("mlp", 3, 1, name)
    if kind == "mlp":
        model, first = build(config, 1, 8, 10), "body.1"
    else:
        model = build(ConvNet("convnet", 3, 2, 1, "stride", "none", name), 1, 8, 10)
        first = "body.0"
    body = model.get_submodule("body")
    assert isinstance(body, nn.Sequential)
    x = torch.randn(2, 1, 8, 8)
    hidden = model.get_submodule(first)(x.flatten(1) if kind == "mlp" else x)
    position = int(first[-1]) + 1
    torch.testing.assert_close(body[position](hidden), functions[name](hidden))


def test_a_vit_sees_where_a_patch_is() -> None:
    """Patches in another order give other logits only because of the positions."""
    torch.manual_seed(0)
    model = build(ViT("vit", 6, 2, 3, 2, 4), 1, 8, 10).eval()
    x = torch.randn(1, 1, 8, 8)
    swapped = torch.cat([x[:, :, 4:], x[:, :, :4]], 2)
    assert not torch.allclose(model(x), model(swapped))
    nn.init.zeros_(model.get_parameter("positions"))
    torch.testing.assert_close(model(x), model(swapped))


def test_attention_agrees_with_that_of_torch() -> None:
    torch.manual_seed(0)
    model = build(ViT("vit", 6, 1, 3, 2, 4), 1, 8, 10)
    attention = model.get_submodule("blocks.0.attention")
    reference = nn.MultiheadAttention(6, 3, batch_first=True)
    qkv = attention.get_submodule("qkv")
    reference.load_state_dict(
        {
            "in_proj_weight": qkv.weight,
            "in_proj_bias": qkv.bias,
            "out_proj.weight": attention.get_submodule("output").weight,
            "out_proj.bias": attention.get_submodule("output").bias,
        }
    )
    x = torch.randn(2, 4, 6)
    torch.testing.assert_close(attention(x), reference(x, x, x)[0])


def test_the_net_of_the_swiss_roll_has_the_published_sizes() -> None:
    widths = (23, 16, 26, 32, 28, 31)
    model = build(FullyConnected("fully_connected", widths, "relu", "torch", "one"), 2, 1, 2)
    sizes = [p.numel() for p in model.parameters() if p.dim() == 2]
    assert sum(sizes) == 3457
    assert sum(p.numel() for p in model.parameters()) == 3614


@pytest.mark.parametrize("init", ["glorot_uniform", "glorot_normal"])
def test_glorot_initialisation_has_its_variance_and_no_biases(init: Any) -> None:
    torch.manual_seed(0)
    model = build(FullyConnected("fully_connected", (400,), "relu", init, "classes"), 200, 1, 3)
    first, bias = list(model.parameters())[:2]
    assert float(first.detach().var()) == pytest.approx(2 / 600, rel=0.02)
    assert not bias.any()


def test_one_output_stands_for_the_logits_of_two_classes() -> None:
    config = FullyConnected("fully_connected", (5,), "tanh", "torch", "one")
    logits = build(config, 2, 1, 2)(torch.randn(7, 2, 1, 1))
    assert logits.shape == (7, 2)
    assert not logits[:, 0].any()
    with pytest.raises(ConfigError, match=r"model\.outputs: found one with 10 classes"):
        build(config, 2, 1, 10)


def test_resnet20_and_vgg13_have_the_published_sizes() -> None:
    assert parameters(ResNet20("resnet20", 16)) == 269_722
    assert parameters(VGG13("vgg13", 64)) == 9_416_010


def test_vgg13_maps_images_to_logits() -> None:
    assert build(VGG13("vgg13", 2), 3, 32, 7)(torch.randn(2, 3, 32, 32)).shape == (2, 7)


def test_vgg13_refuses_images_that_it_does_not_pool_to_one_pixel() -> None:
    with pytest.raises(ValueError, match="image size: found 8, expected 32"):
        build(VGG13("vgg13", 2), 3, 8, 10)


def test_the_quadratic_classifier_has_the_published_number_of_features() -> None:
    assert parameters(Quadratic("quadratic", 2)) == 298_368 * 10 + 10


def test_the_features_are_the_products_of_block_means_and_the_pixels() -> None:
    image = torch.tensor([[1.0, 3.0, 5.0, 7.0]] * 4)[None, None]  # block means 2 and 6, twice
    features = Products(2, 1, 4)(image)[0] * 26**0.5
    means = [2.0, 6.0, 2.0, 6.0]
    products = [means[i] * means[j] for i in range(4) for j in range(i, 4)]
    assert features.tolist() == pytest.approx(products + image.flatten().tolist())


def test_blocks_that_do_not_cover_the_images_are_refused() -> None:
    with pytest.raises(ValueError, match=r"downscale: found 3 for images of 8x8"):
        build(Quadratic("quadratic", 3), 3, 8, 10)


class Own(nn.Module):
    """Two linear layers around batch norm, with the number of outputs that it is given."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, outputs)
        self.last.eval()

    def forward(self, x_bchw: torch.Tensor) -> Any:
        return self.last(self.norm(self.first(x_bchw.flatten(1))))


def sized(settings: Any, channels: int, size: int, classes: int) -> Any:
    return Own(classes + settings.more)


def forgotten(settings: Any, channels: int, size: int, classes: int) -> Any:
    Own(classes)


def integer(settings: Any, channels: int, size: int, classes: int) -> Any:
    network = Own(classes)
    network.counts = nn.Parameter(torch.zeros(2, dtype=torch.int64), requires_grad=False)
    return network


class Solid(nn.Module):
    """A convolution over the channels too, whose weight has five dimensions."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv, self.last = nn.Conv3d(1, 2, 1), nn.Linear(6, classes)

    def forward(self, x_bchw: torch.Tensor) -> Any:
        return self.last(self.conv(x_bchw[:, None]).mean((-1, -2)).flatten(1))


def solid(settings: Any, channels: int, size: int, classes: int) -> Any:
    return Solid(classes)


def unsettling(settings: Any, channels: int, size: int, classes: int) -> Any:
    torch.set_default_dtype(torch.float64)
    torch.set_grad_enabled(False)
    return Own(classes).float()


def own_settings(function: str, more: int = 0) -> Any:
    name, entry = "test_models.Settings", f"{__name__}:{function}"
    return SimpleNamespace(name=name, entry=entry, more=more)


@pytest.mark.parametrize(
    ("function", "more", "problem"),
    [
        ("sized", 1, "found output (2, 5), expected (2, 4): a row for each sample"),
        ("sized", -1, "found output (2, 3), expected (2, 4): a row for each sample"),
        ("forgotten", 0, "returned None, expected an nn.Module"),
        ("integer", 0, "found the parameter counts of type int64, expected a floating-point type"),
    ],
)
def test_an_own_model_with_other_outputs_is_refused(function: str, more: int, problem: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"{__name__}:{function}: {problem}")):
        build(own_settings(function, more), 3, 1, 4)


def test_the_check_of_an_own_model_changes_nothing_of_it() -> None:
    torch.manual_seed(0)
    expected = Own(4)
    torch.manual_seed(0)
    network = build(own_settings("sized"), 3, 1, 4)
    for key, value in expected.state_dict().items():
        assert torch.equal(network.state_dict()[key], value)
    assert [m.training for m in network.modules()] == [m.training for m in expected.modules()]


def test_an_own_model_may_have_weights_of_five_dimensions() -> None:
    network = build(own_settings("solid"), 3, 2, 4)
    images = torch.randn(5, 3, 2, 2)
    logits = network(images)
    assert torch.equal(channels_last(network)(images), logits)
    assert logits.shape == (5, 4)


def test_what_an_own_model_sets_in_torch_is_undone() -> None:
    build(own_settings("unsettling"), 3, 1, 4)
    assert (torch.get_default_dtype(), torch.is_grad_enabled()) == (torch.float32, True)
