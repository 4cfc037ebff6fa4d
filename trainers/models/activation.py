"""The activation functions of MLPs and CNNs, by name."""

from __future__ import annotations

from collections.abc import Mapping

from torch import nn

from trainers.config import Activation

_MODULES: Mapping[Activation, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "identity": nn.Identity,
}


def build(name: Activation) -> nn.Module:
    """The activation of that name, with PyTorch's defaults: leaky_relu has slope 0.01 below 0."""
    return _MODULES[name]()
