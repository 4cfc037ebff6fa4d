"""Many tables become one, with the newest row of every epoch and the newest record of every cell.

A row is identified by its cell, epoch and step: a trainer may log several steps of an epoch.
Reading and compaction share this module, so that "newest attempt" means one thing. Pure functions
of pyarrow tables whose `cell` column is dictionary-encoded.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from analysis.store.parts import CELL_TYPE, FINAL, SCHEMA_KEY, SCHEMA_VERSION

FIRST_ATTEMPT = "first_attempt"

# list<int16> in a store's runs table: which attempts `attempts` counts, so that a part read twice
# is not counted twice
ATTEMPTS_SEEN = "attempts_seen"

# text in a store's runs table: a JSON list with the records of the cell's other attempts, oldest
# first; those after its result are of a new training that has none yet
OTHER_ATTEMPTS = "other_attempts"
_OF_OTHERS = ("attempt", "status", "error_class", "host", "updated", "epochs", "steps")


def concatenate(tables: Iterable[pa.Table]) -> pa.Table:
    """One table from many, at least one, whose columns or types may differ.

    Absent columns become null, integers widen to floats. A column whose types have no common type
    (an axis over numbers and words) becomes text. Field metadata (unit, meaning) is that of the
    first table that has some.
    """
    parts = list(tables)
    schema = common_schema([part.schema for part in parts])
    table = pa.concat_tables([_conform(part, schema) for part in parts])
    return table.unify_dictionaries().combine_chunks()


def common_schema(schemas: Sequence[pa.Schema]) -> pa.Schema:
    """The schema that all of `schemas` fit into; columns in the order of first appearance."""
    fields: dict[str, pa.Field] = {}
    for schema in dict.fromkeys(schemas):
        for field in schema:
            earlier = fields.get(field.name, field)
            fields[field.name] = _common_field(earlier, field)
    return pa.schema(list(fields.values()), metadata={SCHEMA_KEY: str(SCHEMA_VERSION).encode()})


def _common_field(first: pa.Field, second: pa.Field) -> pa.Field:
    """One field for two of the same name."""
    if first is second:
        return first
    metadata = first.metadata or second.metadata
    try:
        pair = [pa.schema([f.remove_metadata().with_nullable(True)]) for f in (first, second)]
        common = pa.unify_schemas(pair, promote_options="permissive").field(0)
    except (pa.ArrowTypeError, pa.ArrowInvalid):
        common = pa.field(first.name, pa.string())
    return common.with_metadata(metadata) if metadata else common


def _conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table with exactly the columns and types of `schema`."""
    if table.schema.equals(schema):
        return table.replace_schema_metadata(schema.metadata)
    columns = []
    for field in schema:
        if field.name in table.schema.names:
            columns.append(as_type(table[field.name], field.type))
        else:
            columns.append(pa.nulls(table.num_rows, field.type))
    return pa.table(columns, schema=schema)


def as_type(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    """The column as `kind`; what Arrow cannot cast to text is written as JSON."""
    if column.type == kind:
        return column
    if kind == pa.string() and not pa.types.is_dictionary(column.type):
        texts = [None if value is None else json.dumps(value) for value in column.to_pylist()]
        return pa.chunked_array([pa.array(texts, kind)])
    return column.cast(kind)


def cell_ranks(table: pa.Table) -> NDArray[np.int64]:
    """(rows,) rank of each row's cell id in string order: sorts and groups without the strings."""
    column = single_chunk(table["cell"], CELL_TYPE)
    names = np.asarray(column.dictionary.to_pylist(), dtype=object)
    if len(names) == 0:
        return np.zeros(table.num_rows, np.int64)
    _, ranks = np.unique(names, return_inverse=True)
    return np.asarray(ranks[column.indices.to_numpy(zero_copy_only=False)], np.int64)


def single_chunk(column: pa.ChunkedArray, kind: pa.DataType) -> pa.Array:
    """The column as one Array, empty of type `kind` where it has no chunk."""
    array = column.combine_chunks()
    if not isinstance(array, pa.ChunkedArray):
        return array
    return array.chunk(0) if array.num_chunks else pa.array([], kind)


def numbers(table: pa.Table, name: str, missing: float = 0) -> NDArray[Any]:
    """A numeric column as a numpy array with nulls replaced."""
    return np.asarray(table[name].fill_null(missing).to_numpy())


@dataclass(frozen=True)
class NewestRows:
    """Rows of a table in the order (cell, epoch, step, attempt), grouped by (cell, epoch, step).

    order: (rows,) row numbers in that order; last: (rows,) whether the row is the newest of its
    group, i.e. kept.
    """

    order: NDArray[np.intp]
    last: NDArray[np.bool_]

    @property
    def kept_rows(self) -> NDArray[np.intp]:
        """Row numbers to keep, sorted by cell, epoch and step."""
        return self.order[self.last]

    @property
    def repeated(self) -> NDArray[np.intp]:
        """Row numbers of all rows that share their group with another one, in order."""
        first = np.concatenate(([True], self.last[:-1]))[: len(self.last)]
        return self.order[~(first & self.last)]


def newest_rows(table: pa.Table) -> NewestRows:
    """Sorts and groups curve rows, newest attempt last; of one attempt twice, any one is last."""
    keys = row_keys(table)
    order = _sort_order([*keys, numbers(table, "attempt")])
    return NewestRows(order, group_ends([key[order] for key in keys]))


def increases(keys: Sequence[NDArray[Any]]) -> NDArray[np.bool_]:
    """(rows - 1,) whether a row is greater than the one before it; keys, (rows,) each, the most
    significant first.
    """
    equal = np.ones(max(len(keys[0]) - 1, 0), bool)
    greater = np.zeros_like(equal)
    for key in keys:
        greater |= equal & (key[1:] > key[:-1])
        equal &= key[1:] == key[:-1]
    return greater


def _sort_order(keys: Sequence[NDArray[Any]]) -> NDArray[np.intp]:
    """Row numbers that sort integer keys, the most significant first; equal rows keep their order.

    The keys are packed into one number where they fit: files are sorted, so one merge of them is
    enough.
    """
    if len(keys[0]) == 0:
        return np.zeros(0, np.intp)
    lows = [int(key.min()) for key in keys]
    counts = [int(key.max()) - low + 1 for key, low in zip(keys, lows, strict=True)]
    if math.prod(counts) >= 2**63:
        return np.lexsort(keys[::-1])
    packed = np.zeros(len(keys[0]), np.int64)
    for key, low, count in zip(keys, lows, counts, strict=True):
        packed *= count
        packed += key
        packed -= low
    return np.argsort(packed, kind="stable")


def row_keys(table: pa.Table) -> list[NDArray[Any]]:
    """What identifies a row, most significant first: rank of the cell, epoch, and step if any."""
    names = [name for name in ("epoch", "step") if name in table.schema.names]
    return [cell_ranks(table), *(numbers(table, name) for name in names)]


def group_ends(keys: Sequence[NDArray[Any]]) -> NDArray[np.bool_]:
    """(rows,) whether a row is the last that has its `keys`, (rows,) each; rows are sorted."""
    differs = np.logical_or.reduce([key[1:] != key[:-1] for key in keys])
    return np.append(differs, True)[: len(keys[0])]


def newest_curves(table: pa.Table) -> pa.Table:
    """The kept rows of `newest_rows`, sorted by cell, epoch and step."""
    return table.take(pa.array(newest_rows(table).kept_rows))


def result_attempts(runs: pa.Table) -> dict[str, range]:
    """The attempts that led to the result of each cell that has one, from `newest_runs`: those
    whose checkpoints it continued and its own. Records of earlier versions say only the last.
    """
    finished = runs.filter(pa.array(_is_final(runs)))
    lasts = numbers(finished, "attempt").tolist()
    firsts = [0] * len(lasts)
    if FIRST_ATTEMPT in finished.schema.names:
        firsts = numbers(finished, FIRST_ATTEMPT).tolist()
    attempts = [range(int(first), last + 1) for first, last in zip(firsts, lasts, strict=True)]
    return dict(zip(finished["cell"].to_pylist(), attempts, strict=True))


def of_results(table: pa.Table, attempts: Mapping[str, range]) -> pa.Table:
    """Curve rows without those of attempts that did not lead to the result of their cell.

    A cell that is trained once more keeps the rows of its result until the new attempt has one;
    from then on it has none of the earlier training. `attempts` is what `result_attempts` gives.
    """
    if table.num_rows == 0 or not attempts:
        return table
    column = single_chunk(table["cell"], CELL_TYPE)
    every_attempt = range(np.iinfo(np.int64).max)
    kept_attempts = [attempts.get(cell, every_attempt) for cell in column.dictionary.to_pylist()]
    cells = column.indices.to_numpy(zero_copy_only=False)
    firsts = np.asarray([kept.start for kept in kept_attempts], np.int64)[cells]
    stops = np.asarray([kept.stop for kept in kept_attempts], np.int64)[cells]
    row_attempts = numbers(table, "attempt")
    is_kept = (firsts <= row_attempts) & (row_attempts < stops)
    return table if is_kept.all() else table.filter(pa.array(is_kept))


def newest_runs(table: pa.Table) -> pa.Table:
    """One record per cell, sorted by cell: the one with the greatest (final, attempt, updated).

    A final result beats a later record: after a controller's crash two executions of one attempt
    can be alive, and the slower one goes on to write "running" or is killed when the other has
    finished all rows. Adds `attempts` (int32, how many different attempts have a record) and
    ATTEMPTS_SEEN (which ones). A record from a store brings the attempts that were merged into it.
    """
    if table.num_rows == 0:
        return table
    ranks, attempts = cell_ranks(table), numbers(table, "attempt")
    order = np.lexsort((_updated(table), attempts, _is_final(table), ranks))
    last = group_ends([ranks[order]])
    attempt_lists = pa.array(_attempts_seen(table, ranks, attempts), pa.list_(pa.int16()))
    attempt_columns = [name for name in (ATTEMPTS_SEEN, "attempts") if name in table.schema.names]
    newest = table.drop_columns(attempt_columns).take(pa.array(order[last]))
    newest = newest.append_column("attempts", pc.list_value_length(attempt_lists))
    return newest.append_column(ATTEMPTS_SEEN, attempt_lists)


def with_other_attempts(newest: pa.Table, table: pa.Table) -> pa.Table:
    """The newest records with a column of what is known of the other attempts at their cells.

    newest: `newest_runs(table)`. A record of `table` that has the column brings its list.
    """
    ranks = cell_ranks(table)
    has_others = np.bincount(ranks)[ranks] > 1 if len(ranks) else np.zeros(0, bool)
    if OTHER_ATTEMPTS in table.schema.names:
        has_others |= table[OTHER_ATTEMPTS].is_valid().to_numpy()
    by_cell: dict[str, list[dict[str, Any]]] = {}
    for row in table.filter(pa.array(has_others)).to_pylist():
        by_cell.setdefault(row["cell"], []).append(row)
    texts = []
    cells, attempts = newest["cell"].to_pylist(), newest["attempt"].to_pylist()
    for cell, attempt in zip(cells, attempts, strict=True):
        records = [row for row in of_attempts(by_cell.get(cell, [])) if row["attempt"] != attempt]
        shown = [{name: row.get(name) for name in _OF_OTHERS} for row in records]
        texts.append(json.dumps(shown) if shown else None)
    if OTHER_ATTEMPTS in newest.schema.names:
        newest = newest.drop_columns([OTHER_ATTEMPTS])
    return newest.append_column(OTHER_ATTEMPTS, pa.array(texts, pa.string()))


def of_attempts(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The newest record of each attempt at a cell, oldest attempt first, from the rows that it has
    in runs tables. A final result beats a later record, as in `newest_runs`.
    """
    records = []
    for row in rows:
        records += json.loads(row.get(OTHER_ATTEMPTS) or "[]")
        records.append({name: value for name, value in row.items() if name != OTHER_ATTEMPTS})
    records.sort(key=lambda record: (record.get("status") in FINAL, record.get("updated") or 0.0))
    newest = {record["attempt"]: record for record in records}
    return [newest[attempt] for attempt in sorted(newest)]


def _updated(table: pa.Table) -> NDArray[Any]:
    """When each record was written; the earliest of all where that is not known."""
    if "updated" not in table.schema.names:
        return np.zeros(table.num_rows)
    return numbers(table, "updated", -np.inf)


def _is_final(table: pa.Table) -> NDArray[np.bool_]:
    """Whether each record says that its cell needs no further run."""
    if "status" not in table.schema.names:
        return np.zeros(table.num_rows, bool)
    return np.asarray(pc.is_in(table["status"], pa.array(FINAL, pa.string())).to_numpy())


def _attempts_seen(
    table: pa.Table, ranks: NDArray[np.int64], attempts: NDArray[Any]
) -> list[list[int]]:
    """For each cell, in the order of its rank, the sorted attempts that have a record."""
    pairs = [np.stack([ranks, attempts.astype(np.int64)])]
    if ATTEMPTS_SEEN in table.schema.names:
        lists = single_chunk(table[ATTEMPTS_SEEN], pa.list_(pa.int16()))
        parents = pc.list_parent_indices(lists).to_numpy(zero_copy_only=False)
        merged = pc.list_flatten(lists).to_numpy(zero_copy_only=False)
        pairs.append(np.stack([ranks[parents], merged.astype(np.int64)]))
    cells, values = np.unique(np.concatenate(pairs, axis=1), axis=1)
    return [group.tolist() for group in np.split(values, np.flatnonzero(np.diff(cells)) + 1)]
