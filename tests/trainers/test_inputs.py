"""Subsets of one seed, and inputs that are not the real ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor

from trainers import config
from trainers.data import images, splits

CPU = torch.device("cpu")


@pytest.fixture
def load(flat: Mapping[str, Any]) -> Callable[..., splits.Data]:
    """Loads the digits; keywords change `data.*` keys."""

    def data(seed: int = 0, **keys: Any) -> splits.Data:
        changes = {f"data.{key.replace('__', '.')}": value for key, value in keys.items()}
        return splits.load(config.parse({**flat, **changes}).data, seed, CPU)

    return data


Load = Callable[..., splits.Data]


def samples(data: splits.Data) -> dict[bytes, int]:
    """Labels by image."""
    pixels = data.train.images.flatten(1).numpy()
    labels = data.train.labels.tolist()
    return {row.tobytes(): label for row, label in zip(pixels, labels, strict=True)}


RANDOM = {"label_noise__kind": "random", "label_noise__rate": 1.0}


@pytest.mark.parametrize("inputs", ["real", "noise", "shuffled_pixels"])
def test_a_larger_subset_keeps_samples_and_labels_of_a_smaller_one(load: Load, inputs: str) -> None:
    small = samples(load(train_samples=33, inputs=inputs, **RANDOM))
    large = samples(load(train_samples=205, inputs=inputs, **RANDOM))
    assert len(small) == 33
    assert small.items() <= large.items()


def test_a_sample_seed_fixes_the_subset_and_leaves_the_labels_to_the_seed(load: Load) -> None:
    first, second = (load(seed, sample_seed=7, **RANDOM) for seed in (0, 1))
    assert torch.equal(first.train.images, second.train.images)
    assert not torch.equal(first.train.labels, second.train.labels)
    other = load(0, sample_seed=8, **RANDOM)
    assert not torch.equal(first.train.images, other.train.images)


def test_without_a_sample_seed_the_subset_is_that_of_the_seed(load: Load) -> None:
    assert torch.equal(load(5).train.images, load(0, sample_seed=5).train.images)


def test_noise_has_the_moments_of_the_whole_training_set(load: Load) -> None:
    real = load(train_samples=None)
    noise = load(train_samples=400, inputs="noise")
    pixels = noise.train.images.float() / 255
    free = pixels[(pixels > 0) & (pixels < 1)]
    below = torch.special.ndtr(-real.mean / real.std)
    assert float((pixels == 0).float().mean()) == pytest.approx(float(below), abs=0.01)
    assert float(free.mean()) > float(real.mean)
    assert float((pixels < real.mean).float().mean()) == pytest.approx(0.5, abs=0.02)
    assert torch.equal(noise.train.labels, load(train_samples=400).train.labels)


def test_noise_depends_on_the_seed(load: Load) -> None:
    first, second = (load(seed, inputs="noise", sample_seed=0) for seed in (0, 1))
    assert not torch.equal(first.train.images, second.train.images)
    assert not torch.equal(first.train.images[0], first.train.images[1])
    assert first.facts["data_hash"] != second.facts["data_hash"]


def sorted_pixels(images_nchw: Tensor) -> Tensor:
    return images_nchw.flatten(2).sort(2).values


def test_shuffled_pixels_have_one_permutation_for_all_images(load: Load) -> None:
    real, shuffled = load(), load(inputs="shuffled_pixels")
    for name in ("train", "test"):
        before, after = getattr(real, name).images, getattr(shuffled, name).images
        assert not torch.equal(before, after)
        assert torch.equal(sorted_pixels(before), sorted_pixels(after))
    together = torch.cat([real.train.images, real.test.images])
    moved = torch.cat([shuffled.train.images, shuffled.test.images])
    columns, moved_columns = together.flatten(1).T.tolist(), moved.flatten(1).T.tolist()
    assert sorted(columns) == sorted(moved_columns)


def test_a_pool_has_the_statistics_of_its_classes_and_size(tmp_path: Any) -> None:
    pixels = torch.randint(0, 256, (30, 3, 4, 4), dtype=torch.uint8)
    labels = torch.arange(30) % 3
    whole = images.ImageSet(pixels, labels, pixels[:3], labels[:3], 3, "")
    noise = config.LabelNoise("incorrect", 0.0, None, "floor")
    settings = config.CIFAR10(
        "cifar10", None, False, str(tmp_path), (30, 3), 2, None, None, 2, False, "unit",
        "real", None, noise,
    )  # fmt: skip
    mean, deviation = images.pool_statistics(whole, settings)
    selected = images.select(whole, settings, 0).train_images.double() / 255
    assert len(selected) == 20
    torch.testing.assert_close(mean.double(), selected.mean((0, 2, 3)))
    torch.testing.assert_close(
        deviation.double(), selected.transpose(0, 1).flatten(1).std(1, False)
    )


def test_more_samples_of_a_class_than_there_are_are_refused(load: Load) -> None:
    assert len(load(train_samples=970).train) == 970
    with pytest.raises(config.ConfigError, match=r"expected at most 9\d of that class"):
        load(train_samples=990)
