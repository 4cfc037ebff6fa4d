"""Image sets in memory: the whole set of a configuration, and class-balanced subsets of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from trainers.config import CIFAR10, SVHN, ConfigError, Digits, Images
from trainers.data import DataError, augment, cifar10, digits, inputs, svhn
from trainers.data.image_cache import ImageSet, cache_file, cached, with_hash
from trainers.data.images32 import CLASSES, Split
from trainers.data.labelled import Labelled
from trainers.seeding import numpy_stream

__all__ = [
    "DataError",
    "ImageSet",
    "dataset",
    "load",
    "pool_statistics",
    "rest",
    "select",
    "train_index",
    "with_hash",
]


def load(config: Images) -> ImageSet:
    """The whole set that `config` names, in the order of its source.

    Raises `DataError` if the source is missing or damaged, or has another size than the
    configuration says.
    """
    cache = Path(config.cache).expanduser()
    if isinstance(config, Digits):
        path = cache_file(cache, "digits", digits.fingerprint())
        return cached(path, _decode_digits)
    if isinstance(config, SVHN):
        path = cache_file(cache, "svhn", svhn.fingerprint(config))
        return cached(path, lambda: _decode_svhn(config))
    source = cifar10.locate(config)
    path = cache_file(cache, "cifar10", cifar10.fingerprint(source))
    images = cached(path, lambda: _image_set(*cifar10.decode(source, cache), CLASSES))
    cifar10.check_rows(config, len(images.train_labels), len(images.test_labels))
    return images


def dataset(config: Images, seed: int) -> Labelled:
    """The subset that a cell trains and is tested on, with the pixels that it asks for."""
    whole = load(config)
    index = train_index(whole, config, seed)
    subset = _with_inputs(select(whole, config, seed), whole, config, index, seed)
    return Labelled(
        train_inputs=subset.train_images,
        train_labels=subset.train_labels,
        test_inputs=subset.test_images,
        test_labels=subset.test_labels,
        classes=subset.classes,
        source_index=index,
        content_hash=subset.content_hash,
    )


def _with_inputs(
    subset: ImageSet, whole: ImageSet, config: Images, index: Tensor, seed: int
) -> ImageSet:
    """The subset with other pixels, if its cell asks for them."""
    if _inputs(config) == "real":
        return subset
    test_positions = range(-1, -1 - len(subset.test_images), -1)
    train = _pixels(subset.train_images, index.tolist(), whole, config, seed)
    test = _pixels(subset.test_images, test_positions, whole, config, seed)
    return with_hash(dataclasses.replace(subset, train_images=train, test_images=test))


def _inputs(config: Images) -> str:
    return "real" if isinstance(config, SVHN) else config.inputs


def _pixels(
    images_nchw: Tensor, positions: Iterable[int], whole: ImageSet, config: Images, seed: int
) -> Tensor:
    """Images with the pixels that `config` asks for; positions: as in `inputs.noise`."""
    match _inputs(config):
        case "noise":
            shape = tuple(images_nchw.shape[1:])
            return inputs.noise(positions, shape, pool_statistics(whole, config), seed)
        case "shuffled_pixels":
            return inputs.shuffled_pixels(images_nchw, seed)
        case _:
            return images_nchw


def select(images: ImageSet, config: Images, seed: int) -> ImageSet:
    """The subset that `config` selects, in the order of the source; `images` itself if it selects
    all.

    Every class has n // classes samples, and the remainder goes to different classes. The training
    subset depends on `config.sample_seed`, or on `seed` where that is null, and a larger one
    contains a smaller one; the test subset is the same for every seed.
    """
    classes, downscale = _classes(images, config), _downscale(config)
    has_all_classes = classes == images.classes
    has_all_samples = config.train_samples is None and config.test_samples is None
    if has_all_classes and has_all_samples and downscale == 1:
        return images
    train = train_index(images, config, seed)
    test = _subset("test", images.test_labels, config.test_samples, classes, 0)
    subset = ImageSet(
        train_images=_averaged(images.train_images[train], downscale),
        train_labels=images.train_labels[train],
        test_images=_averaged(images.test_images[test], downscale),
        test_labels=images.test_labels[test],
        classes=classes,
        content_hash="",
    )
    return with_hash(subset)


def train_index(images: ImageSet, config: Images, seed: int) -> Tensor:
    """Positions in the whole set of the training samples that `select` keeps, int64 (n,)."""
    if config.sample_seed is not None:
        seed = config.sample_seed
    classes = _classes(images, config)
    return _subset("train", images.train_labels, config.train_samples, classes, seed)


def rest(images: ImageSet, config: Images, seed: int) -> tuple[Tensor, Tensor]:
    """The training images that `select` leaves out, and their labels: those of the configured
    classes, at the configured size and with the pixels that it asks for, in the order of the
    source.
    """
    is_left = images.train_labels < _classes(images, config)
    is_left[train_index(images, config, seed)] = False
    left = _averaged(images.train_images[is_left], _downscale(config))
    positions = is_left.nonzero().flatten().tolist()
    return _pixels(left, positions, images, config, seed), images.train_labels[is_left]


def pool_statistics(images: ImageSet, config: Images) -> tuple[Tensor, Tensor]:
    """Mean and deviation of every channel, float32 (c,) each, over all training samples of the
    configured classes at the configured size, whatever the subset.
    """
    pool = images.train_images[images.train_labels < _classes(images, config)]
    return augment.channel_statistics(_averaged(pool, _downscale(config)))


def _classes(images: ImageSet, config: Images) -> int:
    configured = config.classes if isinstance(config, CIFAR10) else None
    return configured or images.classes


def _downscale(config: Images) -> int:
    return config.downscale if isinstance(config, CIFAR10) else 1


def _averaged(images_nchw: Tensor, factor: int) -> Tensor:
    """Means over `factor` x `factor` pixel blocks as uint8: (n, c, h, w) -> (n, c, h/f, w/f)."""
    n, c, h, w = images_nchw.shape
    blocks = images_nchw.view(n, c, h // factor, factor, w // factor, factor)
    return ((blocks.sum((3, 5)) + factor**2 // 2) // factor**2).to(torch.uint8)


def _subset(part: str, labels: Tensor, n: int | None, classes: int, seed: int) -> Tensor:
    """Sorted indices of the samples to keep; subsets of different `n` are nested."""
    if n is None:
        return torch.nonzero(labels < classes).flatten()
    generator = numpy_stream(seed, "train subset" if part == "train" else "test subset")
    quota = np.full(classes, n // classes)
    quota[generator.permutation(classes)[: n % classes]] += 1
    members = []
    for label in range(classes):
        members.append(generator.permutation(np.flatnonzero(labels.numpy() == label)))
    for label, candidates in enumerate(members):
        if quota[label] > len(candidates):
            raise ConfigError(
                f"data.{part}_samples: found {n}, that is {quota[label]} of class {label}, "
                f"expected at most {len(candidates)} of that class; ask for fewer, or for null, "
                f"which takes all {sum(map(len, members))}"
            )
    indices = [candidates[:k] for candidates, k in zip(members, quota, strict=True)]
    return torch.from_numpy(np.sort(np.concatenate(indices)))


def _decode_digits() -> ImageSet:
    return _image_set(*digits.decode(), digits.CLASSES)


def _decode_svhn(config: SVHN) -> ImageSet:
    return _image_set(svhn.decode(config, "train"), svhn.decode(config, "test"), CLASSES)


def _image_set(train: Split, test: Split, classes: int) -> ImageSet:
    tensors = [torch.from_numpy(array) for array in (*train, *test)]
    train_images, train_labels, test_images, test_labels = tensors
    return with_hash(ImageSet(train_images, train_labels, test_images, test_labels, classes, ""))
