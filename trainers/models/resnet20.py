"""Pre-activation ResNet-20 for small images, with leaky ReLU and shortcuts without parameters, as
Huang et al. (2020) trained it on SVHN.

Shapes: n images, c channels, h rows, w columns.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn
from torch.nn import functional as F

from trainers.config import ResNet20
from trainers.models.layers import SpatialMean, conv3x3

SLOPE = 0.1  # of leaky ReLU
BLOCKS = 3  # of a stage


def build(config: ResNet20, channels: int, size: int, classes: int) -> nn.Module:
    """Three stages of k, 2k, 4k channels with strides 1, 2, 2; k = 16 has about 0.27 M weights."""
    width = config.width
    blocks: list[nn.Module] = []
    inputs = width
    for stage in range(3):
        outputs = width * 2**stage
        for block in range(BLOCKS):
            stride = 2 if stage > 0 and block == 0 else 1
            blocks.append(_Block(inputs, outputs, stride, is_first=not blocks))
            inputs = outputs
    return nn.Sequential(
        OrderedDict(
            stem=conv3x3(channels, width),
            blocks=nn.Sequential(*blocks),
            norm=nn.BatchNorm2d(inputs),
            active=nn.LeakyReLU(SLOPE),
            pool=SpatialMean(),
            head=nn.Linear(inputs, classes),
        )
    )


class _Block(nn.Module):
    """Normalise, activate, convolve, twice. The shortcut averages over the stride and adds channels
    of zeros; that of the first block starts after the activation.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, is_first: bool) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = conv3x3(inputs, outputs, stride)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.conv2 = conv3x3(outputs, outputs)
        self.stride, self.added = stride, outputs - inputs
        self.is_first = is_first

    def forward(self, x_nchw: Tensor) -> Tensor:
        active = F.leaky_relu(self.norm1(x_nchw), SLOPE)
        shortcut = active if self.is_first else x_nchw
        if self.stride > 1:
            shortcut = F.avg_pool2d(shortcut, self.stride)
        if self.added:
            before = self.added // 2
            shortcut = F.pad(shortcut, (0, 0, 0, 0, before, self.added - before))
        residual: Tensor = self.conv2(F.leaky_relu(self.norm2(self.conv1(active)), SLOPE))
        return residual + shortcut
