"""What each room may import: login nodes never load torch, workers never hydra, figures neither
launch nor trainers.
"""

from __future__ import annotations

import ast
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from waiting import wait_for

ROOT = Path(__file__).resolve().parents[2]


def loaded_modules(program: str) -> set[str]:
    """The top-level modules that a new interpreter holds after `program`."""
    command = [
        sys.executable,
        "-c",
        f"{program}\nimport sys\nprint('LOADED', *{{name.split('.')[0] for name in sys.modules}})",
    ]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    return set(process.stdout.rpartition("LOADED")[2].split())


def imported(room: str) -> Iterator[tuple[Path, ast.stmt, str]]:
    """Every import statement of a room, inside functions too, with the module that it names."""
    for path in sorted((ROOT / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                yield from ((path, node, name.name) for name in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}: imports are absolute"
                yield path, node, node.module or ""


@pytest.mark.parametrize(
    ("room", "forbidden"),
    [
        ("launch", {"torch", "tests"}),
        ("trainers", {"hydra", "omegaconf", "submitit", "launch", "analysis", "tests"}),
        ("analysis", {"torch", "hydra", "omegaconf", "submitit", "launch", "trainers", "tests"}),
    ],
)
def test_no_file_of_a_room_imports_what_is_not_its_business(room: str, forbidden: set[str]) -> None:
    result = list(imported(room))
    assert result
    assert [
        f"{path}: {module}" for path, _, module in result if module.split(".")[0] in forbidden
    ] == []


def test_planning_never_loads_torch() -> None:
    calls = [
        f"cli.main(['plan', {name!r}, 'hydra/launcher=local'], standalone_mode=False)"
        for name in ("demo", "demo_grokking", "demo_capacity", "noop")
    ]
    modules = loaded_modules("\n".join(["from launch import cli", *calls]))
    assert "hydra" in modules
    assert "torch" not in modules


def test_help_loads_nothing_that_takes_long_to_import() -> None:
    program = "from launch import cli\ntry:\n    cli.main(['--help'])\nexcept SystemExit:\n    pass"
    modules = loaded_modules(program)
    assert "click" in modules
    assert not {"pandas", "numpy", "pyarrow", "hydra", "omegaconf", "submitit", "torch"} & modules
    assert not {"plotly", "jinja2", "PIL", "rich"} & modules


def test_the_commands_load_neither_torch_nor_a_trainer_with_it() -> None:
    assert "torch" not in loaded_modules(
        "import launch.cli, launch.submit.submission, launch.train, launch.cli.doctor, "
        "analysis.store.compact"
    )


def test_the_job_that_sends_the_next_round_loads_neither_torch_nor_hydra() -> None:
    modules = loaded_modules("import launch.submit.advance")
    assert "pandas" in modules
    assert not {"torch", "hydra", "omegaconf"} & modules


def test_reading_a_configuration_loads_neither_torch_nor_hydra() -> None:
    assert not {"torch", "hydra", "omegaconf", "numpy"} & loaded_modules("import trainers.config")


def test_the_id_of_a_cell_needs_the_standard_library_alone() -> None:
    modules = loaded_modules("import launch.plan.identity")
    allowed_modules = sys.stdlib_module_names | {"launch", "trainers", "__main__"}
    allowed_modules |= {"sitecustomize", "usercustomize"}
    assert not {
        name for name in modules if name not in allowed_modules and not name.startswith("_")
    }


def test_a_trainer_loads_no_hydra() -> None:
    assert not {"hydra", "omegaconf", "submitit", "launch"} & loaded_modules(
        "import trainers.vision"
    )


def test_the_parent_inside_a_job_loads_the_standard_library_alone() -> None:
    modules = loaded_modules(
        "import launch.job, launch.scheduler.task, launch.worker.pool, launch.plan"
    )
    allowed_modules = sys.stdlib_module_names | {
        "launch",
        "trainers",  # the keys that come later, for the ids of cells
        "__main__",
        "sitecustomize",
        "usercustomize",
    }
    assert not {
        name for name in modules if name not in allowed_modules and not name.startswith("_")
    }


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="reads what a process has loaded")
def test_a_child_that_has_written_a_part_has_not_loaded_pandas(
    redescent: Callable[..., Any], logs: Path
) -> None:
    endless = ("seeds=[0]", "trainer.epochs=100000", "trainer.seconds=0.1")
    redescent("submit", "noop", "hydra/launcher=local", *endless)
    wait_for(lambda: any((logs / "noop" / "runs").glob("*.parquet")), "a part")
    (path,) = logs.rglob("local.json")
    worker = json.loads(path.read_text())["pid"]
    (child,) = Path(f"/proc/{worker}/task/{worker}/children").read_text().split()
    loaded = Path(f"/proc/{child}/maps").read_text()
    os.kill(worker, signal.SIGTERM)
    assert "/pyarrow/" in loaded
    assert "/pandas/" not in loaded


OURS, OWN = "{'model.name': 'mlp'}", "{'model.name': 'package.module.Class'}"


def test_pyarrow_finds_pandas_in_a_child_where_a_class_of_the_users_trains() -> None:
    start = "from launch.worker._child import _choose_conversions as choose\n"
    convert = "import pyarrow as pa\npa.array([0.5, None])\n"
    assert "pandas" not in loaded_modules(f"{start}choose({OURS})\n{convert}choose({OURS})")
    assert "pandas" in loaded_modules(
        f"{start}choose({OURS})\n{convert}choose({OWN})\n"
        "import pandas as pd\n"
        "assert pa.array(pd.Series([1.0, float('nan')])).null_count == 1\n"
        "assert pa.types.is_dictionary(pa.array(pd.Categorical(['a'])).type)"
    )


@pytest.mark.parametrize(
    "module", ["launch.cost.packing", "launch.sweep.request", "launch.sweep.grid"]
)
def test_packing_and_requests_load_no_library(module: str) -> None:
    assert not {"hydra", "omegaconf", "pandas", "numpy", "submitit"} & loaded_modules(
        f"import {module}"
    )
