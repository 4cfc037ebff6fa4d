"""ResNet-18 of width k for small images, in the two forms whose double-descent curves were
published.

Both have a 3x3 stem without max pooling, four stages of two blocks with k, 2k, 4k, 8k channels and
strides 1, 2, 2, 2, and a linear head on the mean over the last map. They differ in the order inside
a block, in the stem and in the shortcuts, and so in the parameter count. Activations and sums
overwrite their input if no gradient needs it, which writes less memory and gives the same numbers.
Shapes: n images, c channels, h rows, w columns.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator

from torch import Tensor, nn
from torch.nn import functional as F

from trainers.config import ResNet18
from trainers.models.layers import SpatialMean, conv3x3

STRIDES = (1, 2, 2, 2)

BlockKind = Callable[[int, int, int], nn.Module]
"""Builds a block from its input channels, output channels and stride."""


def build(config: ResNet18, channels: int, size: int, classes: int) -> nn.Module:
    """The form that `config.variant` names; any `size` of images will do."""
    if config.variant == "preactivation":
        return preactivation(config.width, channels, classes)
    return postactivation(config.width, channels, classes)


def preactivation(width: int, channels: int, classes: int) -> nn.Module:
    """ResNet18k of Nakkiran et al. (2019): the stem has k channels, and no normalisation follows
    the last block.

    At 3 channels and 10 classes it has 2724 k^2 + 213 k + 10 parameters; a final batch
    normalisation would add 16 k.
    """
    return _network(conv3x3(channels, width), _PreActivation, width, width, classes)


def postactivation(width: int, channels: int, classes: int) -> nn.Module:
    """ResNet-18 of Pezeshki et al. (2022): the stem has 64 channels at every width.

    At 3 channels and 10 classes it has 2715 k^2 + 870 k + 1866 parameters, 4224 fewer at k = 64,
    where the first block needs no projection.
    """
    stem = nn.Sequential(conv3x3(channels, 64), nn.BatchNorm2d(64), nn.ReLU(inplace=True))
    return _network(stem, _PostActivation, 64, width, classes)


def _network(stem: nn.Module, block: BlockKind, inputs: int, width: int, classes: int) -> nn.Module:
    """A stem of `inputs` channels, the four stages, and the head."""
    return nn.Sequential(
        OrderedDict(
            stem=stem,
            blocks=nn.Sequential(*_blocks(block, inputs, width)),
            pool=SpatialMean(),
            head=nn.Linear(8 * width, classes),
        )
    )


def _blocks(block: BlockKind, inputs: int, width: int) -> Iterator[nn.Module]:
    for stage, stride in enumerate(STRIDES):
        outputs = width * 2**stage
        yield block(inputs, outputs, stride)
        yield block(outputs, outputs, 1)
        inputs = outputs


class _Conv1x1(nn.Conv2d):
    """A 1x1 convolution without bias. A stride selects rows and columns first: the same products
    and sums.

    oneDNN's backward pass of a strided one corrupts memory on processors with AVX2 and no AVX-512,
    when the tensor is channels-last and has 2 to 7 channels (torch 2.10 and 2.13).
    benchmarks/kernels.py searches for such cases.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__(inputs, outputs, 1, bias=False)
        self.step = stride

    def forward(self, x_nchw: Tensor) -> Tensor:
        if self.step == 1:
            return super().forward(x_nchw)
        # selected with the channels last, so that the gradient has them last too and the layers
        # before need no copy
        x_nhwc = x_nchw.permute(0, 2, 3, 1)[:, :: self.step, :: self.step]
        return super().forward(x_nhwc.permute(0, 3, 1, 2))


class _PreActivation(nn.Module):
    """Normalise, activate, convolve, twice; a projection starts after the activation."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = conv3x3(inputs, outputs, stride)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.conv2 = conv3x3(outputs, outputs)
        reshapes = stride != 1 or inputs != outputs
        self.shortcut = _Conv1x1(inputs, outputs, stride) if reshapes else None

    def forward(self, x_nchw: Tensor) -> Tensor:
        active = F.relu(self.norm1(x_nchw), inplace=True)
        shortcut = x_nchw if self.shortcut is None else self.shortcut(active)
        residual: Tensor = self.conv2(F.relu(self.norm2(self.conv1(active)), inplace=True))
        return residual.add_(shortcut)


class _PostActivation(nn.Module):
    """Convolve, normalise, activate, twice; the sum comes before the last activation."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = conv3x3(inputs, outputs, stride)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = conv3x3(outputs, outputs)
        self.norm2 = nn.BatchNorm2d(outputs)
        reshapes = stride != 1 or inputs != outputs
        self.shortcut = _projection(inputs, outputs, stride) if reshapes else nn.Identity()

    def forward(self, x_nchw: Tensor) -> Tensor:
        residual: Tensor = F.relu(self.norm1(self.conv1(x_nchw)), inplace=True)
        residual = self.conv2(residual)
        residual = self.norm2(residual)
        return residual.add_(self.shortcut(x_nchw)).relu_()


def _projection(inputs: int, outputs: int, stride: int) -> nn.Module:
    return nn.Sequential(_Conv1x1(inputs, outputs, stride), nn.BatchNorm2d(outputs))
