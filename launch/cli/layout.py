"""Text that fits the terminal: paragraphs, pairs of name and value, and tables without a frame.

Lines break between words alone, and not inside a command in backquotes that fits a line. A word
that is longer than the terminal, such as a path, stays whole. Without a terminal the width
is that of COLUMNS, else 80.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from rich.cells import cell_len
from rich.text import Text

from launch.cli.console import console, visible

GAP = 2
"""Spaces between two columns."""

LEAST_WIDTH = 20
"""The last column of a table is put below the others if fewer characters are left for it."""

INDENT = 4
"""Spaces before what continues a line."""

Cell = str | Text
"""What a table shows in one place."""


def print_paragraph(text: Cell, indent: int = INDENT) -> None:
    """Show a sentence; what follows its first line is indented."""
    console.print(paragraph(text, indent))


def paragraph(text: Cell, indent: int = INDENT, width: int | None = None) -> Text:
    """A sentence as lines that fit the terminal, or `width` characters."""
    lines = wrapped(text, width or console.width, indent)
    return Text("\n").join([*lines[:1], *(Text(" " * indent) + line for line in lines[1:])])


def print_pairs(pairs: Sequence[tuple[str, Cell]]) -> None:
    """Show names with their values, which begin in one column."""
    print_table((), pairs)


def print_table(head: Sequence[str], rows: Sequence[Sequence[Cell]], *, right: str = "") -> None:
    """Show a table whose last column may continue on further lines.

    `right` has an "r" for each column that is aligned to the right, and any other letter for the
    rest. Without a `head`, no line names the columns.
    """
    for line in table_lines(head, rows, console.width, right=right):
        if isinstance(line, Text):
            console.print(line)
        else:
            console.out(visible(line), highlight=False)


def table(head: Sequence[str], rows: Sequence[Sequence[Cell]], *, right: str = "") -> Text:
    """A small table as one text."""
    lines = table_lines(head, rows, console.width, right=right)
    return Text("\n").join(line if isinstance(line, Text) else Text(line) for line in lines)


def table_width(head: Sequence[str], rows: Sequence[Sequence[Cell]]) -> int:
    """Characters of a table whose lines are not wrapped."""
    widths = [max(map(_length, column)) for column in zip(head, *rows, strict=True)]
    return sum(widths) + GAP * (len(widths) - 1)


def table_lines(
    head: Sequence[str], rows: Sequence[Sequence[Cell]], width: int, *, right: str = ""
) -> Iterator[Cell]:
    """The lines of a table; plain text where no cell of the line has a style."""
    everything: list[Sequence[Cell]] = [[Text(name, "bold") for name in head]] if head else []
    everything += rows
    if not everything:
        return
    widths = [max(map(_length, column)) for column in zip(*everything, strict=True)]
    start = sum(widths[:-1]) + GAP * (len(widths) - 1)
    room = width - start
    is_below = room < widths[-1] and room < _least_width([row[-1] for row in everything], width)
    for row in everything:
        lines = _last_column(row[-1], width - (INDENT if is_below else start))
        beside = "" if is_below else lines[0]
        yield _joined([*row[:-1], beside], widths, right)
        below = lines if is_below else lines[1:]
        for line in below:
            yield _stripped(" " * (INDENT if is_below else start), line)


def wrapped(text: Cell, width: int, indent: int = 0) -> list[Text]:
    """The text as lines of at most `width` characters, all but the first shorter by `indent`."""
    text = Text(visible(text)) if isinstance(text, str) else text
    lines: list[Text] = []
    for paragraph in text.split("\n", allow_blank=True):
        room = width - indent if lines else width
        lines += paragraph.divide(_breaks(paragraph.plain, room, width - indent))
    for line in lines:
        line.rstrip()
    return lines


def _breaks(text: str, first: int, width: int) -> list[int]:
    """Where the lines of a text begin, the first one left out: `first` and `width` characters."""
    starts: list[int] = []
    room, used = first, 0
    for word in _words(text, width):
        length = cell_len(word.group().rstrip())
        if used and used + length > room:
            starts.append(word.start())
            room, used = width, 0
        used += cell_len(word.group())
    return starts


def _words(text: str, width: int) -> Iterator[re.Match[str]]:
    """What a line may not break: words, and commands in backquotes that fit one line."""
    inside = max(0, width - 3)  # without the backquotes and a sign of punctuation
    return re.finditer(rf"(?:`[^`\n]{{1,{inside}}}`|\S)+\s*", text)


def _least_width(cells: Sequence[Cell], width: int) -> int:
    """Characters that a column needs for its words; a word that fits nowhere counts for nothing."""
    lengths = [cell_len(word) for cell in cells for word in str(cell).split()]
    return max([LEAST_WIDTH, *(length for length in lengths if length <= width - INDENT)])


def _last_column(cell: Cell, width: int) -> Sequence[Cell]:
    """The lines of a cell that may be wrapped; one line at least."""
    if _length(cell) <= width and "\n" not in str(cell):
        return [cell]
    return wrapped(cell, width) or [""]


def _length(cell: Cell) -> int:
    """Characters of the longest line of a cell, as a terminal counts them."""
    lines = str(cell).split("\n")
    return max(len(line) if line.isascii() else cell_len(line) for line in lines)


def _joined(cells: Sequence[Cell], widths: Sequence[int], right: str) -> Cell:
    """One line of a table."""
    parts: list[Cell] = []
    for number, (cell, width) in enumerate(zip(cells, widths, strict=True)):
        padding = " " * (width - _length(cell))
        is_right = right[number : number + 1] == "r"
        gap = " " * GAP if number else ""
        parts += [gap, padding, cell] if is_right else [gap, cell, padding]
    return _stripped(*parts)


def _stripped(*parts: Cell) -> Cell:
    """The parts as one line without spaces at its end."""
    if all(isinstance(part, str) for part in parts):
        return "".join(str(part) for part in parts).rstrip()
    line = Text.assemble(*(part if isinstance(part, Text) else visible(part) for part in parts))
    line.rstrip()
    return line
