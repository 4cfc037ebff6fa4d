"""Parquet files of a sweep: listing them, and reading one safely while others write.

`store` (reading) and `compact` (rewriting) both go through here. Nothing in this module writes.
Tables are pyarrow tables; `cell` is always dictionary-encoded.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

SCHEMA_KEY = b"redescent.schema"
SCHEMA_VERSION = 1
CELL_TYPE = pa.dictionary(pa.int32(), pa.string())
KEYS = ("cell", "attempt", "epoch")
KINDS = ("curves", "runs")
CLAIMED = ".consumed"  # ends the hidden name of a part that a compaction is about to delete
FINAL = ("done", "nonfinite")  # statuses of a cell that needs no further run
RETRIES = 5

T = TypeVar("T")


class StoreError(FileNotFoundError):
    """Logs that are absent, empty or unreadable; the message says what was found, what was expected
    and what to do.
    """


class Moved(Exception):
    """A listed file is gone: a compaction consumed it or replaced the store. The listing must be
    taken again.
    """


def list_parts(folder: Path) -> tuple[Path, ...]:
    """Complete part files of one folder, sorted; names that start with "." or "tmp" are still being
    written.

    Files that a compaction has claimed and not deleted (it may have died there) are whole, and
    listed too.
    """
    if not folder.is_dir():
        return ()
    named = [p for p in folder.glob("*.parquet") if not p.name.startswith((".", "tmp"))]
    return tuple(sorted([*named, *folder.glob(f".*{CLAIMED}")]))


def read_manifest(folder: Path) -> list[dict[str, Any]]:
    """Records of `folder/store/manifest.json`, or an empty list where nothing was compacted yet.

    Where it is gone, or not yet written by a first compaction, a record with 'file' and 'kind' for
    every whole file in the store: none is forgotten, and rows that are also in parts are folded.
    Raises StoreError where the manifest is not the JSON list that `compact` writes.
    """
    path = folder / "store" / "manifest.json"
    try:
        text = path.read_text()
    except (FileNotFoundError, NotADirectoryError):
        names = sorted(file.name for file in (folder / "store").glob("[!.]*.parquet"))
        return [
            {"file": name, "kind": kind}
            for name in names
            for kind in KINDS
            if name.startswith(f"{kind}-")
        ]
    try:
        records = json.loads(text)
        if isinstance(records, list) and all(r["kind"] in KINDS and r["file"] for r in records):
            return records
    except (ValueError, TypeError, KeyError):
        pass
    raise StoreError(
        f"{path}: not a store manifest (expected a JSON list of records with 'file' and 'kind'); "
        "restore it, or move "
        "it away and run `redescent compact`, which writes it again from the files beside it"
    )


def stored(folder: Path, kind: str) -> list[Path]:
    """The store's files of one kind. One that the manifest names and that is gone for good is left
    out: what it alone held counts as not there. May raise Moved."""
    paths = {folder / "store" / r["file"] for r in read_manifest(folder) if r["kind"] == kind}
    gone = {path for path in paths if not path.exists()}
    # a compaction deletes a file only after it has switched to a manifest without it
    if gone and gone.isdisjoint(folder / "store" / r["file"] for r in read_manifest(folder)):
        raise Moved(str(min(gone)))
    return sorted(paths - gone)


def store_is_whole(folder: Path) -> bool:
    """Whether there is a manifest and all files that it names."""
    store = folder / "store"
    return (store / "manifest.json").exists() and all(
        (store / r["file"]).exists() for r in read_manifest(folder)
    )


def read_all(
    folder: Path,
    kind: str,
    columns: Sequence[str] | None = None,
    cells: Sequence[str] | None = None,
) -> list[pa.Table]:
    """Tables of every file of one kind, "curves" or "runs"; a row may be in several of them, none
    is in no table.

    A part that goes while this reads was consumed by a compaction, which switched the manifest
    before it deleted; so parts are read first, those gone are passed over, and the manifest read
    after them names a store that has their rows. May raise Moved, if a second compaction ends in
    between.
    """
    found = [_unless_gone(path, columns, cells) for path in list_parts(folder / kind)]
    tables = [read_file(path, columns, cells) for path in stored(folder, kind)]
    return tables + [table for table in found if table is not None]


def _unless_gone(
    path: Path, columns: Sequence[str] | None, cells: Sequence[str] | None
) -> pa.Table | None:
    """The part as a table, None if it is gone."""
    try:
        return read_file(path, columns, cells)
    except Moved:
        return None


def retrying(action: Callable[[], T]) -> T:
    """`action()`, again from the start whenever a file moved under it; StoreError after RETRIES
    times.
    """
    moved = Moved()
    for _ in range(RETRIES):
        try:
            return action()
        except Moved as error:
            moved = error
    raise StoreError(
        f"{moved}: listed, but gone when it was to be read, {RETRIES} times in a row; if no "
        "compaction is under way, "
        "the store's manifest names a file that somebody deleted"
    ) from moved


def check_version(path: Path, metadata: dict[bytes, bytes] | None) -> None:
    """StoreError if the file names a schema version that this code does not know. No version at all
    is accepted.
    """
    version = (metadata or {}).get(SCHEMA_KEY, b"1")
    if not version.isdigit() or int(version) > SCHEMA_VERSION:
        raise StoreError(
            f"{path}: schema version {version.decode(errors='replace')}, but this code reads up to "
            f"{SCHEMA_VERSION}; "
            "update the project that reads, or read the file with the version that wrote it"
        )


def _guarded(path: Path, action: Callable[[], T]) -> T:
    """`action()` with the errors of pyarrow and of the file system turned into Moved or
    StoreError.
    """
    try:
        return action()
    except StoreError:
        raise
    except pa.ArrowException as error:
        raise unreadable(path, error) from error
    except OSError as error:
        if isinstance(error, FileNotFoundError) or error.errno == errno.ESTALE:
            raise Moved(str(path)) from error
        raise unreadable(path, error) from error


def unreadable(path: Path, error: Exception) -> StoreError:
    """The error for a file that is no whole Parquet file."""
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return StoreError(
        f"{path}: not a complete Parquet file ({reason}). Parts appear by rename and are whole, so "
        "this one was "
        "damaged later (full disk, interrupted copy): move it away and run `redescent resume`, "
        "which trains again "
        "what only this file held"
    )


def read_file(
    path: Path, columns: Sequence[str] | None = None, cells: Sequence[str] | None = None
) -> pa.Table:
    """One file as a table, limited to `columns` (those it has) and to the rows of `cells`; None
    means all.

    Raises Moved when the file is gone, StoreError when it is damaged, has no `cell`, or comes from
    newer code.
    """

    def read() -> pa.Table:
        with pq.ParquetFile(path) as file:
            schema = file.schema_arrow
            check_version(path, schema.metadata)
            if "cell" not in schema.names:
                raise StoreError(
                    f"{path}: no column 'cell' (found {', '.join(schema.names[:8])}); not a "
                    "sweep's file"
                )
            wanted = (
                schema.names if columns is None else [c for c in schema.names if c in set(columns)]
            )
            groups = list(range(file.num_row_groups)) if cells is None else _row_groups(file, cells)
            return _only(_encoded(file.read_row_groups(groups, columns=wanted)), cells)

    return _without_lost_rows(path, _guarded(path, read))


def _without_lost_rows(path: Path, table: pa.Table) -> pa.Table:
    """Run records with no final result for cells whose rows are gone: they need another run.

    Rows are written before records, and compacted before they are deleted, so only a file that was
    lost shows here.
    """
    if not {"status", "epochs"} <= set(table.schema.names):
        return table
    final = pc.is_in(table["status"], pa.array(FINAL, pa.string()))
    lost = pc.and_(final, pc.greater(pc.fill_null(table["epochs"], 0), 0))
    if path.parent.name == "runs" and not _has_rows(path):
        status = pc.if_else(lost, "stopped", table["status"])
    elif path.parent.name == "store" and not store_is_whole(path.parent.parent):
        there = pa.array(_cells_with_rows(path.parent.parent), pa.string())
        lost = pc.and_(lost, pc.invert(pc.is_in(table["cell"].cast(pa.string()), there)))
        status = pc.if_else(lost, "stopped", table["status"])
    else:
        return table
    return table.set_column(table.schema.get_field_index("status"), "status", status)


def _has_rows(path: Path) -> bool:
    """Whether the part of rows is there that was written with this part of records."""
    name = path.name[1 : -len(CLAIMED)] if path.name.endswith(CLAIMED) else path.name
    rows = path.parent.parent / "curves"
    return (rows / name).exists() or (rows / f".{name}{CLAIMED}").exists()


def _cells_with_rows(folder: Path) -> list[str]:
    """All cells that have rows, wherever these are."""
    paths = [*list_parts(folder / "curves"), *stored(folder, "curves")]
    return sorted(
        {cell for path in paths for cell in read_file(path, ["cell"])["cell"].unique().to_pylist()}
    )


def _row_groups(file: pq.ParquetFile, cells: Sequence[str]) -> list[int]:
    """Row groups whose range of cell ids meets `cells`; all of those without statistics."""
    ids = np.sort(np.asarray(cells, dtype=str))
    column = file.schema_arrow.names.index("cell")
    groups = []
    for group in range(file.num_row_groups):
        limits = file.metadata.row_group(group).column(column).statistics
        known = limits is not None and limits.has_min_max
        if not known or np.searchsorted(ids, limits.min, "left") < np.searchsorted(
            ids, limits.max, "right"
        ):
            groups.append(group)
    return groups


def _encoded(table: pa.Table) -> pa.Table:
    """The table with `cell` as dictionary<int32, string>, whatever it was written as."""
    at = table.schema.get_field_index("cell")
    field = table.schema.field(at)
    if field.type == CELL_TYPE:
        return table
    plain = table["cell"].cast(pa.string())
    return table.set_column(
        at, field.with_type(CELL_TYPE), plain.dictionary_encode().cast(CELL_TYPE)
    )


def _only(table: pa.Table, cells: Sequence[str] | None) -> pa.Table:
    """The rows of the given cells."""
    if cells is None:
        return table
    return table.filter(pc.is_in(table["cell"], value_set=pa.array(list(cells), pa.string())))
