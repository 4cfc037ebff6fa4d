"""The figures over the width of a model: what they reduce, draw, write, print and refuse."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from analysis import model_wise, width_noise
from analysis.double_descent import axis_sweep
from analysis.figure import output

WIDTHS, RATES, EPOCHS = (1, 2, 4, 8), (0.0, 0.2), 30
END = {0.0: (0.50, 0.40, 0.30, 0.25), 0.2: (0.45, 0.40, 0.50, 0.35)}
"""Test error at the end; 0.2 peaks at width 4."""
FITS = {0.0: 4, 0.2: 8}  # the first width with training error 0


@pytest.fixture
def saved_figures(monkeypatch) -> list[Figure]:
    """Collects the figures that are saved, without rendering them."""
    figures: list[Figure] = []

    def keep(figure: Figure, out_dir: str, stem: str, *_: object) -> tuple[Path, Path]:
        figures.append(figure)
        Path(out_dir).mkdir(parents=True, exist_ok=True)
        return Path(out_dir) / f"{stem}.png", Path(out_dir) / f"{stem}.pdf"

    monkeypatch.setattr(output, "save", keep)
    return figures


@pytest.fixture
def grid(sweep) -> Callable[..., Path]:
    """Writes a planned sweep over width, rate and three seeds; `stop` maps a cell to its last
    logged epoch (0: none).

    The test error falls by 0.01 an epoch to 0.1 below its end at epoch 5, and stays at the end from
    epoch 6 on; a seed adds 0.01 (seed - 1).
    """

    def write(
        stop: dict[str, int] | None = None, axis: str = "model.width", **config: object
    ) -> Path:
        base = {"trainer.epochs": EPOCHS, "optim.weight_decay": 0.0, **config}
        cells = {
            f"k{k}r{rate}s{seed}": {axis: k, "data.label_noise.rate": rate, "seed": seed}
            for k in WIDTHS
            for rate in RATES
            for seed in (0, 1, 2)
        }
        sweep.plan(base, cells)
        for cell, values in cells.items():
            last = (stop or {}).get(cell, EPOCHS)
            if last:
                train(sweep, cell, {**base, **values}, last)
        return sweep.folder

    return write


def train(sweep, cell: str, config: dict, last: int) -> None:
    width = config.get("model.width") or config["model.depth"]
    rate = config["data.label_noise.rate"]
    end = END[rate][WIDTHS.index(width)] + 0.01 * (config["seed"] - 1)
    fits = width >= FITS[rate]
    rows = [
        {
            "cell": cell,
            "attempt": 1,
            "epoch": epoch,
            "train_error": 0.0 if fits and epoch > 5 else 0.3,
            "test_error": end if epoch > 5 else end - 0.1 + 0.01 * (5 - epoch),
        }
        for epoch in range(last + 1)
    ]
    sweep.curves(cell, rows)
    status = "done" if last == EPOCHS else "running"
    sweep.runs(cell, [{"cell": cell, "status": status, "attempt": 1, "updated": 1.0, **config}])


def run(script: ModuleType, *args: object) -> int:
    return script.main([str(a) for a in args])


def test_the_table_holds_the_ends_and_the_best_epochs_of_every_seed(
    grid, saved_figures, tmp_path, capsys
):
    assert run(model_wise, grid(), "--out", tmp_path) == 0
    table = pd.read_csv(tmp_path / "model_wise.csv")
    assert table["n_seeds"].tolist() == [3] * 8
    np.testing.assert_allclose(table["test_end"], [*END[0.0], *END[0.2]], atol=1e-6)
    np.testing.assert_allclose(table["test_end_std"], 0.01 * np.sqrt(2 / 3), atol=1e-6)
    np.testing.assert_allclose(table["test_best"], table["test_end"] - 0.1, atol=1e-6)
    assert table["best_epoch"].tolist() == [5] * 8
    assert table["interpolates"].tolist() == [False, False, True, True, False, False, False, True]
    peaks = pd.read_csv(tmp_path / "model_wise_features.csv")
    assert peaks["double_descent"].tolist() == [False, True]
    assert peaks.loc[1, ["first_minimum_width", "peak_width"]].tolist() == [2, 4]
    np.testing.assert_allclose(
        peaks.loc[1, ["first_minimum", "peak", "final"]].astype(float), [0.4, 0.5, 0.35]
    )
    out = capsys.readouterr().out
    assert "double descent can be seen in 1 of 2 columns (data.label_noise.rate 0.2)" in out
    assert "redescent resume" not in out


def test_an_axis_without_whole_numbers_is_refused(grid, tmp_path, capsys):
    axes = ["--column", "data.label_noise.rate", "--by", "model.width"]
    folder = grid()
    assert run(model_wise, folder, *axes, "--where", "data.label_noise.rate > 0") == 2
    assert "data.label_noise.rate: found 0.2, expected whole numbers" in capsys.readouterr().err


@pytest.mark.parametrize("script", [model_wise, width_noise])
@pytest.mark.parametrize("axis", ["model.width", "data.label_noise.rate"])
def test_runs_without_a_number_on_an_axis_are_noted(
    script, axis, sweep, grid, saved_figures, tmp_path, capsys
):
    folder = grid()
    config = {"model.width": 4, "data.label_noise.rate": 0.2, "seed": 0} | {axis: None}
    sweep.plan({"trainer.epochs": EPOCHS, "optim.weight_decay": 0.0}, {"none": config}, "S2")
    assert run(script, folder, "--out", tmp_path) == 0
    note = f"1 run without a number >= 0 in {axis} is left out"
    assert f"note: {note}\n" in capsys.readouterr().out
    record = json.loads((tmp_path / f"{script.__name__.rpartition('.')[2]}.json").read_text())
    assert record["notes"] == [note]


def test_widths_that_the_verdict_leaves_out_are_noted(grid, saved_figures, tmp_path, capsys):
    arguments = ["--out", tmp_path, "--where", "not (seed == 1 and model.width == 8)"]
    assert run(model_wise, grid(), *arguments) == 0
    note = (
        "the verdict of label-noise rate 0, 0.2 leaves out width 8, which not all of its seeds have"
    )
    assert f"note: {note}\n" in capsys.readouterr().out
    assert json.loads((tmp_path / "model_wise.json").read_text())["notes"] == [note]


def test_curves_are_drawn_through_the_table(grid, saved_figures, tmp_path):
    folder = grid()
    run(model_wise, folder, "--out", tmp_path)
    top, bottom = saved_figures[0].axes
    assert [len(axes.lines) for axes in (top, bottom)] == [4, 2]
    for line, expected in zip(
        top.lines, (END[0.0], np.array(END[0.0]) - 0.1, END[0.2]), strict=False
    ):
        np.testing.assert_array_equal(line.get_xdata(), WIDTHS)
        np.testing.assert_allclose(line.get_ydata(), expected, atol=1e-6)
    np.testing.assert_allclose(bottom.lines[1].get_ydata(), [0.3, 0.3, 0.3, 0.0], atol=1e-6)
    assert not hatched(top)
    (legend,) = saved_figures[0].legends
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels[2] == "label-noise rate 0.2, at the end (n = 3)"
    box = legend.get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= saved_figures[0].bbox.x1
    assert legend.handlelength == model_wise.HANDLE_LENGTH
    run(model_wise, folder, "--out", tmp_path, "--width", "page")
    assert saved_figures[-1].legends[0].handlelength == model_wise.HANDLE_LENGTH


def hatched(axes) -> list[Rectangle]:
    return [patch for patch in axes.patches if isinstance(patch, Rectangle) and patch.get_hatch()]


def test_unfinished_and_missing_runs_do_not_count_and_are_hatched(
    grid, saved_figures, tmp_path, capsys
):
    missing_cells = {f"k8r{rate}s{seed}": 0 for rate in RATES for seed in (0, 1, 2)}
    folder = grid({**missing_cells, "k4r0.2s0": 7})
    assert run(model_wise, folder, "--out", tmp_path) == 0
    table = pd.read_csv(tmp_path / "model_wise.csv")
    assert table["n_seeds"].tolist() == [3, 3, 3, 0, 3, 3, 2, 0]
    np.testing.assert_allclose(table["test_end"][6], 0.505, atol=1e-6)
    assert [len(hatched(axes)) for axes in saved_figures[0].axes] == [1, 1]
    left, right = (
        hatched(saved_figures[0].axes[0])[0]
        .get_extents()
        .transformed(saved_figures[0].axes[0].transData.inverted())
        .intervalx
    )
    assert left < 8 < right
    assert left > 4
    out = capsys.readouterr().out
    hatching = "(widths without a finished run are hatched)"
    assert f"6 planned cells have no rows {hatching}" in out
    assert f"1 cell has not reached the last epoch {hatching}" in out
    assert "to fill them: redescent resume demo" in out
    record = json.loads((tmp_path / "model_wise.json").read_text())
    assert record["unfinished"] == ["k4r0.2s0"]
    behind = {
        (entry["data.label_noise.rate"], entry["value"]): entry for entry in record["columns"]
    }
    assert behind[0.2, 8]["missing"] == [f"k8r0.2s{seed}" for seed in (0, 1, 2)]
    assert behind[0.0, 2]["cells"] == [f"k2r0.0s{seed}" for seed in (0, 1, 2)]


def meshes(axes) -> list[np.ma.MaskedArray]:
    return [c.get_array() for c in axes.collections if isinstance(c, QuadMesh)]


def test_the_maps_hold_the_means_over_width_and_time_and_over_both_axes(
    grid, saved_figures, tmp_path
):
    assert run(width_noise, grid({"k8r0.0s1": 0}), "--out", tmp_path, "--at", "0.2") == 0
    left, right = saved_figures[0].axes[:2]
    (time,), (noise,) = meshes(left), meshes(right)
    assert time.shape == (EPOCHS, 4)
    np.testing.assert_allclose(time[-1], END[0.2], atol=1e-6)
    np.testing.assert_allclose(time[4], np.array(END[0.2]) - 0.1, atol=1e-6)
    np.testing.assert_allclose(noise, [END[0.0], END[0.2]], atol=1e-6)
    assert [t.get_text() for t in right.get_yticklabels()] == ["0", "0.2"]
    assert [t.get_text() for t in left.get_xticklabels()] == ["1", "2", "4", "8"]
    table = pd.read_csv(tmp_path / "width_noise_noise.csv")
    assert table["n_seeds"].tolist() == [3, 3, 3, 2, 3, 3, 3, 3]
    assert not hatched(left)
    assert not hatched(right)


def test_widths_whose_seeds_end_early_are_noted(grid, saved_figures, tmp_path, capsys):
    folder = grid({"k4r0.2s1": 12, "k8r0.0s0": 20})
    assert run(width_noise, folder, "--out", tmp_path) == 0
    note = (
        "seeds of model.width 4 (12) end before the last epoch, 30; after the last epoch that all "
        "seeds have, in brackets, the left map has fewer or none"
    )
    assert f"note: {note}\n" in capsys.readouterr().out
    assert json.loads((tmp_path / "width_noise.json").read_text())["notes"] == [note]


def test_gaps_of_both_maps_are_hatched(grid, saved_figures, tmp_path):
    missing_cells = {f"k8r0.0s{seed}": 0 for seed in (0, 1, 2)} | {
        f"k4r0.2s{seed}": 10 for seed in (0, 1, 2)
    }
    run(width_noise, grid(missing_cells), "--out", tmp_path)
    left, right = (
        [(p.get_x(), p.get_y(), p.get_height()) for p in hatched(axes)]
        for axes in saved_figures[0].axes[:2]
    )
    assert left == [(1.5, 10.5, 20.0)]
    assert sorted(right) == [(1.5, 1.5, 1.0), (2.5, 0.5, 1.0)]


def test_what_the_sweep_leaves_out_is_blank_and_not_hatched(sweep, saved_figures, tmp_path, capsys):
    base = {"trainer.epochs": EPOCHS, "model.width": 1}
    cells = {
        f"k{k}r{rate}": {"model.width": k, "data.label_noise.rate": rate, "seed": 0}
        for k in WIDTHS
        for rate in RATES
        if rate > 0 or k < 4  # as of a `where`
    }
    sweep.plan(base, cells)
    for cell, values in cells.items():
        if cell != "k8r0.2":
            train(sweep, cell, {**base, **values}, EPOCHS)
    assert run(width_noise, sweep.folder, "--out", tmp_path) == 0
    right = saved_figures[0].axes[1]
    assert [(p.get_x(), p.get_y()) for p in hatched(right)] == [(2.5, 1.5)]
    assert "1 planned cell has no rows" in capsys.readouterr().out


def test_a_rate_that_is_not_there_and_a_hidden_axis_are_refused(
    grid, sweep, saved_figures, tmp_path, capsys
):
    folder = grid()
    assert run(width_noise, folder, "--at", "0.3") == 2
    assert "--at 0.3: found data.label_noise.rate 0, 0.2" in capsys.readouterr().err
    config = {"trainer.epochs": EPOCHS, "model.width": 4, "data.label_noise.rate": 0.2, "seed": 0}
    train(sweep, "other", config | {"optim.weight_decay": 0.1}, EPOCHS)
    for script in (model_wise, width_noise):
        assert run(script, folder) == 2
        assert "--where optim.weight_decay=0" in capsys.readouterr().err
        assert run(script, folder, "--where", "optim.weight_decay=0", "--out", tmp_path) == 0
        capsys.readouterr()


def test_a_sweep_of_another_second_axis_is_drawn_too(grid, saved_figures, tmp_path):
    assert (
        run(
            model_wise,
            grid(),
            "--out",
            tmp_path,
            "--by",
            "seed",
            "--where",
            "data.label_noise.rate=0.2",
        )
        == 0
    )
    assert pd.read_csv(tmp_path / "model_wise.csv")["n_seeds"].tolist() == [1] * 12


def test_small_weight_decays_are_told_apart():
    groups = [axis_sweep.SweepGroup(value, [], []) for value in (0.0, 1e-9, 2e-9)]
    for group in groups:
        assert width_noise.choose(groups, group.value, "optim.weight_decay") is group


def test_what_is_said_of_another_axis_names_it(grid, saved_figures, tmp_path, capsys):
    folder = grid(axis="model.depth")
    assert run(model_wise, folder, "--out", tmp_path, "--column", "model.depth") == 0
    assert "values of depth" in capsys.readouterr().out
    record = (tmp_path / "model_wise.json").read_text()
    assert "curve over values of depth" in record
    assert "width" not in record
    assert "last_depth" in pd.read_csv(tmp_path / "model_wise_features.csv")


def test_an_end_is_the_last_epoch_unless_the_mean_of_more_is_asked_for(
    grid, saved_figures, tmp_path
):
    folder = grid()
    assert run(model_wise, folder, "--out", tmp_path, "--last", 27) == 0
    mean = pd.read_csv(tmp_path / "model_wise.csv")["test_end"]
    lower = (0.1 + 0.09) / 27  # epochs 4 and 5 lie below the end
    np.testing.assert_allclose(mean, np.array([*END[0.0], *END[0.2]]) - lower, atol=1e-6)
    labels = [text.get_text() for text in saved_figures[0].legends[0].get_texts()]
    assert "mean of the last 27 epochs" in labels[0]
    record = json.loads((tmp_path / "model_wise.json").read_text())
    assert record["final_value"] == "mean of the last 27 epochs"
    run(width_noise, folder, "--out", tmp_path)
    assert saved_figures[1].axes[1].get_title() == "test error, at the end"
    record = json.loads((tmp_path / "width_noise.json").read_text())
    assert record["final_value"] == "value at the last logged epoch"


def test_an_end_is_that_of_the_epochs_that_the_cell_logged(grid):
    choice = axis_sweep.Choice("model.width", "data.label_noise.rate")
    data = axis_sweep.load(grid({"k4r0.2s0": 28}), choice)
    column = data.groups[1].test[2]
    np.testing.assert_allclose(axis_sweep.final_errors(column), [0.49, 0.5, 0.51], atol=1e-6)
    assert axis_sweep.finished_only(column, data.state.unfinished).seeds == ("1", "2")


@pytest.mark.parametrize("script", ["model_wise", "width_noise"])
def test_the_scripts_write_all_their_files_without_a_display(script: str, grid, tmp_path):
    folder = grid({"k8r0.0s0": 0, "k8r0.0s1": 0, "k8r0.0s2": 0})
    root = Path(axis_sweep.__file__).resolve().parents[2]
    command = [
        sys.executable,
        "-W",
        "error",
        root / "analysis" / f"{script}.py",
        folder,
        "--out",
        "out",
        "--name",
        "x",
    ]
    process = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, env={"PYTHONPATH": str(root)}
    )
    assert process.returncode == 0, process.stderr
    tables = {
        "model_wise": {"x.csv", "x_features.csv"},
        "width_noise": {"x_time.csv", "x_noise.csv"},
    }
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"x.png", "x.pdf", "x.json"} | tables[
        script
    ]
    assert (tmp_path / "out" / "x.png").read_bytes()[:4] == b"\x89PNG"


PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "your_own.md"


def test_the_script_of_the_page_on_own_figures_draws_them(sweep, tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    (block,) = (block for block in blocks if "my_width" in block)
    script = tmp_path / "my_width.py"
    script.write_text(block)
    facts = {"status": "done", "attempt": 1, "updated": 1.0}
    for width in WIDTHS:
        for seed in (0, 1, 2):
            values = {"model.width": width, "data.label_noise.rate": 0.2, "seed": seed}
            result = {"cell": f"k{width}s{seed}", "final_test_error": seed / width}
            sweep.runs(result["cell"], [{**values, **facts, **result}])
    command = [sys.executable, script, sweep.folder, "--out", tmp_path, "--width", "column"]
    subprocess.run([*command, "--where", "seed > 0"], check=True, cwd=PAGE.parents[2])
    sweep.runs("late", [{**values, **facts, "cell": "late", "seed": 9, "status": "failed"}])
    none = [*command, "--where", "seed == 9"]
    process = subprocess.run(none, cwd=PAGE.parents[2], capture_output=True, text=True)
    assert process.stderr == "error: no chosen run is done\n"
    table = pd.read_csv(tmp_path / "my_width.csv")
    assert table["count"].unique().tolist() == [2]
    np.testing.assert_allclose(table["mean"], [1.5 / width for width in WIDTHS])
    assert len(json.loads((tmp_path / "my_width.json").read_text())["cells"]) == 8
    assert (tmp_path / "my_width.pdf").exists()
