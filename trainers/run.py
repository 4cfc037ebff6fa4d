"""What a trainer is given: a place for its rows, its checkpoints and its facts, and the word when to stop.

Rows live in three places, in this order: in memory, in the checkpoint that they came with, and in the part, which is
written after the checkpoint. A part can so be behind the checkpoint after a crash, and the next attempt's part then
holds all rows again, but never can rows stand beside a checkpoint that did not produce them.
"""

from __future__ import annotations

import json
import logging
import math
import resource
import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from trainers import config
from trainers.checkpoint import Checkpoints, replacing

log = logging.getLogger(__name__)

SCHEMA_VERSION = "1"
ROWS_PER_PART = 100_000
GATHER_SECONDS = 2.0

Outcome = Literal["done", "stopped", "nonfinite"]
Status = Literal["running", "done", "stopped", "nonfinite", "failed"]
FINAL = ("done", "nonfinite")


@dataclass(frozen=True)
class Metric:
    """A column that a trainer logs. `best` says in which direction a value is better, where that means something."""

    name: str
    dtype: Literal["float32", "int32"]
    unit: str
    meaning: str
    best: Literal["min", "max"] | None = None


_POSITION = (
    pa.field("cell", pa.dictionary(pa.int32(), pa.string()), metadata={"meaning": "id of the cell"}),
    pa.field("attempt", pa.int16(), metadata={"meaning": "attempt that computed the row"}),
    pa.field("epoch", pa.int32(), metadata={"unit": "epochs", "meaning": "1-based; 0 is before training"}),
    pa.field("step", pa.int64(), metadata={"unit": "steps", "meaning": "optimiser steps so far"}),
    pa.field("examples", pa.int64(), metadata={"unit": "examples", "meaning": "training examples seen so far"}),
    pa.field("seconds", pa.float64(), metadata={"unit": "s", "meaning": "training time so far, excluding waits"}),
)
_FACTS: dict[str, pa.DataType] = {
    "host": pa.string(), "gpu": pa.string(), "gpu_seconds": pa.float64(), "seconds": pa.float64(),
    "peak_memory_bytes": pa.int64(), "epochs": pa.int32(), "steps": pa.int64(), "parameters": pa.int64(),
    "noise_rate": pa.float64(), "noise_chosen": pa.int64(), "noise_mask_hash": pa.string(), "data_hash": pa.string(),
    "precision": pa.string(), "code": pa.string(), "environment": pa.string(), "error_class": pa.string(),
    "error": pa.string(),
}  # fmt: skip
_ARROW = {int: pa.int64(), float: pa.float64(), bool: pa.bool_(), str: pa.string(), list: pa.list_(pa.int64())}


def curve_schema(metrics: Sequence[Metric]) -> pa.Schema:
    """Columns of the rows: position, then the trainer's metrics with their unit and meaning as field metadata."""
    fields = [
        pa.field(m.name, pa.type_for_alias(m.dtype), metadata={"unit": m.unit, "meaning": m.meaning}) for m in metrics
    ]
    return pa.schema([*_POSITION, *fields], metadata={"redescent.schema": SCHEMA_VERSION})


def run_schema(metrics: Sequence[Metric]) -> pa.Schema:
    """Columns of the run records: status, flattened configuration, facts, final and best metrics."""
    fields = [("cell", pa.string()), ("status", pa.string()), ("attempt", pa.int16()), ("updated", pa.float64())]
    fields += [(key, _ARROW[kind]) for key, kind in config.columns().items()]
    fields += list(_FACTS.items())
    for metric in metrics:
        fields.append((f"final_{metric.name}", pa.type_for_alias(metric.dtype)))
        if metric.best:
            fields.append((f"best_{metric.name}", pa.type_for_alias(metric.dtype)))
            fields.append((f"best_epoch_{metric.name}", pa.int32()))
    return pa.schema([pa.field(*f) for f in fields], metadata={"redescent.schema": SCHEMA_VERSION})


class Part:
    """The rows and run records of one writer, rewritten whole at every flush: `curves/WRITER.parquet`, `runs/...`.

    The rows go first, so that a record which says "done" always stands beside all of its rows. With `gather`, what is
    left by cells of less than GATHER_SECONDS is gathered for as long, and it is the caller's to flush at the end:
    thousands of them then do not make thousands of writes.
    """

    def __init__(self, folder: Path, writer: str, metrics: Sequence[Metric], gather: bool = False) -> None:
        self.folder, self.writer, self.metrics, self.gather = folder, writer, metrics, gather
        self._schemas = {"curves": curve_schema(metrics), "runs": run_schema(metrics)}
        self._number = 0
        self._ended: dict[str, pa.Table] = {kind: schema.empty_table() for kind, schema in self._schemas.items()}
        self._gathered: dict[str, tuple[Sequence[Mapping[str, Any]], Mapping[str, Any]]] = {}
        self._written = -math.inf
        self._quick = False
        self.saved = True
        """Whether all that ended is on disk."""

    @property
    def waits(self) -> bool:
        """Whether the cells are so quick, and the last flush so recent, that the next one can wait."""
        return self.gather and self._quick and time.monotonic() - self._written < GATHER_SECONDS

    def flush(self, rows: Sequence[Mapping[str, Any]] = (), record: Mapping[str, Any] | None = None) -> None:
        """Write all that ended, and `rows` and `record` as the state of the current cell. Raises OSError."""
        ended = {
            "curves": self._with("curves", [row for rows_, _ in self._gathered.values() for row in rows_]),
            "runs": self._with("runs", [record for _, record in self._gathered.values()]),
        }
        for kind, current in (("curves", rows), ("runs", [record] if record else [])):
            self._write(kind, _joined(ended[kind], self._table(kind, current)))
        self._ended, self._gathered = ended, {}
        self._written, self.saved = time.monotonic(), True
        if self._ended["curves"].num_rows > ROWS_PER_PART and not record:
            self._number += 1
            self._ended = {kind: schema.empty_table() for kind, schema in self._schemas.items()}

    def end(self, rows: Sequence[Mapping[str, Any]], record: Mapping[str, Any], quick: bool) -> None:
        """Keep the last word of a cell, and write it unless it is one of many quick ones. Raises OSError."""
        self._gathered[record["cell"]] = (rows, record)
        self.saved, self._quick = False, quick
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


def log_spaced(last: int, per_decade: int) -> set[int]:
    """0, 1, ... `last` at `per_decade` points in every factor of ten, the last always among them."""
    points = math.ceil(math.log10(max(last, 1)) * per_decade) + 1
    return {0, last} | {min(round(10 ** (i / per_decade)), last) for i in range(points)}


def finished(folder: Path, prefix: str) -> dict[str, tuple[Status, int]]:
    """Cells that need no run in the task whose parts' names begin with `prefix`, with their status and epochs.

    Those are cells with a final result, in the task's parts or already compacted, and cells that failed in this task
    before it was requeued: it takes a resume to try these again.
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
    manifest = folder / "store" / "manifest.json"
    if not manifest.exists():
        return []
    return [entry["file"] for entry in json.loads(manifest.read_text()) if entry["kind"] == "runs"]


def _peak_memory() -> int:
    """Largest resident memory of this process so far, in bytes; a child that trains several cells keeps the largest."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@dataclass
class Run:
    """One execution of one cell, as its trainer sees it."""

    cell: str
    flat: Mapping[str, Any]
    attempt: int
    part: Part
    checkpoints: Checkpoints
    should_stop: Callable[[], bool]
    checkpoint_seconds: float
    gpu_share: float = 1.0
    facts: dict[str, Any] = field(default_factory=dict)
    _rows: list[dict[str, Any]] = field(default_factory=list)
    _restored_step: int = 0
    _saved_step: int = 0
    _start: float = field(default_factory=time.monotonic)
    _last_checkpoint: float = field(default_factory=time.monotonic)

    def restore(self) -> dict[str, Any] | None:
        """The trainer's state from the newest whole checkpoint, or None; its rows and training time come back too."""
        saved = self.checkpoints.load()
        if saved is None:
            return None
        self._rows = list(saved["rows"])
        self._start = time.monotonic() - saved["seconds"]
        self._restored_step = int(saved["step"])
        log.info("cell %s: going on from step %d of attempt %d", self.cell, saved["step"], saved["attempt"])
        return dict(saved["state"])

    def note(self, **facts: Any) -> None:
        """Record facts of the run (realised noise rate, precision, ...); the names are columns of the runs table."""
        unknown = set(facts) - set(_FACTS)
        if unknown:
            raise KeyError(f"no such column in the runs table: {sorted(unknown)}; known: {sorted(_FACTS)}")
        self.facts.update(facts)

    def begin(self) -> None:
        """Say that the cell is running; of a quick one among many nothing is said but its end."""
        if not self.part.waits:
            self.flush("running")

    def log(self, *, epoch: int, step: int, examples: int, **metrics: float | None) -> None:
        """Add the row of an epoch. A metric that was not computed at this epoch is left out or None."""
        unknown = set(metrics) - {m.name for m in self.part.metrics}
        if unknown:
            raise KeyError(f"metrics that the trainer does not declare: {sorted(unknown)}")
        position = {"cell": self.cell, "attempt": self.attempt, "epoch": epoch, "step": step, "examples": examples}
        self._rows.append({**position, "seconds": self.seconds(), **metrics})
        if not self.part.saved and not self.part.waits:
            self.flush("running")

    @property
    def epochs(self) -> int:
        """The last epoch logged."""
        return int(self._rows[-1]["epoch"]) if self._rows else 0

    @property
    def steps(self) -> int:
        """The step of the last row."""
        return int(self._rows[-1]["step"]) if self._rows else 0

    @property
    def progressed(self) -> bool:
        """Whether this attempt got further than the checkpoint that it began from."""
        return max(self._saved_step, self.steps) > self._restored_step

    def seconds(self) -> float:
        """Training time of this cell so far, over all attempts that its state went through, in seconds."""
        return time.monotonic() - self._start

    def checkpoint_due(self) -> bool:
        """Whether `run.checkpoint_seconds` have passed since the last checkpoint."""
        return time.monotonic() - self._last_checkpoint >= self.checkpoint_seconds

    def checkpoint(self, state: dict[str, Any], step: int) -> None:
        """Save the trainer's state with all rows logged so far, then bring the part up to it."""
        self.checkpoints.save(
            {"state": state, "rows": self._rows, "seconds": self.seconds(), "attempt": self.attempt, "step": step}
        )
        self._saved_step = step
        self.flush("running")
        self._last_checkpoint = time.monotonic()

    def save_weights(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Keep weights beside the logs, by parameter name, in weights/CELL.npz."""
        (self.part.folder / "weights").mkdir(exist_ok=True)
        with replacing(self.part.folder / "weights" / f"{self.cell}.npz") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]

    def flush(self, status: Status, error_class: str | None = None, error: str | None = None) -> None:
        """Write rows and record to the part."""
        self.part.flush(self._rows, self._record(status, error_class, error))

    def close(self, status: Status, error_class: str | None = None, error: str | None = None) -> None:
        """Give the part the last word of this attempt; the checkpoints of a cell with a final result go after that."""
        quick = self.seconds() < GATHER_SECONDS and not self.checkpoints.present
        self.part.end(self._rows, self._record(status, error_class, error), quick)
        if status in FINAL and self.checkpoints.present:
            self.checkpoints.clear()

    def _record(self, status: Status, error_class: str | None, error: str | None) -> dict[str, Any]:
        gpu_seconds = self.seconds() * self.gpu_share if self.facts.get("gpu") else 0.0
        return {
            **self.flat, "cell": self.cell, "status": status, "attempt": self.attempt, "updated": time.time(),
            "host": socket.gethostname(), "peak_memory_bytes": _peak_memory(),
            "epochs": self.epochs, "steps": self.steps, "seconds": self.seconds(), "gpu_seconds": gpu_seconds,
            "error_class": error_class, "error": error, **self.facts, **self._summary(),
        }  # fmt: skip

    def _summary(self) -> dict[str, Any]:
        """Final and best value of every metric over the logged rows; NaN never is the best."""
        summary: dict[str, Any] = {}
        for metric in self.part.metrics:
            seen = [(r[metric.name], r["epoch"]) for r in self._rows if r.get(metric.name) is not None]
            if seen:
                summary[f"final_{metric.name}"] = seen[-1][0]
            finite = [pair for pair in seen if math.isfinite(pair[0])]
            if metric.best and finite:
                best = min(finite) if metric.best == "min" else max(finite, key=lambda pair: (pair[0], -pair[1]))
                summary[f"best_{metric.name}"], summary[f"best_epoch_{metric.name}"] = best
        return summary
