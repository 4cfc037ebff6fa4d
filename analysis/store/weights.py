"""The saved weights of a sweep: plain npz files, one per cell, and the shards that hold many.

    logs/NAME/weights/CELL.npz            the final weights of a cell
    logs/NAME/weights/CELL.path.npz       its snapshots
    logs/NAME/weights/shard-000001.zip    whole files of the two kinds, as members, uncompressed

`pack` moves the files of finished cells into shards of at most a gigabyte, if there are many;
shared disks run out of inodes. The members of a shard are compared with the files before any file
is removed. A file beside the shards is newer than a member of its name.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import zipfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from analysis.store.errors import StoreError
from analysis.store.listing import list_names

SHARD_BYTES = 10**9
"""Most bytes of a shard, unless one file alone has more."""

LEAST_FILES = 100
"""Fewer loose files than this are left as they are: anybody can read a plain npz file."""

SHARD_NAME = re.compile(r"shard-(\d{6})\.zip")
_FILE_NAME = re.compile(r"(?P<cell>[^.]+)(\.path)?\.npz")
_EPOCH_OF_ZIP = (1980, 1, 1, 0, 0, 0)


def names(folder: Path) -> frozenset[str]:
    """Names of all files of weights of a sweep, such as CELL.npz, in shards or not.

    Raises StoreError if the folder or a shard cannot be read.
    """
    root = folder / "weights"
    files = {name for name in list_names(root) if _FILE_NAME.fullmatch(name)}
    for shard in _shards(root):
        with _opened(shard) as archive:
            files.update(archive.namelist())
    return frozenset(files)


def load(folder: Path, name: str) -> dict[str, NDArray[np.generic]]:
    """The arrays of one file of weights, by name; from a shard if it was packed.

    Raises FileNotFoundError if there is none, and StoreError for a damaged file.
    """
    path = folder / "weights" / name
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        content = _from_shards(folder, name)
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            arrays = dict(archive)
    except Exception as error:  # damage can raise anything
        raise _damaged(path, error) from None
    if "__checksum__" in arrays and str(arrays["__checksum__"]) != checksum(arrays):
        raise _damaged(path, ValueError("its checksum is not that of its content"))
    return arrays


def checksum(arrays: Mapping[str, NDArray[np.generic]]) -> str:
    """SHA-256 over name, type, shape and bytes of every array but the checksum itself."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        if name != "__checksum__":
            array = np.ascontiguousarray(arrays[name])
            digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
            digest.update(array.tobytes())
    return digest.hexdigest()


def _damaged(path: Path, error: Exception) -> StoreError:
    reason = str(error) or type(error).__name__
    return StoreError(
        f"{path}: not a whole file of weights ({reason}); restore it from a copy, or move it "
        "away and train the cell again"
    )


def _from_shards(folder: Path, name: str) -> bytes:
    """The content of a packed file, from the newest shard that has it."""
    for shard in reversed(_shards(folder / "weights")):
        with _opened(shard) as archive:
            if name not in archive.namelist():
                continue
            try:
                return archive.read(name)
            except Exception as error:  # damage can raise anything
                raise _damaged(shard, error) from None
    raise FileNotFoundError(f"{folder / 'weights' / name} does not exist")


def _shards(root: Path) -> list[Path]:
    """The shards in a folder of weights, oldest first."""
    return [root / name for name in sorted(list_names(root)) if SHARD_NAME.fullmatch(name)]


def _opened(shard: Path) -> zipfile.ZipFile:
    """A shard, open; StoreError if it is damaged.

    The members are zip files too: of a truncated shard, Python opens the last whole member.
    """
    problem = "it ends early"
    try:
        archive = zipfile.ZipFile(shard)
        if all(map(_FILE_NAME.fullmatch, archive.namelist())):
            return archive
        archive.close()
    except Exception as error:  # damage can raise anything
        problem = str(error)
    raise StoreError(
        f"{shard}: not a whole shard of weights ({problem}); restore it from a copy, or move it "
        "away and train its cells again"
    )


def pack(
    folder: Path,
    cells: Collection[str],
    shard_bytes: int = SHARD_BYTES,
    least_files: int = LEAST_FILES,
) -> int:
    """Move the files of weights of these finished cells into shards; returns how many files.

    Call it under the lock of the compaction. Raises StoreError if a shard differs from the files
    that it was written from; then no file is removed.
    """
    root = folder / "weights"
    paths = []
    for name in sorted(list_names(root)):
        match = _FILE_NAME.fullmatch(name)
        if match is not None and match["cell"] in cells:
            paths.append(root / name)
    if len(paths) < least_files:
        return 0
    for group in _groups(paths, shard_bytes):
        shard = root / f"shard-{_next_number(root):06d}.zip"
        identities = [_identity(path) for path in group]
        _write(shard, group)
        _verify(shard, group)
        for path, identity in zip(group, identities, strict=True):
            if _identity(path) == identity:
                path.unlink()
    return len(paths)


def _groups(paths: Sequence[Path], shard_bytes: int) -> Iterator[list[Path]]:
    """Neighbours that fit into one shard."""
    group: list[Path] = []
    filled = 0
    for path in paths:
        size = path.stat().st_size
        if group and filled + size > shard_bytes:
            yield group
            group, filled = [], 0
        group.append(path)
        filled += size
    if group:
        yield group


def _next_number(root: Path) -> int:
    numbers = [int(shard.stem.partition("-")[2]) for shard in _shards(root)]
    return max(numbers, default=0) + 1


def _identity(path: Path) -> tuple[int, int, int]:
    """What differs once a file is replaced: inode, bytes and ns of the last change."""
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns


def _write(shard: Path, paths: Sequence[Path]) -> None:
    """Write a shard under a temporary name, synced, and rename it."""
    temporary = shard.with_name(f".{shard.name}.writing")
    with temporary.open("wb") as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for path in paths:
                archive.writestr(zipfile.ZipInfo(path.name, _EPOCH_OF_ZIP), path.read_bytes())
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, shard)


def _verify(shard: Path, paths: Sequence[Path]) -> None:
    """Read a shard back and compare it with the files that it was written from."""
    with _opened(shard) as archive:
        for path in paths:
            if archive.read(path.name) != path.read_bytes():
                raise StoreError(
                    f"{shard}: {path.name} differs from the file that it was written from; "
                    "nothing was removed. Check the disk and compact again"
                )
