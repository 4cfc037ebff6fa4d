"""Fully connected network on flattened images."""

from __future__ import annotations

import itertools
from collections import OrderedDict

from torch import nn

from trainers.config import MLP
from trainers.models import activation


def build(config: MLP, channels: int, size: int, classes: int) -> nn.Module:
    """`depth` hidden layers of `width` units, all with biases."""
    widths = [channels * size**2] + [config.width] * config.depth
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs, outputs in itertools.pairwise(widths):
        layers += [nn.Linear(inputs, outputs), activation.build(config.activation)]
    head = nn.Linear(config.width, classes)
    return nn.Sequential(OrderedDict(body=nn.Sequential(*layers), head=head))
