"""The figure of weight decay and training time: what it draws, writes, prints and refuses."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import QuadMesh
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from analysis import fig2_ab
from analysis.figure import heatmap, output, query, style
from analysis.stats import seed_curves
from analysis.store import compact

LAMBDAS = (0.0, 1e-4, 1e-3, 1e-2)


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


def run(*args: object) -> int:
    return fig2_ab.main([str(a) for a in args])


def meshes(figure: Figure) -> list[np.ma.MaskedArray]:
    return [c.get_array() for c in figure.axes[0].collections if isinstance(c, QuadMesh)]


def hatched(figure: Figure) -> list[Rectangle]:
    return [p for p in figure.axes[0].patches if isinstance(p, Rectangle) and p.get_hatch()]


def test_a_complete_sweep_draws_means_over_seeds(sweep, saved_figures, tmp_path, capsys):
    sweep.grid(LAMBDAS, seeds=(0, 1, 2))
    assert run(sweep.folder, "--out", tmp_path) == 0
    curves = pd.read_csv(tmp_path / "fig2_ab.csv")
    positive, zero = meshes(saved_figures[0])
    assert positive.shape == (200, 3)
    assert zero.shape == (200, 1)
    for column, value in enumerate((1e-2, 1e-3, 1e-4)):
        np.testing.assert_allclose(positive[:, column], curves[curves["lambda"] == value]["mean"])
    np.testing.assert_allclose(zero[:, 0], curves[curves["lambda"] == 0]["mean"])
    assert set(curves["n"]) == {3}
    assert not hatched(saved_figures[0])
    labels = [t.get_text() for t in saved_figures[0].axes[0].get_xticklabels()]
    assert labels == ["$10^{-2}$", "$10^{-3}$", "$10^{-4}$", "0"]
    legend = [t.get_text() for t in saved_figures[0].axes[1].get_legend().get_texts()]
    assert legend == ["λ = 0.01 (n = 3)", "λ = $10^{-3}$ (n = 3)", "λ = 0 (n = 3)"]
    out = capsys.readouterr().out
    assert "double descent can be seen in 2 of 4 columns (lambda 0 to 0.0001)" in out
    assert "redescent resume" not in out


def test_means_and_spread_are_those_of_the_logs(sweep, saved_figures, tmp_path):
    sweep.grid((1e-4,), seeds=(0, 1, 2), epochs=30)
    run(sweep.folder, "--out", tmp_path)
    from analysis import store

    wide = (
        store.curves(sweep.folder)
        .query("epoch > 0")
        .pivot(index="epoch", columns="cell", values="test_error")
    )
    table = pd.read_csv(tmp_path / "fig2_ab.csv")
    np.testing.assert_allclose(table["mean"], wide.to_numpy(np.float64).mean(axis=1))
    np.testing.assert_allclose(table["std"], wide.to_numpy(np.float64).std(axis=1))


def test_missing_cells_and_epochs_are_hatched_and_the_command_is_printed(
    sweep, saved_figures, tmp_path, capsys
):
    sweep.grid(LAMBDAS, seeds=(0, 1), skip=("l2s0w64", "l2s1w64", "l1s1w64", "l3s0w64", "l3s1w64"))
    for seed in (0, 1):
        config = {
            "trainer.epochs": 200,
            "model.width": 64,
            "optim.weight_decay": 1e-2,
            "seed": seed,
        }
        sweep.train(f"l3s{seed}w64", config, 50)
    assert run(sweep.folder, "--out", tmp_path) == 0
    bottoms = sorted(
        (round(p.get_x(), 2), p.get_y(), p.get_y() + p.get_height())
        for p in hatched(saved_figures[0])
    )
    assert bottoms == [(1.5, 50.5, 200.5), (2.5, 0.5, 200.5)]
    out = capsys.readouterr().out
    assert "3 planned cells have no rows" in out
    assert "2 cells have not reached the last epoch" in out
    assert "1 column is drawn with fewer seeds than planned" in out
    assert "to fill them: redescent resume demo" in out
    record = json.loads((tmp_path / "fig2_ab.json").read_text())
    assert [len(c["cells"]) for c in record["columns"]] == [2, 1, 0, 2]
    assert record["columns"][1]["missing"] == ["l1s1w64"]
    features = pd.read_csv(tmp_path / "fig2_ab_features.csv")
    assert features["n_seeds"].tolist() == [2, 1, 0, 2]
    assert np.isnan(features["peak"].iloc[2])


def test_other_axes_must_be_chosen(sweep, saved_figures, tmp_path, capsys):
    for width in (16, 64):
        sweep.grid((1e-4, 1e-3), seeds=(0, 1), epochs=30, **{"model.width": width})
    assert run(sweep.folder, "--out", tmp_path) == 2
    error = capsys.readouterr().err
    assert "model.width: 16, 64" in error
    assert "--where model.width=16" in error
    assert run(sweep.folder, "--out", tmp_path, "--where", "model.width=64") == 0
    cells = json.loads((tmp_path / "fig2_ab.json").read_text())["columns"][0]["cells"]
    assert cells == ["l0s0w64", "l0s1w64"]


def test_a_wrong_choice_lists_what_there_is(sweep, saved_figures, tmp_path, capsys, monkeypatch):
    sweep.grid((1e-4, 1e-3), seeds=(0,), epochs=30)
    assert run(sweep.folder, "--where", "model.width=8") == 2
    assert "no run left; there are\n  model.width: 64" in capsys.readouterr().err
    assert run(sweep.folder, "--column", "optim.wd") == 2
    assert "optim.weight_decay: 0.0001, 0.001" in capsys.readouterr().err
    assert run(sweep.folder.with_name("absent")) == 2
    assert "expected the log folder of a sweep" in capsys.readouterr().err
    monkeypatch.setenv("REDESCENT_LOGS", str(sweep.folder.parent))
    assert run(tmp_path / "elsewhere" / sweep.folder.name) == 2
    assert f"; REDESCENT_LOGS has it: {sweep.folder}\n" in capsys.readouterr().err


def test_another_axis_has_its_own_name_in_the_tables(sweep, saved_figures, tmp_path, capsys):
    for width in (8, 16):
        sweep.grid((1e-3,), seeds=(0, 1), epochs=30, **{"model.width": width})
    assert run(sweep.folder, "--column", "model.width", "--out", tmp_path) == 0
    for table in ("fig2_ab.csv", "fig2_ab_features.csv"):
        assert set(pd.read_csv(tmp_path / table)["width"]) == {8, 16}
    out = capsys.readouterr().out
    assert "closest at width" in out
    assert "lambda" not in out


def test_a_sweep_without_a_bump_says_so_plainly(sweep, saved_figures, tmp_path, capsys):
    sweep.grid((1e-3, 1e-2), seeds=(0, 1, 2))
    run(sweep.folder, "--out", tmp_path)
    assert "no column of 2 shows double descent" in capsys.readouterr().out


def test_metrics_logged_at_some_epochs_only_are_drawn_at_those(sweep, saved_figures, tmp_path):
    epochs = [1, 2, 4, 8, 16]
    rows = [
        {
            "cell": "a",
            "attempt": 1,
            "epoch": e,
            "train_error": 0.05,
            "test_error": 0.5 if e in epochs else None,
        }
        for e in range(17)
    ]
    sweep.curves("a", rows)
    record = {"cell": "a", "status": "done", "attempt": 1, "updated": 1.0}
    sweep.runs("a", [{**record, "optim.weight_decay": 1e-3, "trainer.epochs": 16, "seed": 0}])
    assert run(sweep.folder, "--out", tmp_path, "--window", "1") == 0
    assert meshes(saved_figures[0])[0].shape == (5, 1)
    assert not hatched(saved_figures[0])


def test_compacted_and_uncompacted_sweeps_give_the_same_files(sweep, saved_figures, tmp_path):
    sweep.grid((1e-4, 1e-3), seeds=(0, 1), epochs=40)
    run(sweep.folder, "--out", tmp_path / "before")
    compact.compact(sweep.folder)
    run(sweep.folder, "--out", tmp_path / "after")
    for name in ("fig2_ab.csv", "fig2_ab_features.csv", "fig2_ab.json"):
        assert (tmp_path / "before" / name).read_text() == (tmp_path / "after" / name).read_text()


def test_the_published_figure_is_drawn_as_described(reference, saved_figures, tmp_path, capsys):
    assert run("--published", reference, "--out", tmp_path) == 0
    mean = np.load(reference / "resnet-test-errors_mean.npy")
    left, right = saved_figures[0].axes[0], saved_figures[0].axes[1]
    (mesh,) = (c for c in left.collections if isinstance(c, QuadMesh))
    np.testing.assert_array_equal(mesh.get_array(), mean)
    assert mesh.get_clim() == (0.18, 0.5)
    np.testing.assert_allclose(mesh.get_coordinates()[:-1, 0, 1], np.arange(1, 1002) - 0.5)
    step = 7.9 / 99
    np.testing.assert_allclose(
        mesh.get_coordinates()[0, :, 0], 0.1 + step * (np.arange(8, 101) - 0.5)
    )
    assert [t.get_text() for t in left.get_xticklabels()] == [
        f"$10^{{-{k}}}$" for k in range(1, 8)
    ] + ["≈0.0"]
    assert left.get_ylim() == right.get_xlim() == (1, 1000)
    assert right.get_ylim() == (0.18, 0.5)
    for line, column in zip(right.lines, (10, 17, 91), strict=True):
        np.testing.assert_array_equal(line.get_ydata(), mean[:, column])
        np.testing.assert_array_equal(line.get_xdata(), np.arange(1, 1002))
    features = pd.read_csv(tmp_path / "fig2_ab_features.csv").iloc[::-1].reset_index(drop=True)
    table = pd.read_csv(reference / "resnet_features_per_lambda.csv")
    np.testing.assert_allclose(features["peak"], table["saved_peak_err"], atol=1e-4)
    assert features["peak_epoch"].tolist() == table["saved_peak_epoch"].tolist()
    assert features["first_minimum_epoch"].tolist() == table["saved_first_min_epoch"].tolist()
    record = json.loads((tmp_path / "fig2_ab.json").read_text())
    assert "undocumented additive offset" in record["notes"][0]
    assert "note: published aggregate" in capsys.readouterr().out


def test_an_imported_published_store_draws_the_same(reference, saved_figures, tmp_path):
    from analysis.double_descent import published

    folder = published.import_published(reference, tmp_path / "logs" / "published")
    run("--published", reference, "--out", tmp_path / "a")
    run(folder, "--out", tmp_path / "b")
    first, second = (meshes(f)[0] for f in saved_figures)
    np.testing.assert_array_equal(first, second)
    assert (tmp_path / "a" / "fig2_ab_features.csv").read_text() == (
        tmp_path / "b" / "fig2_ab_features.csv"
    ).read_text()


def test_the_script_writes_all_its_files_without_a_display(sweep, tmp_path):
    sweep.grid(LAMBDAS, seeds=(0, 1), epochs=60, skip=("l1s0w64", "l1s1w64"))
    root = Path(fig2_ab.__file__).resolve().parents[1]
    out = tmp_path / "figures"
    command = [
        sys.executable,
        "-W",
        "error",
        root / "analysis" / "fig2_ab.py",
        sweep.folder,
        "--out",
        out,
        "--name",
        "x",
    ]
    process = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, env={"PYTHONPATH": str(root)}
    )
    assert process.returncode == 0, process.stderr
    assert {p.name for p in out.iterdir()} == {
        "x.png",
        "x.pdf",
        "x.csv",
        "x_features.csv",
        "x.json",
    }
    assert (out / "x.png").read_bytes()[:4] == b"\x89PNG"


def test_analysis_imports_neither_torch_nor_hydra():
    heavy = "{'torch', 'hydra', 'launch', 'trainers'}"
    code = (
        f"import sys, analysis.fig2_ab, analysis.store.compact; print({heavy} & set(sys.modules))"
    )
    root = Path(fig2_ab.__file__).resolve().parents[1]
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True
    )
    assert process.stdout.strip() == "set()"


def test_the_colour_map_has_its_anchors():
    colours = style.colour_map()
    assert colours.N == 256
    for index, rgb in zip(style.ANCHOR_INDEX, style.ANCHOR_RGB, strict=True):
        np.testing.assert_allclose(np.array(colours(index)[:3]) * 255, rgb, atol=1e-9)


def test_features_use_the_block_of_seeds_that_holds_most():
    values = np.full((3, 100), 0.5)
    values[2, 10:] = np.nan
    seeds, epochs = seed_curves.complete_block(values)
    assert seeds.tolist() == [0, 1]
    assert epochs.all()
    values[2, 10:] = 0.5
    values[2, 90:] = np.nan
    seeds, epochs = seed_curves.complete_block(values)
    assert seeds.tolist() == [0, 1, 2]
    assert epochs.sum() == 90


def test_axes_that_change_with_the_column_are_noted_not_refused():
    runs = pd.DataFrame(
        {
            "cell": ["a", "b"],
            "optim.weight_decay": [0.1, 0.2],
            "optim.lr": [1.0, 2.0],
            "seed": [0, 0],
        }
    )
    assert query.check_axes(runs, "optim.weight_decay") == [
        "optim.lr changes together with optim.weight_decay: 1, 2"
    ]
    with pytest.raises(query.FigureError, match="2 cells share"):
        query.check_axes(
            runs.assign(**{"optim.weight_decay": 0.1, "optim.lr": 1.0}), "optim.weight_decay"
        )


def test_a_list_of_a_record_and_that_of_a_plan_are_one_value():
    rows = [np.array([50, 10]), [50, 10]]
    runs = pd.DataFrame(
        {
            "cell": ["a", "b"],
            "optim.weight_decay": [0.1, 0.1],
            "seed": [0, 1],
            "data.source_rows": rows,
        }
    )
    assert query.axes(runs) == {"seed": ["0", "1"]}
    assert query.check_axes(runs, "optim.weight_decay") == []


def test_gaps_are_rectangles_around_empty_cells():
    values = np.array([[0.1, np.nan], [0.1, 0.2], [np.nan, 0.2]])
    grid = heatmap.Grid(np.array([0.0, 1.0]), np.array([1.0, 2.0, 3.0]), values, planned=4)
    result = heatmap.gaps(grid, heatmap.edges(grid.x))
    assert result == [(-0.5, 0.5, 2.5, 4.5), (0.5, 1.5, 0.5, 1.5), (0.5, 1.5, 3.5, 4.5)]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (0.25, "0.25"),
        (1e-4, "$10^{-4}$"),
        (3.2e-5, r"$3.2\times 10^{-5}$"),
        (9.99e-5, "$10^{-4}$"),
    ],
)
def test_values_are_labelled_briefly(value: float, text: str):
    assert style.value_label(value) == text


def test_cells_of_several_versions_of_code_or_data_are_noted(sweep, tmp_path, capsys):
    sweep.grid([0.1, 0.01], [0, 1], epochs=40)
    arguments = [str(sweep.folder), "--out", str(tmp_path), "--format", "png"]
    assert fig2_ab.main(arguments) == 0
    assert "versions of" not in capsys.readouterr().out
    for number, path in enumerate(sorted((sweep.folder / "runs").iterdir())):
        version = "old" if number == 0 else "new"
        facts = {"source_hash": version, "code": version, "data.root": "/data/cifar10"}
        sweep.runs(path.stem, pd.read_parquet(path).assign(**facts).to_dict("records"))
    assert fig2_ab.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "note: the cells were trained by 2 versions of the code\n" in printed
    assert "note: the cells were trained on 2 versions of /data/cifar10\n" in printed
    record = json.loads((tmp_path / "fig2_ab.json").read_text())
    assert record["code"] == record["data"]["/data/cifar10"] == ["new", "old"]


def test_columns_whose_seeds_end_early_are_noted(sweep, saved_figures, tmp_path, capsys):
    sweep.grid((1e-3, 1e-4), seeds=(0, 1), epochs=30, skip=("l1s0w64", "l1s1w64"))
    for seed in (0, 1):
        config = {"trainer.epochs": 30, "model.width": 64, "optim.weight_decay": 1e-4}
        sweep.train(f"l1s{seed}w64", {**config, "seed": seed}, last=10)
    assert run(sweep.folder, "--out", tmp_path) == 0
    printed = capsys.readouterr().out
    note = (
        "seeds of lambda 0.0001 (10) end before the last epoch, 30; final is of the last epoch "
        "that all its seeds have, in brackets, and of seeds that diverged later too"
    )
    assert f"note: {note}\n" in printed
    assert json.loads((tmp_path / "fig2_ab.json").read_text())["notes"] == [note]
