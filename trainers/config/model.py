"""The models that a cell can train."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from trainers.config.reader import ConfigError, at_least, between


@dataclass(frozen=True)
class ResNet18:
    """ResNet-18 of width k for small images: stages of k, 2k, 4k, 8k channels."""

    name: Literal["resnet18"]
    variant: Literal["preactivation", "postactivation"]
    width: int

    def __post_init__(self) -> None:
        at_least("model.width", self.width, 1)


@dataclass(frozen=True)
class CNN5:
    """CNN of k, 2k, 4k, 8k channels in four convolutions, linear head (Nakkiran et al. 2019)."""

    name: Literal["cnn5"]
    width: int

    def __post_init__(self) -> None:
        at_least("model.width", self.width, 1)


@dataclass(frozen=True)
class MLP:
    """Fully connected ReLU network with `depth` hidden layers of `width` units."""

    name: Literal["mlp"]
    width: int
    depth: int

    def __post_init__(self) -> None:
        at_least("model.width", self.width, 1)
        at_least("model.depth", self.depth, 1)


@dataclass(frozen=True)
class Transformer:
    """Decoder-only transformer; configs/model/transformer.yaml explains each key."""

    name: Literal["transformer"]
    width: int
    depth: int
    heads: int
    feedforward: int
    norm: Literal["pre", "post", "none"]
    activation: Literal["relu", "gelu"]
    positions: Literal["learned", "sinusoidal", "none"]
    biases: Literal["none", "feedforward", "all"]
    tied: bool
    init: Literal["torch", "normal"]
    dropout_attention: float
    dropout_residual: float
    dropout_hidden: float

    def __post_init__(self) -> None:
        for key in ("width", "depth", "heads", "feedforward"):
            at_least(f"model.{key}", getattr(self, key), 1)
        if self.width % self.heads:
            raise ConfigError(
                f"model.width: found {self.width}, expected a multiple of model.heads, {self.heads}"
            )
        for key in ("dropout_attention", "dropout_residual", "dropout_hidden"):
            between(f"model.{key}", getattr(self, key), 0.0, 1.0)

    @property
    def drops(self) -> bool:
        """Whether training draws dropout masks."""
        return max(self.dropout_attention, self.dropout_residual, self.dropout_hidden) > 0
