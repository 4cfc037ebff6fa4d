"""What a picture file says of its own origin: the command, the cells behind it and the commit."""

from __future__ import annotations

import hashlib
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ANALYSIS = Path(__file__).resolve().parents[1]
PRODUCER = "redescent"


def metadata(record: Mapping[str, Any]) -> dict[str, str]:
    """`command`, `cells` (a hash of their ids) and `commit`; what is not known is left out.

    record: that of the figure; the texts under its keys "cell" and "cells" are ids.
    """
    facts = {"command": command(), "cells": cells_hash(record), "commit": commit()}
    return {name: value for name, value in facts.items() if value}


def by_format(facts: Mapping[str, str], name: str) -> dict[str, Any]:
    """The metadata in the keys that a file format has; a PDF and an SVG carry no date."""
    lines = [f"{key}: {value}" for key, value in facts.items()]
    if name == "pdf":
        named = {"Keywords": "; ".join(lines)} if lines else {}
        return {"CreationDate": None, **named}
    if name == "svg":
        named = {"Description": "; ".join(lines)} if lines else {}
        return {"Date": None, **named}
    return {f"{PRODUCER} {key}": value for key, value in facts.items()}


def command() -> str:
    """The command line, if a script of analysis/ is what runs; else an empty text."""
    script = Path(sys.argv[0])
    if script.resolve().parent != ANALYSIS:
        return ""
    return shlex.join(["python", f"analysis/{script.name}", *sys.argv[1:]])


def cells_hash(record: Mapping[str, Any]) -> str:
    """First 32 hex digits of SHA-256 over the sorted ids, one a line; an empty text without any."""
    ids = sorted(set(_ids(record)))
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()[:32] if ids else ""


def _ids(value: Any) -> Iterator[str]:
    """Every cell id in a record."""
    if isinstance(value, Mapping):
        for key, entry in value.items():
            if key in ("cell", "cells"):
                yield from _texts(entry)
            else:
                yield from _ids(entry)
    elif isinstance(value, list | tuple):
        for entry in value:
            yield from _ids(entry)


def _texts(value: Any) -> Iterator[str]:
    """A text, or those of lists and of the values of mappings."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for entry in value.values():
            yield from _texts(entry)
    elif isinstance(value, list | tuple):
        for entry in value:
            yield from _texts(entry)


def commit() -> str:
    """The commit of this source, with "+changes" if files differ; an empty text outside git."""
    root = str(ANALYSIS.parent)
    if not (ANALYSIS.parent / ".git").exists():
        return ""
    describe = ["describe", "--always", "--abbrev=40", "--exclude=*", "--dirty=+changes"]
    try:
        head = subprocess.run(
            ["git", "-C", root, *describe], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return head.stdout.strip()
