"""The end of every figure script: the files that it writes, and its errors as one message.

Imports no pandas, so that the theory's figures start quickly: a table may also be a mapping of
columns.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import shutil
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from matplotlib.figure import Figure

from analysis.figure import origin
from analysis.figure.arguments import positive
from analysis.figure.options import apply, formats
from analysis.figure.style import note_diverged, save


def write(
    options: argparse.Namespace,
    figure: Figure,
    tables: Mapping[str, Any],
    record: Mapping[str, Any],
    lines: Sequence[str] = (),
) -> None:
    """Write the files of a figure; print `lines` and the paths.

    options: out and name, the folder and the stem of the files. tables: by the ending of their
    name, "" or for example "_seeds", a DataFrame or a mapping of columns. record: how the figure
    came about, as JSON values; the number of cells under its key "diverged" is noted at the edge of
    the figure. The files are STEM.FORMAT for each of --format, STEM<ending>.csv for each table, and
    STEM.json. The pictures carry the command, a hash of the cells in the record and the commit.
    """
    note_diverged(figure, len(record.get("diverged", ())))
    apply(figure, options)
    facts = origin.metadata(record)
    files = [*save(figure, options.out, options.name, formats(options), facts)]
    folder = Path(options.out)
    for ending, table in tables.items():
        files.append(folder / f"{options.name}{ending}.csv")
        write_table(files[-1], table)
    files.append(folder / f"{options.name}.json")
    write_record(files[-1], record)
    for line in [*lines, *mixtures(record), "wrote " + ", ".join(str(file) for file in files)]:
        print(line if "\n" in line else _for_terminal(line, sys.stdout))


def mixtures(record: Mapping[str, Any]) -> list[str]:
    """Notes on a figure of cells from several versions of the code or of one data set."""
    notes = []
    versions = len(record.get("code", ()))
    if versions > 1:
        notes.append(f"note: the cells were trained by {versions} versions of the code")
    for place, hashes in record.get("data", {}).items():
        if len(hashes) > 1:
            notes.append(f"note: the cells were trained on {len(hashes)} versions of {place}")
    return notes


def write_record(path: Path, record: Mapping[str, Any]) -> None:
    """Write a record as JSON, with plain numbers for numpy's, and null for missing ones and those
    that are not finite.
    """
    text = json.dumps(_plain(record), indent=1, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n")


def _plain(value: Any) -> Any:
    """A value of a record as JSON can hold it."""
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return None if _is_pandas_missing(value) else value


def _is_pandas_missing(value: Any) -> bool:
    """Whether a value is pandas.NA, which only exists where pandas is loaded."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and value is pandas.NA


def _for_terminal(line: str, stream: TextIO) -> str:
    """A sentence with breaks between words where it is longer than the terminal is wide.

    The output into a file or pipe stays as it is.
    """
    width = shutil.get_terminal_size().columns
    if len(line) <= width or not stream.isatty():
        return line
    return textwrap.fill(
        line, width, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
    )


def write_table(path: Path, table: Any) -> None:
    """Write a DataFrame or a mapping of columns as CSV, with a header and without an index."""
    if hasattr(table, "to_csv"):
        whole = table.copy()
        for name, column in table.items():
            if column.dtype == object:
                whole[name] = column.map(_as_list)
        whole.to_csv(path, index=False)
        return
    with path.open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(table)
        rows.writerows(zip(*table.values(), strict=True))


def _as_list(value: Any) -> Any:
    """An array as a list, which text shows whole; any other value as it is."""
    return value.tolist() if isinstance(value, np.ndarray) else value


def last_option(parser: argparse.ArgumentParser, default: int | None = 1) -> None:
    """The option --last, of scripts that draw or print a value at the end of training."""
    parser.add_argument(
        "--last",
        type=positive,
        default=default,
        metavar="N",
        help="the end of training is the mean of the last N epochs (default: the last logged one)",
    )


def run(make: Callable[[argparse.Namespace], None], options: argparse.Namespace) -> int:
    """Make the figure; return 0, or 2 with one message on standard error if it cannot be drawn.

    Logs that are absent or damaged (StoreError) are an OSError, a choice without a figure
    (FigureError) is a ValueError.
    """
    try:
        make(options)
    except (ValueError, OSError) as error:
        for line in f"error: {error}".splitlines():
            print(_for_terminal(line, sys.stderr), file=sys.stderr)
        return 2
    return 0
