"""Image classifiers whose width is the model-wise axis of double descent, built from their typed
settings.

Nothing here seeds: parameters are drawn with PyTorch's default initialisation from the global
generator, which the caller seeds from the cell's "init" stream.
"""

from __future__ import annotations

from torch import nn

from trainers.config import (
    CNN5,
    MLP,
    VGG13,
    ConvNet,
    FullyConnected,
    Quadratic,
    ResNet18,
    ResNet20,
    ViT,
)
from trainers.models import (
    cnn,
    convnet,
    fully_connected,
    mlp,
    quadratic,
    resnet,
    resnet20,
    vgg,
    vit,
)

Classifier = ResNet18 | CNN5 | MLP | ConvNet | ViT | FullyConnected | ResNet20 | VGG13 | Quadratic
"""The settings of a network from images to logits."""


def build(config: Classifier, channels: int, size: int, classes: int) -> nn.Module:
    """The model of `config`, from float images (n, c, size, size) to logits (n, classes)."""
    if isinstance(config, CNN5):
        return cnn.build(config.width, channels, size, classes)
    if isinstance(config, MLP):
        return mlp.build(config, channels, size, classes)
    if isinstance(config, ConvNet):
        return convnet.build(config, channels, size, classes)
    if isinstance(config, ViT):
        return vit.build(config, channels, size, classes)
    if isinstance(config, FullyConnected):
        return fully_connected.build(config, channels, size, classes)
    if isinstance(config, Quadratic):
        return quadratic.build(config.downscale, channels, size, classes)
    return _convolutional(config, channels, size, classes)


def _convolutional(
    config: ResNet18 | ResNet20 | VGG13, channels: int, size: int, classes: int
) -> nn.Module:
    if isinstance(config, ResNet20):
        return resnet20.build(config.width, channels, classes)
    if isinstance(config, VGG13):
        return vgg.vgg13(config.width, channels, size, classes)
    if config.variant == "preactivation":
        return resnet.preactivation(config.width, channels, classes)
    return resnet.postactivation(config.width, channels, classes)
