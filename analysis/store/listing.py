"""The files of a sweep: its parts, and those of its store, which the manifest names.

Nothing in this module reads a Parquet file or writes.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from analysis.store.errors import FileVanished, StoreError

CLAIMED = ".consumed"  # ends the hidden name of a part that a compaction is about to delete
STORE_NAME = re.compile(r"(?P<kind>runs|curves)-(?P<generation>\d+)(-\d+)?\.parquet")
"""Names that a compaction gives the files of a store."""


def list_parts(folder: Path) -> tuple[Path, ...]:
    """Complete part files of one folder, sorted; names that start with "." or "tmp" are unfinished.

    A part that a compaction has claimed and not deleted (it may have died there) is complete, and
    listed too.
    """
    paths = []
    for name in sorted(list_names(folder)):
        is_complete = name.endswith(".parquet") and not name.startswith((".", "tmp"))
        if is_complete or (name.startswith(".") and name.endswith(CLAIMED)):
            paths.append(folder / name)
    return tuple(paths)


def list_names(folder: Path) -> list[str]:
    """Names in a folder, none if it does not exist. StoreError if it cannot be read.

    pathlib's glob finds nothing in a folder that may not be read, as if it were empty.
    """
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise StoreError(
            f"{folder}: cannot be listed ({error.strerror}), so its results are unknown; ask its "
            "owner for permission to read it"
        ) from error


def read_manifest(folder: Path) -> list[dict[str, Any]]:
    """Records of `folder/store/manifest.json`, or an empty list where nothing was compacted yet.

    Without a manifest (lost, or not yet written by a first compaction) there is a record with
    'file' and 'kind' for every whole file in the store: none is forgotten, and rows that are also
    in parts are merged. Raises StoreError where the manifest is not the JSON list that `compact`
    writes, or names a file that no compaction writes.
    """
    path = folder / "store" / "manifest.json"
    try:
        records = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return _records_by_name(path.parent)
    except (ValueError, RecursionError):
        records = None
    if isinstance(records, list) and all(map(_is_record, records)):
        return records
    raise StoreError(
        f"{path}: not a store manifest (expected a JSON list of records with 'file', such as "
        "runs-000001.parquet, and 'kind'); restore it, or move it away and run `redescent "
        "compact`, which writes it again from the files beside it"
    )


def _is_record(record: Any) -> bool:
    """Whether an entry of a manifest names a file of the store, of the kind that it states."""
    if not isinstance(record, dict) or not isinstance(record.get("file"), str):
        return False
    name = STORE_NAME.fullmatch(record["file"])
    return name is not None and name["kind"] == record.get("kind")


def _records_by_name(store: Path) -> list[dict[str, Any]]:
    """What a manifest would say at least of the files in the store, from their names."""
    return [{"file": name, "kind": name.partition("-")[0]} for name in _names_in(store)]


def _names_in(store: Path) -> list[str]:
    """Files in the store with a name that a compaction gives, sorted."""
    return sorted(name for name in list_names(store) if STORE_NAME.fullmatch(name))


def store_files(folder: Path, kind: str) -> list[Path]:
    """The store's files of one kind, without those that the manifest names and that are lost.

    What a lost file alone held counts as not logged. May raise FileVanished. Raises StoreError if
    files are lost and others are there that the manifest does not name: then it is not the
    manifest of these files.
    """
    store = folder / "store"
    paths = {store / r["file"] for r in read_manifest(folder) if r["kind"] == kind}
    absent = {path for path in paths if not path.exists()}
    # a compaction deletes a file only after it has switched to a manifest without it
    if absent and absent.isdisjoint(store / r["file"] for r in read_manifest(folder)):
        raise FileVanished(str(min(absent)))
    if absent:
        check_manifest(folder)
    return sorted(paths - absent)


def check_manifest(folder: Path) -> None:
    """Raise StoreError if the manifest lacks files that are there and names files that are not.

    Deleting either kind could delete the only copy of a row.
    """
    store = folder / "store"
    records = {record["file"] for record in read_manifest(folder)}
    present = set(_names_in(store))
    lost, unlisted = sorted(records - present), sorted(present - records)
    if lost and unlisted:
        raise StoreError(
            f"{store / 'manifest.json'}: not the manifest of the files beside it: it names "
            f"{_some(lost)}, which are gone, and lacks {_some(unlisted)}, which are there. "
            "Restore the missing files, or move the manifest away and run `redescent compact`, "
            "which adopts all files that are there"
        )


def _some(names: Sequence[str]) -> str:
    """The first names of a list, for a message."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def store_is_whole(folder: Path) -> bool:
    """Whether there is a manifest and all files that it names."""
    store = folder / "store"
    if not (store / "manifest.json").exists():
        return False
    return all((store / r["file"]).exists() for r in read_manifest(folder))


def check_file(path: Path, record: dict[str, Any]) -> None:
    """Raise StoreError unless a file of the store has the size and hash that its record states.

    Records of a store without its manifest state neither. A file is hashed once a process, unless
    it changes.
    """
    if "sha256" not in record:
        return
    status = path.stat()
    if status.st_size != record["bytes"]:
        raise _changed(path, f"{status.st_size} bytes, expected {record['bytes']}")
    if _sha256(path, status.st_ino, status.st_mtime_ns) != record["sha256"]:
        raise _changed(path, "another SHA-256 than the manifest states")


def _changed(path: Path, difference: str) -> StoreError:
    return StoreError(
        f"{path}: changed since it was written (found {difference}). Restore it from a copy, or "
        "move it away and run `redescent resume`, which trains again what only this file held"
    )


@functools.lru_cache(maxsize=4096)
def _sha256(path: Path, inode: int, changed_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
