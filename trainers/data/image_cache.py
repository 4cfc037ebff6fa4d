"""Decoded image sets, in one file for each source and version of it.

Hundreds of jobs may start at once, so a lock lets one of them decode while the others wait. If the
file system has no locks, or the folder cannot be written, each job decodes for itself. A set is
checked against its hash every time it is read.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import logging
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from trainers.checkpoint import replacing
from trainers.data.labelled import hash_of

FORMAT = 1
"""Of the files; if it changes, older ones are ignored."""

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


def with_hash(images: ImageSet) -> ImageSet:
    """`images` with the hash of what it holds."""
    return dataclasses.replace(images, content_hash=_content_hash(images))


def _content_hash(images: ImageSet) -> str:
    arrays = (images.train_images, images.train_labels, images.test_images, images.test_labels)
    return hash_of(*arrays, before=str(images.classes))


def cache_file(folder: Path, name: str, fingerprint: str) -> Path:
    """The file of a data set whose source has this fingerprint."""
    digest = hashlib.sha256(f"{FORMAT} {fingerprint}".encode()).hexdigest()[:16]
    return folder / f"{name}-{digest}.pt"


def cached(path: Path, decode: Callable[[], ImageSet]) -> ImageSet:
    """The set in a file, which is decoded and written if there is no usable one."""
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
