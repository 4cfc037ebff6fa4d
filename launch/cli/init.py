"""The command `init`: a project of the user's with a model, a data set, a sweep and a figure."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

from launch.cli.console import console
from launch.errors import UserError

_ROOT = Path(__file__).resolve().parents[2]
_CHECKOUT, _INSTALLED = _ROOT / "docs" / "example", _ROOT / "launch" / "example"
EXAMPLE = _CHECKOUT if _CHECKOUT.is_dir() else _INSTALLED
"""The project that is copied, in a checkout or in an installed package."""

_NOT_COPIED = shutil.ignore_patterns("__pycache__", ".*_cache", "logs")


def init(folder: Path) -> None:
    """Write the example project into a folder that is empty or does not exist yet.

    Raises UserError for any other folder.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(
            f"{folder}: exists and is not an empty folder, and nothing was written; name a new one"
        )
    shutil.copytree(EXAMPLE, folder, ignore=_NOT_COPIED, dirs_exist_ok=True)
    console.print(f"wrote a project into {folder}; README.md there says what each file is")
    place = shlex.quote(str(folder))
    console.print(
        f"next: cd {place}; redescent submit widths hydra/launcher=local --wait; "
        "python figures/error_by_width.py logs/widths"
    )
