"""A table of a figure as lines for the terminal. Imports no pandas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

WIDTH = 80
"""Columns of the narrowest terminal that a table has to fit."""

GAP = "  "


def table_text(table: Any, number: str = "{:.4g}") -> str:
    """A DataFrame as text of at most 80 columns, without its index; `number` formats floats.

    The words of a name stand above one another ("n_seeds" on two lines), and a configuration key is
    shortened to its last part where no other column has that. Columns that do not fit are named
    below: the CSV beside the figure has them.
    """
    names = [str(name) for name in table.columns]
    heads = [_words(name, names) for name in names]
    height = max(map(len, heads), default=0)
    columns = []
    for name, words in zip(names, heads, strict=True):
        values = [_text(value, number) for value in table[name].tolist()]
        columns.append(_column([""] * (height - len(words)) + words, values))
    count = _fitting(columns)
    lines = [GAP.join(row).rstrip() for row in zip(*columns[:count], strict=True)]
    if count < len(names):
        lines.append(f"in the CSV too: {', '.join(names[count:])}")
    return "\n".join(lines)


def _fitting(columns: Sequence[Sequence[str]]) -> int:
    """How many of the columns fit, at least one."""
    total = 0
    for count, column in enumerate(columns):
        total += len(column[0]) + (len(GAP) if count else 0)
        if total > WIDTH and count:
            return count
    return len(columns)


def _words(name: str, names: Sequence[str]) -> list[str]:
    """The words of a column's name, short where that is unique."""
    last = name.rpartition(".")[2]
    is_unique = [other.rpartition(".")[2] for other in names].count(last) == 1
    return (last if is_unique else name).split("_")


def _column(words: Sequence[str], values: Sequence[str]) -> list[str]:
    """The cells of a column from top to bottom, all of one width."""
    width = max(map(len, [*words, *values]))
    return [*(word.rjust(width) for word in words), *(value.rjust(width) for value in values)]


def _text(value: Any, number: str) -> str:
    if value is None or value != value:
        return "-"
    if isinstance(value, float):
        return number.format(value)
    return str(value)
