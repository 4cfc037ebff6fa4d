"""A residual MLP: its settings, and the network that they describe."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainers.config import ConfigError

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class ResidualMLP:
    """`blocks` residual blocks of `width` units between two linear layers."""

    entry = "tabular.residual_mlp:build"

    name: str
    width: int
    blocks: int

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ConfigError(f"model.width: found {self.width}, expected at least 1")


def build(settings: ResidualMLP, channels: int, size: int, classes: int) -> nn.Module:
    """The network, from inputs (n, channels, size, size) to logits (n, classes).

    The features of a table are the channels of an image of one pixel. Parameters are drawn from
    torch's global generator, which the trainer seeds.
    """
    from torch import nn

    class Block(nn.Module):
        """x + W2 relu(W1 relu(x))."""

        def __init__(self, width: int) -> None:
            super().__init__()
            self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)

        def forward(self, x_nd: Tensor) -> Tensor:
            hidden_nd: Tensor = self.first(x_nd.relu())
            result_nd: Tensor = x_nd + self.second(hidden_nd.relu())
            return result_nd

    blocks = [Block(settings.width) for _ in range(settings.blocks)]
    features = channels * size**2
    body = nn.Sequential(nn.Flatten(), nn.Linear(features, settings.width), *blocks, nn.ReLU())
    return nn.Sequential(body, nn.Linear(settings.width, classes))
