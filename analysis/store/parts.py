"""Reading the Parquet files of a sweep safely while others write.

Both reading and compaction go through here. Nothing in this module writes. Tables are pyarrow
tables; `cell` is always dictionary-encoded.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from analysis.store.columns import foreign_column, foreign_value, message
from analysis.store.errors import FileVanished, StoreError
from analysis.store.footer import footer_problem
from analysis.store.listing import (
    CLAIMED,
    check_file,
    list_parts,
    read_manifest,
    store_files,
    store_is_whole,
)
from analysis.store.states import read_states

SCHEMA_KEY = b"redescent.schema"
SCHEMA_VERSION = 1
CELL_TYPE = pa.dictionary(pa.int32(), pa.string())
KEYS = ("cell", "attempt", "epoch")
KINDS = ("curves", "runs")
FINAL = ("done", "nonfinite")  # statuses of a cell that needs no further run
RETRIES = 5
ROWS_FOR_THREADS = 50_000

T = TypeVar("T")


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
    matching = []
    for group in groups:
        statistics = file.metadata.row_group(group).column(column).statistics
        if _has_id_in_range(statistics, ids):
            matching.append(group)
    return matching


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
