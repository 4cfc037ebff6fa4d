"""Find the sweep folder or the cell that a command's argument names."""

from __future__ import annotations

from pathlib import Path

from launch.errors import UserError
from launch.plan import PlanError, load_all
from launch.plan.folder import no_sweep
from launch.plan.plan import CALIBRATION, name_of, plan_files
from launch.plan.project import logs_folder
from launch.sweep.request import check_name

ANY = "*"
"""The value of --sweep that stands for all sweeps."""


def sweep_folder(name: str) -> Path:
    """The folder of a sweep: its NAME, `logs/NAME` as a shell completes it, or NAME/calibration.

    Raises UserError for a name that cannot be a folder, and for a sweep in another folder of logs.
    """
    logs = logs_folder().absolute()
    path = Path(name).absolute()
    if path.parent == logs:
        name = path.name
    elif "/" in name.rstrip("/") and path.parent.parent != logs and plan_files(path):
        raise UserError(
            f"{name}: found a sweep outside the folder of logs, {logs}; to name it, set "
            f"REDESCENT_LOGS={path.parent} and give {path.name}"
        )
    sweep, _, inner = name.rstrip("/").partition("/")
    check_name(sweep if inner in ("", CALIBRATION) else name)
    return logs / sweep / inner


def find_cell(cell: str, sweep: str) -> tuple[Path, str]:
    """The sweep folder and full id of the one cell whose id begins with `cell`.

    The scheme's prefix may be left out. Calibrations are searched only if no sweep has the cell: a
    cell can be in both. Raises UserError if no cell or several match.
    """
    pattern = ANY
    if sweep != ANY:
        pattern = str(sweep_folder(sweep).relative_to(logs_folder().absolute()))
        if not plan_files(logs_folder() / pattern):
            raise no_sweep(logs_folder() / pattern)
    matches = _with_prefix(cell, pattern) or _with_prefix(cell, f"{pattern}/{CALIBRATION}")
    if not matches:
        raise UserError(
            f"{cell}: no cell in {logs_folder() / sweep} has an id that starts with this; "
            "`redescent status NAME --cells` lists them"
        )
    if len(matches) > 1:
        if len({id for _, id in matches}) == 1:
            sweeps = ", ".join(name_of(folder) for folder, _ in sorted(matches))
            raise UserError(f"{cell}: {sweeps} have this cell; choose one with --sweep NAME")
        examples = [f"{id} ({name_of(folder)})" for folder, id in sorted(matches)[:3]]
        raise UserError(
            f"{cell}: {len(matches)} cells have ids that start with this, for example "
            f"{', '.join(examples)}; give more of the id, or --sweep NAME"
        )
    return matches.pop()


def _with_prefix(prefix: str, pattern: str) -> set[tuple[Path, str]]:
    """The cells that match, by sweep; raises PlanError for an unreadable plan if none does."""
    matches = set()
    problem: PlanError | None = None
    for folder in sorted(logs_folder().glob(pattern)):
        try:
            plans = load_all(folder)
        except PlanError as error:
            problem = problem or error
            continue
        for plan in plans:
            for cell in plan.cells:
                without_scheme = cell.id.partition("-")[2]
                if cell.id.startswith(prefix) or without_scheme.startswith(prefix):
                    matches.add((folder, cell.id))
    if problem and not matches:
        raise problem
    return matches
