"""The five-layer CNN of width k of Nakkiran et al. (2019): four convolutions and a linear head."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from trainers.config import CNN5


def build(config: CNN5, channels: int, size: int, classes: int) -> nn.Module:
    """Convolutions of k, 2k, 4k, 8k channels, pooled by 1, 2, 2 and size // 4, so that the last map
    is 1x1.

    At 3 channels and 10 classes it has 378 k^2 + 152 k + 10 parameters. `size` is at least 4.
    """
    if size < 4:
        raise ValueError(
            f"image size: found {size}, expected at least 4, which cnn5 pools down to 1"
        )
    layers: list[nn.Module] = []
    inputs = channels
    for stage, pool in enumerate((1, 2, 2, size // 4)):
        outputs = config.width * 2**stage
        layers += [
            nn.Conv2d(inputs, outputs, 3, padding=1),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        ]
        layers += [nn.MaxPool2d(pool)] if pool > 1 else []
        inputs = outputs
    body = nn.Sequential(*layers, nn.Flatten())
    return nn.Sequential(OrderedDict(body=body, head=nn.Linear(8 * config.width, classes)))
