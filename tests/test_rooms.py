"""Every file has a room, and a room imports only the rooms that the table allows."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from repository_files import tracked

ROOT = Path(__file__).resolve().parents[1]

PLAN = {"launch/plan", "launch/errors.py", "trainers/config"}
WORKER = {"launch/worker", *PLAN}
SCHEDULER = {"launch/scheduler", *WORKER}
SWEEP = {
    "launch/sweep", "trainers/__init__.py", "trainers/config", "analysis/stats", *PLAN,
}  # fmt: skip
COST = {"launch/cost", *SWEEP}
STATUS = {"launch/status", "launch/cost", "launch/scheduler", "analysis/store", *PLAN}
SUBMIT = {"launch/submit", "analysis/store", "analysis/stats", *STATUS, *COST, *SCHEDULER}
REPORT = {"launch/report", "analysis/double_descent", "analysis/figure", *SUBMIT}
CLI = {"launch/cli", *REPORT}

STORE = {"analysis/store", "analysis/stats"}
FIGURE = {"analysis/figure", *STORE}

SETTINGS = {"trainers/config", "trainers/seeding.py"}
TOOLS = {
    "trainers/data", "trainers/models", "trainers/optim.py", "trainers/objective.py",
    "trainers/precision.py", "trainers/cuda_graph.py",
    "trainers/hardware.py", *SETTINGS,
}  # fmt: skip
PART = {"trainers/part.py", "trainers/schema.py", "trainers/checkpoint.py", *SETTINGS}
RUN = {
    "trainers/run.py",
    "trainers/log_lines.py",
    "trainers/weights.py",
    "trainers/snapshots.py",
    *PART,
}
TRAINER = {"trainers/measures", "trainers/evaluation.py", *TOOLS, *RUN}

ALLOWED: dict[str, set[str]] = {
    "launch/__init__.py": set(),
    "launch/train.py": CLI,
    "launch/job.py": SCHEDULER,
    "launch/errors.py": set(),
    "launch/plan": PLAN,
    "launch/worker": WORKER,
    "launch/worker/child.py": {"launch/worker/_child.py"},
    "launch/worker/_child.py": {*WORKER, *RUN, "trainers/__init__.py"},
    "launch/scheduler": SCHEDULER,
    "launch/sweep": SWEEP,
    "launch/cost": COST,
    "launch/status": STATUS,
    "launch/submit": SUBMIT,
    "launch/report": REPORT,
    "launch/cli": CLI,
    "trainers/__init__.py": {"trainers/config", "trainers/run.py", "trainers/schema.py"},
    "trainers/config": {"trainers/config"},
    "trainers/seeding.py": set(),
    "trainers/schema.py": SETTINGS,
    "trainers/checkpoint.py": SETTINGS,
    "trainers/part.py": PART,
    "trainers/weights.py": {"trainers/checkpoint.py", *SETTINGS},
    "trainers/snapshots.py": {"trainers/weights.py", *SETTINGS},
    "trainers/run.py": RUN,
    "trainers/log_lines.py": {"trainers/config"},
    "trainers/data": {"trainers/data", "trainers/checkpoint.py", *SETTINGS},
    "trainers/models": {"trainers/models", *SETTINGS},
    "trainers/optim.py": SETTINGS,
    "trainers/objective.py": SETTINGS,
    "trainers/precision.py": SETTINGS,
    "trainers/cuda_graph.py": SETTINGS,
    "trainers/hardware.py": TOOLS,
    "trainers/kernels.py": TOOLS,
    "trainers/evaluation.py": TOOLS,
    "trainers/measures": {"trainers/measures", "trainers/schema.py", *SETTINGS},
    "trainers/vision.py": {"trainers/epochs.py", *TRAINER},
    "trainers/algorithmic.py": TRAINER,
    "trainers/noop.py": TRAINER,
    "trainers/minima.py": {"trainers/epochs.py", *TRAINER},
    "trainers/epochs.py": TRAINER,
    "trainers/landscape.py": {"trainers/trained.py", *TRAINER},
    "trainers/cell_measures": {"trainers/landscape.py", "trainers/trained.py", *TRAINER},
    "trainers/trained.py": TRAINER,
    "analysis": {
        "analysis/theory", "analysis/double_descent", "analysis/grokking", "analysis/capacity",
        "analysis/landscape", "analysis", *FIGURE,
    },
    "analysis/theory": {"analysis/theory", *FIGURE},
    "analysis/double_descent": {"analysis/double_descent", *FIGURE},
    "analysis/grokking": {"analysis/grokking", *FIGURE},
    "analysis/capacity": {"analysis/capacity", *FIGURE},
    "analysis/landscape": {"analysis/landscape", *FIGURE},
    "analysis/figure": FIGURE,
    "analysis/stats": {"analysis/stats"},
    "analysis/store": {"analysis/store", "analysis/stats"},
}  # fmt: skip
"""What the files of a room may import of the project. A room is a folder, or a file of its own."""

SOURCES = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in ("launch", "trainers", "analysis")
    for path in tracked(ROOT / folder, "**/*.py")
)


def room_of(path: str) -> str | None:
    """The room of a file: itself, or the innermost folder that the table names."""
    if path in ALLOWED:
        return path
    folder = Path(path).parent.as_posix()
    return folder if folder in ALLOWED else None


def file_of(module: str) -> str | None:
    """The file of a module of the project, None for anything else."""
    stem = module.replace(".", "/")
    for path in (f"{stem}.py", f"{stem}/__init__.py"):
        if (ROOT / path).exists():
            return path
    return None


def imports(path: str) -> Iterator[str]:
    """The files of the project that a file imports, inside functions too."""
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        modules: list[str] = []
        if isinstance(node, ast.Import):
            modules = [name.name for name in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            parent = node.module or ""
            names = [f"{parent}.{name.name}" for name in node.names]
            modules = [name if file_of(name) else parent for name in names]
        for module in modules:
            file = file_of(module)
            if file is not None and file in SOURCES:
                yield file


def test_every_file_has_a_room() -> None:
    assert [path for path in SOURCES if room_of(path) is None] == []


def test_every_room_of_the_table_exists() -> None:
    assert [room for room in ALLOWED if not (ROOT / room).exists()] == []


@pytest.mark.parametrize("room", ALLOWED)
def test_a_room_imports_only_rooms_of_the_table(room: str) -> None:
    forbidden = []
    for path in (path for path in SOURCES if room_of(path) == room):
        for target in imports(path):
            other = room_of(target)
            if other != room and other not in ALLOWED[room]:
                forbidden.append(f"{path} imports {target}")
    assert forbidden == []


def test_no_name_in_analysis_hides_a_library() -> None:
    """`python analysis/X.py` puts analysis/ first on the import path."""
    names = {path.stem for path in (ROOT / "analysis").iterdir()} - {"__init__", "__pycache__"}
    requirements = importlib.metadata.requires("redescent") or []
    libraries = {re.split(r"[^A-Za-z0-9_-]", text)[0].replace("-", "_") for text in requirements}
    assert names
    assert names & (sys.stdlib_module_names | libraries | {"sklearn", "hydra", "PIL"}) == set()
