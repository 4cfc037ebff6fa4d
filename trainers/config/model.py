"""The models that a cell can train."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from trainers.config.reader import ConfigError, at_least, between


@dataclass(frozen=True)
class ResNet18:
    """ResNet-18 of width k for small images: stages of k, 2k, 4k, 8k channels."""

    entry = "trainers.models.resnet:build"

    name: Literal["resnet18"]
    variant: Literal["preactivation", "postactivation"]
    width: int

    def __post_init__(self) -> None:
        at_least("model.width", self.width, 1)


@dataclass(frozen=True)
class CNN5:
    """CNN of k, 2k, 4k, 8k channels in four convolutions, linear head (Nakkiran et al. 2019)."""

    entry = "trainers.models.cnn:build"

    name: Literal["cnn5"]
    width: int

    def __post_init__(self) -> None:
        at_least("model.width", self.width, 1)


Activation = Literal["relu", "leaky_relu", "tanh", "sigmoid", "gelu", "silu", "identity"]


@dataclass(frozen=True)
class MLP:
    """Fully connected network with `depth` hidden layers of `width` units."""

    entry = "trainers.models.mlp:build"

    name: Literal["mlp"]
    width: int
    depth: int
    activation: Activation

    def __post_init__(self) -> None:
        at_least("model.width", self.width, 1)
        at_least("model.depth", self.depth, 1)

    def parameters(self, channels: int, size: int, classes: int) -> int:
        """Weights and biases for images of `size` x `size` pixels."""
        first = (channels * size**2 + 1) * self.width
        hidden = (self.depth - 1) * (self.width + 1) * self.width
        return first + hidden + (self.width + 1) * classes


@dataclass(frozen=True)
class ConvNet:
    """CNN whose stages of k, 2k, 4k, ... channels halve the map, with a linear head on the last.

    A stage has `blocks` 3x3 convolutions. The first has stride 2, or 2x2 max pooling follows the
    last. Its smallest form has no norm, so that training and evaluation compute the same function.
    """

    entry = "trainers.models.convnet:build"

    name: Literal["convnet"]
    width: int
    stages: int
    blocks: int
    down: Literal["stride", "pool"]
    norm: Literal["none", "batch"]
    activation: Activation

    def __post_init__(self) -> None:
        at_least("model.width", self.width, 1)
        between("model.stages", self.stages, 2, 5)
        at_least("model.blocks", self.blocks, 1)

    def parameters(self, channels: int, size: int, classes: int) -> int:
        """Weights, biases, and scales and shifts of norms for images of `size` x `size` pixels."""
        inputs, total = channels, 0
        for stage in range(self.stages):
            outputs: int = self.width * 2**stage
            first = (9 * inputs + 1) * outputs
            others = (self.blocks - 1) * (9 * outputs + 1) * outputs
            norms = self.blocks * 2 * outputs if self.norm == "batch" else 0
            total += first + others + norms
            inputs = outputs
        side: int = size // 2**self.stages
        return total + (inputs * side**2 + 1) * classes


@dataclass(frozen=True)
class ViT:
    """Vision transformer on patches of `patch` x `patch` pixels (Dosovitskiy et al. 2021).

    Differs from the published one: the mean over the tokens is classified, no class token.
    """

    entry = "trainers.models.vit:build"

    name: Literal["vit"]
    width: int
    depth: int
    heads: int
    feedforward: int
    patch: int

    def __post_init__(self) -> None:
        for key in ("width", "depth", "heads", "feedforward", "patch"):
            at_least(f"model.{key}", getattr(self, key), 1)
        _check_heads(self.width, self.heads)

    def parameters(self, channels: int, size: int, classes: int) -> int:
        """Weights, biases, positions, and scales and shifts of norms for images of `size` x `size`
        pixels.
        """
        width, tokens = self.width, (size // self.patch) ** 2
        embedding = (channels * self.patch**2 + 1) * width + tokens * width
        block = (4 + 2 * self.feedforward) * width**2 + (9 + self.feedforward) * width
        return embedding + self.depth * block + 2 * width + (width + 1) * classes


@dataclass(frozen=True)
class Transformer:
    """Decoder-only transformer; configs/model/transformer.yaml explains each key."""

    entry = "trainers.models.transformer:Transformer"

    name: Literal["transformer"]
    width: int
    depth: int
    heads: int
    feedforward: int
    norm: Literal["pre", "post", "none"]
    final_norm: Literal["auto", "layer"]
    activation: Literal["relu", "gelu"]
    positions: Literal["learned", "sinusoidal", "none"]
    biases: Literal["none", "feedforward", "all"]
    tied: bool
    init: Literal["torch", "normal"]
    attention_init: Literal["auto", "xavier"]
    dropout_attention: float
    dropout_residual: float
    dropout_hidden: float

    def __post_init__(self) -> None:
        for key in ("width", "depth", "heads", "feedforward"):
            at_least(f"model.{key}", getattr(self, key), 1)
        _check_heads(self.width, self.heads)
        for key in ("dropout_attention", "dropout_residual", "dropout_hidden"):
            between(f"model.{key}", getattr(self, key), 0.0, 1.0)

    @property
    def ends_with_norm(self) -> bool:
        """Whether a layer norm comes before the output."""
        return self.norm == "pre" or self.final_norm == "layer"

    @property
    def drops(self) -> bool:
        """Whether training draws dropout masks."""
        return max(self.dropout_attention, self.dropout_residual, self.dropout_hidden) > 0


def _check_heads(width: int, heads: int) -> None:
    if width % heads:
        raise ConfigError(
            f"model.width: found {width}, expected a multiple of model.heads, {heads}"
        )


@dataclass(frozen=True)
class FullyConnected:
    """Fully connected network with a list of hidden widths.

    init: PyTorch's default, or Glorot's with zero biases. outputs: one logit per class, or for two
    classes one output z that stands for the logits (0, z).
    """

    entry = "trainers.models.fully_connected:build"

    name: Literal["fully_connected"]
    widths: tuple[int, ...]
    activation: Activation
    init: Literal["torch", "glorot_uniform", "glorot_normal"]
    outputs: Literal["one", "classes"]

    def __post_init__(self) -> None:
        for width in self.widths:
            at_least("model.widths", width, 1)


@dataclass(frozen=True)
class ResNet20:
    """Pre-activation ResNet of three stages with k, 2k, 4k channels, three blocks each.

    Leaky ReLU of slope 0.1, shortcuts without parameters (He et al. 2016, as Huang et al. 2020
    trained it on SVHN, with k = 16).
    """

    entry = "trainers.models.resnet20:build"

    name: Literal["resnet20"]
    width: int

    def __post_init__(self) -> None:
        at_least("model.width", self.width, 1)


@dataclass(frozen=True)
class VGG13:
    """VGG-13 with batch norm and one linear layer, stages of k, 2k, 4k, 8k, 8k channels."""

    entry = "trainers.models.vgg:build"

    name: Literal["vgg13"]
    width: int

    def __post_init__(self) -> None:
        at_least("model.width", self.width, 1)


@dataclass(frozen=True)
class Quadratic:
    """Linear classifier on the pixels and on all products of two of them (Huang et al. 2020).

    downscale: the products are of means over N x N pixel blocks.
    """

    entry = "trainers.models.quadratic:build"

    name: Literal["quadratic"]
    downscale: int

    def __post_init__(self) -> None:
        at_least("model.downscale", self.downscale, 1)
