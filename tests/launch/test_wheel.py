"""An installed package needs no checkout: its wheel has configs/ and what `init` writes.

It is built from the files that the Apptainer definition copies, which must be enough.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytest.importorskip("setuptools")


def copied_files() -> list[str]:
    """The files and folders in the section %files of redescent.def."""
    _, _, section = (ROOT / "redescent.def").read_text().partition("%files\n")
    lines = section.partition("%post")[0].split("\n")
    return [line.split()[0] for line in lines if line.strip()]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The contents of a wheel built from a copy of the sources."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    ignored = shutil.ignore_patterns("__pycache__")
    for name in copied_files():
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, source / name)
    program = "from setuptools import build_meta; print(build_meta.build_wheel('..'))"
    process = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program], cwd=source, capture_output=True, text=True
    )
    assert process.returncode == 0, process.stderr
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as file:
        file.extractall(folder / "site")
    return folder / "site"


def test_the_wheel_has_configs_and_the_example_and_nothing_else_of_the_checkout(
    site: Path,
) -> None:
    names = sorted(path.name for path in site.iterdir())
    assert names[:2] == ["analysis", "launch"]
    assert names[2].startswith("redescent-")
    assert names[3:] == ["trainers"]
    shipped = {path.relative_to(ROOT / "configs") for path in (ROOT / "configs").rglob("*.yaml")}
    installed = site / "launch" / "configs"
    assert {path.relative_to(installed) for path in installed.rglob("*.yaml")} == shipped
    example = {p.relative_to(ROOT / "docs" / "example") for p in _files(ROOT / "docs" / "example")}
    installed = site / "launch" / "example"
    assert {path.relative_to(installed) for path in _files(installed)} == example


def _files(folder: Path) -> list[Path]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [path for path in files if "__pycache__" not in path.parts]


def test_an_installed_package_plans_a_project_of_the_users(site: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(site), "COLUMNS": "1000"}
    del environment["REDESCENT_LOGS"]
    program = (
        "import launch; print(launch.__file__)\n"
        "from launch import cli\n"
        "cli.main(['init', 'mine'], standalone_mode=False)\n"
        "import os; os.chdir('mine')\n"
        "cli.main(['plan', 'widths', 'hydra/launcher=local'], standalone_mode=False)\n"
        "cli.main(['plan', 'noop', 'hydra/launcher=local'], standalone_mode=False)\n"
        "from launch.plan import snapshot; print('code', snapshot.code_hash())"
    )
    command = [sys.executable, "-P", "-c", program]
    process = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=250
    )
    assert process.returncode == 0, process.stdout + process.stderr
    assert process.stdout.startswith(str(site))
    assert f"folder{' ' * 4}{Path('logs', 'widths')}\n" in process.stdout
    from launch.plan import snapshot

    assert process.stdout.endswith(f"code {snapshot.code_hash()}\n")  # that of the checkout
