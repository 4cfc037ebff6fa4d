"""Batch norm with statistics of the present weights.

In evaluation mode batch norm uses running means over the last steps, during which the weights have
changed. In a short training this lag can raise the test error. Statistics that are recomputed at
the present weights have no lag (Wu and Johnson 2021, arXiv 2105.07576, section 3), so an error
that remains with them is one of the weights.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

Scaled = Callable[[Tensor], Tensor]
"""Network inputs, float32, of stored images or features."""


def batch_norms(model: nn.Module) -> list[_BatchNorm]:
    """The modules of a model that keep running statistics."""
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    return [norm for norm in norms if norm.track_running_stats]


def recompute(model: nn.Module, batches: Iterable[Tensor]) -> None:
    """Give a model in evaluation mode the running statistics of these inputs at its weights: means
    over the batches' own, weighted by the samples of each.

    Dropout is off, so no random number is drawn. Changes the momentum of the batch norms.
    """
    norms = batch_norms(model)
    for norm in norms:
        norm.reset_running_stats()
        norm.train()
    seen = 0
    for inputs in batches:
        seen += len(inputs)
        for norm in norms:
            norm.momentum = len(inputs) / seen
        model(inputs)
    model.eval()


class Recalibration:
    """A copy of a model, whose batch norm has the statistics of `images` at the weights of the last
    `update`. images: (n, c, h, w) uint8, or features.
    """

    def __init__(self, model: nn.Module, images: Tensor) -> None:
        self.model = copy.deepcopy(model)
        self.images = images

    @staticmethod
    def applies_to(model: nn.Module) -> bool:
        """Whether a model has batch norm with running statistics."""
        return bool(batch_norms(model))

    @torch.inference_mode()
    def update(self, model: nn.Module, scaled: Scaled, block_size: int) -> None:
        """Take the weights of `model`, and recompute the statistics in blocks of at least
        `block_size` images and less than twice as many.
        """
        self.model.load_state_dict(model.state_dict())
        self.model.eval()
        blocks = max(1, len(self.images) // max(block_size, 2))  # a block of one has no variance
        images = torch.tensor_split(self.images, blocks)
        recompute(self.model, (_channels_last(scaled(block)) for block in images))

    def logits_of(self, scaled: Scaled) -> Callable[[Tensor], Tensor]:
        """Maps uint8 images (b, c, h, w) to logits (b, classes) with the recomputed statistics."""
        return lambda images: self.model(_channels_last(scaled(images)))


def _channels_last(inputs: Tensor) -> Tensor:
    return inputs.contiguous(memory_format=torch.channels_last)
