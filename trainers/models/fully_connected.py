"""Fully connected network with a list of hidden widths, on flattened inputs."""

from __future__ import annotations

import itertools
from collections import OrderedDict

import torch
from torch import Tensor, nn

from trainers.config import ConfigError, FullyConnected
from trainers.models import activation


class TwoLogits(nn.Module):
    """One output z (n, 1) -> the logits (0, z) of two classes, (n, 2)."""

    def forward(self, z_n1: Tensor) -> Tensor:
        return torch.cat([torch.zeros_like(z_n1), z_n1], dim=1)


def build(config: FullyConnected, channels: int, size: int, classes: int) -> nn.Module:
    """Hidden layers of `config.widths` units, all with biases.

    Raises ConfigError for one output and a number of classes other than two.
    """
    if config.outputs == "one" and classes != 2:
        raise ConfigError(
            f"model.outputs: found one with {classes} classes, expected classes: one output "
            "separates two"
        )
    widths = [channels * size**2, *config.widths]
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in itertools.pairwise(widths):
        layers += [nn.Linear(inputs, outputs), activation.build(config.activation)]
    is_one = config.outputs == "one"
    head = nn.Linear(widths[-1], 1 if is_one else classes)
    parts = OrderedDict[str, nn.Module](body=nn.Sequential(*layers), head=head)
    if is_one:
        parts["logits"] = TwoLogits()
    network = nn.Sequential(parts)
    _initialise(network, config)
    return network


def _initialise(network: nn.Module, config: FullyConnected) -> None:
    """Glorot's initialisation (Glorot & Bengio 2010) with zero biases, if the cell asks for it."""
    if config.init == "torch":
        return
    draw = nn.init.xavier_uniform_ if config.init == "glorot_uniform" else nn.init.xavier_normal_
    for module in network.modules():
        if isinstance(module, nn.Linear):
            draw(module.weight)
            nn.init.zeros_(module.bias)
