"""Compaction: folds the parts of a sweep and its old store into a new store of few files.

The only module of the analysis that writes under logs/. The new generation is written beside the
old one and becomes the store by one atomic replacement of manifest.json; only then are the consumed
parts and the old generation deleted. A crash at any point leaves every row readable: before the
switch nothing was removed, after it rows are at most there twice, and readers fold. The next
compaction clears what a crash left behind.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from analysis.store.claim import (
    CompactionRunning,
    Part,
    delete_consumed,
    exclusive,
    restore_claimed,
)
from analysis.store.merge import fold_curves, join, newest_runs
from analysis.store.mismatch import COLUMNS, mismatches
from analysis.store.parts import (
    FINAL,
    SCHEMA_VERSION,
    Moved,
    StoreError,
    list_parts,
    read_file,
    read_manifest,
    retrying,
    store_is_whole,
    stored,
)
from analysis.store.reader import existing

ROWS_IN_MEMORY = (
    5_000_000  # about 0.7 GB at thirty narrow columns, twice that while a bucket is sorted
)
HALF_WRITTEN_SECONDS = 3600.0  # age at which a temporary file belongs to nobody
ROW_GROUP = 131_072  # rows; readers of a few cells skip the others group by group

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Compaction:
    """What a compaction did.

    cells and rows: in the store now; shards: curve files in it; files_before, files_after: files
    under curves/, runs/ and store/. mismatches: rows that were computed twice and differ, columns
    cell, epoch, column, attempts, values (the last two are tuples, oldest attempt first).
    """

    cells: int
    rows: int
    shards: int
    files_before: int
    files_after: int
    mismatches: pd.DataFrame


@dataclass(frozen=True)
class Source:
    """A file that goes into the compaction, and how many rows it has of each cell (empty for run
    records).
    """

    path: Path
    rows: dict[str, int]


def compact(folder: str | os.PathLike[str], rows_in_memory: int = ROWS_IN_MEMORY) -> Compaction:
    """Folds parts and old store of `folder` into a new generation of the store; safe while jobs
    write.

    Only parts listed at the start are consumed, and one that its writer replaced meanwhile is kept.
    At most about `rows_in_memory` curve rows are in memory at a time (more if one cell alone has
    more). With no part to consume a whole store is left as it is; one that lost a file or its
    manifest is written again from what is there. Raises CompactionRunning if another compaction
    holds the folder, StoreError if there is nothing to compact or a file is damaged (then nothing
    is changed).
    """
    root = existing(folder)
    with exclusive(root):
        restore_claimed(root)
        return retrying(lambda: _compact(root, rows_in_memory))


def _compact(root: Path, rows_in_memory: int) -> Compaction:
    """The compaction proper, under the lock. May raise Moved before the switch; nothing is changed
    then.
    """
    _drop_unlisted(root)
    before = _count_files(root)
    parts = _listed(root)
    manifest = read_manifest(root)
    if not parts and not manifest:
        raise StoreError(
            f"{root}: nothing to compact; found no file in curves/, runs/ or store/, expected "
            "*.parquet"
        )
    if not parts and store_is_whole(root):
        old_runs = stored(root, "runs")
        for path in _outlived(
            root, join(read_file(path) for path in old_runs) if old_runs else None
        ):
            path.unlink(missing_ok=True)
        return _report(manifest, before, before, [])
    generation = _next_generation(root)
    old = [root / "store" / r["file"] for r in manifest]
    curves = [*stored(root, "curves"), *(p.path for p in parts if p.path.parent.name == "curves")]
    runs = [*stored(root, "runs"), *(p.path for p in parts if p.path.parent.name == "runs")]
    found: list[pd.DataFrame] = []
    records = [
        write_curves(root, generation, i, t)
        for i, t in enumerate(_folded(curves, rows_in_memory, found.append))
    ]
    newest = newest_runs(join(read_file(path) for path in runs)) if runs else None
    if newest is not None:
        records.append(write_runs(root, generation, newest))
    switch(root, records)
    delete_consumed(parts)
    for path in [*old, *_half_written(root), *_outlived(root, newest)]:
        path.unlink(missing_ok=True)
    report = _report(records, before, _count_files(root), found)
    if len(report.mismatches):
        log.warning(
            "%s: %d values differ between attempts that computed the same epoch",
            root,
            len(report.mismatches),
        )
    return report


def _half_written(root: Path) -> list[Path]:
    """Temporary files of writers that were killed in the middle of one; a live one is renamed
    within seconds.
    """
    found = [
        path
        for folder in ("curves", "runs", "checkpoints")
        for path in (root / folder).glob(".*.tmp")
    ]
    return [path for path in found if time.time() - path.stat().st_mtime > HALF_WRITTEN_SECONDS]


def _outlived(root: Path, runs: pa.Table | None) -> list[Path]:
    """Checkpoints of cells with a final result: a second execution saved them after the first had
    cleared its own.
    """
    if runs is None or "status" not in runs.schema.names:
        return []
    final = set(
        runs.filter(pc.is_in(runs["status"], pa.array(FINAL, pa.string())))["cell"].to_pylist()
    )
    return [
        path for path in (root / "checkpoints").glob("*.pt") if path.name.split(".")[0] in final
    ]


def _listed(root: Path) -> list[Part]:
    """All parts as they are now; raises Moved if one goes while it is looked at."""
    try:
        return [Part.of(p) for sub in ("curves", "runs") for p in list_parts(root / sub)]
    except FileNotFoundError as error:
        raise Moved(str(error.filename)) from error


def _report(
    records: Sequence[dict[str, Any]], before: int, after: int, found: Sequence[pd.DataFrame]
) -> Compaction:
    """Summary from the manifest's records."""
    curves = [r for r in records if r["kind"] == "curves"]
    cells = {
        kind: sum(r["cells"] for r in records if r["kind"] == kind) for kind in ("curves", "runs")
    }
    frame = pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=list(COLUMNS))
    rows = sum(r["rows"] for r in curves)
    return Compaction(max(cells.values()), rows, len(curves), before, after, frame)


def _count_files(root: Path) -> int:
    """Files in the three folders of logs, hidden ones too: it is inodes that a shared disk runs out
    of.
    """
    return sum(
        1 for sub in ("curves", "runs", "store") for p in (root / sub).glob("*") if p.is_file()
    )


def _folded(
    paths: Sequence[Path], limit: int, report: Callable[[pd.DataFrame], None]
) -> Iterator[pa.Table]:
    """Tables of kept rows, each for a range of cell ids and of at most about `limit` rows before
    the fold.
    """
    sources = [_source(path) for path in paths]
    for cells in buckets(sources, limit):
        wanted = set(cells)
        hit = [s.path for s in sources if not wanted.isdisjoint(s.rows)]
        table = join(read_file(path, cells=cells) for path in hit)
        fold = fold_curves(table)
        differing = mismatches(table.take(pa.array(fold.repeated)))
        if len(differing):
            report(differing)
        yield table.take(pa.array(fold.kept))


def _source(path: Path) -> Source:
    """Counts the rows of each cell, reading that one column."""
    column = read_file(path, ["cell"])["cell"]
    counts = column.value_counts().to_pylist()
    return Source(path, {c["values"]: c["counts"] for c in counts})


def buckets(sources: Sequence[Source], limit: int) -> list[list[str]]:
    """Cell ids in order, cut into consecutive groups of at most `limit` rows; a larger cell is a
    group of its own.
    """
    totals: dict[str, int] = {}
    for source in sources:
        for cell, rows in source.rows.items():
            totals[cell] = totals.get(cell, 0) + rows
    groups: list[list[str]] = []
    filled = limit
    for cell in sorted(totals):
        if filled + totals[cell] > limit:
            groups.append([])
            filled = 0
        groups[-1].append(cell)
        filled += totals[cell]
    return groups


def write_curves(root: Path, generation: int, number: int, table: pa.Table) -> dict[str, Any]:
    """Writes one shard of kept rows, sorted by cell and epoch; returns its manifest record."""
    column = table["cell"].combine_chunks()
    column = column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
    used, codes = np.unique(column.indices.to_numpy(), return_inverse=True)
    # the joined dictionary names the cells of other shards too
    own = pa.DictionaryArray.from_arrays(
        pa.array(codes, pa.int32()), column.dictionary.take(pa.array(used))
    )
    at = table.schema.get_field_index("cell")
    trimmed = table.set_column(at, table.schema.field(at), own)
    return _write(
        root, f"curves-{generation:06d}-{number:04d}.parquet", "curves", trimmed, len(used)
    )


def write_runs(root: Path, generation: int, table: pa.Table) -> dict[str, Any]:
    """Writes the runs table, one row per cell, `cell` as plain string; returns its manifest
    record.
    """
    at = table.schema.get_field_index("cell")
    plain = table.set_column(at, pa.field("cell", pa.string()), table["cell"].cast(pa.string()))
    return _write(root, f"runs-{generation:06d}.parquet", "runs", plain, plain.num_rows)


def _write(root: Path, name: str, kind: str, table: pa.Table, cells: int) -> dict[str, Any]:
    """Writes a Parquet file of the store under a temporary name, synced, and renames it."""
    path = root / "store" / name
    path.parent.mkdir(exist_ok=True)
    part = path.with_name(f".{name}.writing")
    pq.write_table(table, part, compression="zstd", row_group_size=ROW_GROUP)
    return {
        "file": name,
        "kind": kind,
        "rows": table.num_rows,
        "bytes": part.stat().st_size,
        "sha256": _publish(part, path),
        "cells": cells,
        "schema": SCHEMA_VERSION,
    }


def _publish(part: Path, path: Path) -> str:
    """Syncs `part` and renames it to `path`; returns the SHA-256 of its content."""
    with part.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        os.fsync(file.fileno())
    os.replace(part, path)
    return digest


def switch(root: Path, records: Sequence[dict[str, Any]]) -> None:
    """Makes `records` the manifest in one atomic step, after the files that it names are on the
    disk.
    """
    store = root / "store"
    store.mkdir(exist_ok=True)
    _sync_folder(store)
    part = store / ".manifest.json.writing"
    part.write_text(json.dumps(list(records), indent=1) + "\n")
    _publish(part, store / "manifest.json")
    _sync_folder(store)


def _sync_folder(folder: Path) -> None:
    """Makes renames in `folder` survive a power cut, before anything that they replace is
    deleted.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _next_generation(root: Path) -> int:
    """One more than the greatest generation number on the disk."""
    names = (p.name for p in (root / "store").glob("*.parquet"))
    taken = [
        int(m.group(1)) for m in (re.match(r"(?:runs|curves)-(\d+)", name) for name in names) if m
    ]
    return max(taken, default=0) + 1


def _drop_unlisted(root: Path) -> None:
    """Deletes files in store/ that no manifest names: what an interrupted compaction wrote or had
    yet to delete.

    Only names of this module's own making; their rows are in the parts or in the listed generation.
    """
    listed = {r["file"] for r in read_manifest(root)}
    for path in (root / "store").glob("*"):
        ours = re.fullmatch(
            r"\.?(runs-\d+|curves-\d+-\d+|manifest)\.(parquet|json)(\.writing)?", path.name
        )
        if ours and path.name not in listed and path.name != "manifest.json":
            os.unlink(path)


def main(folder: str) -> None:
    """Compacts at the end of jobs, where there may be nothing to compact and somebody else may be
    at it.
    """
    try:
        done = compact(folder)
        print(
            f"{folder}: {done.cells} cells, {done.rows} rows; {done.files_before} files became "
            f"{done.files_after}"
        )
    except (CompactionRunning, StoreError) as error:
        print(f"not compacted: {error}")


if __name__ == "__main__":
    main(sys.argv[1])
