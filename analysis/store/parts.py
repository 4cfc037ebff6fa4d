"""Parquet files of a sweep: listing them, and reading them safely while others write.

Both reading and compaction go through here. Nothing in this module writes. Tables are pyarrow
tables; `cell` is always dictionary-encoded.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from analysis.store.columns import foreign_column, foreign_value, message
from analysis.store.footer import footer_problem
from analysis.store.states import read_states

SCHEMA_KEY = b"redescent.schema"
SCHEMA_VERSION = 1
CELL_TYPE = pa.dictionary(pa.int32(), pa.string())
KEYS = ("cell", "attempt", "epoch")
KINDS = ("curves", "runs")
CLAIMED = ".consumed"  # ends the hidden name of a part that a compaction is about to delete
FINAL = ("done", "nonfinite")  # statuses of a cell that needs no further run
RETRIES = 5
ROWS_FOR_THREADS = 50_000
STORE_NAME = re.compile(r"(?P<kind>runs|curves)-(?P<generation>\d+)(-\d+)?\.parquet")
"""Names that a compaction gives the files of a store."""

T = TypeVar("T")


class StoreError(FileNotFoundError):
    """Logs that are absent, empty or unreadable; the message says what to do about it."""


class NothingLogged(StoreError):
    """A sweep, or a cell, that has logged nothing yet."""


class FileVanished(Exception):
    """A compaction consumed a listed file or replaced the store: the files must be listed again."""


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


def retrying(action: Callable[[], T]) -> T:
    """`action()`, again from the start when a file vanished; StoreError after RETRIES times."""
    vanished = FileVanished()
    for _ in range(RETRIES):
        try:
            return action()
        except FileVanished as error:
            vanished = error
    raise StoreError(
        f"{vanished}: listed, but gone when it was to be read, {RETRIES} times in a row; if no "
        "compaction is running, the store's manifest names a file that somebody deleted"
    ) from vanished


def read_all(
    folder: Path,
    kind: str,
    columns: Sequence[str] | None = None,
    cells: Sequence[str] | None = None,
) -> list[pa.Table]:
    """Tables of every file of one kind, "curves" or "runs"; a row may be in several of them.

    A part that vanishes during the reading was consumed by a compaction, which switched the
    manifest before it deleted the part. So parts are read first, those that vanished are passed
    over, and the manifest read after them names a store that has their rows. May raise
    FileVanished, if a second compaction ends in between.
    """
    tables = {}
    for path in list_parts(folder / kind):
        with contextlib.suppress(FileVanished):
            tables[path] = _read_part(path, kind, columns, cells)
    if kind == "runs":
        tables = _checked_records(folder, tables)
    read = read_records if kind == "runs" else read_file
    shards = [read(path, columns, cells) for path in verified_store_files(folder, kind)]
    return [*shards, *tables.values()]


def _read_part(
    path: Path, kind: str, columns: Sequence[str] | None, cells: Sequence[str] | None
) -> pa.Table:
    """A part as `read_file` returns it, from its block of states where that has all columns."""
    if kind == "runs" and columns is not None:
        with _named_errors(path):
            table = read_states(path, columns)
            if table is not None:
                check_version(path, table.schema.metadata)
                return filter_cells(_checked_columns(path, table, columns), cells)
    return read_file(path, columns, cells)


def _checked_records(folder: Path, tables: Mapping[Path, pa.Table]) -> dict[Path, pa.Table]:
    """The parts of records, each as `read_records` returns it; the folder of rows is listed once.

    It is listed after they were read: rows are written before records.
    """
    parts_of_rows = {_part_name(path) for path in list_parts(folder / "curves")}
    checked = {}
    for path, table in tables.items():
        has_rows = _part_name(path) in parts_of_rows
        checked[path] = table if has_rows else _without_rows(path, table)
    return checked


def verified_store_files(folder: Path, kind: str) -> list[Path]:
    """The store's files of one kind, checked against the manifest; raises as `store_files`, and
    StoreError for a file that changed.
    """
    records = {record["file"]: record for record in read_manifest(folder)}
    paths = store_files(folder, kind)
    for path in paths:
        with _named_errors(path):
            check_file(path, records.get(path.name, {}))
    return paths


def read_records(
    path: Path, columns: Sequence[str] | None = None, cells: Sequence[str] | None = None
) -> pa.Table:
    """A file of run records; a cell whose rows were lost counts as stopped: it needs another run.

    Rows are written before records, and compacted before they are deleted, so only a lost file
    shows here.
    """
    table = read_file(path, columns, cells)
    if path.parent.name == "store" and store_is_whole(path.parent.parent):
        return table
    if path.parent.name == "runs" and _has_rows(path):
        return table
    return _without_rows(path, table)


def _without_rows(path: Path, table: pa.Table) -> pa.Table:
    """Records whose rows may be lost: those that are final and have none count as stopped."""
    if not {"status", "epochs"} <= set(table.schema.names):
        return table
    status = pc.if_else(_rows_lost(path, table), "stopped", table["status"])
    return table.set_column(table.schema.get_field_index("status"), "status", status)


def _rows_lost(path: Path, table: pa.Table) -> pa.ChunkedArray:
    """Whether each record is final and says that epochs were logged; not if the store has rows."""
    final = pc.is_in(table["status"], pa.array(FINAL, pa.string()))
    logged = pc.and_(final, pc.greater(pc.fill_null(table["epochs"], 0), 0))
    if path.parent.name == "runs":
        return logged
    with_rows = pa.array(_cells_with_rows(path.parent.parent), pa.string())
    return pc.and_not(logged, pc.is_in(table["cell"].cast(pa.string()), with_rows))


def _part_name(path: Path) -> str:
    """The name of a part, claimed by a compaction or not."""
    name = path.name
    return name[1 : -len(CLAIMED)] if name.endswith(CLAIMED) else name


def _has_rows(path: Path) -> bool:
    """Whether the part of rows that was written with this part of records still exists."""
    name = _part_name(path)
    curves = path.parent.parent / "curves"
    return (curves / name).exists() or (curves / f".{name}{CLAIMED}").exists()


def _cells_with_rows(folder: Path) -> list[str]:
    """All cells that have rows, in parts or in the store."""
    cells: set[str] = set()
    for path in [*list_parts(folder / "curves"), *store_files(folder, "curves")]:
        cells.update(read_file(path, ["cell"])["cell"].unique().to_pylist())
    return sorted(cells)


def read_file(
    path: Path, columns: Sequence[str] | None = None, cells: Sequence[str] | None = None
) -> pa.Table:
    """One file as a table, limited to `columns` (those it has) and to the rows of `cells`.

    None means all. Raises FileVanished when the file is gone, StoreError when it is damaged, has no
    `cell`, or comes from newer code.
    """
    return read_with_schema(path, columns, cells)[0]


def read_with_schema(
    path: Path, columns: Sequence[str] | None = None, cells: Sequence[str] | None = None
) -> tuple[pa.Table, pa.Schema]:
    """`read_file`, and the schema of the whole file."""
    with _named_errors(path), pq.ParquetFile(path, page_checksum_verification=True) as file:
        check_footer(path)
        check_version(path, file.metadata.metadata)
        threads = file.metadata.num_rows > ROWS_FOR_THREADS  # they cost a small part more time
        table = file.read_row_groups(_row_groups(file, cells), columns=columns, use_threads=threads)
        if "cell" not in table.schema.names:
            raise _no_cells(path, file.schema_arrow.names)
        rows = filter_cells(_checked_columns(path, table, columns), cells)
        return rows, file.schema_arrow


def _checked_columns(path: Path, table: pa.Table, columns: Sequence[str] | None) -> pa.Table:
    """The table with its cells encoded; StoreError for columns that no sweep has."""
    _refuse(path, foreign_column(table.schema, _kind(path), columns))
    table = _encoded(table)
    _refuse(path, foreign_value(table))
    return table


@contextlib.contextmanager
def _named_errors(path: Path) -> Iterator[None]:
    """Turns the errors of pyarrow and of the file system into FileVanished or StoreError."""
    try:
        yield
    except StoreError:
        raise
    except OSError as error:
        if isinstance(error, FileNotFoundError) or error.errno == errno.ESTALE:
            raise FileVanished(str(path)) from error
        raise unreadable(path, error) from error
    except (pa.ArrowException, ValueError, KeyError, IndexError) as error:
        # a changed byte in the footer can raise any of these
        raise unreadable(path, error) from error


def check_footer(path: Path) -> None:
    """StoreError for a part whose footer was changed since it was written."""
    problem = footer_problem(path)
    if problem:
        raise unreadable(path, ValueError(problem))


def unreadable(path: Path, error: Exception) -> StoreError:
    """The error for a file that is no whole Parquet file."""
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return StoreError(
        f"{path}: not a complete Parquet file ({reason}). Parts appear by rename and are whole, so "
        "this one was damaged later (full disk, interrupted copy): move it away and run "
        "`redescent resume`, which trains again what only this file held"
    )


def check_version(path: Path, metadata: Mapping[bytes, bytes] | None) -> None:
    """StoreError for a schema version that this code does not know.

    A file that names no version is accepted.
    """
    version = (metadata or {}).get(SCHEMA_KEY, b"1")
    if not version.isdigit() or int(version) > SCHEMA_VERSION:
        raise StoreError(
            f"{path}: schema version {version.decode(errors='replace')}, but this code reads up to "
            f"{SCHEMA_VERSION}; update the project that reads, or read the file with the version "
            "that wrote it"
        )


def _kind(path: Path) -> str:
    """What a part or a file of the store holds: "runs" or "curves"."""
    is_records = path.parent.name == "runs" or path.name.startswith("runs-")
    return "runs" if is_records else "curves"


def _no_cells(path: Path, names: Sequence[str]) -> StoreError:
    columns = ", ".join(names[:8])
    return StoreError(f"{path}: no column 'cell' (found {columns}); not a sweep's file")


def _refuse(path: Path, difference: str | None) -> None:
    if difference:
        raise StoreError(message(path, difference))


def _row_groups(file: pq.ParquetFile, cells: Sequence[str] | None) -> list[int]:
    """Row groups whose range of cell ids meets `cells`; all of those without statistics."""
    groups = list(range(file.num_row_groups))
    names = [] if cells is None else file.schema_arrow.names
    if "cell" not in names:
        return groups
    column = names.index("cell")
    ids = np.sort(np.asarray(cells, dtype=str))
    return [
        g
        for g in groups
        if _has_id_in_range(file.metadata.row_group(g).column(column).statistics, ids)
    ]


def _has_id_in_range(limits: pq.Statistics | None, ids: np.ndarray) -> bool:
    """Whether one of the sorted ids lies in the range; True where the range is unknown."""
    if limits is None or not limits.has_min_max:
        return True
    first = np.searchsorted(ids, limits.min, "left")
    return bool(first < np.searchsorted(ids, limits.max, "right"))


def _encoded(table: pa.Table) -> pa.Table:
    """The table with `cell` as dictionary<int32, string>, whatever type it was written as."""
    index = table.schema.get_field_index("cell")
    field = table.schema.field(index)
    if field.type == CELL_TYPE:
        return table
    cell = table["cell"].cast(pa.string()).dictionary_encode().cast(CELL_TYPE)
    return table.set_column(index, field.with_type(CELL_TYPE), cell)


def filter_cells(table: pa.Table, cells: Sequence[str] | None) -> pa.Table:
    """The rows of the given cells; all rows for None."""
    if cells is None:
        return table
    return table.filter(pc.is_in(table["cell"], value_set=pa.array(list(cells), pa.string())))
