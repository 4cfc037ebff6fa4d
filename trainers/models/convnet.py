"""CNN of stages that each halve the map, with a linear head on the last map: small enough for
capacities of a few hundred samples.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from trainers.config import ConvNet
from trainers.models import activation


def build(config: ConvNet, channels: int, size: int, classes: int) -> nn.Module:
    """The network for images of `size` x `size` pixels.

    Raises ValueError if the stages cannot halve the image, or if batch norm would have a last map
    of one pixel, on which it cannot train with a batch of one sample.
    """
    last_size = size // 2**config.stages
    if size % 2**config.stages:
        raise ValueError(
            f"model.stages: found {config.stages} with images of {size}x{size}, expected fewer: "
            f"every stage halves the image, and {size} is not a multiple of {2**config.stages}"
        )
    if config.norm == "batch" and last_size == 1:
        raise ValueError(
            f"model.stages: found {config.stages} with images of {size}x{size} and batch norm, "
            "expected a last map of 2x2 or more; use fewer stages, or model.norm=none"
        )
    layers: list[nn.Module] = []
    inputs = channels
    for stage in range(config.stages):
        outputs = config.width * 2**stage
        layers += _stage(config, inputs, outputs)
        inputs = outputs
    body = nn.Sequential(*layers, nn.Flatten())
    head = nn.Linear(inputs * last_size**2, classes)
    return nn.Sequential(OrderedDict(body=body, head=head))


def _stage(config: ConvNet, inputs: int, outputs: int) -> list[nn.Module]:
    """The layers of one stage, from `inputs` to `outputs` channels."""
    layers: list[nn.Module] = []
    for block in range(config.blocks):
        is_first = block == 0
        stride = 2 if is_first and config.down == "stride" else 1
        layers.append(nn.Conv2d(inputs if is_first else outputs, outputs, 3, stride, padding=1))
        if config.norm == "batch":
            layers.append(nn.BatchNorm2d(outputs))
        layers.append(activation.build(config.activation))
    if config.down == "pool":
        layers.append(nn.MaxPool2d(2))
    return layers
