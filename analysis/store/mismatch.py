"""Rows that two attempts computed for the same epoch and step of the same cell, compared bit for
bit.

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
# keys, and times that never agree
UNCOMPARED = (
    "cell",
    "attempt",
    "epoch",
    "step",
    "seconds",
    "examples_per_second",
    "steps_per_second",
)


def mismatches(repeated: pa.Table) -> pd.DataFrame:
    """Differences among rows that share (cell, epoch, step), adjacent ones; one row per cell,
    epoch, step and column.

    Columns: cell, epoch, column, attempts (tuple, in the order of the rows), values (tuple).
    Compared bitwise, so NaN equals the same NaN and 0.0 differs from -0.0; a null, i.e. a metric
    that an attempt did not log, is no difference.
    """
    if repeated.num_rows == 0:
        return pd.DataFrame(columns=list(COLUMNS))
    starts = _group_starts(repeated)
    names = [
        n
        for n in repeated.schema.names
        if n not in UNCOMPARED and _is_number(repeated.schema.field(n).type)
    ]
    rows = [row for name in names for row in _differing(repeated, name, starts)]
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    return frame.sort_values(["cell", "epoch", "column"], ignore_index=True)


def _is_number(kind: pa.DataType) -> bool:
    """Whether values of this type are compared."""
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _group_starts(table: pa.Table) -> NDArray[np.intp]:
    """First row of every group, shape (groups,)."""
    ends = group_ends(row_keys(table))
    return np.concatenate(([0], np.flatnonzero(ends)[:-1] + 1))


def _differing(table: pa.Table, name: str, starts: NDArray[np.intp]) -> list[tuple[Any, ...]]:
    """The groups whose valid values of one column have more than one bit pattern, as rows of
    COLUMNS.
    """
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
