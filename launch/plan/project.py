"""The project folder: the user's own repository, with configs/, packages and logs/.

It is REDESCENT_PROJECT, or the nearest folder, from the current one upwards, whose pyproject.toml
has a table [tool.redescent]. Without one, the current folder takes its place, and only the shipped
configs/ are used. Standard library only.
"""

from __future__ import annotations

import os
import shlex
import sys
import tomllib
from pathlib import Path

from launch.errors import UserError

VARIABLE, TABLE = "REDESCENT_PROJECT", "redescent"


def project_folder(start: Path | None = None) -> Path | None:
    """The project of a folder, by default the current one; None if it is in no project.

    Raises UserError for a REDESCENT_PROJECT that is no folder.
    """
    variable = os.environ.get(VARIABLE)
    if variable:
        folder = Path(variable).expanduser().absolute()
        if not folder.is_dir():
            raise UserError(f"{VARIABLE}: {folder} is no folder; expected the folder of a project")
        return folder
    first = (start or Path.cwd()).absolute()
    return next((folder for folder in (first, *first.parents) if _is_project(folder)), None)


def _is_project(folder: Path) -> bool:
    path = folder / "pyproject.toml"
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError):
        return False
    if f"[tool.{TABLE}]" not in text:
        return False
    try:
        return TABLE in tomllib.loads(text).get("tool", {})
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{path}: not valid TOML: {error}") from None


def below_project(path: str | Path, start: Path | None = None) -> Path:
    """An absolute path; a relative one is taken from the project folder, or from the current folder
    outside a project.
    """
    folder = project_folder(start) or start or Path.cwd()
    return (folder / Path(path).expanduser()).absolute()


def logs_folder() -> Path:
    """The parent of all sweep folders: REDESCENT_LOGS, or logs/ in the project folder."""
    return below_project(os.environ.get("REDESCENT_LOGS") or "logs")


def setting_for(logs: Path) -> str:
    """The environment variable with which commands look for sweeps in `logs`; empty if they do
    without.
    """
    if logs.resolve() == logs_folder().resolve():
        return ""
    return f"REDESCENT_LOGS={shlex.quote(str(logs))}"


def shipped_configs() -> Path:
    """The shipped configurations: of a checkout, or of an installed package."""
    root = Path(__file__).resolve().parents[2]
    return root / "configs" if (root / "configs").is_dir() else root / "launch" / "configs"


def config_folders(shipped: Path) -> list[Path]:
    """Where the files of sweeps and groups are looked for, first to last: configs/ of the project,
    then those that are `shipped`.
    """
    folder = project_folder()
    configs = folder / "configs" if folder is not None else None
    return [configs, shipped] if configs is not None and configs.is_dir() else [shipped]


def config_names(group: str, shipped: Path) -> list[str]:
    """The names of the files in a group: those of the project, then those that are `shipped`."""
    names: list[str] = []
    for folder in config_folders(shipped):
        names += sorted(path.stem for path in (folder / group).glob("*.yaml"))
    return list(dict.fromkeys(names))


def make_importable(start: Path | None = None) -> None:
    """Let this process import the packages of the project; ours come first."""
    folder = project_folder(start)
    if folder is not None and str(folder) not in sys.path:
        sys.path.append(str(folder))
