"""Fully connected ReLU network on flattened images."""

from __future__ import annotations

import itertools
from collections import OrderedDict

from torch import nn


def build(width: int, depth: int, channels: int, size: int, classes: int) -> nn.Module:
    """`depth` hidden layers of `width` units, all with biases."""
    widths = [channels * size**2] + [width] * depth
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in itertools.pairwise(widths):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(OrderedDict(body=nn.Sequential(*layers), head=nn.Linear(width, classes)))
