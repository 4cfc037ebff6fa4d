"""What the files of a part contain: metrics, facts of a run, statuses and the columns of tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from trainers import config

SCHEMA_VERSION = 1

Status = Literal["running", "done", "stopped", "nonfinite", "failed"]
FINAL = ("done", "nonfinite")


@dataclass(frozen=True)
class Metric:
    """A column that a trainer logs; `best` is the direction of better values, if there is one."""

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
    "host": pa.string(),
    "gpu": pa.string(),
    "gpu_seconds": pa.float64(),
    "seconds": pa.float64(),
    "peak_memory_bytes": pa.int64(),
    "epochs": pa.int32(),
    "steps": pa.int64(),
    "parameters": pa.int64(),
    "noise_rate": pa.float64(),
    "noise_chosen": pa.int64(),
    "noise_mask_hash": pa.string(),
    "data_hash": pa.string(),
    "precision": pa.string(),
    "matrix_library": pa.string(),
    "code": pa.string(),
    "environment": pa.string(),
    "error_class": pa.string(),
    "error": pa.string(),
}
_ARROW = {
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
    str: pa.string(),
    list: pa.list_(pa.int64()),
}


def curve_schema(metrics: Sequence[Metric]) -> pa.Schema:
    """Columns of the rows: position, then the metrics with unit and meaning as metadata."""
    fields = [
        pa.field(
            m.name, pa.type_for_alias(m.dtype), metadata={"unit": m.unit, "meaning": m.meaning}
        )
        for m in metrics
    ]
    return pa.schema([*_POSITION, *fields], metadata={"redescent.schema": str(SCHEMA_VERSION)})


def run_schema(metrics: Sequence[Metric]) -> pa.Schema:
    """Columns of the run records: status, configuration, facts, final and best metrics."""
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
    return pa.schema(
        [pa.field(*f) for f in fields], metadata={"redescent.schema": str(SCHEMA_VERSION)}
    )
