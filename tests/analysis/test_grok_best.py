"""Curves over train fraction and width: names of settings and operations, means over seeds,
verdicts, correlation.
"""

from __future__ import annotations

import json

import hydra
import numpy as np
import pandas as pd
import pytest
from grok_sweep import BASE, add
from matplotlib.colors import same_color

from analysis import grok_operations, grok_optimizers, grok_outliers, grok_sharpness, grok_width
from analysis.figure import query
from analysis.grokking import labels as grok_names
from analysis.grokking import plot
from analysis.grokking import runs as grok_runs
from launch.sweep import compose

PRESETS = {
    "adam": "Adam",
    "adam_dropout": "Adam, residual dropout 0.1",
    "adam_full_batch": "Adam, full batch",
    "adam_full_batch_noise": "Adam, full batch, update noise 1",
    "adam_lr_3e-3": "Adam, lr 3e-3",
    "adam_lr_3e-4": "Adam, lr 3e-4",
    "adam_weight_noise": "Adam, weight noise 0.01",
    "adamw": "AdamW, weight decay 1",
    "adamw_to_init": "AdamW, weight decay 1 towards init",
}


def run(script, *args):
    return script.main([str(a) for a in args])


def test_the_nine_presets_are_named_after_what_they_change():
    shipped = (compose.CONFIGS / "preset").glob("power2022_*.yaml")
    assert {path.stem for path in shipped} == {f"power2022_{name}" for name in PRESETS}
    with hydra.initialize_config_dir(str(compose.CONFIGS), version_base="1.3"):
        composed = [
            hydra.compose("config", ["trainer=algorithmic", f"preset=power2022_{name}"])
            for name in PRESETS
        ]
    runs = pd.DataFrame([dict(compose.single_cell(config).flat) for config in composed])
    assert grok_names.settings(runs).tolist() == list(PRESETS.values())


def test_settings_with_equal_names_are_labelled_by_their_columns():
    runs = pd.DataFrame(
        [{**BASE, "optim.name": n, "optim.weight_decay": 0.0} for n in ("adam", "adamw")]
    )
    assert grok_names.settings(runs).tolist() == [
        "Adam (optim.name=adam)",
        "Adam (optim.name=adamw)",
    ]
    assert set(grok_names.settings(runs.iloc[:1])) == {"Adam"}


@pytest.mark.parametrize(
    ("operation", "text"),
    [
        ("x+y", "x+y mod 97"), ("x*y", "x·y mod 97"), ("x**2+x*y+y**2+x", "x²+xy+y²+x mod 97"),
        ("x/y_if_y_odd_else_x-y", "x/y if y odd, else x−y mod 97"), ("x.y.x**-1", "x·y·x⁻¹ in S5"),
    ],
)  # fmt: skip
def test_operations_are_written_as_in_print(operation, text):
    assert (
        grok_names.operation({"data.operation": operation, "data.modulus": 97, "data.degree": 5})
        == text
    )


def grid(sweep, **axes):
    """Two seeds at two fractions for each value of one axis; best accuracy is a plain function of
    all three.
    """
    ((axis, values),) = axes.items()
    for i, value in enumerate(values):
        for fraction in (0.3, 0.5):
            for seed in (0, 1):
                config = {
                    axis.replace("__", "."): value,
                    "data.train_fraction": fraction,
                    "seed": seed,
                }
                best = fraction + 0.1 * i + 0.02 * seed
                add(sweep, f"{i}f{fraction:g}s{seed}", config, best_test_accuracy=best)


def test_an_optimiser_of_ones_own_is_named_by_its_class() -> None:
    own = {"optim.name": "mine.optimisers.Lion", "optim.weight_decay": 0.5}
    assert grok_names._algorithm(own) == "Lion, weight decay 0.5"
    assert grok_names._algorithm(own | {"optim.weight_decay": 0.0}) == "Lion"


def test_a_diverged_run_has_no_value_at_its_end_and_its_best_from_before() -> None:
    runs = pd.DataFrame(
        {
            "status": ["done", "nonfinite", "nonfinite", "running"],
            "epochs": [5, 5, 5, 5],
            "best_test_accuracy": [0.9, 0.8, 0.7, 0.6],
            "best_epoch_test_accuracy": [5, 5, 2, 2],
            "final_test_accuracy": [0.5, 0.4, 0.3, 0.2],
        }
    )
    values = {}
    for column in ("best_test_accuracy", "final_test_accuracy"):
        finished = grok_runs.finished_values(runs, runs[column], column)
        values[column] = finished.dropna().tolist()
    assert values == {"best_test_accuracy": [0.9, 0.7], "final_test_accuracy": [0.5]}


@pytest.mark.parametrize(
    ("script", "axes", "labels"),
    [
        (grok_operations, {"data__operation": ["x-y", "x+y"]}, ["x+y mod 97", "x−y mod 97"]),
        (grok_optimizers, {"optim__weight_decay": [0.0, 1.0]}, ["AdamW, weight decay 1", "Adam"]),
        (grok_outliers, {"data__outliers": [0, 1000]}, ["0", "1,000"]),
    ],
)
def test_means_and_ranges_over_seeds(script, axes, labels, sweep, tmp_path, drawn_by_grok):
    grid(sweep, **axes)
    add(sweep, "open", {"seed": 2}, status="running", best_test_accuracy=0.99)
    assert run(script, sweep.folder, "--out", tmp_path.as_posix()) == 0
    name = script.__name__.rpartition(".")[2]
    result = pd.read_csv(tmp_path / f"{name}.csv", dtype={"label": str})
    if "metric" in result:
        result = result[result["metric"] == "best_test_accuracy"]
    by_label = result.set_index(["train_percent", "label"])
    better = labels[-1] if script is grok_outliers else labels[0]
    np.testing.assert_allclose(
        by_label.loc[(30, better), ["mean", "std", "min", "max"]], [0.41, 0.01, 0.4, 0.42]
    )
    assert set(result["n"]) == {2}  # the running one is in no mean
    assert result["planned"].sum() == 9
    inside = [axes.get_legend() for axes in drawn_by_grok[0].axes]
    (legend,) = filter(None, [*inside, *drawn_by_grok[0].legends])
    assert [
        text.get_text() for text in legend.get_texts()
    ] == labels  # the best first; outliers by number
    colour = plot.looks(labels, ordered=script is grok_outliers)[better].colour
    lines = [
        line for line in drawn_by_grok[0].axes[0].lines if same_color(line.get_color(), colour)
    ]
    np.testing.assert_allclose(lines[0].get_ydata(), [41, 61])
    np.testing.assert_allclose([bar.get_ydata() for bar in lines[1:3]], [[40, 42], [60, 62]])
    assert json.loads((tmp_path / f"{name}.json").read_text())["unfinished"] == "left out"


def test_a_fraction_without_a_finished_run_is_hatched(sweep, tmp_path, drawn_by_grok):
    grid(sweep, data__operation=["x-y"])
    sweep.plan(BASE, {"new": {"data.operation": "x-y", "data.train_fraction": 0.7}})
    assert run(grok_operations, sweep.folder, "--out", tmp_path) == 0
    hatched = [p.get_x() for p in drawn_by_grok[0].axes[0].patches if p.get_hatch()]
    assert hatched == [pytest.approx(60)]


def test_memorised_outliers_are_a_share_of_the_outliers(sweep, tmp_path, drawn_by_grok):
    for seed, right in enumerate((10, 20)):
        counts = {"final_outlier_right": right, "final_outlier_examples": 40}
        add(
            sweep, f"a{seed}", {"data.outliers": 40, "seed": seed}, best_test_accuracy=0.5, **counts
        )
        none = {"final_outlier_right": 0, "final_outlier_examples": 0}
        add(sweep, f"b{seed}", {"seed": seed}, best_test_accuracy=0.5, **none)
    assert run(grok_outliers, sweep.folder, "--out", tmp_path) == 0
    result = (
        pd.read_csv(tmp_path / "grok_outliers.csv")
        .query("metric == 'final_outlier_accuracy'")
        .set_index("label")
    )
    assert result.loc[40, "mean"] == pytest.approx(0.375)
    assert result.loc[0, "n"] == 0


def test_double_descent_over_width_is_distinguished_from_none(sweep, tmp_path, drawn_by_grok):
    errors = {4: 0.9, 8: 0.5, 16: 0.8, 32: 0.3, 64: 0.1}
    for outliers in (0, 100):
        for seed in range(3):
            for width, error in errors.items():
                error = error + 0.01 * seed if outliers else 1 / width + 0.01 * seed
                result = {
                    f"{which}_{split}_{metric}": 1 - error if metric == "accuracy" else 4 * error
                    for which, split in (("final", "test"), ("best", "test"), ("final", "train"))
                    for metric in ("accuracy", "loss")
                }
                config = {"model.width": width, "data.outliers": outliers, "seed": seed}
                add(sweep, f"w{width}o{outliers}s{seed}", config, **result)
    assert run(grok_width, sweep.folder, "--out", tmp_path) == 0
    verdicts = json.loads((tmp_path / "grok_width.json").read_text())["verdicts"]
    assert list(verdicts) == ["no label noise", "100 outliers"]
    assert verdicts["100 outliers"]["final_test_accuracy"].startswith(
        "rises and falls again over width, peak at 16:"
    )
    assert verdicts["100 outliers"]["final_test_loss"].startswith(
        "rises and falls again over width, peak at 16:"
    )
    assert verdicts["no label noise"]["final_test_accuracy"].startswith(
        "does not rise and fall again"
    )
    table = pd.read_csv(tmp_path / "grok_width.csv").set_index(["noise", "model.width", "quantity"])
    row = table.loc[("100 outliers", 16, "final_test_accuracy")]
    np.testing.assert_allclose(row[["mean", "min", "max"]].astype(float), [81, 80, 82])


def test_spearman_is_that_of_the_ranks(sweep, tmp_path, capsys, drawn_by_grok):
    sharpness, accuracy = [1.0, 2.0, 3.0, 10.0, 4.0], [0.9, 0.8, 0.85, 0.1, 0.5]
    for seed, (phi, right) in enumerate(zip(sharpness, accuracy, strict=True)):
        add(sweep, f"s{seed}", {"seed": seed}, final_sharpness=phi, final_test_accuracy=right)
    assert run(grok_sharpness, sweep.folder, "--out", tmp_path) == 0
    record = json.loads((tmp_path / "grok_sharpness.json").read_text())
    # ranks 1 2 3 5 4 against 5 3 4 1 2: 1 - 6 * (16 + 1 + 1 + 16 + 4) / (5 * 24)
    assert record["correlation"]["rho"] == pytest.approx(1 - 6 * 38 / 120)
    assert record["correlation"]["n"] == 5
    assert -1 <= record["correlation"]["low"] < record["correlation"]["rho"]
    assert record["correlation"]["rho"] < record["correlation"]["high"] < 1
    assert "rho -0.795, p 1.4e-5" in capsys.readouterr().out


def test_a_correlation_of_equal_values_is_undefined():
    result = pd.DataFrame({"sharpness": [1.0, 2.0, 3.0], "test_accuracy": [1.0, 1.0, 1.0]})
    assert str(grok_sharpness.correlation(result)) == "Spearman's rho undefined, 3 runs"


def test_runs_without_sharpness_say_how_to_get_it(sweep, capsys):
    add(sweep, "a", {})
    assert run(grok_sharpness, sweep.folder) == 2
    assert "trainer.sharpness=true" in capsys.readouterr().err


def test_points_of_several_columns_are_checked_together():
    runs = pd.DataFrame(
        {"cell": ["a", "b", "c"], "data.x": [1, 1, 2], "data.y": [1, 2, 1], "seed": [0, 0, 0]}
    )
    assert query.check_axes(runs, "data.x", "data.y") == []
    with pytest.raises(
        query.FigureError, match=r"vary in more than data\.x and seed:\n  data\.y: 1, 2"
    ):
        query.check_axes(runs, "data.x")
    with pytest.raises(query.FigureError, match="vary in more than seed"):
        query.check_axes(runs)
    mostly_two = runs.assign(**{"data.y": [1, 2, 2]})
    with pytest.raises(query.FigureError, match=r"choose one value .* --where data\.y=2$"):
        query.check_axes(mostly_two, "data.x")
    with pytest.raises(query.FigureError, match=r"nothing varies in data\.z here, .* Another"):
        query.check_axes(runs.assign(**{"data.z": 1}), "data.z")
