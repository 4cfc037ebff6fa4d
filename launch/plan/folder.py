"""Log folders: whether Python and SLURM read their path as it is written, and what is said of one
that holds no sweep.

Read inside jobs: standard library only.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from launch.errors import UserError
from launch.plan.plan import CALIBRATION, PlanError, plan_files
from trainers.config.spelling import did_you_mean

_PYTHON = {os.pathsep: "Python splits the path of the frozen code at it"}
"""Characters that Python reads otherwise in PYTHONPATH, and what it does."""

_SLURM = {
    "%": "SLURM replaces it in the path of a job's output",
    "\\": "SLURM reads it as an escape in the path of a job's output",
}
"""Characters that SLURM reads otherwise in the path of an output file."""

_MOST_NAMES = 10
"""Sweeps that a message lists."""


def check_folder(folder: Path, kind: str) -> None:
    """Raise UserError for a log folder that jobs of this kind of launcher cannot use.

    Such jobs would run other code than was frozen, or end without any output.
    """
    _refuse_file(folder)
    path = str(folder.resolve())
    if not path.isprintable():
        raise _refusal(path, ascii(path), "it is no printable text, which job scripts cannot hold")
    characters = _PYTHON | _SLURM if kind == "slurm" else _PYTHON
    for character, reason in characters.items():
        if character in path:
            raise _refusal(path, repr(character), reason)


def _refuse_file(folder: Path) -> None:
    """Raise UserError if something else than a folder has the path of this one or of its parent."""
    for place in (folder, folder.parent):
        if os.path.lexists(place) and not place.is_dir():
            raise UserError(
                f"{place}: is no folder, and the logs would be written there; move it away, or "
                "choose another folder with name=NAME or REDESCENT_LOGS=FOLDER"
            )


def umask_that_locks_out(folder: Path) -> str:
    """The umask of this process in octal digits, if it keeps the group of a shared folder from
    writing what this process creates there; empty otherwise.

    A folder is shared if it, or the one that it is in, is writable for its group, which new files
    inherit (setgid).
    """
    modes = [place.stat().st_mode for place in (folder, folder.parent) if place.is_dir()]
    is_shared = any(mode & stat.S_ISGID and mode & stat.S_IWGRP for mode in modes)
    mask = os.umask(0o077)
    os.umask(mask)
    return f"{mask:03o}" if is_shared and mask & stat.S_IWGRP else ""


def no_sweep(folder: Path) -> UserError:
    """The error for a log folder without a submitted sweep; it names the sweeps beside it.

    Raises UserError itself if a file is in the way of the folder.
    """
    if folder.name == CALIBRATION and plan_files(folder.parent):
        name = folder.parent.name
        return UserError(f"{name} has no calibration; `redescent calibrate {name}` sends one")
    _refuse_file(folder)
    what = "no submitted sweep in this folder" if folder.is_dir() else "no such folder"
    creates = "`redescent submit NAME` creates one"
    names = _sweeps_in(folder.parent)
    if not names:
        return UserError(f"{folder}: {what}; {creates}")
    more = len(names) - _MOST_NAMES
    rest = [f"and {more} more (`redescent list`)"] if more > 0 else []
    listed = ", ".join([*names[:_MOST_NAMES], *rest])
    otherwise = f"{creates}. Sweeps in {folder.parent}: {listed}"
    return UserError(f"{folder}: {what}; {did_you_mean(folder.name, names, otherwise)}")


def _sweeps_in(logs: Path) -> list[str]:
    """The names of the folders that hold a submission; those that cannot be read are left out."""
    names = []
    for folder in sorted(logs.glob("*")):
        with contextlib.suppress(PlanError):
            if plan_files(folder):
                names.append(folder.name)
    return names


def _refusal(path: str, found: str, reason: str) -> UserError:
    return UserError(
        f"log folder {path!a}: found {found}, and {reason}; choose another folder with "
        "REDESCENT_LOGS=FOLDER or logs=FOLDER"
    )
