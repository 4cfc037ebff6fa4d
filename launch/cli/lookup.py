"""What the words of a command line stand for: the folder of a sweep, and the cell of an id that may
be shortened.
"""

from __future__ import annotations

import os
from pathlib import Path

from launch.errors import UserError
from launch.plan import load_all
from launch.plan.plan import CALIBRATION, name_of
from launch.sweep.request import check_name


def folder_of(name: str) -> Path:
    """The folder of a sweep: its NAME, `logs/NAME` as a shell completes it, or NAME/calibration."""
    logs = Path(os.environ.get("REDESCENT_LOGS", "logs")).absolute()
    given = Path(name).absolute()
    if given.parent == logs:
        name = given.name
    sweep, _, inner = name.rstrip("/").partition("/")
    check_name(sweep if inner in ("", CALIBRATION) else name)
    return logs / sweep / inner


def cell_of(cell: str, sweep: str) -> tuple[Path, str]:
    """The sweep and whole id of the one cell whose id begins with `cell` (the scheme's prefix may
    be left out).

    Calibrations are looked at where no sweep has it: a cell can be in both.
    """
    found = _with_prefix(cell, sweep) or _with_prefix(cell, f"{sweep}/{CALIBRATION}")
    if not found:
        raise UserError(
            f"{cell}: no cell in logs/{sweep} has an id that begins so; `redescent status NAME "
            "--cells` lists them"
        )
    if len(found) > 1:
        some = ", ".join(f"{known} ({name_of(folder)})" for folder, known in sorted(found)[:3])
        raise UserError(
            f"{cell}: {len(found)} cells have ids that begin so, as {some}; give more of it, or "
            "--sweep NAME"
        )
    return found.pop()


def _with_prefix(cell: str, pattern: str) -> set[tuple[Path, str]]:
    return {
        (folder, known.id)
        for folder in sorted(Path(os.environ.get("REDESCENT_LOGS", "logs")).glob(pattern))
        for made in load_all(folder)
        for known in made.cells
        if known.id.startswith(cell) or known.id.partition("-")[2].startswith(cell)
    }
