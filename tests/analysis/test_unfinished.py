"""Every figure of sweeps that are small, unfinished or diverged: a picture or one clear line."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from grok_sweep import BASE, add
from landscape_sweep import LandscapeSweep
from matplotlib.figure import Figure
from search_sweep import Point, SearchSweep

from analysis import (
    basin_volume,
    decision_boundary,
    emc,
    emc_activations,
    emc_architectures,
    emc_budget,
    emc_classes,
    emc_gap,
    emc_labels,
    emc_modality,
    emc_optimizers,
    emc_scaling,
    grok_data_fraction,
    grok_embeddings,
    grok_fig1,
    grok_operations,
    grok_optimizers,
    grok_outliers,
    grok_sharpness,
    grok_width,
    hessian_spectrum,
    loss_surface,
    radius_accuracy,
    search_threshold,
    small_nn,
    surface_3d,
    walk,
)
from analysis.figure import output

METRICS = {
    f"{split}_{metric}": (4.0, 3.0, 2.0, 1.5, 1.0)
    if metric == "loss"
    else (0.1, 0.2, 0.4, 0.9, 1.0)
    for split in ("train", "test")
    for metric in ("loss", "accuracy")
} | {"weight_norm": (9.0, 8.0, 7.0, 6.0, 5.0)}
FINAL = {
    "final_train_steps_99": 10.0, "final_test_steps_99": 900.0, "best_test_accuracy": 1.0,
    "final_sharpness": 2.0, "final_test_accuracy": 1.0, "final_train_accuracy": 1.0,
}  # fmt: skip
BROKEN = {name: (*values[:2], *[math.nan] * 3) for name, values in METRICS.items()}

GROKKING = {
    grok_data_fraction: {"data.train_fraction": 0.6},
    grok_embeddings: {"seed": 1},
    grok_fig1: {"seed": 1},
    grok_operations: {"data.operation": "x-y"},
    grok_optimizers: {"optim.name": "adam"},
    grok_outliers: {"data.outliers": 100},
    grok_sharpness: {"seed": 1},
    grok_width: {"model.width": 64},
    small_nn: {"seed": 1},
}
"""Scripts of runs on operation tables, each with what its second run differs in."""

SEARCHES = {
    emc: {"model.width": 20},
    emc_activations: {"model.activation": "tanh"},
    emc_architectures: {"model.name": "convnet", "model.stages": 2},
    emc_budget: {"trainer.least_steps": 6000},
    emc_classes: {"data.classes": 5},
    emc_gap: {"model.name": "convnet", "model.stages": 2},
    emc_labels: {"data.label_noise.rate": 0.0},
    emc_modality: {"data.name": "digits"},
    emc_optimizers: {"optim.name": "sgd"},
    emc_scaling: {"model.width": 20},
    search_threshold: {"model.width": 20},
}
"""Scripts of searches, each with what its second search differs in."""

MILESTONES = "optim.schedule.at"
"""A setting whose values are lists."""

LANDSCAPES = {
    basin_volume: "volume", decision_boundary: "boundary", hessian_spectrum: "curvature",
    loss_surface: "surface", radius_accuracy: "radius", surface_3d: "surface", walk: "line",
}  # fmt: skip
"""Scripts of measures, each with the measure that it draws."""


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Collects the figures that are saved, without rendering them."""
    figures: list[Figure] = []

    def keep(figure: Figure, out_dir: str, stem: str, *_: object) -> list[Path]:
        Path(out_dir).mkdir(parents=True, exist_ok=True)
        figures.append(figure)
        return []

    monkeypatch.setattr(output, "save", keep)
    return figures


@pytest.fixture
def draw(
    drawn: list[Figure], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[str, dict[str, Any]]]:
    """Runs a script: what it printed, and its JSON (empty if it refused in one line)."""

    def run(script: ModuleType, folder: Path) -> tuple[str, dict[str, Any]]:
        status = script.main([str(folder), "--out", str(tmp_path / "out"), "--name", "f"])
        printed = capsys.readouterr()
        if status:
            assert status == 2
            assert printed.err.startswith("error: ")
            lines = [line for line in printed.err.splitlines() if not line.startswith("  ")]
            assert len(lines) == 1 or "choose one value of each" in lines[1], printed.err
            assert drawn == []
            return printed.err, {}
        assert len(drawn) == (script is not surface_3d)
        return printed.out, json.loads((tmp_path / "out" / "f.json").read_text())

    return run


def texts(figure: Figure) -> str:
    """The texts at the edge of a figure."""
    return " ".join(text.get_text() for text in figure.texts)


def grok_runs(sweep: Any, second: dict[str, Any], state: str) -> None:
    """One or two runs on operation tables in a state of their sweep."""
    points: list[dict[str, Any]] = [{}] if state == "one cell" else [{}, second]
    if state == "lists":
        points = [{**point, MILESTONES: [10, 20 + n]} for n, point in enumerate(points)]
    planned = {f"c{number}": {**BASE, **point} for number, point in enumerate(points)}
    sweep.plan({}, planned)
    for number, point in enumerate(points):
        cell = f"c{number}"
        if state == "all diverged" or (state == "one diverged" and number):
            add(sweep, cell, point, status="nonfinite", steps=100, curve=BROKEN)
        elif state == "diverged at once":
            sweep.runs(cell, [{**planned[cell], "cell": cell, "status": "nonfinite", "attempt": 1,
                               "updated": 1.0, "epochs": 0, "steps": 0}])  # fmt: skip
        elif state == "unfinished":
            add(sweep, cell, point, status="running", steps=10, curve=METRICS)
        elif state != "not started":
            add(sweep, cell, point, curve=METRICS, **FINAL)
            (sweep.folder / "weights").mkdir(exist_ok=True)
            rows = np.random.default_rng(number).normal(size=(99, 16))
            np.savez(sweep.folder / "weights" / f"{cell}.npz", **{"output.weight": rows})


STATES = [
    "one cell", "two cells", "one diverged", "all diverged", "diverged at once", "unfinished",
    "not started", "lists",
]  # fmt: skip


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("script", GROKKING)
def test_figures_of_grokking(
    script: ModuleType, state: str, sweep: Any, draw: Any, drawn: list[Figure]
) -> None:
    grok_runs(sweep, GROKKING[script], state)
    printed, record = draw(script, sweep.folder)
    check_diverged(printed, record, drawn, {"one diverged": 1, "all diverged": 2,
                                            "diverged at once": 2}.get(state, 0))  # fmt: skip


def check_diverged(printed: str, record: dict[str, Any], drawn: list[Figure], count: int) -> None:
    """Diverged runs are named in print, in the record and on the figure; others are not."""
    if count:
        assert f"{count} cell" in printed
        assert "diverged" in printed
        assert "resume" not in printed.replace("which resume leaves", "")
    if record:
        assert len(record["diverged"]) == count
        assert ("diverged" in texts(drawn[0])) == bool(count)


def set_lists(folder: Path) -> None:
    """Gives the records of a folder milestones, which grow with the poison."""
    for path in (folder / "runs").iterdir():
        table = pq.read_table(path)
        lists = [[10, 20 + poison] for poison in table["trainer.poison.samples"].to_pylist()]
        pq.write_table(table.append_column(MILESTONES, pa.array(lists)), path)


def set_status(folder: Path, status: str, every: bool = True) -> None:
    """Rewrites the status of all records of a folder, or of the first one alone."""
    for path in (folder / "runs").iterdir():
        table = pq.read_table(path)
        statuses = table["status"].to_pylist()
        statuses = [status] * len(statuses) if every else [status, *statuses[1:]]
        index = table.schema.get_field_index("status")
        pq.write_table(table.set_column(index, "status", pa.array(statuses)), path)


@pytest.mark.parametrize(
    "state", ["one search", "one diverged", "all diverged", "unfinished", "lists"]
)
@pytest.mark.parametrize("script", SEARCHES)
def test_figures_of_searches(
    script: ModuleType, state: str, sweep: Any, draw: Any, drawn: list[Figure]
) -> None:
    searching = SearchSweep(sweep)
    points = (
        [Point({})]
        if state == "one search"
        else [Point({}), Point(SEARCHES[script], parameters=4070)]
    )
    if state == "lists":
        points = [
            replace(point, config={**point.config, MILESTONES: [10, 20 + number]})
            for number, point in enumerate(points)
        ]
    searching.write(points, rounds=1 if state == "unfinished" else None)
    if "diverged" in state:
        set_status(sweep.folder, "nonfinite", every=state == "all diverged")
    printed, record = draw(script, sweep.folder)
    if "diverged" in state and record:
        assert record["diverged"]
        assert "diverged" in printed
        assert "diverged" in texts(drawn[0])
    elif record:
        assert record["diverged"] == []


@pytest.mark.parametrize(
    "state",
    ["one seed", "one diverged", "all diverged", "unfinished", "diverged training", "lists"],
)
@pytest.mark.parametrize("script", LANDSCAPES)
def test_figures_of_landscapes(
    script: ModuleType, state: str, tmp_path: Path, draw: Any, drawn: list[Figure]
) -> None:
    landscape = LandscapeSweep(tmp_path / "logs")
    landscape.train()
    folder = getattr(landscape, LANDSCAPES[script])()
    if state == "diverged training":
        set_status(landscape.trained.folder, "nonfinite", every=False)
    elif state == "lists":
        set_lists(landscape.trained.folder)
    elif state != "one seed":
        status = "running" if state == "unfinished" else "nonfinite"
        set_status(folder, status, every=state != "one diverged")
    printed, record = draw(script, folder)
    if "diverged" in state:
        assert "diverged" in printed
        assert "resume" not in printed.replace("which resume leaves", "")
    if record:
        assert bool(record["diverged"]) == ("diverged" in state)
    if drawn:
        assert ("diverged" in texts(drawn[0])) == ("diverged" in state)
