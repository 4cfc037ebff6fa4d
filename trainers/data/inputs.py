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


def shuffled_pixels(images_nchw: Tensor, seed: int) -> Tensor:
    """Images with their pixels in another order, the same for all images and channels of a seed."""
    size = images_nchw.shape[2] * images_nchw.shape[3]
    order = torch.from_numpy(numpy_stream(seed, "inputs").permutation(size))
    return images_nchw.flatten(2)[:, :, order].view_as(images_nchw)


def noise(
    positions: Iterable[int], shape: tuple[int, ...], statistics: tuple[Tensor, Tensor], seed: int
) -> Tensor:
    """Images of this shape (c, h, w) with normal pixels, rounded and cut to 0..255.

    positions: of the training samples in the source; negative ones give test samples streams of
    their own. statistics: mean and deviation of every channel on the scale 0..1, (c,) each.
    """
    mean, deviation = (values.numpy()[:, None, None] for values in statistics)
    images = []
    for position in positions:
        stream = numpy_stream(seed, "inputs", position)
        pixels = mean + deviation * stream.standard_normal(shape, dtype=np.float32)
        images.append(np.clip(np.rint(pixels * 255), 0, 255).astype(np.uint8))
    return torch.from_numpy(np.stack(images)) if images else torch.empty(0, *shape).byte()
