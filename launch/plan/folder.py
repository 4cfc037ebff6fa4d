"""Whether Python and SLURM read the path of a log folder as it is written.

Read inside jobs: standard library only.
"""

from __future__ import annotations

import os
from pathlib import Path

from launch.errors import UserError

_PYTHON = {os.pathsep: "Python splits the path of the frozen code at it"}
"""Characters that Python reads otherwise in PYTHONPATH, and what it does."""

_SLURM = {
    "%": "SLURM replaces it in the path of a job's output",
    "\\": "SLURM reads it as an escape in the path of a job's output",
}
"""Characters that SLURM reads otherwise in the path of an output file."""


def check_folder(folder: Path, kind: str) -> None:
    """Raise UserError for a log folder that jobs of this kind of launcher cannot use.

    Such jobs would run other code than was frozen, or end without any output.
    """
    path = str(folder.resolve())
    if not path.isprintable():
        raise _refusal(path, ascii(path), "it is no printable text, which job scripts cannot hold")
    characters = _PYTHON | _SLURM if kind == "slurm" else _PYTHON
    for character, reason in characters.items():
        if character in path:
            raise _refusal(path, repr(character), reason)


def _refusal(path: str, found: str, reason: str) -> UserError:
    return UserError(
        f"log folder {path!a}: found {found}, and {reason}; choose another folder with "
        "REDESCENT_LOGS=FOLDER or logs=FOLDER"
    )
