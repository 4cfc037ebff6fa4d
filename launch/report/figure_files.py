"""The figures of a sweep on disk: files beside a record that names its folder."""

from __future__ import annotations

import base64
import io
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

MOST_PICTURES = 12
"""Figures that are shown as small pictures; the others are links."""

WIDTH = 640
"""Pixels of a small picture."""

FORMATS = (".png", ".pdf", ".html", ".csv", ".json")


@dataclass(frozen=True)
class FigureFiles:
    """One figure: its name, links to its files relative to the page, and a small picture of it as a
    data URI, empty without one.
    """

    name: str
    files: Sequence[tuple[str, str]]
    picture: str


def figures_of(folder: Path, page_folder: Path | None = None) -> list[FigureFiles]:
    """The figures of a sweep, by name; links start at the folder of the page, by default `folder`.

    They are looked for in `figures/` of the current folder, of the project that the logs lie in and
    of the sweep itself. A record that is no JSON, or of another sweep, is passed over.
    """
    figures: list[FigureFiles] = []
    start = page_folder or folder
    for path in sorted(_records(folder)):
        files = [path.with_suffix(ending) for ending in FORMATS]
        links = [(file.suffix[1:], _link(file, start)) for file in files if file.exists()]
        has_room = len(figures) < MOST_PICTURES
        picture = _picture(path.with_suffix(".png")) if has_room else ""
        figures.append(FigureFiles(path.stem, links, picture))
    return figures


def _records(folder: Path) -> set[Path]:
    places = (Path(), folder.parent.parent, folder)
    paths = set()
    for place in places:
        for path in (place / "figures").resolve().glob("*.json"):
            if folder.resolve() in _sources(path):
                paths.add(path)
    return paths


def _sources(path: Path) -> Iterator[Path]:
    """The folders that a figure's record names as its source, for each place it may be relative to:
    the project's folder and the current one.
    """
    try:
        record: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    source = record.get("source") if isinstance(record, dict) else None
    if isinstance(source, str) and source:
        yield (path.parent.parent / source).resolve()
        yield Path(source).resolve()


def _link(file: Path, folder: Path) -> str:
    return quote(os.path.relpath(file, folder.resolve()))


def _picture(path: Path) -> str:
    """A small JPEG of a picture as a data URI; empty if there is none that can be read."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            small = image.convert("RGB")
    except (OSError, ValueError):
        return ""
    small.thumbnail((WIDTH, WIDTH))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
