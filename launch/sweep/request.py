"""What a user asks for: the cells of a sweep, how they are packed, and where they run.

Standard library only, so that packing and cost load neither Hydra nor pandas.
"""

from __future__ import annotations

import contextlib
import math
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from launch.errors import UserError
from launch.plan.identity import cell_id
from launch.plan.launcher import Launcher
from launch.plan.own_code import packages_of
from launch.plan.plan import CALIBRATION
from launch.plan.search import Search
from launch.plan.snapshot import Software, code_hash
from trainers import config as schema

LAUNCH_KEYS = (
    "hydra/launcher=", "hydra.launcher.", "task.", "limits.", "canary=", "compact=", "notify.",
)  # fmt: skip
"""Overrides that change how cells are sent, not which cells."""

LAUNCHER = LAUNCH_KEYS[0]
"""The override that names a launcher's file."""

AUTO: Literal["auto"] = "auto"
"""`task.at_a_time=auto`: use the number of cells per task that a calibration found best."""

INSIDE: Literal["inside"] = "inside"
"""`task.search=inside`: the rounds of a search follow one another inside its task."""

Concurrency = int | None
"""How many cells a task trains at a time; None means one per core."""

_RESERVED = {
    CALIBRATION: "the folder of a sweep's calibrations",
    "index.html": "the page of all sweeps",
}
"""Names of sweeps that would be taken for something else, and for what."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")


CALIBRATION_EPOCHS, CALIBRATION_STEPS = 5, 1000
"""Length of a calibration, in the unit that its trainer counts. Only the second half is measured:
the first half includes loading, compiling and frequent early evaluations."""


@dataclass(frozen=True)
class Cell:
    """One training of the grid: its id and its flat configuration."""

    id: str
    flat: Mapping[str, Any]


def leaves(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Keys with dots and values of a nested mapping, which may itself have keys with dots."""
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value


def resolved_cell(flat: Mapping[str, Any]) -> Cell:
    """The cell of a flat configuration. Raises UserError for one that no trainer accepts."""
    try:
        resolved = schema.flatten(schema.parse(flat))
        return Cell(cell_id(resolved), resolved)
    except ValueError as error:
        raise UserError(str(error)) from None


@dataclass(frozen=True)
class Packing:
    """How cells become tasks: the keys of `task`, with the units of hydra/launcher/slurm.yaml."""

    cells: int | None = None
    at_a_time: int | Literal["auto"] | None = 1
    minutes: float = 60
    most: int = 1000
    slots: int = 100
    search: Literal["inside"] | None = None
    """Whether the task of a search also trains its later rounds, without a queue between them."""

    def __post_init__(self) -> None:
        if self.cells is not None:
            _check_at_least_one("cells", self.cells)
        if self.at_a_time not in (None, AUTO):
            _check_at_least_one("at_a_time", self.at_a_time, also=", auto or null")
        _check_at_least_one("minutes", self.minutes, types=(int, float))
        _check_at_least_one("most", self.most)
        _check_at_least_one("slots", self.slots)
        if self.search not in (None, INSIDE):
            raise UserError(f"task.search: found {self.search!r}, expected inside or null")


def _check_at_least_one(
    key: str, value: Any, types: tuple[type, ...] = (int,), also: str = ""
) -> None:
    if type(value) in types and 1 <= value < math.inf:
        return
    expected = "an integer" if types == (int,) else "a number"
    raise UserError(f"task.{key}: found {value!r}, expected {expected} of at least 1{also}")


@dataclass(frozen=True)
class Policy:
    """What a submission does besides sending cells: `limits`, `canary`, `compact` and
    `notify.command`.
    """

    gpu_hours: float | None = None
    canary: bool = False
    compact: bool = False
    notify: str | None = None

    def __post_init__(self) -> None:
        hours = self.gpu_hours
        is_number = type(hours) in (int, float)
        if hours is not None and not (is_number and 0 <= hours < math.inf):
            raise UserError(
                f"limits.gpu_hours: found {hours!r}, expected a number of hours, or null"
            )
        _check_boolean("canary", self.canary)
        _check_boolean("compact", self.compact)
        _check_command(self.notify)

    def to_json(self) -> dict[str, Any]:
        """The keys of a plan; without `notify` if it is not set: older code does not know it."""
        content = asdict(self)
        if self.notify is None:
            del content["notify"]
        return content


def _check_command(command: Any) -> None:
    """Raise UserError for a `notify.command` that names no program."""
    if command is None:
        return
    with contextlib.suppress(ValueError):  # quotes that are not closed
        if isinstance(command, str) and shlex.split(command):
            return
    raise UserError(
        f"notify.command: found {command!r}, expected a program with its options, or null"
    )


def _check_boolean(key: str, value: Any) -> None:
    if type(value) is not bool:
        raise UserError(f"{key}: found {value!r}, expected true or false")


@dataclass(frozen=True)
class Request:
    """Cells and searches, the folder for their results, and the launcher to send them through."""

    name: str
    logs: Path
    cells: Sequence[Cell]
    packing: Packing
    launcher: Launcher
    chosen: Sequence[str]
    """The overrides that set packing, launcher and policy; a resume adds its own."""
    policy: Policy = Policy()
    searches: Sequence[Search] = ()
    """Searches whose open rounds are sent too; `cells` does not hold their trainings."""
    again: Sequence[str] = ()
    """Conditions for the cells that are done and are to be trained once more; none for all."""
    software: Software | None = None
    """The code and environment of the jobs; None for those of this process."""
    why_launcher: str = ""
    """Why this launcher was chosen, in a few words."""

    @property
    def folder(self) -> Path:
        """The folder of the sweep."""
        return self.logs / self.name

    @property
    def launcher_name(self) -> str:
        """The file of the launcher under configs/hydra/launcher, or its kind if none was named."""
        names = [text.partition("=")[2] for text in self.chosen if text.startswith(LAUNCHER)]
        return names[-1] if names else self.launcher.kind

    @property
    def code(self) -> str:
        """Hash of the sources that the jobs will import."""
        return self.software.code if self.software else code_hash(self.own_packages)

    @cached_property
    def own_packages(self) -> frozenset[str]:
        """The user's packages that the cells and searches name."""
        points = [search.point for search in self.searches]
        return packages_of([*(cell.flat for cell in self.cells), *points])


def check_name(name: Any) -> None:
    """Raise UserError for a name that cannot be a folder and part of a SLURM job name."""
    characters = "letters, digits, '_', '-' and '.'"
    if not isinstance(name, str):
        raise UserError(
            f"name: found {name!r} ({type(name).__name__}), expected a sweep name of {characters}; "
            "quote one that reads as a number, as in 'name=\"1e3\"'"
        )
    if not _NAME.fullmatch(name):
        raise UserError(
            f"sweep name {name!r}: expected {characters}, beginning with a letter or digit, "
            "at most 100 (it becomes a folder under logs/ and part of a SLURM job name)"
        )


def check_new_name(name: Any) -> None:
    """Raise UserError also for a name that the folder of the logs reserves."""
    check_name(name)
    if name in _RESERVED:
        raise UserError(f"sweep name {name!r}: it is {_RESERVED[name]}; choose another name")
