"""Figures over epochs, steps or examples, of logs with rows inside epochs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure

from analysis import fig2_ab, model_wise, store, width_noise
from analysis.stats import seed_curves
from analysis.store import compact

STEPS, SAMPLES = 10, 40  # of an epoch
ROWS = ((0, 0), (1, 1), (1, 3), (1, 10), (2, 13), (2, 20), (3, 30), (4, 40))  # epoch, step


@pytest.fixture
def logs(sweep) -> Path:
    """Four decays or widths, two seeds, four epochs; the test error is a function of the step."""
    base = {"trainer.epochs": 4, "data.label_noise.rate": 0.2}
    cells = {}
    for index in range(4):
        for seed in (0, 1):
            values = {"optim.weight_decay": 10.0 ** -(index + 1), "model.width": 2**index}
            cells[f"c{index}s{seed}"] = {**values, "seed": seed}
    sweep.plan(base, cells)
    for cell, values in cells.items():
        rows = []
        for epoch, step in ROWS:
            place = {"epoch": epoch, "step": step, "examples": step * SAMPLES // STEPS}
            errors = {"test_error": error(step) + 0.01 * values["seed"], "train_error": 0.1}
            losses = {"test_loss": 1.5, "train_loss": 1.0}
            losses["recalibrated_test_error"] = errors["test_error"] - 0.1
            rows.append({"cell": cell, "attempt": 1, **place, **errors, **losses})
        sweep.curves(cell, rows)
        record = {"cell": cell, "status": "done", "attempt": 1, "updated": 1.0}
        sweep.runs(cell, [{**record, **base, **values}])
    return sweep.folder


def error(step: int) -> float:
    return 0.5 + 0.001 * step


def mesh(figure: Figure) -> QuadMesh:
    return next(c for c in figure.axes[0].collections if isinstance(c, QuadMesh))


@pytest.mark.parametrize(
    ("time", "expected", "planned"),
    [
        ("epochs", [1, 2, 3, 4], 4),
        ("steps", [1, 3, 10, 13, 20, 30, 40], 40),
        ("examples", [4, 12, 40, 52, 80, 120, 160], 160),
    ],
)
def test_a_map_has_the_rows_of_its_time(
    logs: Path, drawn: list[Figure], tmp_path: Path, time: str, expected: list[int], planned: int
) -> None:
    options = ["--out", str(tmp_path), "--window", "1", "--time", time]
    assert fig2_ab.main([str(logs), *options]) == 0
    column = time.removesuffix("s") if time != "examples" else time
    table = pd.read_csv(tmp_path / "fig2_ab.csv")
    assert sorted(set(table[column])) == expected
    (figure,) = drawn
    assert figure.axes[0].get_ylim() == (expected[0], planned)
    assert figure.axes[1].get_xlim() == (expected[0], planned)
    assert f"({time}" in figure.axes[0].get_ylabel()
    assert not [patch for patch in figure.axes[0].patches if patch.get_hatch()]
    features = pd.read_csv(tmp_path / "fig2_ab_features.csv")
    assert features[f"last_{column}"].tolist() == [planned] * 4
    np.testing.assert_allclose(features["final"], error(40) + 0.005)


def test_the_last_epochs_are_counted_in_epochs_whatever_the_axis_counts(
    logs: Path, drawn: list[Figure], tmp_path: Path
) -> None:
    for time in ("epochs", "steps", "examples"):
        options = ["--out", str(tmp_path), "--window", "1", "--last", "2", "--time", time]
        assert fig2_ab.main([str(logs), *options]) == 0
        features = pd.read_csv(tmp_path / "fig2_ab_features.csv")
        np.testing.assert_allclose(features["final"], error(35) + 0.005)


def test_another_metric_is_dashed_beside_the_slices(
    logs: Path, drawn: list[Figure], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--out", str(tmp_path), "--window", "1", "--time", "steps"]
    assert fig2_ab.main([str(logs), *options, "--beside", "recalibrated_test_error"]) == 0
    lines = drawn[0].axes[1].lines
    solid = [line for line in lines if line.get_linestyle() == "-"]
    dashed = [line for line in lines if line.get_linestyle() == "--" and len(line.get_xdata())]
    assert len(solid) == len(dashed) == 3
    for plain, recalibrated in zip(solid, dashed, strict=True):
        assert plain.get_color() == recalibrated.get_color()
        np.testing.assert_allclose(recalibrated.get_ydata(), plain.get_ydata() - 0.1, atol=1e-6)
    features = pd.read_csv(tmp_path / "fig2_ab_beside_features.csv")
    np.testing.assert_allclose(features["final"], error(40) + 0.005 - 0.1)
    record = json.loads((tmp_path / "fig2_ab.json").read_text())
    assert record["beside"] == "recalibrated_test_error"
    labels = [text.get_text() for text in drawn[0].axes[1].get_legend().get_texts()]
    assert labels[-1] == "test error, batch norm recalibrated"
    assert "recalibrated_test_error: no column of" in capsys.readouterr().out


def test_an_epoch_stands_for_its_last_row(logs: Path) -> None:
    runs, curves = store.runs(logs), store.curves(logs)
    column = seed_curves.seed_curves(runs, curves, "model.width", "test_error")[0]
    np.testing.assert_allclose(column.values[0], [error(10), error(20), error(30), error(40)])
    assert column.x.tolist() == [1, 2, 3, 4]


def test_a_measure_has_the_row_of_its_first_direction() -> None:
    runs = pd.DataFrame({"cell": ["a"], "seed": [0], "model.width": [4], "trainer.of": ["c1-0"]})
    rows = {"cell": ["a"] * 3, "epoch": [0, 1, 2], "radius": [0.5, 0.6, 0.7]}
    (column,) = seed_curves.seed_curves(runs, pd.DataFrame(rows), "model.width", "radius")
    assert column.x.tolist() == [0, 1, 2]
    trained = runs.drop(columns="trainer.of")
    (column,) = seed_curves.seed_curves(trained, pd.DataFrame(rows), "model.width", "radius")
    assert column.x.tolist() == [1, 2]


def test_compaction_keeps_the_rows_inside_epochs(logs: Path) -> None:
    before = store.curves(logs)
    compact.compact(logs)
    pd.testing.assert_frame_equal(store.curves(logs), before)
    assert before["step"].tolist() == [step for _, step in ROWS] * 8


def test_the_maps_over_width_take_a_time_and_a_metric(
    logs: Path, drawn: list[Figure], tmp_path: Path
) -> None:
    options = ["--out", str(tmp_path), "--time", "steps", "--metric", "test_loss"]
    assert width_noise.main([str(logs), *options]) == 0
    assert mesh(drawn[0]).get_array().shape == (7, 4)
    assert drawn[0].axes[0].get_title(loc="center").startswith("test loss (nats), label-noise rate")
    assert drawn[0].axes[0].get_title(loc="left") == "(a)"
    assert json.loads((tmp_path / "width_noise.json").read_text())["metric"] == "test_loss"
    assert model_wise.main([str(logs), "--out", str(tmp_path), "--metric", "test_loss"]) == 0
    labels = [axes.get_ylabel() for axes in drawn[1].axes]
    assert labels == ["test loss (nats)", "training loss (nats)"]


def test_a_time_that_is_not_logged_is_one_error(
    sweep, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep.grid((1e-3,), seeds=(0,), epochs=5)
    assert fig2_ab.main([str(sweep.folder), "--out", str(tmp_path), "--time", "steps"]) == 2
    assert "no curve column step" in capsys.readouterr().err
