"""Image sets in memory: the whole set through a cache of decoded files, and class-balanced subsets
of it.

The cache holds one file per source and version of it. Hundreds of jobs may start at once, so a lock
lets one of them decode while the others wait. If the file system has no locks, or the folder cannot
be written, each job decodes for itself. A cached set is checked against its hash every time it is
read.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainers.checkpoint import replacing
from trainers.config import CIFAR10, SVHN, ConfigError, Digits, Images
from trainers.data import DataError, augment, cifar10, digits, inputs, svhn
from trainers.data.images32 import CLASSES
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

FORMAT = 1  # of the cache files; if it changes, older files are ignored
LOCK_SECONDS = 600.0
"""How long to wait for the lock: longer than any decoding or download should take."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ImageSet:
    """Images, uint8 (n, c, h, w), and labels, int64 (n,) in 0..classes-1, all on the CPU."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    classes: int
    content_hash: str


def load(config: Images) -> ImageSet:
    """The whole set that `config` names, in the order of its source.

    Raises `DataError` if the source is missing or damaged, or has another size than the
    configuration says.
    """
    cache = Path(config.cache).expanduser()
    if isinstance(config, Digits):
        return _cached(_cache_path(cache, "digits", digits.fingerprint()), _decode_digits)
    if isinstance(config, SVHN):
        path = _cache_path(cache, "svhn", svhn.fingerprint(config))
        return _cached(path, lambda: _decode_svhn(config))
    source = cifar10.locate(config)
    path = _cache_path(cache, "cifar10", cifar10.fingerprint(source))
    images = _cached(path, lambda: _image_set(*cifar10.decode(source, cache), CLASSES))
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
    if (
        classes == images.classes
        and downscale == 1
        and config.train_samples is None
        and config.test_samples is None
    ):
        return images
    train = train_index(images, config, seed)
    test = _subset("test", images.test_labels, config.test_samples, classes, 0)
    return with_hash(
        ImageSet(
            train_images=_averaged(images.train_images[train], downscale),
            train_labels=images.train_labels[train],
            test_images=_averaged(images.test_images[test], downscale),
            test_labels=images.test_labels[test],
            classes=classes,
            content_hash="",
        )
    )


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
    members = [
        generator.permutation(np.flatnonzero(labels.numpy() == label)) for label in range(classes)
    ]
    for label, candidates in enumerate(members):
        if quota[label] > len(candidates):
            raise ConfigError(
                f"data.{part}_samples: found {n}, that is {quota[label]} of class {label}, "
                f"expected at most {len(candidates)} of that class; ask for fewer, or for null, "
                f"which takes all {sum(map(len, members))}"
            )
    indices = [candidates[:k] for candidates, k in zip(members, quota, strict=True)]
    return torch.from_numpy(np.sort(np.concatenate(indices)))


_Split = tuple[NDArray[np.uint8], NDArray[np.int64]]


def _decode_digits() -> ImageSet:
    return _image_set(*digits.decode(), digits.CLASSES)


def _decode_svhn(config: SVHN) -> ImageSet:
    return _image_set(svhn.decode(config, "train"), svhn.decode(config, "test"), CLASSES)


def _image_set(train: _Split, test: _Split, classes: int) -> ImageSet:
    tensors = [torch.from_numpy(array) for array in (*train, *test)]
    train_images, train_labels, test_images, test_labels = tensors
    return with_hash(ImageSet(train_images, train_labels, test_images, test_labels, classes, ""))


def with_hash(images: ImageSet) -> ImageSet:
    """`images` with the hash of what it holds."""
    return dataclasses.replace(images, content_hash=_content_hash(images))


def _content_hash(images: ImageSet) -> str:
    digest = hashlib.sha256(str(images.classes).encode())
    for tensor in (
        images.train_images,
        images.train_labels,
        images.test_images,
        images.test_labels,
    ):
        array = tensor.numpy()
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:16]


def _cache_path(folder: Path, name: str, fingerprint: str) -> Path:
    return (
        folder / f"{name}-{hashlib.sha256(f'{FORMAT} {fingerprint}'.encode()).hexdigest()[:16]}.pt"
    )


def _cached(path: Path, decode: Callable[[], ImageSet]) -> ImageSet:
    images = _read(path)
    if images is not None:
        return images
    with _locked(path.with_suffix(".lock")):
        images = _read(path)
        if images is None:
            if os.path.exists(path):
                logger.warning(
                    "%s: found a file that is damaged or of another format; decoding the data "
                    "again",
                    path,
                )
            images = decode()
            _write(path, images)
    return images


def _read(path: Path) -> ImageSet | None:
    """The cached set, or None if there is no usable one.

    It is read into memory, not mapped: if another machine removes a mapped file from a shared disk,
    its readers crash.
    """
    try:
        images = ImageSet(**torch.load(path, weights_only=True))
        return images if _content_hash(images) == images.content_hash else None
    except Exception:
        # damage can raise anything from a KeyError to a RuntimeError of the zip reader
        return None


def _write(path: Path, images: ImageSet) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            torch.save(dataclasses.asdict(images), file)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        logger.warning(
            "%s: cannot be written (%s), so every run decodes the data again; set data.cache to a "
            "folder that can",
            path,
            error,
        )


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    handle = _acquire(path)
    try:
        yield
    finally:
        if handle is not None:
            os.close(handle)


def _acquire(path: Path) -> int | None:
    """A descriptor that holds the lock, or None without locks; polls, so signals are served."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError:
        return None
    deadline = time.monotonic() + LOCK_SECONDS
    while time.monotonic() < deadline:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return handle
        except BlockingIOError:
            time.sleep(0.1)
        except OSError as error:
            logger.info("%s: the file system refuses locks (%s); continuing without", path, error)
            break
    else:
        logger.warning(
            "%s: held by another process for over %.0f s; continuing without the lock",
            path,
            LOCK_SECONDS,
        )
    os.close(handle)
    return None
