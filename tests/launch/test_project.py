"""A project of the user's: its configs come first, its packages are planned, frozen and hashed."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from analysis import store
from launch.cli import init, lookup
from launch.errors import UserError
from launch.plan import own_code, project, snapshot
from launch.sweep import compose
from trainers.config import kinds

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
    kinds.resolve.cache_clear()


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


def test_an_unknown_sweep_is_answered_with_own_and_shipped_names(own_project: Path) -> None:
    with pytest.raises(UserError, match=r"width' in .*; did you mean widths or grok_width or "):
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


def test_a_neighbour_that_jobs_could_not_import_is_refused(own_project: Path) -> None:
    (own_project / "numpy").mkdir()  # Python takes the installed one
    (own_project / "json").mkdir()
    with (own_project / "tabular" / "residual_mlp.py").open("a") as file:
        file.write("\n\ndef later():\n    import json, numpy\n    from shapes import ring\n")
    project.make_importable()
    assert not any("shapes" in place for place in own_code.own_sources(["tabular"]))
    (own_project / "shapes").mkdir()
    (own_project / "shapes" / "ring.py").touch()
    with pytest.raises(UserError, match="a folder without __init__") as error:
        own_code.own_sources(["tabular"])
    assert "add an empty __init__.py" in str(error.value)


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


OWN_FILES = {
    "tabular/settings.py": """
from dataclasses import dataclass

from trainers.config import Milestones, SavedWeights, Schedule, Vision
from trainers.schema import Metric

NORMS = (Metric("norm", "float32", "1", "sum of |w|^power"),)


@dataclass(frozen=True)
class Watched(Vision):
    entry = "tabular.loops:train"
    name: str
    power: float


@dataclass(frozen=True)
class SignDescent:
    entry = "tabular.loops:sign_descent"
    name: str
    lr: float
    schedule: Schedule | Milestones


@dataclass(frozen=True)
class WeightNorm(SavedWeights):
    measure = "tabular.loops:WeightNorm"
    metrics = "tabular.settings:NORMS"
    name: str
    power: float
""",
    "tabular/loops.py": """
import torch

from trainers import vision
from trainers.landscape import Measure
from trainers.schema import Metric

METRICS = (*vision.METRICS, Metric("weight_power", "float32", "1", "sum of |w|^power"))


def weight_power(parameters, power):
    return float(sum(p.detach().abs().pow(power).sum() for p in parameters))


class Training(vision.Training):
    def _log_row(self, epoch, examples, row):
        row["weight_power"] = weight_power(self.parameters, self.cell.trainer.power)
        super()._log_row(epoch, examples, row)


def train(cell, run):
    training = Training(cell, run)
    training.restore()
    return training.to_the_end()


def sign_descent(settings, parameters):
    return torch.optim.Rprop(parameters, lr=settings.lr)


class WeightNorm(Measure):
    def rows(self, unit):
        power = self.network.cell.trainer.power
        yield {"norm": weight_power(self.network.model.parameters(), power)}
""",
    "configs/trainer/watched.yaml": """
defaults: [vision, _self_]
name: tabular.settings.Watched
power: 1.0
""",
    "configs/optim/sign_descent.yaml": """
name: tabular.settings.SignDescent
lr: 1.0e-2
schedule: {name: constant, period: 1, factor: 1.0, warmup: 0}
""",
    "configs/trainer/weight_norm.yaml": """
# @package _global_
defaults: [override /model: none, override /data: none, override /optim: none, _self_]
trainer:
  name: tabular.settings.WeightNorm
  of: null
  of_folder: null
  weights: final
  images: null
  bn: kept
  batch: 1000
  power: 1.0
""",
    "configs/sweep/norms.yaml": """
# @package _global_
defaults: [override /trainer: weight_norm]
name: norms
of: {sweep: widths}
""",
}
"""A trainer, an optimiser and a measure of the user's."""

RUN = """
import sys
from launch import cli
try:
    cli.main([*sys.argv[1:], "hydra/launcher=local", "--wait"])
except SystemExit as end:
    print("torch" in sys.modules)
    sys.exit(end.code)
"""


def test_what_init_writes_trains_and_draws_with_classes_of_ones_own(tmp_path: Path) -> None:
    """Commands and jobs in processes of their own; planning imports no torch."""
    folder = tmp_path / "project"
    init.init(folder)
    for name, content in OWN_FILES.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content.lstrip())
    environment = {**os.environ, "COLUMNS": "1000"}
    del environment["REDESCENT_LOGS"]
    few = [
        "seeds=[0]",
        'where=["model.width==2"]',
        "trainer.epochs=2",
        "trainer.weights_at=final",
        "task.at_a_time=1",
    ]
    own = ["trainer=watched", "optim=sign_descent"]
    commands = (
        ["-c", RUN, "submit", "widths", *few, *own],
        ["-c", RUN, "submit", "norms"],
        ["figures/error_by_width.py", "logs/widths"],
    )
    outputs = []
    for arguments in commands:
        command = [sys.executable, *arguments]
        process = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=280
        )
        assert process.returncode == 0, process.stdout + process.stderr
        outputs.append(process.stdout.splitlines()[-1])
    assert outputs[:2] == ["False", "False"]
    assert outputs[2].endswith("from 2 of 2 runs")
    assert (folder / "figures" / "error_by_width.png").stat().st_size > 1000
    trained, norms = (store.curves(folder / "logs" / name) for name in ("widths", "norms"))
    last = trained.groupby("cell", observed=True)["weight_power"].last()
    assert sorted(norms["norm"]) == pytest.approx(sorted(last), rel=1e-6)
    assert trained["weight_power"].nunique() > 2
