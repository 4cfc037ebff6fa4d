"""The frozen plan of one submission: cells, tasks, and the code and environment they run with.

    logs/NAME/submissions/SID/plan.json    the plan; never changed once written
    logs/NAME/submissions/SID/jobs.json    the arrays to be sent, then their job ids
    logs/NAME/submissions/SID/inside/TASK.json    cells that a task added: later rounds of searches
    logs/NAME/code/HASH.zip                the sources that its jobs import, shared by plans

Read inside jobs before anything else: standard library only.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from launch.errors import UserError
from launch.plan import contents, files, own_code
from launch.plan.files import write_json
from launch.plan.launcher import Launcher
from launch.plan.reader import Damaged, NewerCode, as_list, read_json, wrong
from launch.plan.search import Search
from launch.plan.snapshot import Software

CALIBRATION = "calibration"
"""The folder inside a sweep's that holds the sweep of its calibrations."""

SUBMISSIONS = "submissions"
"""The folder inside a sweep's that holds the folders of its submissions."""


class PlanError(ValueError):
    """A plan that cannot be read; the message says which one, why and what to do."""


@dataclass(frozen=True)
class PlannedCell:
    """A cell as planned: its configuration is `bases[base]` of the plan, updated with `values`."""

    id: str
    base: int
    values: Mapping[str, Any]
    attempts: int = 0
    """How many attempts came before this plan."""


@dataclass(frozen=True)
class Plan:
    """One submission: together with its code archive, it determines what its jobs compute."""

    sid: str
    """The id of the submission."""
    name: str
    """The name of the sweep."""
    created: float
    """Its Unix time."""
    user: str
    host: str
    backend: str
    """Where the tasks run: slurm, local or debug."""
    bases: Sequence[Mapping[str, Any]]
    """Flat configurations from which those of the cells differ in a few values."""
    cells: Sequence[PlannedCell]
    tasks: Sequence[Sequence[int]]
    """For each task the indices of its cells."""
    packing: Mapping[str, Any]
    """The keys of `task` in the configuration."""
    launcher: Launcher
    chosen: Sequence[str]
    """The overrides that set packing, launcher and policy."""
    python: str
    """The interpreter that the jobs run."""
    code: str
    """Hash of the sources that the jobs import."""
    code_archive: str
    """The zip file of these sources."""
    environment: str
    """Hash of the versions in `packages`."""
    packages: Mapping[str, str]
    """Versions of Python and of the packages that results depend on."""
    commit: str
    """The git commit of the sources; empty where they are no checkout."""
    policy: Mapping[str, Any] = field(default_factory=dict)
    """What is done besides sending cells; the fields of launch.sweep.request.Policy."""
    sizes: Sequence[int | None] = field(default_factory=list)
    """How many cells each task runs at a time, None for one per core; if empty, `packing` decides.
    """
    excluded: Sequence[str] = field(default_factory=list)
    """Nodes that the jobs avoid, because they recently lost tasks of this sweep."""
    retry_errors: bool = False
    """Whether the tasks continue even if several cells fail with the same error."""
    searches: Sequence[Search] = field(default_factory=list)
    """The searches that the cells are a round of; empty for a grid."""
    rerun: bool = False
    """Whether cells that are done are trained once more."""
    task_searches: Sequence[Sequence[int]] = field(default_factory=list)
    """For each task the indices of the searches whose later rounds it trains too; may be empty."""

    @property
    def advances_by_itself(self) -> bool:
        """Whether the next round of a search is sent after the last task, without the user."""
        return any(search.advance == "auto" for search in self.searches)

    @property
    def own_packages(self) -> frozenset[str]:
        """The user's packages that the cells and searches name."""
        named = [cell for cell in self.cells if any(key.endswith(".name") for key in cell.values)]
        flats = [self.flat(cell) for cell in named]
        points = [search.point for search in self.searches]
        return own_code.packages_of([*self.bases, *flats, *points])

    @property
    def software(self) -> Software:
        """The code and environment of this plan, for another plan that continues it."""
        return Software(**{field.name: getattr(self, field.name) for field in fields(Software)})

    def planned_concurrency(self, task: int) -> int | None:
        """How many cells a task trains at a time; None for one per core."""
        count: int | None = self.sizes[task] if self.sizes else self.packing["at_a_time"]
        return count

    def concurrency(self, task: int) -> int:
        """How many cells a task trains at a time, with None resolved to the number of cores."""
        return self.planned_concurrency(task) or self.launcher.usual_concurrency(self.backend)

    def flat(self, cell: PlannedCell) -> dict[str, Any]:
        """The flat configuration of a cell of this plan."""
        return {**self.bases[cell.base], **cell.values}

    def folder(self, sweep: Path) -> Path:
        """The folder of this plan inside the sweep's folder."""
        return sweep / SUBMISSIONS / self.sid

    def check_owner(self, sweep: Path) -> None:
        """Raise UserError if the plan belongs to another user: its launcher's `setup` lines and its
        Python would run as whoever sends its jobs.
        """
        path = self.folder(sweep) / "plan.json"
        other = files.owner(path)
        if other is not None:
            raise UserError(
                f"{path}: belongs to {other}, and its launcher settings and Python would run as "
                "you; nothing was sent. Look at them, then name a launcher of your own: "
                f"`redescent resume {name_of(sweep)} hydra/launcher=...`"
            )

    def write(self, sweep: Path) -> Path:
        """Write plan.json into its new folder; returns its path."""
        folder = self.folder(sweep)
        folder.mkdir(parents=True)
        path = folder / "plan.json"
        content = {field.name: getattr(self, field.name) for field in fields(self)}
        content["launcher"] = dict(self.launcher.settings)
        content["cells"] = [vars(cell) for cell in self.cells]
        content["searches"] = [asdict(search) for search in self.searches]
        if not self.rerun:  # older code, which jobs in the queue may run, does not know the key
            del content["rerun"]
        write_json(path, content | {"checksum": contents.checksum(content)})
        return path


def name_of(sweep: Path) -> str:
    """The name of the sweep in this folder on the command line: NAME, or NAME/calibration."""
    return f"{sweep.parent.name}/{sweep.name}" if sweep.name == CALIBRATION else sweep.name


def load(path: Path, task: int | None = None) -> Plan:
    """Read a plan, with the cells that its tasks added, and check that every cell has the id of its
    configuration; with `task`, only those of this task.

    Raises PlanError for an invalid file, OSError for one that cannot be read.
    """
    try:
        content = read_json(path)
        fields = contents.plan_fields(content)
        if fields["sid"] != path.parent.name and path.parent.parent.name == SUBMISSIONS:
            raise wrong("sid", fields["sid"], f"{path.parent.name}, the name of its folder")
        _add_later_rounds(fields, path.parent)
        numbers = range(len(fields["cells"])) if task is None else _cells_of(fields, task)
        contents.check_ids(fields["bases"], fields["cells"], numbers)
        contents.check_checksum(content)
    except NewerCode as error:
        raise PlanError(
            f"{path}: {error}. Newer code wrote this plan, or the file is damaged; use the version "
            "of redescent that submitted the sweep, or a newer one"
        ) from None
    except (Damaged, RecursionError) as error:
        raise PlanError(
            f"{path}: not a plan of this version ({error}); expected what `redescent submit` "
            "writes. Restore the file, or move its folder "
            "out of submissions/ and submit the sweep again: cells that are done stay done"
        ) from None
    cells = [PlannedCell(*cell) for cell in fields["cells"]]
    return Plan(**{**fields, "cells": cells})


def _cells_of(fields: Mapping[str, Any], task: int) -> Sequence[int]:
    """Numbers of the cells of a task of a plan that was just read."""
    tasks: Sequence[Sequence[int]] = fields["tasks"]
    if not 0 <= task < len(tasks):
        raise Damaged(f"tasks: found {len(tasks)}, expected one with the number {task}")
    return tasks[task]


def later_rounds(submission: Path, task: int) -> Path:
    """The file of the cells that a task added to the plan in this folder."""
    return submission / "inside" / f"{task:05d}.json"


def _add_later_rounds(fields: dict[str, Any], submission: Path) -> None:
    """Append the cells that tasks added to the cells and tasks of a plan that was just read."""
    for number, searches in enumerate(fields["task_searches"]):
        path = later_rounds(submission, number)
        if searches and path.exists():
            key = f"cells of {path.relative_to(submission)}"
            cells = as_list(read_json(path, key), key)
            start = len(fields["cells"])
            fields["cells"] += contents.cell_fields(cells, key, len(fields["bases"]))
            fields["tasks"][number] += range(start, start + len(cells))


def load_all(sweep: Path) -> list[Plan]:
    """All plans of a sweep, oldest first."""
    plans = [load(path) for path in plan_files(sweep)]
    return sorted(plans, key=lambda plan: (plan.created, plan.sid))


def plan_files(sweep: Path) -> list[Path]:
    """The plans of a sweep's submissions; none if nothing was submitted.

    Raises PlanError if a folder cannot be read: glob would find nothing, as if it were empty.
    """
    folder = sweep / SUBMISSIONS
    try:
        paths = [folder / sid / "plan.json" for sid in sorted(os.listdir(folder))]
        return [path for path in paths if not path.parent.name.startswith(".") and exists(path)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise PlanError(
            f"{error.filename}: cannot be read ({error.strerror}), so the plans of the sweep are "
            "unknown; ask its owner for permission to read it"
        ) from None


def exists(path: Path) -> bool:
    """Whether a file exists; OSError if its folder cannot be read."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def ran_in(plans: Sequence[Plan], attempts: Mapping[str, float]) -> dict[str, tuple[Plan, int]]:
    """Plan and task of one attempt at each cell. `attempts` has its number, from 1; infinity means
    the newest.
    """
    places = {}
    for plan in plans:
        for number, task in enumerate(plan.tasks):
            for index in task:
                cell = plan.cells[index]
                if cell.attempts < attempts.get(cell.id, 0):
                    places[cell.id] = (plan, number)
    return places


def factor(
    configurations: Sequence[Mapping[str, Any]],
) -> tuple[list[dict[str, Any]], list[tuple[int, dict[str, Any]]]]:
    """Split flat configurations into a few bases and small differences: 10,000 cells take 2 MB
    instead of 15.

    Returns the bases, and for each configuration the index of its base and the values that differ
    from it.
    """
    bases: list[dict[str, Any]] = []
    by_keys: dict[frozenset[str], int] = {}
    split: list[tuple[int, dict[str, Any]]] = []
    for flat in configurations:
        index = by_keys.setdefault(frozenset(flat), len(bases))
        if index == len(bases):
            bases.append(dict(flat))
        split.append((index, difference(flat, bases[index])))
    return bases, split


def difference(flat: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    """The values that differ from those of the base; 1 and 1.0 do."""
    values = {}
    for key, value in flat.items():
        if value is not base[key] and repr(value) != repr(base[key]):
            values[key] = value
    return values


def new_sid() -> str:
    """A new submission id: the time in UTC and 32 random bits, so that ids sort by age."""
    return time.strftime("%Y%m%dT%H%M%S", time.gmtime()) + "-" + uuid.uuid4().hex[:8]
