"""The types of the columns that readers of a sweep use, whatever wrote the file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

Test = Callable[[pa.DataType], bool]


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind))


TYPES: Mapping[str, tuple[str, Test]] = {
    "cell": ("text", _is_text),
    "status": ("text", _is_text),
    "error": ("text", _is_text),
    "error_class": ("text", _is_text),
    "host": ("text", _is_text),
    "code": ("text", _is_text),
    "attempt": ("integers", pa.types.is_integer),
    "epoch": ("integers", pa.types.is_integer),
    "step": ("integers", pa.types.is_integer),
    "epochs": ("integers", pa.types.is_integer),
    "steps": ("integers", pa.types.is_integer),
    "attempts": ("integers", pa.types.is_integer),
    "seconds": ("numbers", _is_number),
    "updated": ("numbers", _is_number),
    "gpu_seconds": ("numbers", _is_number),
}
"""For each column that we compute with, what it holds. A column without any value has no type."""

OF_ROWS = ("cell", "attempt", "epoch", "step", "seconds")
"""Those that rows have. A trainer may call a metric of its own like a column of records."""

LAST_ATTEMPT = 32_767
"""Attempts are 16-bit integers."""

WITHOUT_NULLS = ("cell", "attempt", "epoch")
"""Columns that identify a row."""


def foreign_column(
    schema: pa.Schema, kind: str, columns: Sequence[str] | None = None
) -> str | None:
    """How a table that was read differs from what a sweep holds; None if it does not.

    kind: "curves", whose other columns are the trainer's metrics, or "runs". columns: those that
    were read, None if all were.
    """
    if "attempt" not in schema.names and (columns is None or "attempt" in columns):
        return f"no column 'attempt' (found {', '.join(schema.names[:8])})"
    for field in schema:
        is_metric = kind == "curves" and field.name not in OF_ROWS
        if is_metric or field.name not in TYPES or pa.types.is_null(field.type):
            continue
        content, is_right = TYPES[field.name]
        if not is_right(field.type):
            return f"column {field.name!r}: found {field.type}, expected {content}"
    return None


def foreign_value(table: pa.Table) -> str | None:
    """Which column that identifies a row lacks values or has impossible ones; None if none does."""
    for name in WITHOUT_NULLS:
        if name in table.schema.names and table[name].null_count:
            count = table[name].null_count
            rows = "row" if count == 1 else "rows"
            return f"column {name!r}: found {count} {rows} without a value, expected none"
    if "attempt" in table.schema.names and table.num_rows:
        limits = pc.min_max(table["attempt"]).as_py()
        if limits["min"] < 0 or limits["max"] > LAST_ATTEMPT:
            return f"column 'attempt': found {limits['min']} to {limits['max']}, expected counts"
    return None


def message(path: Path, difference: str) -> str:
    """The error for a file whose columns are foreign."""
    return (
        f"{path}: {difference}; not a file that a trainer of this project wrote. Move it away and "
        "run `redescent resume`, which trains again what only this file held"
    )
