"""A project of the user's: its configs come first, its packages are planned, frozen and hashed."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from launch.cli import init, lookup
from launch.errors import UserError
from launch.plan import own_code, project, snapshot
from launch.sweep import compose

LOCAL = "hydra/launcher=local"
MODEL = "tabular.residual_mlp.ResidualMLP"
MARK = "[tool.redescent]\n"


@pytest.fixture
def own_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The project that `init` writes, as the current folder; its package is forgotten after."""
    folder = tmp_path / "project"
    init.init(folder)
    monkeypatch.chdir(folder)
    monkeypatch.delenv("REDESCENT_LOGS")
    paths = list(sys.path)
    yield folder
    sys.path[:] = paths
    for name in [name for name in sys.modules if name.partition(".")[0] == "tabular"]:
        del sys.modules[name]
    compose.schema.kinds.resolve.cache_clear()


def test_the_nearest_folder_with_the_table_is_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = tmp_path / "outer" / "inner" / "deep"
    inner.mkdir(parents=True)
    for folder in (tmp_path / "outer", tmp_path / "outer" / "inner"):
        (folder / "pyproject.toml").write_text(MARK)
    (inner / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    assert project.project_folder(inner) == tmp_path / "outer" / "inner"
    monkeypatch.setenv("REDESCENT_PROJECT", str(tmp_path))
    assert project.project_folder(inner) == tmp_path


def test_without_a_project_paths_are_taken_from_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert project.project_folder() is None
    assert project.below_project("logs") == tmp_path / "logs"
    assert project.config_folders(compose.CONFIGS) == [compose.CONFIGS]


def test_a_project_variable_without_a_folder_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDESCENT_PROJECT", "/no/such/folder")
    with pytest.raises(UserError, match="/no/such/folder is no folder"):
        project.project_folder()


def test_logs_lie_in_the_project_from_any_folder_of_it(
    own_project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(own_project / "tabular")
    request = compose.expand_sweep("widths", [LOCAL])
    assert request.folder == own_project / "logs" / "widths" == lookup.sweep_folder("widths")
    assert request.cells[0].flat["data.root"] == str(own_project / "data" / "measurements.csv")


def test_own_files_come_before_the_shipped_ones(own_project: Path) -> None:
    (own_project / "configs" / "model" / "mlp.yaml").write_text(
        "name: mlp\nwidth: 5\ndepth: 3\nactivation: tanh\n"
    )
    request = compose.expand_sweep("widths", [LOCAL, "model=mlp", "~axes"])
    assert {cell.flat["model.depth"] for cell in request.cells} == {3}
    assert len(compose.expand_sweep("smoke", [LOCAL]).cells) == 12


def test_an_unknown_sweep_lists_own_and_shipped_names(own_project: Path) -> None:
    with pytest.raises(UserError, match=r"no sweep 'width' in .*known: widths, cifar_small, "):
        compose.expand_sweep("width", [LOCAL])


def test_ids_of_own_classes_stay_what_they_were(own_project: Path) -> None:
    cells = compose.expand_sweep("widths", [LOCAL]).cells
    assert len({cell.id for cell in cells}) == 24
    assert cells[0].id == "c1-b68bd8541c7d71f8b39bed1c97352802"


def test_the_archive_has_the_package_and_what_it_imports(own_project: Path, tmp_path: Path) -> None:
    (own_project / "helpers.py").write_text("import deeper\n")
    (own_project / "deeper").mkdir()
    (own_project / "deeper" / "__init__.py").touch()
    (own_project / "unused.py").touch()
    with (own_project / "tabular" / "residual_mlp.py").open("a") as file:
        file.write("\n\ndef later():\n    import helpers, numpy\n")
    project.make_importable()
    _, archive = snapshot.snapshot(tmp_path, ["tabular"])
    names = set(zipfile.ZipFile(archive).namelist())
    own = {name for name in names if not name.startswith(("launch/", "trainers/", "analysis/"))}
    assert own == {
        "tabular/__init__.py", "tabular/residual_mlp.py", "tabular/measurements.py", "helpers.py",
        "deeper/__init__.py",
    }  # fmt: skip


def test_an_edited_package_changes_the_hash_of_the_code(own_project: Path) -> None:
    request = compose.expand_sweep("widths", [LOCAL])
    before = request.code
    assert request.own_packages == {"tabular"}
    with (own_project / "tabular" / "measurements.py").open("a") as file:
        file.write("# edited\n")
    assert request.code != before
    assert compose.expand_sweep("smoke", [LOCAL]).code == snapshot.code_hash()


def test_a_package_that_is_not_here_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no_such_package: cells name this package"):
        own_code.own_sources(["no_such_package"])


def test_init_refuses_a_folder_that_is_not_empty(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="exists and is not an empty folder"):
        init.init(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_what_init_writes_trains_and_draws_without_torch_in_planning(tmp_path: Path) -> None:
    """The commands of its README, in processes of their own."""
    folder = tmp_path / "project"
    init.init(folder)
    environment = {**os.environ, "COLUMNS": "1000"}
    del environment["REDESCENT_LOGS"]
    program = (
        "import sys; from launch import cli\n"
        "words = ['submit', 'widths', 'hydra/launcher=local', '--wait', 'seeds=[0]', "
        "'where=[\"model.width==2\"]', 'trainer.epochs=2']\n"
        "try:\n    cli.main(words)\n"
        "except SystemExit as end:\n    print('torch' in sys.modules)\n    sys.exit(end.code)"
    )
    figure = ["figures/error_by_width.py", "logs/widths"]
    outputs = []
    for arguments in (["-c", program], figure):
        command = [sys.executable, *arguments]
        process = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=280
        )
        assert process.returncode == 0, process.stdout + process.stderr
        outputs.append(process.stdout.splitlines()[-1])
    assert outputs[0] == "False"
    assert outputs[1].endswith("from 2 runs")
    assert (folder / "figures" / "error_by_width.png").stat().st_size > 1000
