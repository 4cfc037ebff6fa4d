"""The block of states of a part: the columns of its records from which `status` is computed.

A writer repeats these columns as an Arrow stream before the footer of the Parquet file, where no
reader of Parquet looks, followed by the line `redescent states LENGTH SHA256`. To parse a footer of
200 columns takes five times as long as to read this block, and a sweep has thousands of parts.
Files of earlier versions, and those of a store, have no block. The metadata of a block name
optional columns: those that it has if the records have them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from pathlib import Path

import pyarrow as pa

from analysis.store.footer import mark_start

MARK = b"\nredescent states "
LENGTH_DIGITS = 12
LINE_LENGTH = len(MARK) + LENGTH_DIGITS + 1 + 64 + 1  # length, space, hash, end of the line

OPTIONAL_COLUMNS = b"redescent.optional"

OF_STORE = ("attempts", "attempts_seen")
"""Columns of the records that only files of a store have."""


def read_states(path: Path, columns: Collection[str]) -> pa.Table | None:
    """These columns of a part's records; None if its block lacks one, or if it has no block.

    Raises ValueError or pa.ArrowException for a block that was changed, OSError if the file cannot
    be read.
    """
    block = _block(path)
    if block is None:
        return None
    table = pa.ipc.open_stream(block).read_all()
    optional = (table.schema.metadata or {}).get(OPTIONAL_COLUMNS, b"").decode().split(",")
    if not set(columns) <= {*table.schema.names, *OF_STORE, *optional}:
        return None
    return table.select([name for name in table.schema.names if name in columns])


def _block(path: Path) -> bytes | None:
    with path.open("rb") as file:
        end = mark_start(file)
        if end is None or end < LINE_LENGTH:
            return None
        file.seek(end - LINE_LENGTH)
        line = file.read(LINE_LENGTH)
        if not line.startswith(MARK):
            return None
        length, digest = line[len(MARK) : -1].split(b" ")
        file.seek(end - LINE_LENGTH - int(length))
        block = file.read(int(length))
    if hashlib.sha256(block).hexdigest().encode() != digest:
        raise ValueError("its block of states is not the one that was written")
    return block
