"""Compaction: merges the parts of a sweep and its old store into a new store of few files.

With `generation`, the only module of the analysis that writes under logs/. The new generation is
written beside the old one and becomes the store by one atomic replacement of manifest.json; only
then are the consumed parts and the old generation deleted. A crash at any point leaves every row
readable: before the switch nothing was removed, after it a row exists at most twice, and readers
merge. The next compaction deletes what a crash left behind.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from analysis.store import weights
from analysis.store.claim import (
    CompactionRunning,
    Part,
    delete_consumed,
    exclusive,
    restore_claimed,
)
from analysis.store.errors import FileVanished, NothingLogged, StoreError
from analysis.store.generation import (
    Record,
    delete_unlisted,
    next_generation,
    switch,
    verify,
    write_curves,
    write_runs,
)
from analysis.store.listing import list_parts, read_manifest, store_is_whole
from analysis.store.merge import (
    common_schema,
    concatenate,
    newest_rows,
    newest_runs,
    of_results,
    result_attempts,
    with_other_attempts,
)
from analysis.store.mismatch import COLUMNS, mismatches
from analysis.store.parts import (
    CELL_TYPE,
    FINAL,
    KINDS,
    read_file,
    read_records,
    read_with_schema,
    retrying,
    verified_store_files,
)
from analysis.store.reader import log_folder

# about 0.7 GB at thirty narrow columns, twice that while a bucket is sorted
ROWS_IN_MEMORY = 5_000_000
HALF_WRITTEN_SECONDS = 3600.0  # age at which a temporary file belongs to nobody

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
class Inputs:
    """What a compaction merges and then deletes.

    parts: those that were complete when it began. manifest: records of the store then. curves,
    runs: the files to read, of the parts and of the store.
    """

    parts: tuple[Part, ...]
    manifest: tuple[Record, ...]
    curves: tuple[Path, ...]
    runs: tuple[Path, ...]


@dataclass(frozen=True)
class Generation:
    """What was written: records of the manifest, newest record of each cell, mismatches."""

    records: tuple[Record, ...]
    runs: pa.Table | None
    mismatches: pd.DataFrame


@dataclass(frozen=True)
class Source:
    """A file of curves, how many rows it has of each cell, and its columns."""

    path: Path
    rows: dict[str, int]
    schema: pa.Schema


def compact(folder: str | os.PathLike[str], rows_in_memory: int = ROWS_IN_MEMORY) -> Compaction:
    """Merges parts and old store of `folder` into a new generation; safe while jobs write.

    Only parts listed at the start are consumed, and one that its writer replaced meanwhile is kept.
    At most about `rows_in_memory` curve rows are in memory at a time (more if one cell alone has
    more). With no part to consume a whole store is left as it is; one that lost a file or its
    manifest is written again from what is there. Raises CompactionRunning if another compaction
    holds the folder, StoreError if there is nothing to compact or a file is damaged (then nothing
    is changed).
    """
    root = log_folder(folder)
    with exclusive(root):
        restore_claimed(root)
        report = retrying(lambda: _compact(root, rows_in_memory))
    if len(report.mismatches):
        differing = len(report.mismatches)
        log.warning(
            "%s: values that differ between attempts at the same epoch: %d", root, differing
        )
    return report


def _compact(root: Path, rows_in_memory: int) -> Compaction:
    """The compaction, under the lock. FileVanished before the switch means nothing was changed."""
    delete_unlisted(root)
    files = count_files(root)
    inputs = list_inputs(root)
    if not inputs.parts and not inputs.manifest:
        raise NothingLogged(
            f"{root}: nothing to compact; found no file in curves/, runs/ or store/, expected "
            "*.parquet"
        )
    if not inputs.parts and store_is_whole(root):
        tidy(root, newest_records(inputs.runs))
        earlier_generation = Generation(inputs.manifest, None, no_mismatches())
        return _report(earlier_generation, files, files)
    generation = write_generation(root, inputs, rows_in_memory)
    verify(root, generation.records)
    switch(root, generation.records)
    delete(root, inputs, kept=generation.records)
    tidy(root, generation.runs)
    return _report(generation, files, count_files(root))


def list_inputs(root: Path) -> Inputs:
    """All parts and files of the store as they are now; may raise FileVanished."""
    paths = {kind: list_parts(root / kind) for kind in KINDS}
    try:
        parts = {kind: list(map(Part.of, paths[kind])) for kind in KINDS}
    except FileNotFoundError as error:
        raise FileVanished(str(error.filename)) from error
    return Inputs(
        parts=(*parts["curves"], *parts["runs"]),
        manifest=tuple(read_manifest(root)),
        curves=(*verified_store_files(root, "curves"), *paths["curves"]),
        runs=(*verified_store_files(root, "runs"), *paths["runs"]),
    )


def write_generation(root: Path, inputs: Inputs, rows_in_memory: int) -> Generation:
    """Writes the shards and the runs table of a new generation, beside the old one."""
    number = next_generation(root)
    records: list[Record] = []
    frames = []
    runs = newest_records(inputs.runs)
    attempts = {} if runs is None else result_attempts(runs)
    for rows, differing in merged_curves(inputs.curves, rows_in_memory, attempts):
        records.append(write_curves(root, number, len(records), rows))
        if len(differing):
            frames.append(differing)
    if runs is not None:
        records.append(write_runs(root, number, runs))
    differences = pd.concat(frames, ignore_index=True) if frames else no_mismatches()
    return Generation(tuple(records), runs, differences)


def merged_curves(
    paths: Sequence[Path], limit: int, attempts: Mapping[str, range]
) -> Iterator[tuple[pa.Table, pd.DataFrame]]:
    """Tables of kept rows with their mismatches, each for a range of cell ids; rows of attempts
    that did not lead to a cell's result, as `attempts` has it, are left out.

    A table has at most about `limit` rows before the merge. All have the columns of all files, so
    that a reader of any shard knows them.
    """
    sources = [_source(path) for path in paths]
    schema = _encoded_cells(common_schema([source.schema for source in sources]))
    for cells in buckets(sources, limit):
        overlapping = [s.path for s in sources if not s.rows.keys().isdisjoint(cells)]
        tables = [read_file(path, cells=cells) for path in overlapping]
        table = of_results(concatenate([schema.empty_table(), *tables]), attempts)
        newest = newest_rows(table)
        differing = mismatches(table.take(pa.array(newest.repeated)))
        yield table.take(pa.array(newest.kept_rows)), differing


def _source(path: Path) -> Source:
    """Counts the rows of each cell, reading that one column."""
    table, schema = read_with_schema(path, ["cell"])
    counts = table["cell"].value_counts().to_pylist()
    return Source(path, {c["values"]: c["counts"] for c in counts}, schema)


def _encoded_cells(schema: pa.Schema) -> pa.Schema:
    """The schema with the type of cell ids that tables have in memory."""
    index = schema.get_field_index("cell")
    return schema.set(index, schema.field(index).with_type(CELL_TYPE)) if index >= 0 else schema


def buckets(sources: Sequence[Source], limit: int) -> list[list[str]]:
    """Cell ids in order, cut into groups of at most `limit` rows; a larger cell is alone."""
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


def newest_records(paths: Sequence[Path]) -> pa.Table | None:
    """The newest record of each cell, with what is known of its other attempts; None without any
    file.
    """
    if not paths:
        return None
    records = concatenate(read_records(path) for path in paths)
    return with_other_attempts(newest_runs(records), records)


def delete(root: Path, inputs: Inputs, kept: Sequence[Record]) -> None:
    """Deletes the inputs, except parts that were replaced meanwhile, and half-written files.

    Files of the new manifest, `kept`, are never deleted.
    """
    delete_consumed(inputs.parts)
    old = {record["file"] for record in inputs.manifest} - {record["file"] for record in kept}
    for path in [*(root / "store" / name for name in sorted(old)), *_half_written(root)]:
        path.unlink(missing_ok=True)


def _half_written(root: Path) -> list[Path]:
    """Temporary files of writers that were killed; a live writer renames its own within seconds."""
    oldest = time.time() - HALF_WRITTEN_SECONDS
    temporary: list[Path] = []
    for folder in ("curves", "runs", "checkpoints"):
        temporary += (root / folder).glob(".*.tmp")
    return [path for path in temporary if _mtime(path) < oldest]


def _mtime(path: Path) -> float:
    """When the file was last changed; now, if its writer renamed it meanwhile."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return time.time()


def tidy(root: Path, runs: pa.Table | None) -> None:
    """Deletes the checkpoints of cells with a final result, and packs their weights into shards."""
    if runs is None or "status" not in runs.schema.names:
        return
    is_final = pc.is_in(runs["status"], pa.array(FINAL, pa.string()))
    results = runs.filter(is_final)
    cells, attempts = results["cell"].to_pylist(), results["attempt"].to_pylist()
    delete_outlived(root, dict(zip(cells, attempts, strict=True)))
    weights.pack(root, set(cells))


CHECKPOINT = re.compile(r"[^.]+\.\d+\..+\.pt")
"""CELL.ATTEMPT.WRITER.pt; the name of a writer begins with that of its submission."""


def delete_outlived(root: Path, attempts: Mapping[str, int]) -> None:
    """Deletes checkpoints of cells with a final result, which is that of the attempt given.

    A second execution of a cell can save one after the first has deleted its own. Those of a cell
    that was sent to train again stay: its next execution continues from them.
    """
    trains_again = functools.cache(functools.partial(_trains_again, root))
    for path in (root / "checkpoints").glob("*.pt"):
        cell, _, rest = path.name.partition(".")
        if cell not in attempts or not CHECKPOINT.fullmatch(path.name):
            continue
        attempt, sid = rest.split(".")[:2]
        is_later = int(attempt) > attempts[cell]
        if not (is_later and trains_again(sid)):
            path.unlink(missing_ok=True)


def _trains_again(root: Path, sid: str) -> bool:
    """Whether a submission trains cells again that have a result, or may do so: nothing is lost to
    a damaged plan.
    """
    try:
        plan = json.loads((root / "submissions" / sid / "plan.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return False
    except (OSError, ValueError):
        return True
    return isinstance(plan, dict) and plan.get("rerun") is True


def count_files(root: Path) -> int:
    """Files in curves/, runs/ and store/, hidden ones too: shared disks run out of inodes."""
    files: list[Path] = []
    for folder in (*KINDS, "store"):
        files += (root / folder).glob("*")
    return sum(path.is_file() for path in files)


def no_mismatches() -> pd.DataFrame:
    """An empty table of mismatches."""
    return pd.DataFrame(columns=list(COLUMNS))


def _report(generation: Generation, before: int, after: int) -> Compaction:
    """Summary from the manifest's records."""
    curves = [record for record in generation.records if record["kind"] == "curves"]
    runs = [record for record in generation.records if record["kind"] == "runs"]
    cells = max(sum(r["cells"] for r in curves), sum(r["cells"] for r in runs))
    rows = sum(record["rows"] for record in curves)
    return Compaction(cells, rows, len(curves), before, after, generation.mismatches)


def main(folder: str) -> int:
    """Compacts after a job, when nothing may be left or another compaction may be running; returns
    the exit status, 1 if a file is damaged.
    """
    try:
        report = compact(folder)
    except (CompactionRunning, NothingLogged) as error:
        print(f"not compacted: {error}")
        return 0
    except StoreError as error:
        print(f"not compacted: {error}", file=sys.stderr)
        return 1
    cells, rows = _count(report.cells, "cell"), _count(report.rows, "row")
    files = _count(report.files_before, "file")
    print(f"{folder}: {cells}, {rows}; {files} became {report.files_after}")
    return 0


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
