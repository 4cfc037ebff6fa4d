"""Augmentation against a slow loop that pads, slices and mirrors one image at a time; scaling and
its statistics.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from trainers.data.augment import channel_statistics, crop_and_flip, draw, scale


def batch(n: int, channels: int = 3, size: int = 32) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (n, channels, size, size), dtype=torch.uint8, generator=generator)


def one_by_one(images: Tensor, offsets: Tensor, flips: Tensor, padding: int) -> Tensor:
    results = []
    for image, (row, column), flip in zip(
        images.numpy(), offsets.tolist(), flips.tolist(), strict=True
    ):
        padded = np.pad(image, ((0, 0), (padding, padding), (padding, padding)))
        cut = padded[:, row : row + image.shape[1], column : column + image.shape[2]]
        results.append(cut[:, :, ::-1].copy() if flip else cut)
    return torch.from_numpy(np.stack(results))


@pytest.mark.parametrize(
    ("channels", "size", "padding"), [(3, 32, 4), (1, 8, 4), (3, 32, 0), (2, 5, 1)]
)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float16])
def test_crop_and_flip_equals_the_obvious_loop(
    channels: int, size: int, padding: int, dtype: torch.dtype
) -> None:
    images = batch(100, channels, size).to(dtype)
    offsets, flips = draw(100, 0, 1, padding)
    result = crop_and_flip(images, offsets, flips, padding)
    assert result.dtype == dtype
    assert torch.equal(result, one_by_one(images, offsets, flips, padding))


def test_every_offset_is_the_slice_of_the_padded_image() -> None:
    offsets = torch.cartesian_prod(torch.arange(9), torch.arange(9))
    image = batch(1)
    padded = torch.nn.functional.pad(image[0], (4, 4, 4, 4))
    result = crop_and_flip(image.expand(81, -1, -1, -1), offsets, torch.zeros(81, dtype=torch.bool))
    for crop, (row, column) in zip(result, offsets.tolist(), strict=True):
        assert torch.equal(crop, padded[:, row : row + 32, column : column + 32])


def test_the_middle_offset_changes_nothing_and_a_flip_mirrors_columns() -> None:
    images = batch(2)
    result = crop_and_flip(images, torch.full((2, 2), 4), torch.tensor([False, True]))
    assert torch.equal(result[0], images[0])
    assert torch.equal(result[1], images[1].flip(2))


def test_images_that_are_not_square_or_not_contiguous_are_cropped_alike() -> None:
    images = batch(6)[:, :, ::2, 3:20]
    offsets, flips = draw(6, 0, 1)
    assert torch.equal(crop_and_flip(images, offsets, flips), one_by_one(images, offsets, flips, 4))


def test_draws_belong_to_seed_and_epoch() -> None:
    offsets, flips = draw(1000, 1, 5)
    repeat = draw(1000, 1, 5)
    assert torch.equal(offsets, repeat[0])
    assert torch.equal(flips, repeat[1])
    for other in (draw(1000, 2, 5), draw(1000, 1, 6)):
        assert not torch.equal(offsets, other[0])
        assert not torch.equal(flips, other[1])


def test_draws_cover_every_offset_evenly_and_flip_half() -> None:
    offsets, flips = draw(81_000, 0, 1)
    assert (offsets.dtype, flips.dtype) == (torch.int64, torch.bool)
    counts = torch.bincount(offsets[:, 0] * 9 + offsets[:, 1], minlength=81)
    assert len(counts) == 81
    assert (counts - 1000).abs().max() < 5 * 1000**0.5
    assert flips.float().mean().item() == pytest.approx(0.5, abs=0.01)


def test_scalings_have_their_ranges() -> None:
    pixels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    unit, symmetric = scale(pixels, "unit"), scale(pixels, "symmetric")
    assert unit.dtype == symmetric.dtype == torch.float32
    assert [unit.min().item(), unit.max().item()] == [0.0, 1.0]
    assert [symmetric.min().item(), symmetric.max().item()] == [-1.0, 1.0]
    torch.testing.assert_close(symmetric, 2 * unit - 1, rtol=0, atol=1e-6)


def test_statistics_are_those_of_the_pixels_and_standardise_the_images() -> None:
    images = (batch(50).float() * torch.tensor([1.0, 0.5, 0.1])[:, None, None]).to(torch.uint8)
    mean, deviation = channel_statistics(images)
    pixels = images.numpy().astype(np.float64) / 255
    np.testing.assert_allclose(mean, pixels.mean((0, 2, 3)), rtol=1e-6)
    np.testing.assert_allclose(deviation, pixels.std((0, 2, 3)), rtol=1e-6)
    scaled = scale(images, "standardised", mean, deviation)
    torch.testing.assert_close(scaled.mean((0, 2, 3)), torch.zeros(3), rtol=0, atol=1e-4)
    torch.testing.assert_close(
        scaled.std((0, 2, 3), correction=0), torch.ones(3), rtol=0, atol=1e-4
    )


def test_a_constant_channel_stays_finite() -> None:
    images = torch.full((2, 1, 4, 4), 51, dtype=torch.uint8)
    mean, deviation = channel_statistics(images)
    assert mean.item() == pytest.approx(0.2)
    assert deviation.item() == 0.0
    assert scale(images, "standardised", mean, deviation).abs().max() < 1


def test_standardising_without_statistics_is_refused() -> None:
    with pytest.raises(ValueError, match="found no channel statistics"):
        scale(batch(1), "standardised")
