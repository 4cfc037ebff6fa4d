"""Rows that two attempts computed for the same epoch and step of a cell, compared bit for bit.

An exact resume makes them equal; a difference means that something random or numerical escaped the
checkpoint.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from analysis.store.merge import group_ends, numbers, row_keys

COLUMNS = ("cell", "epoch", "column", "attempts", "values")
IDENTITY = ("cell", "attempt", "epoch", "step")
TIMES = ("seconds", "examples_per_second", "steps_per_second")  # never equal in two attempts


def mismatches(repeated: pa.Table) -> pd.DataFrame:
    """Differences among adjacent rows that share (cell, epoch, step), one row per metric.

    Columns: cell, epoch, column, attempts (tuple, in the order of the rows), values (tuple).
    Compared bitwise, so NaN equals the same NaN and 0.0 differs from -0.0; a null, i.e. a metric
    that an attempt did not log, is no difference.
    """
    if repeated.num_rows == 0:
        return pd.DataFrame(columns=list(COLUMNS))
    starts = _group_starts(repeated)
    rows = []
    for name in _metrics(repeated.schema):
        rows += _differing(repeated, name, starts)
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    return frame.sort_values(["cell", "epoch", "column"], ignore_index=True)


def _metrics(schema: pa.Schema) -> list[str]:
    """The columns that are compared: numbers that are neither identity nor time."""
    names = []
    for field in schema:
        is_number = pa.types.is_integer(field.type) or pa.types.is_floating(field.type)
        if is_number and field.name not in IDENTITY + TIMES:
            names.append(field.name)
    return names


def _group_starts(table: pa.Table) -> NDArray[np.intp]:
    """First row of every group, shape (groups,)."""
    ends = group_ends(row_keys(table))
    return np.concatenate(([0], np.flatnonzero(ends)[:-1] + 1))


def _differing(table: pa.Table, name: str, starts: NDArray[np.intp]) -> list[tuple[Any, ...]]:
    """Rows of COLUMNS: the groups whose valid values of a column have several bit patterns."""
    values = numbers(table, name)
    bits = values.view(f"u{values.dtype.itemsize}").astype(np.uint64)
    valid = table[name].is_valid().to_numpy()
    low = np.minimum.reduceat(np.where(valid, bits, np.iinfo(np.uint64).max), starts)
    high = np.maximum.reduceat(np.where(valid, bits, 0), starts)
    ends = np.append(starts[1:], len(values))
    return [_row(table, name, slice(starts[g], ends[g])) for g in np.flatnonzero(low < high)]


def _row(table: pa.Table, name: str, rows: slice) -> tuple[Any, ...]:
    """One differing group as a row of COLUMNS."""
    group = table.slice(rows.start, rows.stop - rows.start)
    cell, epoch = group["cell"][0].as_py(), group["epoch"][0].as_py()
    return cell, epoch, name, tuple(group["attempt"].to_pylist()), tuple(group[name].to_pylist())
