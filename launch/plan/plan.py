"""The frozen plan of one submission: cells, tasks, and the code and environment that they run with.
Write and load.

    logs/NAME/submissions/SID/plan.json    the plan; never changed once written
    logs/NAME/submissions/SID/jobs.json    what became of it: intent first, then job ids (launch/submit/submission.py)
    logs/NAME/code/HASH.zip                the source tree that its jobs import, shared by plans of the same code

This module is read inside jobs before anything else, so it imports the standard library alone.
"""

from __future__ import annotations

import getpass
import hashlib
import importlib.metadata
import io
import json
import platform
import socket
import subprocess
import sys
import time
import uuid
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from launch.plan.files import write_bytes, write_json
from launch.plan.launcher import Launcher, cores

SOURCE = Path(__file__).resolve().parents[2]
CALIBRATION = "calibration"
"""The folder inside a sweep's that holds the sweep of its calibrations."""

_PACKAGES = (
    "torch",
    "numpy",
    "pandas",
    "pyarrow",
    "scikit-learn",
    "pillow",
    "hydra-core",
    "omegaconf",
    "submitit",
)


class PlanError(ValueError):
    """A plan that cannot be read; the message says which, why and what to do."""


@dataclass(frozen=True)
class PlannedCell:
    """A cell as planned: its configuration is `bases[base]` with `values` over it; `attempts` came
    before this plan.
    """

    id: str
    base: int
    values: Mapping[str, Any]
    attempts: int = 0


@dataclass(frozen=True)
class Plan:
    """One submission, whole: nothing outside it and its code archive decides what its jobs
    compute.
    """

    sid: str
    name: str
    created: float
    user: str
    host: str
    backend: str
    bases: Sequence[Mapping[str, Any]]
    cells: Sequence[PlannedCell]
    tasks: Sequence[Sequence[int]]
    packing: Mapping[str, Any]
    launcher: Launcher
    chosen: Sequence[str]
    python: str
    code: str
    code_archive: str
    environment: str
    packages: Mapping[str, str]
    commit: str
    policy: Mapping[str, Any] = field(default_factory=dict)
    sizes: Sequence[int | None] = field(default_factory=list)
    """How many cells each task runs at a time, None for one a core; as `packing` says where this is
    empty.
    """
    excluded: Sequence[str] = field(default_factory=list)
    """Nodes that the jobs are not to run on, since they lost tasks of this sweep a short while
    ago.
    """
    retry_errors: bool = False
    """Whether the tasks go on whatever errors repeat themselves."""

    def at_a_time(self, task: int) -> int | None:
        """Cells that a task runs side by side; None for one a core."""
        count: int | None = self.sizes[task] if self.sizes else self.packing["at_a_time"]
        return count

    def cells_at_once(self, task: int) -> int:
        """Cells that a task trains at a time, with one for every core counted out."""
        concurrency = self.at_a_time(task)
        if concurrency:
            return concurrency
        return (self.launcher.cores or 1) if self.backend == "slurm" else cores()

    def flat(self, cell: PlannedCell) -> dict[str, Any]:
        """The flat configuration of a cell of this plan."""
        return {**self.bases[cell.base], **cell.values}

    def folder(self, sweep: Path) -> Path:
        """Where this plan stands inside the sweep's folder."""
        return sweep / "submissions" / self.sid

    def write(self, sweep: Path) -> Path:
        """Write plan.json into its new folder; returns its path."""
        folder = self.folder(sweep)
        folder.mkdir(parents=True)
        path = folder / "plan.json"
        write_json(path, asdict(self) | {"launcher": dict(self.launcher.settings)})
        return path


def name_of(sweep: Path) -> str:
    """By what name the command line knows the sweep in this folder: NAME, or NAME/calibration."""
    return f"{sweep.parent.name}/{sweep.name}" if sweep.name == CALIBRATION else sweep.name


def load(path: Path) -> Plan:
    """Read a plan. Raises PlanError for a file that is not one."""
    try:
        raw = json.loads(path.read_text())
        cells = [PlannedCell(**cell) for cell in raw.pop("cells")]
        launcher = Launcher(raw.pop("launcher"))
        return Plan(**raw, cells=cells, launcher=launcher)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PlanError(
            f"{path}: not a plan of this version ({error}); expected what `redescent submit` "
            "writes. Move its folder "
            "out of submissions/ and submit the sweep again: cells that are done stay done"
        ) from None


def load_all(sweep: Path) -> list[Plan]:
    """All plans of a sweep, oldest first."""
    plans = [load(path) for path in (sweep / "submissions").glob("*/plan.json")]
    return sorted(plans, key=lambda plan: (plan.created, plan.sid))


def ran_in(plans: Sequence[Plan], attempts: Mapping[str, float]) -> dict[str, tuple[Plan, int]]:
    """Plan and task of an attempt of every cell: `attempts` says which, from 1 on; infinity means
    the newest.
    """
    return {
        made.cells[index].id: (made, number)
        for made in plans
        for number, task in enumerate(made.tasks)
        for index in task
        if made.cells[index].attempts < attempts.get(made.cells[index].id, 0)
    }


def factor(
    configurations: Sequence[Mapping[str, Any]],
) -> tuple[list[dict[str, Any]], list[tuple[int, dict[str, Any]]]]:
    """Split flat configurations into few bases and small differences: 10,000 cells then take 2 MB
    and not 15.

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
        base = bases[index]
        split.append((index, {k: v for k, v in flat.items() if repr(v) != repr(base[k])}))
    return bases, split


def new_sid() -> str:
    """A new submission id: its time in UTC and 32 random bits, so that ids sort by age."""
    return time.strftime("%Y%m%dT%H%M%S", time.gmtime()) + "-" + uuid.uuid4().hex[:8]


def code_hash() -> str:
    """Hash of the sources that jobs import, as they stand now; changes nothing."""
    digest = hashlib.sha256()
    for name, content in _sources().items():
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
    return digest.hexdigest()[:16]


def snapshot(sweep: Path) -> tuple[str, Path]:
    """Archive the packages that jobs import; returns the hash of the sources and the archive's
    path.

    One zip file, which Python imports from as it is: one inode, written at once, and nobody edits
    it by accident.
    """
    code = code_hash()
    archive = sweep / "code" / f"{code}.zip"
    if not archive.exists():
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as file:
            for name, content in _sources().items():
                file.writestr(
                    zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED
                )  # a ZipInfo is stored, else
        archive.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(archive, buffer.getvalue())
    return code, archive


def _sources() -> dict[str, bytes]:
    """The packages of the jobs, and the store, which `python -m analysis.store.compact` needs."""
    paths = [
        path
        for package in ("launch", "trainers")
        for path in sorted((SOURCE / package).rglob("*.py"))
    ]
    paths += [
        SOURCE / "analysis" / "__init__.py",
        *sorted((SOURCE / "analysis" / "store").glob("*.py")),
    ]
    return {str(path.relative_to(SOURCE)): path.read_bytes() for path in paths}


def environment() -> tuple[str, dict[str, str]]:
    """Versions of Python and of the packages that the numbers depend on, and a short hash of
    them.
    """
    versions = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "absent"
    return hashlib.sha256(json.dumps(versions, sort_keys=True).encode()).hexdigest()[:12], versions


def commit() -> str:
    """The git commit of the source tree, with "+changes" where it was edited; empty outside git."""

    def git(*words: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(SOURCE), *words], capture_output=True, text=True, check=False
        )
        return done.stdout.strip() if done.returncode == 0 else ""

    try:
        head = git("rev-parse", "HEAD")
        return head + (
            "+changes" if head and git("status", "--porcelain", "--", "launch", "trainers") else ""
        )
    except OSError:
        return ""


def origin() -> dict[str, Any]:
    """Who plans, where and when: the fields of a plan that are facts of this process."""
    return {
        "created": time.time(),
        "user": getpass.getuser(),
        "host": socket.gethostname(),
        "python": sys.executable,
    }
