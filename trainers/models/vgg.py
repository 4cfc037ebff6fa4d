"""VGG-13 with batch norm (Simonyan & Zisserman 2015) for small images, with one linear layer."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from trainers.config import VGG13

STAGES = (1, 2, 4, 8, 8)


def build(config: VGG13, channels: int, size: int, classes: int) -> nn.Module:
    """Five stages of two 3x3 convolutions, each with batch norm and ReLU, and max pooling.

    Raises ValueError for images that five halvings do not bring to one pixel.
    """
    if size != 2 ** len(STAGES):
        raise ValueError(
            f"image size: found {size}, expected {2 ** len(STAGES)}, which vgg13 pools down to 1"
        )
    layers: list[nn.Module] = []
    inputs = channels
    for factor in STAGES:
        outputs = config.width * factor
        for source in (inputs, outputs):
            layers.append(nn.Conv2d(source, outputs, 3, padding=1))
            layers += [nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
        layers.append(nn.MaxPool2d(2))
        inputs = outputs
    body = nn.Sequential(*layers, nn.Flatten())
    return nn.Sequential(OrderedDict(body=body, head=nn.Linear(inputs, classes)))
