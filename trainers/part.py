"""The part of one writer: two Parquet files with its rows and its run records."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import math
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from trainers import config
from trainers.checkpoint import replacing
from trainers.schema import (
    FINAL,
    HEADLINE_COLUMNS,
    STATE_COLUMNS,
    Metric,
    Status,
    curve_schema,
    run_schema,
)

STORE_NAME = re.compile(r"(runs|curves)-\d+(-\d+)?\.parquet")
"""Names that a compaction gives the files of a store."""

FOOTER_MARK = b"\nredescent footer "
"""Begins the line with the hash of the footer that follows it."""

_END_COLUMNS = ("cell", "status", "epochs", "source_hash")

OPTIONAL_COLUMNS = b"redescent.optional"
"""Metadata of the block of states: names of columns that it has if the records have them."""

STATES_MARK = b"\nredescent states "
"""Begins the line with the length and the hash of the block of states before it."""

ROWS_PER_PART = 100_000
QUICK_SECONDS = 2.0

NOT_REPRESENTABLE = (pa.ArrowException, OverflowError, ValueError, TypeError)
"""What pyarrow raises for a value that a column cannot hold."""

Tables = Mapping[str, pa.Table]
Rows = Sequence[Mapping[str, Any]]
Record = Mapping[str, Any]


log = logging.getLogger(__name__)


class Throttle:
    """Decides whether a part is written now: for quick cells, at most once in QUICK_SECONDS.

    A part is always due if `enabled` is false or the last cell took longer.
    """

    def __init__(self, enabled: bool) -> None:
        self.enabled = enabled
        self.after_quick_cell = False
        self.last_write = -math.inf

    def due(self, now: float) -> bool:
        """Whether to write at `now`, a time of the monotonic clock in seconds."""
        recent = now - self.last_write < QUICK_SECONDS
        return not (self.enabled and self.after_quick_cell and recent)


class Part:
    """The rows and run records of one writer: `curves/WRITER.parquet` and `runs/WRITER.parquet`.

    Every write replaces both files. The rows are written first, so that a record "done" always has
    all of its rows. With `throttle`, cells shorter than two seconds are written together, at most
    once in two seconds; call `write` at the end.
    """

    def __init__(
        self, folder: Path, writer: str, metrics: Sequence[Metric], throttle: bool = False
    ) -> None:
        self.folder, self.writer, self.metrics = folder, writer, metrics
        self.throttle = Throttle(throttle)
        self._columns = config.columns()
        self._schemas = {"curves": curve_schema(metrics), "runs": run_schema(metrics)}
        self._number = 0
        self._earlier_tables: Tables = self._no_rows()
        self._added: dict[str, tuple[Rows, Record]] = {}

    @property
    def saved(self) -> bool:
        """Whether every cell that was added is on disk."""
        return not self._added

    @property
    def due(self) -> bool:
        """Whether the throttle lets the part be written now."""
        return self.throttle.due(time.monotonic())

    def add_columns(self, columns: Mapping[str, type]) -> None:
        """Add columns of the configuration to the run records: those of a class of the user's.

        Raises `ConfigError` if the part has such a column of another type.
        """
        for key, kind in columns.items():
            if self._columns.get(key, kind) != kind and key not in config.columns():
                raise config.ConfigError(
                    f"{key}: two classes of one sweep have fields of this name with different "
                    "types; give one of them another name"
                )
        if columns.keys() <= self._columns.keys():
            return
        self._columns = {**self._columns, **columns}
        self._schemas["runs"] = run_schema(self.metrics, self._columns)
        tables = [self._schemas["runs"].empty_table(), self._earlier_tables["runs"]]
        wider = pa.concat_tables(tables, promote_options="default")
        self._earlier_tables = {**self._earlier_tables, "runs": wider}

    def add(self, rows: Rows, record: Record) -> None:
        """Keep the rows and the last record of a cell for the next write."""
        self._added[record["cell"]] = (rows, record)

    def write(self, rows: Rows = (), record: Record | None = None) -> None:
        """Write every cell added, and `rows` and `record` of the current one. Raises OSError.

        A cell with a value that Parquet cannot hold is recorded as failed, with the reason; the
        other cells are written as they are.
        """
        tables = self._extended(self._earlier_tables, list(self._added.values()))
        everything = self._extended(tables, [(rows, record)] if record else [])
        self._replace("curves", everything["curves"])
        self._replace("runs", everything["runs"])
        self._earlier_tables, self._added = tables, {}
        self.throttle.last_write = time.monotonic()
        if not record and tables["curves"].num_rows > ROWS_PER_PART:
            self._number += 1
            self._earlier_tables = self._no_rows()

    def finish_cell(self, rows: Rows, record: Record, has_checkpoints: bool) -> str | None:
        """Add the last record of a cell, and write it when due. Returns None, or why Parquet cannot
        hold the cell, which is then recorded as failed. Raises OSError.

        A cell with checkpoints is never quick: they can be removed once its record is written.
        """
        problem = self._problem(rows, record)
        if problem is not None:
            rows, record = (), self._without_results(record, problem)
        self.add(rows, record)
        self.throttle.after_quick_cell = record["seconds"] < QUICK_SECONDS and not has_checkpoints
        if self.due:
            self.write()
        return problem

    def _no_rows(self) -> dict[str, pa.Table]:
        return {kind: schema.empty_table() for kind, schema in self._schemas.items()}

    def _extended(self, tables: Tables, cells: Sequence[tuple[Rows, Record]]) -> Tables:
        """The tables with the rows and records of more cells."""
        if not cells:
            return tables
        try:
            more = self._tables(cells)
        except NOT_REPRESENTABLE:
            more = self._tables([self._representable(*cell) for cell in cells])
        return {kind: _concatenate(tables[kind], more[kind]) for kind in tables}

    def _tables(self, cells: Sequence[tuple[Rows, Record]]) -> Tables:
        rows = [row for rows, _ in cells for row in rows]
        records = [record for _, record in cells]
        return {
            "curves": pa.Table.from_pylist(rows, schema=self._schemas["curves"]),
            "runs": pa.Table.from_pylist(records, schema=self._schemas["runs"]),
        }

    def _representable(self, rows: Rows, record: Record) -> tuple[Rows, Record]:
        """A cell as it is, or as failed without its values if the tables cannot hold them."""
        problem = self._problem(rows, record)
        return (rows, record) if problem is None else ((), self._without_results(record, problem))

    def _problem(self, rows: Rows, record: Record) -> str | None:
        """Why the tables cannot hold a cell; None if they can."""
        try:
            self._tables([(rows, record)])
        except NOT_REPRESENTABLE as error:
            return f"{type(error).__name__}: its results cannot be written: {error}"
        return None

    def _without_results(self, record: Record, problem: str) -> Record:
        """The record of a cell that failed with this problem, with its settings where they fit."""
        log.error("cell %s: %s", record["cell"], problem)
        names = ("cell", "attempt", "updated", "host", "seconds")
        kept = {name: record[name] for name in names} | {
            "status": "failed",
            "error_class": "error",
            "error": problem,
        }
        settings = {key: record[key] for key in record if key == "seed" or "." in key}
        return kept | settings if self._problem((), kept | settings) is None else kept

    def _replace(self, kind: str, table: pa.Table) -> None:
        name = self.writer + (f".{self._number}" if self._number else "")
        content = io.BytesIO()
        pq.write_table(table, content, compression="zstd", write_page_checksum=True)
        states = states_block(table) if kind == "runs" else b""
        with replacing(self.folder / kind / f"{name}.parquet") as file:
            file.write(with_footer_hash(content.getvalue(), states))


def with_footer_hash(content: bytes, states: bytes = b"") -> bytes:
    """A Parquet file with a block of states and the hash of its footer before the footer, where no
    reader of Parquet looks.

    Pages have checksums; the footer, which holds types, statistics and positions, has none. The
    hash is that of everything behind it (analysis/store/footer.py compares it).
    """
    start = _footer_start(content)
    return content[:start] + states + _footer_line(content[start:]) + content[start:]


def states_block(records: pa.Table) -> bytes:
    """STATE_COLUMNS of run records, and those of HEADLINE_COLUMNS that they have, as an Arrow
    stream, with a line that has its length and hash.

    A footer of 200 columns takes five times as long to parse as this block, which `status` reads
    instead (analysis/store/states.py).
    """
    sink = io.BytesIO()
    headline = [name for name in HEADLINE_COLUMNS if name in records.column_names]
    optional = {OPTIONAL_COLUMNS: ",".join(HEADLINE_COLUMNS)}
    table = records.select([*STATE_COLUMNS, *headline])
    table = table.replace_schema_metadata({**(table.schema.metadata or {}), **optional})
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    block = sink.getvalue()
    digest = hashlib.sha256(block).hexdigest()
    return block + STATES_MARK + f"{len(block):012d} {digest}\n".encode()


def footer_is_whole(content: bytes) -> bool:
    """Whether a Parquet file has the footer that was written; True for one without its hash."""
    start = _footer_start(content)
    line = content[max(0, start - len(_footer_line(b""))) : max(0, start)]
    return not line.startswith(FOOTER_MARK) or line == _footer_line(content[start:])


def _footer_start(content: bytes) -> int:
    return len(content) - 8 - int.from_bytes(content[-8:-4], "little")


def _footer_line(footer: bytes) -> bytes:
    return FOOTER_MARK + hashlib.sha256(footer).hexdigest().encode() + b"\n"


def _concatenate(table: pa.Table, more: pa.Table) -> pa.Table:
    return pa.concat_tables([table, more]).unify_dictionaries().combine_chunks()


@dataclass(frozen=True)
class FinishedCell:
    """How a cell ended. `source_hash` is that of its data, None where its record has none."""

    status: Status
    epochs: int
    source_hash: str | None = None


def finished_cells(folder: Path, prefix: str) -> dict[str, FinishedCell]:
    """Cells that the task whose parts begin with `prefix` need not run.

    These are cells with a final result, in the task's parts or already compacted, and cells that
    failed in this task before it was requeued: only a resume runs them again.
    """
    compacted = _statuses(folder / "store" / name for name in _compacted_runs(folder))
    final = {cell: end for cell, end in compacted.items() if end.status in FINAL}
    return final | finished_in_task(folder, prefix)


def finished_in_task(folder: Path, prefix: str) -> dict[str, FinishedCell]:
    """Cells that the task finished before it was requeued, from its own parts alone."""
    parts = (folder / "runs").glob(f"{prefix}*.parquet")
    from_parts = _statuses(path for path in parts if (folder / "curves" / path.name).exists())
    return {cell: end for cell, end in from_parts.items() if end.status in (*FINAL, "failed")}


def _statuses(paths: Iterable[Path]) -> dict[str, FinishedCell]:
    statuses: dict[str, FinishedCell] = {}
    for path in paths:
        try:
            content = path.read_bytes()
            if not footer_is_whole(content):
                raise ValueError("its footer is not the one that was written")
            source = pa.BufferReader(content)
            with pq.ParquetFile(source, page_checksum_verification=True) as file:  # without pandas
                names = [name for name in _END_COLUMNS if name in file.schema_arrow.names]
                records = file.read(columns=names).to_pylist()
            statuses |= {record.pop("cell"): FinishedCell(**record) for record in records}
        except (OSError, pa.ArrowException, ValueError, KeyError, IndexError, TypeError) as error:
            log.warning("%s cannot be read (%s): its cells are trained again", path, error)
    return statuses


def _compacted_runs(folder: Path) -> list[str]:
    """Shards with run records; none if the store has lost a file, which may hold records.

    None either if the manifest is not one that a compaction wrote: the cells then run again.
    """
    store = folder / "store"
    try:
        names = [str(entry["file"]) for entry in json.loads((store / "manifest.json").read_bytes())]
    except (OSError, ValueError, TypeError, KeyError):
        return []
    if not all(STORE_NAME.fullmatch(name) and (store / name).exists() for name in names):
        return []
    return [name for name in names if name.startswith("runs-")]
