"""What the metrics of a sweep are: their names, units and meanings, as their trainer wrote them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from analysis.store.columns import OF_ROWS
from analysis.store.merge import common_schema
from analysis.store.parts import read_all, retrying
from analysis.store.reader import Folder, log_folder

POSITION = (*OF_ROWS, "examples")
"""Columns that say where in its training a row was logged; the others are metrics."""


@dataclass(frozen=True)
class LoggedMetric:
    """A metric that at least one cell logged; unit and meaning are empty where no file has them."""

    name: str
    unit: str
    meaning: str


def metrics(folder: Folder) -> list[LoggedMetric]:
    """The numeric metrics of a sweep, in the order of their columns; none if nothing is logged.

    Reads no rows. Raises StoreError if the folder is absent or a file is damaged.
    """
    root = log_folder(folder)
    tables = retrying(lambda: read_all(root, "curves", cells=[]))
    if not tables:
        return []
    schema = common_schema([table.schema for table in tables])
    return [_described(field) for field in schema if _is_metric(field)]


def _is_metric(field: pa.Field) -> bool:
    is_number = pa.types.is_floating(field.type) or pa.types.is_integer(field.type)
    return is_number and field.name not in POSITION


def _described(field: pa.Field) -> LoggedMetric:
    texts: Mapping[bytes, bytes] = field.metadata or {}
    unit, meaning = (texts.get(key, b"").decode() for key in (b"unit", b"meaning"))
    return LoggedMetric(field.name, unit, meaning)
