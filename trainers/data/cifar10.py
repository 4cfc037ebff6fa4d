"""CIFAR-10 as arrays, from Parquet files with PNG images, from the official python batches, or from
their tar.gz.

Finds the source that the configuration names, fingerprints it, and decodes it. Batches are pickles;
they are read without running any code in them.
"""

from __future__ import annotations

import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from trainers.config import CIFAR10
from trainers.data import DataError, images32, pickled
from trainers.data.images32 import REMEDY, SHAPE, Split

URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
MD5 = "c58f30108f718f92721af3b95e74349a"
ARCHIVE = "cifar-10-python.tar.gz"
FOLDER = "cifar-10-batches-py"
TRAIN_BATCHES = tuple(f"data_batch_{number}" for number in range(1, 6))
BATCHES = (*TRAIN_BATCHES, "test_batch")
KNOWN = f"train-*.parquet and test-*.parquet, {FOLDER}, or {ARCHIVE}"


@dataclass(frozen=True)
class Source:
    """Where the images come from; `files` is empty before a download."""

    kind: Literal["parquet", "batches", "archive", "download"]
    files: tuple[Path, ...]


def locate(config: CIFAR10) -> Source:
    """The source at `config.root`, or the download. Raises `DataError` for an empty place."""
    if config.root is None:
        if config.download:
            return Source("download", ())
        raise DataError(
            "CIFAR-10: found data.root=null and data.download=false, expected a place to read "
            f"from; give the folder with data.root=DIR (it holds {KNOWN}), or fetch {URL} with "
            "data.download=true"
        )
    root = Path(config.root).expanduser()
    if root.is_file():
        return Source("archive", (root,))
    if not root.is_dir():
        raise DataError(
            f"{root}: found no such folder or file, expected {KNOWN}; correct data.root=DIR"
        )
    return _in_folder(root)


def _in_folder(root: Path) -> Source:
    train, test = _regular(root, "train-*.parquet"), _regular(root, "test-*.parquet")
    if train and test:
        return Source("parquet", (*train, *test))
    for folder in (root, root / FOLDER):
        if any((folder / name).is_file() for name in BATCHES):
            return Source("batches", tuple(folder / name for name in BATCHES))
    if (root / ARCHIVE).is_file():
        return Source("archive", (root / ARCHIVE,))
    names = sorted(entry.name for entry in root.iterdir())
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    content = ", ".join(names[:8]) + more
    raise DataError(
        f"{root}: found {content or 'an empty folder'}, expected {KNOWN}; correct data.root=DIR"
    )


def _regular(folder: Path, pattern: str) -> list[Path]:
    """Files that match, sorted; reading from a pipe would wait for ever."""
    return sorted(path for path in folder.glob(pattern) if path.is_file())


def fingerprint(source: Source) -> str:
    """Kind, names, sizes and times of the source files; for a download its checksum."""
    if source.kind == "download":
        return f"download {MD5}"
    try:
        stats = [(path.name, path.stat()) for path in source.files]
    except FileNotFoundError as error:
        expected = ", ".join(path.name for path in source.files)
        raise DataError(
            f"{error.filename}: found no such file, expected all of {expected}; {REMEDY}"
        ) from error
    return f"{source.kind} {[(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]}"


def decode(source: Source, cache: Path) -> tuple[Split, Split]:
    """Training and test images, uint8 (n, 3, 32, 32), with labels; `cache` keeps a download."""
    if source.kind == "parquet":
        return _read_parts(source, "train-"), _read_parts(source, "test-")
    if source.kind == "batches":
        batches = {path.name: _read_batch(_content(path), str(path)) for path in source.files}
    else:
        batches = _read_archive(download(cache) if source.kind == "download" else source.files[0])
    return _join([batches[name] for name in TRAIN_BATCHES]), _join([batches["test_batch"]])


def _read_parts(source: Source, prefix: str) -> Split:
    files = [path for path in source.files if path.name.startswith(prefix)]
    return _join([images32.read_parquet(path) for path in files])


def check_rows(config: CIFAR10, train: int, test: int) -> None:
    """Raise `DataError` if the size is not `config.source_rows`, for example for a part of
    CIFAR-10.
    """
    if (train, test) != config.source_rows:
        expected = " and ".join(map(str, config.source_rows))
        raise DataError(
            f"{config.root or URL}: found {train} training and {test} test images, expected "
            f"{expected}; correct data.root=DIR, or accept the set with "
            f"data.source_rows=[{train},{test}]"
        )


def download(cache: Path) -> Path:
    """The official archive in `cache`, fetched if missing, with its checksum verified."""
    import pooch  # only a download needs it

    try:
        return Path(pooch.retrieve(URL, known_hash=f"md5:{MD5}", fname=ARCHIVE, path=cache))
    except (OSError, ValueError) as error:  # base classes of what requests and pooch raise
        raise DataError(
            f"{URL}: found {error}, expected a file of MD5 {MD5} to be kept in {cache}; try again, "
            "or fetch it on a machine with access and name it with data.root=DIR"
        ) from error


def _join(splits: list[Split]) -> Split:
    """One split, copied: an unpickled array may be read-only, which torch does not accept."""
    images, labels = zip(*splits, strict=True)
    return np.concatenate(images), np.concatenate(labels)


def _read_archive(path: Path) -> dict[str, Split]:
    """The batches of a tar file, by name, read in one pass; nothing is unpacked to disk."""
    try:
        with tarfile.open(path) as archive:
            batches = dict(_members(archive))
    except (OSError, EOFError, tarfile.TarError, zlib.error) as error:
        raise DataError(
            f"{path}: found {error}, expected the complete {ARCHIVE}; {REMEDY}"
        ) from error
    missing = [name for name in BATCHES if name not in batches]
    if missing:
        raise DataError(
            f"{path}: found no {', '.join(missing)}, expected them in {FOLDER}/; {REMEDY}"
        )
    return {name: _read_batch(batches[name], f"{path}:{FOLDER}/{name}") for name in BATCHES}


def _members(archive: tarfile.TarFile) -> Iterator[tuple[str, bytes]]:
    for member in archive:
        folder, _, name = member.name.rpartition("/")
        if name not in BATCHES or not folder.endswith(FOLDER) or not member.isfile():
            continue
        file = archive.extractfile(member)
        if file is not None:
            yield name, file.read()


def _content(path: Path) -> bytes:
    """The bytes of a batch; DataError for a folder, a pipe or a file that cannot be read."""
    if not path.is_file():
        raise DataError(f"{path}: found no regular file, expected a python batch; {REMEDY}")
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: found {error.strerror}, expected a batch; {REMEDY}") from error


def _read_batch(data: bytes, name: str) -> Split:
    """One batch: `data`, uint8 (n, 3072) by channel, row, column, and n integer `labels`."""
    try:
        batch = pickled.load(data)
        pixels, labels = pickled.array(batch[b"data"]), pickled.array(batch[b"labels"])
    except KeyError as error:
        raise DataError(
            f"{name}: found no {error.args[0]!r}, expected data and labels; {REMEDY}"
        ) from error
    except Exception as error:  # a damaged pickle can raise almost any exception
        raise DataError(
            f"{name}: found {error}, expected a CIFAR-10 python batch; {REMEDY}"
        ) from error
    rows = np.size(labels)
    integers = labels.shape == (rows,) and labels.dtype.kind in "iu"
    if pixels.dtype != np.uint8 or pixels.shape != (rows, 3072) or not integers:
        raise DataError(
            f"{name}: found data {pixels.dtype} {pixels.shape} and labels {labels.dtype} "
            f"{labels.shape}, expected uint8 (n, 3072) and n integers; {REMEDY}"
        )
    return images32.checked(pixels.reshape(-1, *SHAPE), labels, name)
