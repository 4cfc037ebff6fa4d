"""Choosing rows of a table by conditions on its columns."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.stats import condition as grammar


def where(table: pd.DataFrame, *conditions: str) -> pd.DataFrame:
    """The rows of a table, such as `runs(folder)`, that meet all conditions.

    The grammar is that of `where` in a sweep file, over the columns: "model.width <= 16 and seed ==
    0", "model.name=mlp", "model.width=32,64". A value that is absent is null. A column that holds
    numbers and words is text in the store; its values are compared as what they were.

    Raises ConditionError, a ValueError, for a condition that is not understood, that names no
    column, or that cannot be computed for a row, such as `null < 3`.
    """
    for text in conditions:
        keys = grammar.names(text)
        unknown = [key for key in keys if key not in table.columns]
        if unknown:
            columns = ", ".join(str(name) for name in table.columns)
            raise grammar.UnknownKey(
                f"condition {text!r}: no column {unknown[0]!r} in the table; there are {columns}"
            )
        table = table[_meets(table[keys], text)]
    return table


def _meets(columns: pd.DataFrame, text: str) -> Sequence[bool]:
    """Whether each row meets a condition over these columns, all that it names."""
    meets = grammar.remembered(text)
    values = {str(name): _values(str(name), columns[name]) for name in columns}
    types = {name: set(map(type, column)) for name, column in values.items()}
    grammar.check_types(text, types)
    rows = zip(*values.values(), strict=True) if values else [()] * len(columns)
    return [meets(dict(zip(values, row, strict=True))) for row in rows]


def _values(name: str, column: pd.Series) -> list[Any]:
    """The values of a column; texts write other values in columns of the configuration alone."""
    if "." in name:
        return [plain(value) for value in column]
    return [value if isinstance(value, str) else plain(value) for value in column]


def plain(value: Any) -> Any:
    """A value of a table as a configuration has it."""
    if isinstance(value, np.ndarray | list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or value is pd.NA or value != value:
        return None
    return _parsed(value) if isinstance(value, str) else value


def _parsed(text: str) -> Any:
    """A text as the number, truth value or list that it writes, else as it is."""
    try:
        return json.loads(text)
    except ValueError:
        return text
