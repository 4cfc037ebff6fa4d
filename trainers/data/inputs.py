"""Images with other pixels than their own: noise, or all with one permutation of the pixels.

Zhang et al. (2017) compare such inputs with real ones. A sample's noise depends on the seed and on
its position in the source alone, so that it stays the same when the subset grows.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from trainers.seeding import numpy_stream


def noise(
    images: tuple[Tensor, Tensor],
    source_index: Tensor,
    statistics: tuple[Tensor, Tensor],
    seed: int,
) -> tuple[Tensor, Tensor]:
    """Training and test images like `images`, with normal pixels, rounded and cut to 0..255.

    statistics: mean and deviation of every channel on the scale 0..1, (c,) each. `source_index`
    (n,) has the training samples' positions in the source.
    """
    train_nchw, test_nchw = images
    test_index = range(-1, -1 - len(test_nchw), -1)  # streams of their own
    shape = tuple(train_nchw.shape[1:])
    train = _noise(source_index.tolist(), shape, statistics, seed)
    test = _noise(test_index, shape, statistics, seed)
    return train, test


def shuffled_pixels(images: tuple[Tensor, Tensor], seed: int) -> tuple[Tensor, Tensor]:
    """Training and test images with their pixels in another order, the same for all images and
    channels.
    """
    size = images[0][0, 0].numel()
    order = torch.from_numpy(numpy_stream(seed, "inputs").permutation(size))
    train, test = (split.flatten(2)[:, :, order].view_as(split) for split in images)
    return train, test


def _noise(
    index: Iterable[int], shape: tuple[int, ...], statistics: tuple[Tensor, Tensor], seed: int
) -> Tensor:
    mean, deviation = (values.numpy()[:, None, None] for values in statistics)
    images = []
    for position in index:
        stream = numpy_stream(seed, "inputs", position)
        pixels = mean + deviation * stream.standard_normal(shape, dtype=np.float32)
        images.append(np.clip(np.rint(pixels * 255), 0, 255).astype(np.uint8))
    return torch.from_numpy(np.stack(images)) if images else torch.empty(0, *shape).byte()
