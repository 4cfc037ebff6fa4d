"""What a data set is: a hash of the contents of the files that it reads, found without torch.

`data.root` is no part of a cell's id, so two data sets can have the same id; the records say which
one a cell was trained on. Hashes are kept beside the decoded data sets, in
CACHE/sources/FINGERPRINT.json, where the fingerprint changes with the name, size or time of a file.
Standard library only: launch/ compares the hashes before anything is sent.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Layouts = Sequence[Sequence[str]]
"""Patterns of the files below a root, one list for each layout in which the data can come."""

_EVERYTHING: Layouts = (("**/*",),)


def source_hash(data: Any) -> str | None:
    """16 hexadecimal digits over the contents of the files below `data.root`; None for a data set
    without a root, or whose files cannot be read here.

    The first of the class's `layouts` with a file for each pattern counts; by default all files.
    """
    root = getattr(data, "root", None)
    if root is None:
        return None
    try:
        files = source_files(Path(root).expanduser(), getattr(data, "layouts", _EVERYTHING))
        stats = [(path, path.stat()) for path in files]
        described = [(str(path), stat.st_size, stat.st_mtime_ns) for path, stat in stats]
        fingerprint = hashlib.sha256(json.dumps(described).encode()).hexdigest()[:16]
        return _hash_of(fingerprint, tuple(files), _cache(data)) if files else None
    except OSError:
        return None


def source_files(root: Path, layouts: Layouts) -> list[Path]:
    """The files that a data set at `root` reads, sorted; `root` itself if it is a file."""
    if root.is_file():
        return [root]
    for patterns in layouts:
        groups = [[path for path in root.glob(p) if path.is_file()] for p in patterns]
        if all(groups):
            return sorted({path for group in groups for path in group})
    return []


def _cache(data: Any) -> Path:
    """The folder of the hashes."""
    folder = getattr(data, "cache", None) or os.environ.get("REDESCENT_CACHE")
    return Path(folder or "~/.cache/redescent").expanduser() / "sources"


@functools.lru_cache(maxsize=256)
def _hash_of(fingerprint: str, files: tuple[Path, ...], cache: Path) -> str:
    """The hash of some files, from the cache or from their contents."""
    path = cache / f"{fingerprint}.json"
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        return str(json.loads(path.read_bytes())["source_hash"])
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            content = hashlib.file_digest(stream, "sha256")
        digest.update(f"{file.name} {content.hexdigest()}\n".encode())
    value = digest.hexdigest()[:16]
    with contextlib.suppress(OSError):
        _write(path, json.dumps({"source_hash": value, "files": list(map(str, files))}))
    return value


def _write(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text)
    os.replace(temporary, path)
