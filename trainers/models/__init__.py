"""Image classifiers whose width is the model-wise axis of double descent, built from their typed
settings.

Nothing here seeds: parameters are drawn with PyTorch's default initialisation from the global
generator, which the caller seeds from the cell's "init" stream.
"""

from __future__ import annotations

from torch import nn

from trainers.config import CNN5, MLP, ConvNet, ResNet18, ViT
from trainers.models import cnn, convnet, mlp, resnet, vit


def build(
    config: ResNet18 | CNN5 | MLP | ConvNet | ViT, channels: int, size: int, classes: int
) -> nn.Module:
    """The model of `config`, from float images (n, c, size, size) to logits (n, classes)."""
    if isinstance(config, CNN5):
        return cnn.build(config.width, channels, size, classes)
    if isinstance(config, MLP):
        return mlp.build(config, channels, size, classes)
    if isinstance(config, ConvNet):
        return convnet.build(config, channels, size, classes)
    if isinstance(config, ViT):
        return vit.build(config, channels, size, classes)
    if config.variant == "preactivation":
        return resnet.preactivation(config.width, channels, classes)
    return resnet.postactivation(config.width, channels, classes)
