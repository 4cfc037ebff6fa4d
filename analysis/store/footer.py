"""The hash that the writer of a part puts before its Parquet footer.

Parquet has checksums of pages and none of the footer, which holds types, names, statistics and
positions. A writer puts one line, `redescent footer SHA256`, between the last page and the footer,
where no reader of Parquet looks. Files of earlier versions lack the line, and so do those of a
store, whose manifest has the hash of the whole file.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import BinaryIO

MARK = b"\nredescent footer "
MARK_LENGTH = len(MARK) + 64 + 1  # with the hash and the end of the line
TAIL_LENGTH = 8  # the length of the footer, and the magic that ends a Parquet file


def mark_start(file: BinaryIO) -> int | None:
    """Where the line with the hash of the footer begins, if there is one; None in a file that is
    too short for it.
    """
    size = file.seek(0, os.SEEK_END)
    if size < TAIL_LENGTH:
        return None  # no Parquet file, as its reader will say
    file.seek(size - TAIL_LENGTH)
    start = size - TAIL_LENGTH - int.from_bytes(file.read(4), "little") - MARK_LENGTH
    return start if start >= 0 else None


def footer_problem(path: Path) -> str | None:
    """How the footer of a file differs from its hash; None if it agrees or if there is no hash."""
    with path.open("rb") as file:
        start = mark_start(file)
        if start is None:
            return None
        file.seek(start)
        line, footer = file.read(MARK_LENGTH), file.read()
    if not line.startswith(MARK):
        return None
    digest = line[len(MARK) : -1].decode(errors="replace")
    if digest != hashlib.sha256(footer).hexdigest():
        return "its footer is not the one that was written"
    return None
