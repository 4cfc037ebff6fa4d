"""Every file in configs/ composes, and what it describes trains for two steps on the CPU."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image
from repository_files import tracked

import trainers
from launch.scheduler import sbatch
from launch.submit import rounds
from launch.submit.freeze import freeze_cells
from launch.sweep import compose
from launch.sweep.grid import axis_values
from launch.sweep.reading import weights_of
from launch.sweep.request import Cell, Request
from trainers import config
from trainers.checkpoint import Checkpoints
from trainers.config import CIFAR10, MEASURES, MLP, ConvNet, Table, VisionCell, ViT
from trainers.part import Part
from trainers.run import Run

CONFIGS = compose.CONFIGS
SMALL = {
    "model.width": 2,
    "data.train_samples": 20,
    "data.test_samples": 10,
    "trainer.epochs": 1,
    "trainer.batch_size": 10,
    "trainer.least_steps": 1,
    "trainer.rows": "every",
    "trainer.stop_at_fit": False,
    "trainer.abandon": None,
    "trainer.minimum_check": False,
    "model.heads": 1,
    "model.stages": 2,
    "data.modulus": 5,
    "data.degree": 3,
    "data.train_fraction": 0.5,
    "data.outliers": 1,
    "trainer.steps": 2,
    "trainer.poison.samples": 4,
    "trainer.polish.loss": None,
    "trainer.weights_at": "log",
    "run.compile": False,  # takes minutes; benchmarks/algorithmic.py --compile covers it
}
MINIMA = [
    "fully_connected", "resnet20", "vgg13", "swiss_roll", "spirals", "rings", "svhn", "minima",
    "rmsprop", "nesterov", "amsgrad", "adamax", "adagrad", "adadelta", "asgd", "quadratic",
    "quadratic1", "rmsprop_huang2019", "adamax_huang2019",
]  # fmt: skip
"""Files for the trainer of minima alone."""

FURTHER = {
    "vgg13": ["data=cifar10"],  # images of 32x32
    "fully_connected": ["~model.width"],
    "quadratic": ["~model.width"],
    "quadratic1": ["~model.width"],
    "huang2019_swiss_natural": ["data=swiss_roll", "~model.width"],
    "huang2019_swiss_poisoned": ["data=swiss_roll", "~model.width"],
    "huang2019_svhn": ["data=svhn"],
    "spirals": ["~data.test_samples"],
    "rings": ["~data.test_samples", "~data.train_samples"],
    "table": ["~data.test_samples", "model=mlp"],
    "plain_table": ["data=table", "~data.test_samples", "model=mlp"],
}
"""What else is chosen with a file, since the sweep that it is tried on sets keys it lacks."""

TABLES = "demo_grokking"
"""A sweep of the trainer on operation tables; the files that only make sense there are tried on
it.
"""


def options(group: str) -> list[str]:
    return sorted(path.stem for path in tracked(CONFIGS / group, "*.yaml"))


def trained_sweep(sweep: str) -> str | None:
    """The sweep whose trained cells a sweep file reads, if it has a section `of`."""
    text = yaml.safe_load((CONFIGS / "sweep" / f"{sweep}.yaml").read_text())
    name: str | None = text.get("of", {}).get("sweep")
    return name


def smaller(sweep: str) -> str | None:
    """The sweep that does the same in minutes, if there is one."""
    name = f"{sweep}_small"
    return name if name in options("sweep") else None


READING = [sweep for sweep in options("sweep") if trained_sweep(sweep)]
"""Sweeps that read trained cells: measures, and trainings that start from others."""


def points(request: Request) -> list[VisionCell]:
    """The points of a sweep that searches over trainings on images."""
    cells = [config.parse(search.point) for search in request.searches]
    assert all(isinstance(cell, VisionCell) for cell in cells)
    return [cell for cell in cells if isinstance(cell, VisionCell)]


def parameters(cell: VisionCell) -> int:
    """Parameters of the network of a cell, from the formulas."""
    assert isinstance(cell.model, MLP | ConvNet | ViT)
    channels, size = 1, 8
    if isinstance(cell.data, CIFAR10):
        channels, size = 3, 32 // cell.data.downscale
    return cell.model.parameters(channels, size, 10)


def write_images(folder: Path, parts: dict[str, int], column: str) -> Path:
    """Parquet files with noise for images in a column, labels in turn."""
    rng = np.random.default_rng(0)
    for name, count in parts.items():
        images = []
        for _ in range(count):
            buffer = io.BytesIO()
            Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(buffer, "PNG")
            images.append({"bytes": buffer.getvalue(), "path": None})
        labels = [i % 10 for i in range(count)]
        table = pa.table({column: images, "label": labels})
        pq.write_table(table, folder / f"{name}-00000-of-00001.parquet")
    return folder


def write_table(path: Path) -> Path:
    """A CSV of 60 rows: two columns of numbers, and labels in turn."""
    rows = [f"{number * 0.1},{number % 7},{number % 3}" for number in range(60)]
    path.write_text("\n".join(["first,second,label", *rows]))
    return path


@pytest.fixture(scope="module")
def cifar(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set in the layout of CIFAR-10 with noise for images: 80 to train on, 40 to test."""
    return write_images(tmp_path_factory.mktemp("cifar"), {"train": 80, "test": 40}, "img")


def train_two_steps(flat: dict[str, object], tmp_path: Path, cifar: Path) -> Run:
    changes = {**SMALL, "data.cache": str(tmp_path / "cache")}
    small = {**flat, **{key: value for key, value in changes.items() if key in flat}}
    if flat["data.name"] == "cifar10":
        small |= {"data.root": str(cifar), "data.source_rows": [80, 40]}
    if flat["data.name"] == "svhn":
        (tmp_path / "svhn").mkdir()
        parts = {"train": 40, "test": 20, "extra": 20}
        small["data.root"] = str(write_images(tmp_path / "svhn", parts, "image"))
    if flat.get("trainer.poison.share") is not None:
        small["trainer.poison.samples"] = 0
    if flat["data.name"] == "table":
        small |= {"data.root": str(write_table(tmp_path / "rows.csv"))}
    if flat["data.name"] == "rings":
        small |= {"trainer.batch_size": 70, "trainer.poison.samples": 0}  # 130 points, no others
    for folder in ("curves", "runs", "checkpoints"):
        (tmp_path / folder).mkdir()
    part = Part(tmp_path, "w", trainers.metrics(str(flat["trainer.name"])))
    run = Run(
        "c", small, 1, part, Checkpoints(tmp_path / "checkpoints", "c", 1, "w"), lambda: False, 60.0
    )
    assert trainers.train(config.parse(small), run) == "done"
    run.close("done")
    rows = pq.read_table(tmp_path / "curves" / "w.parquet").to_pylist()
    steps = {"algorithmic": [0, 1, 2], "noop": [0, 1]}.get(str(flat["trainer.name"]), [0, 2])
    if flat.get("trainer.step_rows_per_decade") is not None:
        steps = [0, 1, 2]
    assert [row["step"] for row in rows] == steps
    if flat["data.name"] != "rings":
        assert rows[-1].get("test_examples", 1) != 0  # None: labels that no test sample has
    return run


def some(cells: Sequence[Cell]) -> Sequence[Cell]:
    """At most fifty cells from all over a grid, the first one and neighbours among them."""
    return [*cells[:2], *cells[2 :: max(1, len(cells) // 48)]]


def first_round(request: Request) -> list[Cell]:
    """The cells that a sweep with `search` begins with."""
    return rounds.open_cells(rounds.search_states(request.searches, pd.DataFrame()))


@pytest.mark.parametrize("sweep", sorted(set(options("sweep")) - set(READING)))
def test_every_sweep_expands_and_its_first_cell_trains_two_steps(
    sweep: str, tmp_path: Path, cifar: Path
) -> None:
    """Of two sweeps that differ in size, the smaller one trains."""
    request = compose.expand_sweep(sweep, ["hydra/launcher=local"])
    text = yaml.safe_load((CONFIGS / "sweep" / f"{sweep}.yaml").read_text())
    assert request.name == sweep == text["name"]
    cells = request.cells or first_round(request)
    assert len({cell.id for cell in cells}) == len(cells) > 1
    seeds = {cell.flat["seed"] for cell in request.cells}
    seeds |= {seed for search in request.searches for seed in search.seeds}
    assert seeds == set(axis_values("seed", text["seeds"]))
    for cell in some(cells):
        assert config.flatten(config.parse(cell.flat)) == cell.flat
    if request.searches and sweep.startswith(("emc", "demo")):
        every_seed_can_draw_the_largest_subset(request, text["search"]["range"][1])
    if smaller(sweep) is None:
        train_two_steps(dict(cells[0].flat), tmp_path, cifar)


def every_seed_can_draw_the_largest_subset(request: Request, largest: int) -> None:
    """Whatever classes get the samples that are left over, each has that many."""
    for cell in points(request):
        if isinstance(cell.data, Table):
            continue  # the rows are the user's
        if isinstance(cell.data, CIFAR10):
            available, classes = 5000, cell.data.classes or 10
        else:
            available, classes = 97, 10
        assert -(-largest // classes) <= available


@pytest.mark.parametrize("sweep", READING)
def test_every_sweep_that_reads_trained_cells_expands_over_their_plan(
    sweep: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDESCENT_LOGS", str(tmp_path))
    trained = compose.expand_sweep(str(trained_sweep(sweep)), ["hydra/launcher=local"])
    freeze_cells(trained, "local", trained.cells, {}).write(trained.folder)
    request = compose.expand_sweep(sweep, ["hydra/launcher=local"])
    ids = {cell.id for cell in trained.cells}
    assert request.name == sweep
    assert {read.cell for cell in request.cells for read in weights_of(cell.flat)} <= ids
    for cell in some(request.cells):
        assert config.flatten(config.parse(cell.flat)) == cell.flat


@pytest.mark.parametrize(
    "choice",
    [(g, o) for g in ("model", "data", "optim", "trainer", "preset") for o in options(g)],
    ids="=".join,
)
def test_every_option_of_every_group_trains_two_steps(
    choice: tuple[str, str], tmp_path: Path, cifar: Path
) -> None:
    if choice[1] in MEASURES:
        pytest.skip("a measure needs a trained cell: tests/trainers/test_landscape.py")
    file = (CONFIGS / choice[0] / f"{choice[1]}.yaml").read_text()
    tables = choice[1].startswith(("power2022", "lu2024", "nanda2023")) or any(
        f"name: {n}\n" in file for n in ("transformer", "arithmetic", "algorithmic")
    )
    sweep, *overrides = (
        [TABLES] if tables else ["noop" if choice[1] in ("none", "noop") else "smoke", "~axes"]
    )
    if choice == ("model", "vit"):
        overrides.append("model.heads=2")  # three do not divide the width of smoke
    overrides += FURTHER.get(choice[1], [])
    if choice[1] in MINIMA and choice[0] != "trainer":
        overrides.append("trainer=minima")
    request = compose.expand_sweep(sweep, ["hydra/launcher=local", *overrides, "=".join(choice)])
    train_two_steps(dict(request.cells[0].flat), tmp_path, cifar)


def test_architectures_are_compared_at_equal_size() -> None:
    """Within 3 %, for every size of both sweeps."""
    sizes: dict[int, dict[str, int]] = {}
    published = points(compose.expand_sweep("emc_architectures", ["hydra/launcher=local"]))
    for index, group in enumerate(([5, 6, 27], [11, 9, 42], [16, 11, 51], [25, 14, 66])):
        for cell in published:
            if cell.model.width == group[["mlp", "convnet", "vit"].index(cell.model.name)]:
                sizes.setdefault(index, {})[cell.model.name] = parameters(cell)
    small = points(compose.expand_sweep("emc_architectures_small", ["hydra/launcher=local"]))
    sizes[len(sizes)] = {cell.model.name: parameters(cell) for cell in small}
    assert len(sizes) == 5
    for counts in sizes.values():
        assert set(counts) == {"mlp", "convnet", "vit"}
        assert max(counts.values()) <= 1.03 * min(counts.values())


def test_ways_of_scaling_are_compared_at_equal_size() -> None:
    request = compose.expand_sweep("emc_scaling", ["hydra/launcher=local"])
    counts = sorted({parameters(cell) for cell in points(request)})
    assert counts[0] == 4482
    assert len(counts) == 5
    assert counts[1:] == pytest.approx([19_700] * 4, rel=0.02)


@pytest.mark.parametrize("launcher", options("hydra/launcher"))
def test_every_launcher_composes_and_is_known(launcher: str) -> None:

    request = compose.launcher_settings([f"hydra/launcher={launcher}"])
    sbatch.check(request.launcher)
    assert request.packing.minutes > 0


def test_the_published_sweep_has_the_published_grid() -> None:
    cells = compose.expand_sweep("fig2_ab", ["hydra/launcher=local"]).cells
    decays = np.unique([cell.flat["optim.weight_decay"] for cell in cells])[::-1]
    assert len(cells) == 500
    np.testing.assert_allclose(decays, 10 ** -np.linspace(0.1, 8, 100), rtol=1e-11)


def test_no_key_of_a_cell_is_without_a_comment_in_the_files() -> None:
    bare = []
    for group in (
        "model",
        "data",
        "optim",
        "trainer",
    ):  # presets only choose among what is explained there
        for path in tracked(CONFIGS / group, "*.yaml"):
            lines = [
                line
                for line in path.read_text().splitlines()
                if ":" in line and line.strip()[0] not in "#-"
            ]
            bare += [
                f"{path.name}: {line}"
                for line in lines
                if "#" not in line and not line.endswith(":")
            ]
    assert not [line for line in bare if " name: " not in line and "variant" not in line]
