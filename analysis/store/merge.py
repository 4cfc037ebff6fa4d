"""The fold: one table from many files, and of every row of a cell, and of every cell's record, the
newest.

A row is known by its cell, epoch and step: a trainer may log several steps of an epoch.

`store` and `compact` share it, so that "newest attempt" means one thing. Pure functions of pyarrow
tables whose `cell` column is dictionary-encoded.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from analysis.store.parts import CELL_TYPE, FINAL, SCHEMA_KEY, SCHEMA_VERSION

# list<int16> in a store's runs table: which attempts `attempts` counts, so that a part read twice
# is not counted twice
SEEN = "attempts_seen"


def join(tables: Iterable[pa.Table]) -> pa.Table:
    """One table from many with other columns or types: absent columns become null, integers widen
    to floats.

    A column whose types have no common type (an axis over numbers and words) becomes text. Field
    metadata (unit, meaning) is that of the first table that has some. At least one table is
    required.
    """
    parts = list(tables)
    schema = _common_schema([t.schema for t in parts])
    joined = pa.concat_tables([_conform(t, schema) for t in parts])
    return joined.unify_dictionaries().combine_chunks()


def _common_schema(schemas: Sequence[pa.Schema]) -> pa.Schema:
    """The schema that all of `schemas` fit into; columns in the order of first appearance."""
    fields: dict[str, pa.Field] = {}
    for schema in dict.fromkeys(schemas):
        for field in schema:
            known = fields.get(field.name)
            fields[field.name] = field if known is None else _common_field(known, field)
    return pa.schema(list(fields.values()), metadata={SCHEMA_KEY: str(SCHEMA_VERSION).encode()})


def _common_field(known: pa.Field, other: pa.Field) -> pa.Field:
    """One field for two of the same name."""
    metadata = known.metadata or other.metadata
    try:
        pair = [pa.schema([f.remove_metadata().with_nullable(True)]) for f in (known, other)]
        merged = pa.unify_schemas(pair, promote_options="permissive").field(0)
    except (pa.ArrowTypeError, pa.ArrowInvalid):
        merged = pa.field(known.name, pa.string())
    return merged.with_metadata(metadata) if metadata else merged


def _conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table with exactly the columns and types of `schema`."""
    if table.schema.equals(schema):
        return table.replace_schema_metadata(schema.metadata)
    present = set(table.schema.names)
    columns = [
        _as_type(table[f.name], f.type) if f.name in present else pa.nulls(table.num_rows, f.type)
        for f in schema
    ]
    return pa.table(columns, schema=schema)


def _as_type(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    """The column as `kind`; what Arrow cannot cast to text is written as JSON."""
    if column.type == kind:
        return column
    if kind == pa.string() and not pa.types.is_dictionary(column.type):
        return pa.chunked_array(
            [pa.array([None if v is None else json.dumps(v) for v in column.to_pylist()], kind)]
        )
    return column.cast(kind)


def cell_ranks(table: pa.Table) -> NDArray[np.int64]:
    """For every row the rank of its cell id in string order, shape (rows,): sorts and groups
    without the strings.
    """
    column = table["cell"].combine_chunks()
    if isinstance(column, pa.ChunkedArray):
        column = column.chunk(0) if column.num_chunks else pa.array([], CELL_TYPE)
    names = np.asarray(column.dictionary.to_pylist(), dtype=object)
    if len(names) == 0:
        return np.zeros(table.num_rows, np.int64)
    _, ranks = np.unique(names, return_inverse=True)
    return np.asarray(ranks[column.indices.to_numpy(zero_copy_only=False)], np.int64)


def numbers(table: pa.Table, name: str, missing: float = 0) -> NDArray[Any]:
    """A numeric column as a numpy array with nulls replaced."""
    return np.asarray(table[name].fill_null(missing).to_numpy())


@dataclass(frozen=True)
class Fold:
    """Rows of a table in the order (cell, epoch, step, attempt), grouped by (cell, epoch, step).

    order: (rows,) row numbers in that order; last: (rows,) whether the row is the newest of its
    group, i.e. kept.
    """

    order: NDArray[np.intp]
    last: NDArray[np.bool_]

    @property
    def kept(self) -> NDArray[np.intp]:
        """Row numbers to keep, sorted by cell, epoch and step."""
        return self.order[self.last]

    @property
    def repeated(self) -> NDArray[np.intp]:
        """Row numbers of all rows that share their group with another one, in order."""
        first = np.concatenate(([True], self.last[:-1]))[: len(self.last)]
        return self.order[~(first & self.last)]


def fold_curves(table: pa.Table) -> Fold:
    """Sorts and groups curve rows: the newest attempt of each row is kept; of one attempt twice,
    any one.
    """
    keys = row_keys(table)
    order = np.lexsort((numbers(table, "attempt"), *keys[::-1]))
    return Fold(order, group_ends([key[order] for key in keys]))


def row_keys(table: pa.Table) -> list[NDArray[Any]]:
    """What tells rows apart, most significant first: rank of the cell, epoch, and step where the
    table has it.
    """
    return [
        cell_ranks(table),
        *(numbers(table, name) for name in ("epoch", "step") if name in table.schema.names),
    ]


def group_ends(keys: Sequence[NDArray[Any]]) -> NDArray[np.bool_]:
    """For rows sorted by `keys`, (rows,) each, whether a row is the last of those that share them
    all.
    """
    differs = np.logical_or.reduce([key[1:] != key[:-1] for key in keys])
    return np.append(differs, True)[: len(keys[0])]


def newest_curves(table: pa.Table) -> pa.Table:
    """The kept rows of `fold_curves`, sorted by cell, epoch and step."""
    return table.take(pa.array(fold_curves(table).kept))


def newest_runs(table: pa.Table) -> pa.Table:
    """One record per cell, sorted by cell: the one with the greatest (final, attempt, updated).

    A final result beats a later word: after a controller's crash two executions of one attempt can
    be alive, and the slower one goes on to write "running" or is killed when the other has finished
    all rows. Adds `attempts` (int32, how many different attempts have a record) and SEEN (which
    ones). A record that comes from a store brings the attempts that were folded into it.
    """
    if table.num_rows == 0:
        return table
    ranks, attempts = cell_ranks(table), numbers(table, "attempt")
    updated = (
        numbers(table, "updated", -np.inf)
        if "updated" in table.schema.names
        else np.zeros(len(ranks))
    )
    final = (
        pc.is_in(table["status"], pa.array(FINAL, pa.string())).to_numpy()
        if "status" in table.schema.names
        else updated
    )
    order = np.lexsort((updated, attempts, final, ranks))
    last = np.append(ranks[order][1:] != ranks[order][:-1], True)
    seen = _attempts_seen(table, ranks, attempts)
    kept = table.drop_columns([c for c in (SEEN, "attempts") if c in table.schema.names]).take(
        pa.array(order[last])
    )
    kept = kept.append_column(
        pa.field("attempts", pa.int32()), pa.array([len(s) for s in seen], pa.int32())
    )
    return kept.append_column(
        pa.field(SEEN, pa.list_(pa.int16())), pa.array(seen, pa.list_(pa.int16()))
    )


def _attempts_seen(
    table: pa.Table, ranks: NDArray[np.int64], attempts: NDArray[Any]
) -> list[list[int]]:
    """For each cell, in the order of its rank, the sorted attempts that any record tells of."""
    pairs = [np.stack([ranks, attempts.astype(np.int64)])]
    if SEEN in table.schema.names:
        lists = table[SEEN].combine_chunks()
        lists = lists.chunk(0) if isinstance(lists, pa.ChunkedArray) else lists
        parents = pc.list_parent_indices(lists).to_numpy(zero_copy_only=False)
        flat = pc.list_flatten(lists).to_numpy(zero_copy_only=False)
        pairs.append(np.stack([ranks[parents], flat.astype(np.int64)]))
    cells, values = np.unique(np.concatenate(pairs, axis=1), axis=1)
    return [group.tolist() for group in np.split(values, np.flatnonzero(np.diff(cells)) + 1)]
