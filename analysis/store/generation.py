"""Writing the store: a generation is its shards of rows, its runs table and the manifest.

The files of a new generation are written beside those of the old one. `switch` then makes them the
store by one atomic replacement of manifest.json.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from analysis.store.errors import StoreError
from analysis.store.listing import STORE_NAME, check_file, check_manifest, read_manifest
from analysis.store.merge import single_chunk
from analysis.store.parts import CELL_TYPE, SCHEMA_VERSION, read_file

ROW_GROUP = 131_072  # rows; readers of a few cells skip the others group by group
OWN_NAME = re.compile(r"\.?(runs-\d+|curves-\d+-\d+|manifest)\.(parquet|json)(\.writing)?")

Record = dict[str, Any]  # of the manifest: file, kind, rows, bytes, sha256, cells, schema


def next_generation(root: Path) -> int:
    """One more than the greatest generation number on the disk and in the manifest.

    A manifest can outlive its files: a new file must never bear the name of a lost one.
    """
    names = [path.name for path in (root / "store").glob("*.parquet")]
    names += [record["file"] for record in read_manifest(root)]
    greatest = 0
    for name in names:
        numbered = STORE_NAME.fullmatch(name)
        if numbered:
            greatest = max(greatest, int(numbered["generation"]))
    return greatest + 1


def write_curves(root: Path, generation: int, number: int, table: pa.Table) -> Record:
    """Writes one shard of kept rows, sorted by cell and epoch; returns its manifest record."""
    cell = single_chunk(table["cell"], CELL_TYPE)
    cell_codes, codes = np.unique(cell.indices.to_numpy(), return_inverse=True)
    # the dictionary of all tables names the cells of other shards too
    names = cell.dictionary.take(pa.array(cell_codes))
    shard = _with_cell(table, pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), names))
    file = f"curves-{generation:06d}-{number:04d}.parquet"
    return _write(root / "store" / file, "curves", shard, len(cell_codes))


def write_runs(root: Path, generation: int, table: pa.Table) -> Record:
    """Writes the runs table, one row per cell, `cell` as string; returns its manifest record."""
    index = table.schema.get_field_index("cell")
    names = table["cell"].cast(pa.string())
    runs = table.set_column(index, pa.field("cell", pa.string()), names)
    file = f"runs-{generation:06d}.parquet"
    return _write(root / "store" / file, "runs", runs, runs.num_rows)


def _with_cell(table: pa.Table, cell: pa.Array) -> pa.Table:
    """The table with another array of cell ids, of the same type."""
    index = table.schema.get_field_index("cell")
    return table.set_column(index, table.schema.field(index), cell)


def _write(path: Path, kind: str, table: pa.Table, cells: int) -> Record:
    """Writes a Parquet file of the store under a temporary name, synced, and renames it."""
    path.parent.mkdir(exist_ok=True)
    temporary = path.with_name(f".{path.name}.writing")
    pq.write_table(
        table,
        temporary,
        compression="zstd",
        row_group_size=ROW_GROUP,
        write_page_checksum=True,
    )
    return {
        "file": path.name,
        "kind": kind,
        "rows": table.num_rows,
        "bytes": temporary.stat().st_size,
        "sha256": _publish(temporary, path),
        "cells": cells,
        "schema": SCHEMA_VERSION,
    }


def _publish(temporary: Path, path: Path) -> str:
    """Syncs `temporary` and renames it to `path`; returns the SHA-256 of its content."""
    with temporary.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    return digest


def verify(root: Path, records: Sequence[Record]) -> None:
    """Read a new generation back before anything that it replaces is deleted.

    Raises StoreError if a file has not the hash, rows and cells that were written.
    """
    for record in records:
        path = root / "store" / record["file"]
        check_file(path, record)
        cells = read_file(path, ["cell"])["cell"]
        if (len(cells), len(cells.unique())) != (record["rows"], record["cells"]):
            raise StoreError(
                f"{path}: found {len(cells)} rows of {len(cells.unique())} cells, expected "
                f"{record['rows']} of {record['cells']}. Nothing was deleted; check the disk and "
                "compact again"
            )


def switch(root: Path, records: Sequence[Record]) -> None:
    """Makes `records` the manifest in one atomic step, after the files that it names are synced."""
    store = root / "store"
    store.mkdir(exist_ok=True)
    _sync_folder(store)
    temporary = store / ".manifest.json.writing"
    temporary.write_text(json.dumps(list(records), indent=1) + "\n")
    _publish(temporary, store / "manifest.json")
    _sync_folder(store)


def _sync_folder(folder: Path) -> None:
    """Makes renames in `folder` survive a power cut before what they replace is deleted."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def delete_unlisted(root: Path) -> None:
    """Deletes files in store/ that no manifest names, which an interrupted compaction left.

    Only files that this module names, and only if every listed file is there and whole: then the
    rows of the others are in the parts or in the listed generation. Raises StoreError if the
    manifest is not that of the files.
    """
    check_manifest(root)
    records = read_manifest(root)
    if not all(_is_whole(root / "store" / record["file"], record) for record in records):
        return
    current_files = {record["file"] for record in records} | {"manifest.json"}
    for path in (root / "store").glob("*"):
        if path.name not in current_files and OWN_NAME.fullmatch(path.name):
            os.unlink(path)


def _is_whole(path: Path, record: Record) -> bool:
    """Whether a listed file is there with the content that the manifest states."""
    try:
        check_file(path, record)
    except (StoreError, OSError):
        return False
    return True
