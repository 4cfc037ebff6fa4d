"""Layers that several models have.

Shapes: n images, c channels, h rows, w columns.
"""

from __future__ import annotations

from torch import Tensor, nn


def conv3x3(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    """A 3x3 convolution without bias, padded by zeros."""
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)


class SpatialMean(nn.Module):
    """(n, c, h, w) -> (n, c). Adaptive pooling has no deterministic gradient on a GPU."""

    def forward(self, x_nchw: Tensor) -> Tensor:
        return x_nchw.mean((2, 3))
