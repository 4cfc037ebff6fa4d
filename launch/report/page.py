"""`redescent report`: a sweep, or all of them, as one HTML file that needs no network.

The scripts of the page draw with plotly, whose JavaScript is taken from its package. The file is
written whole or not at all, so that an open page never reads half of it.
"""

from __future__ import annotations

import errno
import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from launch.errors import UserError
from launch.plan import files
from launch.plan.plan import name_of
from launch.report.data import Page, load_page
from launch.report.sweeps import REPORT, load_sweeps
from launch.status.answers import RecentAnswer

INDEX = "index.html"
"""The page of all sweeps, in the folder of the logs."""

HERE = Path(__file__).parent

_NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS)

READ_SHARE = 0.1
"""Reading and writing the page takes at most this share of a core, however large the sweep is."""


def write_page(
    folder: Path,
    refresh: float | None = None,
    recent: RecentAnswer | None = None,
    out: Path | None = None,
) -> tuple[Path, bool]:
    """Write the page of a sweep; returns its path, and whether a cell may still train.

    `out` is the file to write, by default report.html in the folder of the sweep.
    `refresh` is the number of seconds after which the page is written again; `recent` keeps SLURM's
    answer until then. Raises UserError if there is no sweep, or if its folder may only be read;
    StoreError for damaged logs, OSError if the file cannot be written.
    """
    path = out or folder / REPORT
    page = load_page(folder, refresh, recent, path.parent)
    try:
        files.write_bytes(path, render(page).encode("utf-8", "backslashreplace"))
    except OSError as error:
        if out is not None or error.errno not in _NOT_WRITABLE:
            raise
        raise UserError(
            f"{path}: {error.strerror}; `redescent report {name_of(folder)} --out FILE` writes the "
            "page elsewhere"
        ) from None
    return path, page.is_live


def follow(
    folder: Path, seconds: float, announce: Callable[[Path], None], out: Path | None = None
) -> None:
    """Write the page every `seconds`, or more rarely for a large sweep, until no cell runs or
    waits. `announce` is called with the path after the first time.
    """
    is_first, recent = True, RecentAnswer()
    while True:
        start = time.process_time()
        path, is_live = write_page(folder, seconds, recent, out)
        if is_first:
            announce(path)
            is_first = False
        if not is_live:
            return
        time.sleep(max(seconds, (time.process_time() - start) / READ_SHARE))


def write_index(logs: Path) -> Path:
    """Write the page of all sweeps in a folder of logs; returns its path."""
    path = logs / INDEX
    sweeps = load_sweeps(logs)
    text = _template("index.html", sweeps=sweeps, logs=str(logs), written=_now())
    files.write_bytes(path, text.encode("utf-8", "backslashreplace"))
    return path


def render(page: Page) -> str:
    """The HTML of a sweep's page."""
    from plotly.offline import get_plotlyjs

    return _template(
        "page.html",
        page=page,
        data=script_json(page.to_json()),
        plotly=get_plotlyjs(),
        script=(HERE / "page.js").read_text(encoding="utf-8"),
        written=_now(),
    )


def script_json(content: Any) -> str:
    """JSON that can stand inside a script element: dataclasses as objects, no "<"."""
    text = json.dumps(content, default=vars, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def with_code(text: str) -> Any:
    """A sentence as HTML, with the text between backquotes as code."""
    from markupsafe import Markup, escape

    return Markup(re.sub("`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _template(name: str, **values: Any) -> str:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["with_code"] = with_code
    style = (HERE / "page.css").read_text(encoding="utf-8")
    return environment.get_template(name).render(style=style, **values)


def _now() -> str:
    return time.strftime("%F %T")
