"""Random crops and flips, and the scaling of pixels, for whole batches on the device that holds
them.

The random numbers of an epoch are drawn at once on the CPU, so an epoch is the same on every device
and a resumed run can continue inside it. Shapes: b batch, n images, c channels, h rows, w columns.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from trainers.seeding import torch_stream


def draw(n: int, seed: int, epoch: int, padding: int = 4) -> tuple[Tensor, Tensor]:
    """Crop offsets, int64 (n, 2) in 0..2*padding, and flips, bool (n,), of one epoch."""
    generator = torch_stream(seed, "augment", epoch)
    offsets = torch.randint(0, 2 * padding + 1, (n, 2), generator=generator)
    flips = torch.randint(0, 2, (n,), generator=generator).bool()
    return offsets, flips


def crop_and_flip(images_nchw: Tensor, offsets: Tensor, flips: Tensor, padding: int = 4) -> Tensor:
    """Pad every image with zeros, crop it to its old size at its (row, column) offset, and mirror
    it if its `flips` is set.

    For images (b, c, h, w) of any dtype; offsets and flips are on the same device. Apply it before
    `scale`: the border is then black, as in a crop of the stored image, not the mean colour.
    """
    b, c, h, w = images_nchw.shape
    rows = offsets[:, 0, None] + torch.arange(h, device=offsets.device)
    columns = torch.arange(w, device=offsets.device)
    columns = torch.where(flips[:, None], w - 1 - columns, columns) + offsets[:, 1, None]
    # One flat index shared by the channels: 4 to 7 times faster on a CPU than indexing rows and
    # columns apart.
    index_bhw = rows[:, :, None] * (w + 2 * padding) + columns[:, None, :]
    index = index_bhw.reshape(b, 1, h * w).expand(b, c, h * w)
    padded = F.pad(images_nchw, (padding, padding, padding, padding))
    return padded.flatten(2).gather(2, index).view(b, c, h, w)


def channel_statistics(images_nchw: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (population) of every channel of uint8 images scaled to 0..1;
    float32 (c,) each.

    Counted from histograms of integers, so that the result does not depend on threads or on the
    order of the images.
    """
    values = torch.arange(256, dtype=torch.float64) / 255
    channels = images_nchw.cpu().unbind(1)
    histograms = [torch.bincount(channel.flatten(), minlength=256) for channel in channels]
    counts = torch.stack(histograms)
    shares = counts.double() / counts.sum(1, keepdim=True)
    mean = shares @ values
    variance = (shares * (values - mean[:, None]) ** 2).sum(1)
    return mean.float(), variance.sqrt().float()


def scale(
    images_nchw: Tensor,
    scaling: Literal["unit", "symmetric", "standardised"],
    mean: Tensor | None = None,
    deviation: Tensor | None = None,
) -> Tensor:
    """uint8 images as float32: unit x/255, symmetric x/127.5 - 1, standardised (x/255 - mean) /
    deviation.

    `mean` and `deviation` are what `channel_statistics` gives for the training images, on the
    device of the images; only standardised needs them. A constant channel is only shifted.
    """
    pixels = images_nchw.float()
    if scaling == "symmetric":
        return pixels / 127.5 - 1
    if scaling == "unit":
        return pixels / 255
    if mean is None or deviation is None:
        raise ValueError(
            "standardised scaling: found no channel statistics, expected those of the training "
            "images"
        )
    divisor = torch.where(deviation > 0, deviation, torch.ones_like(deviation))
    return (pixels / 255 - mean[:, None, None]) / divisor[:, None, None]
