"""The part of one writer: the two Parquet files that its rows and run records stand in, and what
such files say.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from trainers import config
from trainers.checkpoint import replacing

SCHEMA_VERSION = "1"
ROWS_PER_PART = 100_000
GATHER_SECONDS = 2.0

Status = Literal["running", "done", "stopped", "nonfinite", "failed"]
FINAL = ("done", "nonfinite")


@dataclass(frozen=True)
class Metric:
    """A column that a trainer logs. `best` says in which direction a value is better, where that
    means something.
    """

    name: str
    dtype: Literal["float32", "int32"]
    unit: str
    meaning: str
    best: Literal["min", "max"] | None = None


_POSITION = (
    pa.field(
        "cell", pa.dictionary(pa.int32(), pa.string()), metadata={"meaning": "id of the cell"}
    ),
    pa.field("attempt", pa.int16(), metadata={"meaning": "attempt that computed the row"}),
    pa.field(
        "epoch", pa.int32(), metadata={"unit": "epochs", "meaning": "1-based; 0 is before training"}
    ),
    pa.field("step", pa.int64(), metadata={"unit": "steps", "meaning": "optimiser steps so far"}),
    pa.field(
        "examples",
        pa.int64(),
        metadata={"unit": "examples", "meaning": "training examples seen so far"},
    ),
    pa.field(
        "seconds",
        pa.float64(),
        metadata={"unit": "s", "meaning": "training time so far, excluding waits"},
    ),
)
FACTS: dict[str, pa.DataType] = {
    "host": pa.string(), "gpu": pa.string(), "gpu_seconds": pa.float64(), "seconds": pa.float64(),
    "peak_memory_bytes": pa.int64(), "epochs": pa.int32(), "steps": pa.int64(), "parameters": pa.int64(),
    "noise_rate": pa.float64(), "noise_chosen": pa.int64(), "noise_mask_hash": pa.string(), "data_hash": pa.string(),
    "precision": pa.string(), "matrix_library": pa.string(), "code": pa.string(), "environment": pa.string(),
    "error_class": pa.string(), "error": pa.string(),
}  # fmt: skip
_ARROW = {
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
    str: pa.string(),
    list: pa.list_(pa.int64()),
}


def curve_schema(metrics: Sequence[Metric]) -> pa.Schema:
    """Columns of the rows: position, then the trainer's metrics with their unit and meaning as
    field metadata.
    """
    fields = [
        pa.field(
            m.name, pa.type_for_alias(m.dtype), metadata={"unit": m.unit, "meaning": m.meaning}
        )
        for m in metrics
    ]
    return pa.schema([*_POSITION, *fields], metadata={"redescent.schema": SCHEMA_VERSION})


def run_schema(metrics: Sequence[Metric]) -> pa.Schema:
    """Columns of the run records: status, flattened configuration, facts, final and best
    metrics.
    """
    fields = [
        ("cell", pa.string()),
        ("status", pa.string()),
        ("attempt", pa.int16()),
        ("updated", pa.float64()),
    ]
    fields += [(key, _ARROW[kind]) for key, kind in config.columns().items()]
    fields += list(FACTS.items())
    for metric in metrics:
        fields.append((f"final_{metric.name}", pa.type_for_alias(metric.dtype)))
        if metric.best:
            fields.append((f"best_{metric.name}", pa.type_for_alias(metric.dtype)))
            fields.append((f"best_epoch_{metric.name}", pa.int32()))
    return pa.schema([pa.field(*f) for f in fields], metadata={"redescent.schema": SCHEMA_VERSION})


class Part:
    """The rows and run records of one writer, rewritten whole at every flush:
    `curves/WRITER.parquet`, `runs/...`.

    The rows go first, so that a record which says "done" always stands beside all of its rows. With
    `gather`, what is left by cells of less than GATHER_SECONDS is gathered for as long, and it is
    the caller's to flush at the end: thousands of them then do not make thousands of writes.
    """

    def __init__(
        self, folder: Path, writer: str, metrics: Sequence[Metric], gather: bool = False
    ) -> None:
        self.folder, self.writer, self.metrics, self.gather = folder, writer, metrics, gather
        self._schemas = {"curves": curve_schema(metrics), "runs": run_schema(metrics)}
        self._number = 0
        self._ended: dict[str, pa.Table] = {
            kind: schema.empty_table() for kind, schema in self._schemas.items()
        }
        self._gathered: dict[str, tuple[Sequence[Mapping[str, Any]], Mapping[str, Any]]] = {}
        self._written = -math.inf
        self._quick = False
        self.saved = True
        """Whether all that ended is on disk."""

    @property
    def waits(self) -> bool:
        """Whether the cells are so quick, and the last flush so recent, that the next one can
        wait.
        """
        return self.gather and self._quick and time.monotonic() - self._written < GATHER_SECONDS

    def flush(
        self, rows: Sequence[Mapping[str, Any]] = (), record: Mapping[str, Any] | None = None
    ) -> None:
        """Write all that ended, and `rows` and `record` as the state of the current cell. Raises
        OSError.
        """
        ended = {
            "curves": self._with(
                "curves", [row for rows_, _ in self._gathered.values() for row in rows_]
            ),
            "runs": self._with("runs", [record for _, record in self._gathered.values()]),
        }
        for kind, current in (("curves", rows), ("runs", [record] if record else [])):
            self._write(kind, _joined(ended[kind], self._table(kind, current)))
        self._ended, self._gathered = ended, {}
        self._written, self.saved = time.monotonic(), True
        if self._ended["curves"].num_rows > ROWS_PER_PART and not record:
            self._number += 1
            self._ended = {kind: schema.empty_table() for kind, schema in self._schemas.items()}

    def end(
        self, rows: Sequence[Mapping[str, Any]], record: Mapping[str, Any], checkpoints: bool
    ) -> None:
        """Keep the last word of a cell, and write it unless it is one of many quick ones. Raises
        OSError.

        A cell with checkpoints is never quick: these can go once its word is written.
        """
        self._gathered[record["cell"]] = (rows, record)
        self.saved, self._quick = False, record["seconds"] < GATHER_SECONDS and not checkpoints
        if not self.waits:
            self.flush()

    def _table(self, kind: str, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
        return pa.Table.from_pylist(list(rows), schema=self._schemas[kind])

    def _with(self, kind: str, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
        return _joined(self._ended[kind], self._table(kind, rows)) if rows else self._ended[kind]

    def _write(self, kind: str, table: pa.Table) -> None:
        name = self.writer + (f".{self._number}" if self._number else "")
        with replacing(self.folder / kind / f"{name}.parquet") as file:
            pq.write_table(table, file, compression="zstd")


def _joined(table: pa.Table, more: pa.Table) -> pa.Table:
    return pa.concat_tables([table, more]).unify_dictionaries().combine_chunks()


def finished(folder: Path, prefix: str) -> dict[str, tuple[Status, int]]:
    """Cells that need no run in the task whose parts' names begin with `prefix`, with their status
    and epochs.

    Those are cells with a final result, in the task's parts or already compacted, and cells that
    failed in this task before it was requeued: it takes a resume to try these again.
    """
    compacted = _statuses(folder / "store" / name for name in _compacted_runs(folder))
    parts = (folder / "runs").glob(f"{prefix}*.parquet")
    here = _statuses(path for path in parts if (folder / "curves" / path.name).exists())
    return {cell: had for cell, had in compacted.items() if had[0] in FINAL} | {
        cell: had for cell, had in here.items() if had[0] in (*FINAL, "failed")
    }


def _statuses(paths: Iterable[Path]) -> dict[str, tuple[Status, int]]:
    found: dict[str, tuple[Status, int]] = {}
    for path in paths:
        with pq.ParquetFile(path) as file:  # read_table would load pandas
            table = file.read(columns=["cell", "status", "epochs"])
        columns = (column.to_pylist() for column in table.columns)
        found |= {cell: (status, epochs) for cell, status, epochs in zip(*columns, strict=True)}
    return found


def _compacted_runs(folder: Path) -> list[str]:
    """Files of the store with run records; none where the store lost a file, and with it what a
    record tells of.
    """
    manifest = folder / "store" / "manifest.json"
    entries = json.loads(manifest.read_text()) if manifest.exists() else []
    if not all((folder / "store" / entry["file"]).exists() for entry in entries):
        return []
    return [entry["file"] for entry in entries if entry["kind"] == "runs"]
