"""Image classifiers whose width is the model-wise axis of double descent, built from their typed
settings.

Nothing here seeds: parameters are drawn with PyTorch's default initialisation from the global
generator, which the caller seeds from the cell's "init" stream.
"""

from __future__ import annotations

from torch import nn

from trainers.config import Kind, entry


def build(config: Kind, channels: int, size: int, classes: int) -> nn.Module:
    """The model of `config`, from float inputs (n, c, size, size) to logits (n, classes).

    The features of a table are inputs of one pixel, a channel for each feature.
    """
    network: nn.Module = entry(config)(config, channels, size, classes)
    return network
