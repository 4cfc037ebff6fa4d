"""Tables of curve rows -> one DataFrame of the newest rows, with little more memory than it has.

Most cells have all their rows in one run: consecutive rows of one table, in order. Such runs are
copied as they are, ordered by cell. Only the rows of other cells (several attempts, several files)
are sorted. The frame is built one column at a time, and each column of the tables is freed when it
has been copied.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from analysis.store.merge import (
    as_type,
    common_schema,
    concatenate,
    increases,
    newest_curves,
    numbers,
    single_chunk,
)
from analysis.store.parts import CELL_TYPE, filter_cells

Columns = dict[str, pa.ChunkedArray]


@contextlib.contextmanager
def returned_memory() -> Iterator[None]:
    """Meanwhile Arrow takes its memory from the C library, which returns a block when it is freed.

    Arrow's own pool keeps what it once had: after reading, that is as much again as the rows.
    """
    pool = pa.default_memory_pool()
    pa.set_memory_pool(pa.system_memory_pool())
    try:
        yield
    finally:
        pa.set_memory_pool(pool)


@dataclass(frozen=True)
class Runs:
    """Runs of rows of one cell, (runs,) each: number of the table, first row, row after the last,
    number of the cell, and whether epoch and step increase within the run.
    """

    table: NDArray[np.intp]
    start: NDArray[np.intp]
    stop: NDArray[np.intp]
    cell: NDArray[np.intp]
    in_order: NDArray[np.bool_]

    def take(self, rows: NDArray[Any]) -> Runs:
        """Some of the runs, in the order of their numbers."""
        return Runs(*(values[rows] for values in vars(self).values()))


def newest_frame(tables: list[pa.Table], names: Sequence[str] | None = None) -> pd.DataFrame:
    """The columns `names` (default: all) of the newest rows, sorted by cell, epoch and step.

    `cell` is categorical with sorted categories. An integer column with missing values is float64
    with NaN. The list `tables`, at least one, is empty afterwards. Raises KeyError if no table has
    one of `names`.
    """
    schema = common_schema([table.schema for table in tables])
    names = schema.names if names is None else names
    cells, runs = _runs_of(tables)
    contested = _contested(runs, len(cells))
    if contested.any():
        ids = [cell for cell, is_contested in zip(cells, contested, strict=True) if is_contested]
        tables.append(newest_curves(concatenate(filter_cells(table, ids) for table in tables)))
        cells, runs = _runs_of(tables)
        is_original = runs.table < len(tables) - 1
        runs = runs.take(np.flatnonzero(~(contested[runs.cell] & is_original)))
    runs = runs.take(np.argsort(runs.cell, kind="stable"))
    columns = [dict(zip(table.schema.names, table.columns, strict=True)) for table in tables]
    lengths = [table.num_rows for table in tables]
    tables.clear()
    slices = _slices(runs)
    pa.default_memory_pool().release_unused()
    frame: dict[str, Any] = {}
    for name in names:
        if name == "cell":
            codes = np.repeat(runs.cell, runs.stop - runs.start)
            frame["cell"] = pd.Categorical.from_codes(codes, pd.Index(cells))
        else:
            frame[name] = _column(schema.field(name), columns, lengths, slices)
        pa.default_memory_pool().release_unused()  # what was freed goes back to the system
    return pd.DataFrame(frame, copy=False)


def _runs_of(tables: Sequence[pa.Table]) -> tuple[list[str], Runs]:
    """All cells, sorted, and the runs of all tables; the numbers of cells are those of the list."""
    encoded = [single_chunk(table["cell"], CELL_TYPE) for table in tables]
    used = [column.dictionary.take(column.indices.unique()).to_pylist() for column in encoded]
    cells = sorted(set().union(*used))
    number_of = {cell: number for number, cell in enumerate(cells)}
    runs = []
    for number, (table, column) in enumerate(zip(tables, encoded, strict=True)):
        numbers_of_cells = [number_of.get(cell, -1) for cell in column.dictionary.to_pylist()]
        codes = column.indices.to_numpy(zero_copy_only=False)
        runs.append(_runs(number, table, codes, np.array(numbers_of_cells, np.intp)))
    columns = zip(*(vars(runs_of_table).values() for runs_of_table in runs), strict=True)
    return cells, Runs(*(np.concatenate(values) for values in columns))


def _runs(number: int, table: pa.Table, codes: NDArray[Any], cells: NDArray[np.intp]) -> Runs:
    """The runs of one table; `codes`, (rows,), are indices into `cells`."""
    bounds = np.flatnonzero(codes[1:] != codes[:-1]) + 1
    start = np.concatenate(([0], bounds))[: len(codes)].astype(np.intp)
    stop = np.concatenate((bounds, [len(codes)]))[: len(start)].astype(np.intp)
    names = [name for name in ("epoch", "step") if name in table.schema.names]
    after = increases([numbers(table, name) for name in names])
    after[bounds - 1] = True  # the next row is of another cell
    falls = np.concatenate(([0], np.cumsum(~after)))
    in_order = falls[stop - 1] == falls[start]
    return Runs(np.full(len(start), number), start, stop, cells[codes[start]], in_order)


def _contested(runs: Runs, cells: int) -> NDArray[np.bool_]:
    """(cells,) whether the rows of a cell are in several runs, or not in order."""
    several = np.bincount(runs.cell, minlength=cells) > 1
    return several | (np.bincount(runs.cell, ~runs.in_order, minlength=cells) > 0)


def _slices(runs: Runs) -> list[tuple[int, slice]]:
    """Table and rows of each run; runs that follow one another in a table are one slice."""
    if len(runs.table) == 0:
        return [(0, slice(0, 0))]
    joins = (runs.table[1:] == runs.table[:-1]) & (runs.start[1:] == runs.stop[:-1])
    first = np.flatnonzero(np.concatenate(([True], ~joins)))
    last = np.append(first[1:] - 1, len(runs.table) - 1)
    bounds = zip(runs.table[first], runs.start[first], runs.stop[last], strict=True)
    return [(int(table), slice(int(start), int(stop))) for table, start, stop in bounds]


def _column(
    field: pa.Field,
    columns: Sequence[Columns],
    lengths: Sequence[int],
    slices: Sequence[tuple[int, slice]],
) -> Any:
    """One column of the frame; it is removed from `columns`, those of each table."""
    is_number = pa.types.is_integer(field.type) or pa.types.is_floating(field.type)
    values = []
    for columns_of_table, rows in zip(columns, lengths, strict=True):
        column = columns_of_table.pop(field.name, None)
        if column is None:
            column = pa.chunked_array([pa.nulls(rows, field.type)])
        column = as_type(column, field.type)
        values.append(column.to_numpy() if is_number else column)
    if is_number:
        return np.concatenate([values[table][rows] for table, rows in slices])
    return _concatenate(values, slices, field.type).to_pandas().array


def _concatenate(
    values: Sequence[pa.ChunkedArray], slices: Sequence[tuple[int, slice]], kind: pa.DataType
) -> pa.ChunkedArray:
    pieces = [values[table][rows] for table, rows in slices]
    return pa.chunked_array([chunk for piece in pieces for chunk in piece.chunks], kind)
