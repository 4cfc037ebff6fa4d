"""The benchmark of a GPU, tried out on a CPU; and its parts that need no device."""

from __future__ import annotations

import csv
import dataclasses
import importlib
import math
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks" / "gpu.py"


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module."""
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    return importlib.import_module("gpu")


@pytest.fixture
def table(gpu: ModuleType) -> ModuleType:
    return importlib.import_module("gpu_sections.table")


@pytest.fixture
def cells(gpu: ModuleType) -> ModuleType:
    return importlib.import_module("gpu_sections.cells")


@pytest.fixture
def hours(gpu: ModuleType) -> ModuleType:
    return importlib.import_module("gpu_sections.hours")


def read(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.timeout(1800)
def test_the_script_measures_speed_and_writes_its_table(tmp_path: Path) -> None:
    command = [sys.executable, SCRIPT, "--device", "cpu", "--quick", "--minutes", "29"]
    command += ["--sections", "speed", "--out", tmp_path]
    # torch.compile does nothing: a C++ compiler takes minutes, and the trainers' tests cover it
    eager = os.environ | {"TORCH_COMPILE_DISABLE": "1"}
    process = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=eager)
    assert process.returncode == 0, process.stdout + process.stderr
    table = read(tmp_path / "gpu.csv")
    sections = ["speed k=4", "hours"]
    assert list(dict.fromkeys(row["section"] for row in table)) == sections
    assert {row["status"] for row in table} == {"measured"}
    names = {(row["section"], row["name"]) for row in table}
    for way in ("plain", "ours x 1", "ours x 2", "compiled x 1"):
        assert {("speed k=4", way), ("speed k=4", f"{way} peak memory"), ("hours", way)} <= names
    lines = [line for line in process.stdout.splitlines() if line.startswith("ratio ")]
    ratios = {
        m[1]: float(m[2]) for line in lines if (m := re.fullmatch(r"ratio (\w+) (\d+\.\d\d)", line))
    }
    assert len(ratios) == len(lines) == sum(row["unit"] == "ratio" for row in table)
    assert "gpu_k4_ours_x_2_over_plain" in ratios


@pytest.mark.timeout(900)
def test_on_a_cpu_every_check_passes(
    tmp_path: Path, gpu: ModuleType, cells: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = ("mlp", "power2022", "resnet18_pre")  # the others take as long again
    assert set(models) < set(cells.model_names())
    monkeypatch.setattr(cells, "model_names", lambda: list(models))
    section = gpu.Settings("checks", "cpu", True, str(tmp_path), time.time() + 900)
    gpu.write_images(tmp_path, section.images, section.images // 5)
    rows = [*gpu.machine(section), *gpu.models(section), *gpu.formats(section)]
    rows += [*gpu.graphs(section), *gpu.resume(section)]
    assert {row.status for row in rows} == {"measured", "passed"}
    names = {row.name for row in rows}
    for model in models:
        assert {f"{model} logits", f"{model} bfloat16 gradients"} <= names
    assert {"power2022 tensors that differ", "resnet18_pre rows that differ"} <= names
    assert {"mlp rows that differ", "mlp tensors that differ", "mlp resumed from"} <= names


def test_without_a_gpu_it_says_how_to_try_it_out(tmp_path: Path) -> None:
    hidden = os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    process = subprocess.run(
        [sys.executable, SCRIPT, "--out", tmp_path], capture_output=True, text=True, env=hidden
    )
    assert process.returncode == 2
    assert "sees no GPU here; --device cpu --quick tries the script out" in process.stderr


def test_hours_are_images_over_their_rate(hours: ModuleType) -> None:
    assert hours.hours(runs=2, epochs=3, images=1200, rate=1.0) == 2.0


def test_the_estimate_takes_the_published_runs_at_the_widest_network(
    hours: ModuleType, table: ModuleType
) -> None:
    rows = [
        table.Row("speed k=8", "plain", 9.0, "images/s"),
        table.Row("speed k=64", "plain", 1000.0, "images/s"),
        table.Row("speed k=64", "plain peak memory", 5.0, "MiB"),
        table.Row("speed k=64", "ours x 1", 2000.0, "images/s"),
    ]
    plain, ours = hours.published_hours(rows)
    assert (plain.name, ours.name) == ("plain", "ours x 1")
    assert plain.value == pytest.approx(500 * 1001 * 50_000 / 1000 / 3600)
    assert ours.value == pytest.approx(plain.value / 2)
    assert plain.note == "500 runs of 1001 epochs at k=64"


def test_an_estimate_without_a_rate_fails(hours: ModuleType) -> None:
    (row,) = hours.published_hours([])
    assert row.status == "failed"


@pytest.mark.parametrize(
    ("value", "status"), [(0.5, "passed"), (1.0, "passed"), (1.1, "failed"), (math.nan, "failed")]
)
def test_a_check_passes_up_to_its_limit(table: ModuleType, value: float, status: str) -> None:
    assert table.check("s", "n", value, 1.0).status == status


def test_the_table_keeps_all_fields_of_a_row(table: ModuleType, tmp_path: Path) -> None:
    measured = table.Row("s", "a, b", 0.1, "s", 0.05, 0.2)
    rows = [measured, table.check("s", "c", 2.0, 1.0, note="of 3")]
    table.write_table(rows, tmp_path / "new" / "gpu.csv")
    measured_rows, failed = read(tmp_path / "new" / "gpu.csv")
    assert measured_rows == {
        "section": "s",
        "name": "a, b",
        "value": "0.1",
        "unit": "s",
        "low": "0.05",
        "high": "0.2",
        "limit": "",
        "status": "measured",
        "note": "",
    }
    assert (failed["limit"], failed["status"], failed["note"]) == ("1.0", "failed", "of 3")


def test_every_model_that_is_timed_has_a_cell(
    gpu: ModuleType, cells: ModuleType, tmp_path: Path
) -> None:
    names = cells.model_names()
    assert {"resnet18_post", "vit", "power2022"} < set(names)
    for name in names:
        cell = cells.model_cell(name, settings(gpu, tmp_path, "models", 60.0))
        assert dataclasses.is_dataclass(cell.model)


def test_the_sections_share_the_time_that_is_left(gpu: ModuleType) -> None:
    names = gpu.section_names(("speed", "machine", "transformer"), (8, 16))
    assert names == ["machine", "speed k=8", "speed k=16", "transformer"]
    assert gpu.time_limit(names[1:3], 480.0) == pytest.approx(240.0)
    assert gpu.time_limit(names[1:], 480.0) == pytest.approx(480.0 * 0.24 / 0.61)
    assert gpu.time_limit(names[3:], 480.0) == pytest.approx(480.0)


def settings(gpu: ModuleType, tmp_path: Path, section: str, seconds: float) -> Any:
    return gpu.Settings(section, "cpu", True, str(tmp_path), time.time() + seconds)


def test_a_section_that_raises_is_a_failed_row(gpu: ModuleType, tmp_path: Path) -> None:
    *_, last = gpu.run_section(settings(gpu, tmp_path, "speed k=none", 600.0))
    assert (last.section, last.name, last.status) == ("speed k=none", "section", "failed")
    assert "model.width" in last.note


def test_a_section_whose_time_is_over_is_a_failed_row(gpu: ModuleType, tmp_path: Path) -> None:
    (row,) = gpu.run_section(settings(gpu, tmp_path, "speed k=4", 0.0))
    assert (row.name, row.status) == ("section", "failed")
    assert "its time limit" in row.note


def test_weights_that_differ_in_one_bit_differ(gpu: ModuleType) -> None:
    import torch

    trainings = importlib.import_module("gpu_sections.trainings")
    assert trainings.bits(torch.tensor([0.0])) != trainings.bits(torch.tensor([-0.0]))
    nested = {"a": [torch.ones(2), {"b": torch.zeros(())}], "c": 3}
    assert [tuple(tensor.shape) for tensor in trainings.tensors(nested)] == [(2,), ()]
