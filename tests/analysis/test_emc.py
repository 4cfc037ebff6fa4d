"""The figures of capacity: what they draw, write and say, on synthetic stores."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from search_sweep import BASE, Point, SearchSweep

from analysis import (
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
    search_threshold,
    store,
)
from analysis.capacity import selection

RANDOM = {"data.label_noise.rate": 1.0}
CORRECT = {"data.label_noise.rate": 0.0}
MLP = {"model.name": "mlp"}
CNN = {"model.name": "convnet", "model.stages": 2}


@pytest.fixture
def searching(sweep: Any) -> SearchSweep:
    return SearchSweep(sweep)


def run(script: ModuleType, searching: SearchSweep, *args: str) -> tuple[int, Path]:
    """Runs a script on the folder; its exit status and the folder of its files."""
    out = searching.folder.parent / "figures"
    status = script.main([str(searching.folder), "--out", str(out), "--name", "f", *args])
    return status, out


def sizes() -> list[Point]:
    """Two architectures of three sizes; the largest CNN is beyond the range."""
    points = []
    for width, parameters, n50 in ((10, 2040, 220), (20, 4070, 700), (40, 8130, 1300)):
        points.append(Point({**MLP, "model.width": width}, n50, parameters))
    for width, parameters, n50 in ((4, 738, 350), (8, 2042, 850), (16, 6400, 1e6)):
        points.append(Point({**CNN, "model.width": width}, n50, parameters))
    return points


def arrows(figure: Figure) -> int:
    axes = figure.axes[0]
    return sum(
        isinstance(child, mpl.text.Annotation) and child.arrow_patch is not None
        for child in axes.get_children()
    )


def test_lines_hold_the_estimates_and_censored_values_are_arrows(
    searching: SearchSweep, drawn: list[Figure], capsys: pytest.CaptureFixture[str]
):
    searching.write(sizes())
    status, out = run(emc, searching)
    assert status == 0
    table = pd.read_csv(out / "f.csv")
    assert table["line"].tolist() == ["CNN"] * 3 + ["MLP"] * 3
    assert table["status"].tolist()[2] == "above"
    assert np.isnan(table["n50"].iloc[2])
    assert np.isnan(table["n50_per_parameter"].iloc[2])
    axes = drawn[0].axes[0]
    bars = [c for c in axes.containers if isinstance(c, ErrorbarContainer)]
    assert sorted(float(c.lines[0].get_ydata()[0]) for c in bars) == pytest.approx(
        sorted(table["n50"].dropna())
    )
    assert arrows(drawn[0]) == 1
    lines = [line.get_ydata() for line in axes.lines if len(line.get_ydata()) == 3]
    assert np.isnan(lines[0][2])
    printed = capsys.readouterr().out
    assert "1 of 6 n50 may be larger than the range" in printed
    assert "P(> 1)" in printed
    assert "n = P" in [text.get_text() for text in axes.texts]


def test_a_training_with_a_doubled_budget_is_one_point_of_the_fits(
    searching: SearchSweep, drawn: list[Figure]
):
    searching.with_settings(doublings=2, most=36).write([Point({}, n50=500, noise=0.2)])
    assert run(emc, searching)[0] == 0
    trainings = store.outcomes(searching.folder)
    assert trainings.duplicated(["n", "number"]).any()
    once = trainings.groupby(["n", "number"])["success"].max().astype(float)
    curves, errors = drawn[0].axes[1], drawn[0].axes[2]
    (points,) = curves.collections
    np.testing.assert_allclose(points.get_offsets()[:, 1], once.groupby("n").mean())
    np.testing.assert_allclose((points.get_sizes() - 6) / 5, once.groupby("n").size())
    assert sum(len(dots.get_offsets()) for dots in errors.collections) == len(once)


def test_the_record_holds_what_a_caption_needs(searching: SearchSweep, drawn: list[Figure]):
    searching.write(sizes())
    _, out = run(emc, searching)
    record = json.loads((out / "f.json").read_text())
    trainings = pd.read_csv(out / "f_trainings.csv")
    assert record["eps"] == 0
    assert record["budgets"] == ["3,000 steps"]
    assert record["trainings"] == len(trainings)
    assert "90 %" in record["interval"]
    assert f"{len(trainings)} trainings in 6 searches" in record["caption"]
    assert record["code"] == ["c0de"]
    cells = [cell for search in record["searches"] for cell in search["cells"]]
    assert sorted(cells) == sorted(trainings["cell"])
    assert record["searches"][0]["point"]["model.name"] == "convnet"
    searches = pd.read_csv(out / "f_searches.csv")
    assert len(searches) == 6


def test_error_and_fits_are_drawn_over_n(searching: SearchSweep, drawn: list[Figure]):
    searching.write(sizes()[:3])
    _, out = run(emc, searching)
    trainings = pd.read_csv(out / "f_trainings.csv")
    lower, upper = drawn[0].axes[1], drawn[0].axes[2]
    assert upper.get_ylabel() == "training error (%)"
    points = upper.collections[0].get_offsets()
    expected = 100 * trainings["best_wrong"].where(trainings["fitted"] != 1, 0) / trainings["n"]
    np.testing.assert_allclose(np.sort(points[:, 1]), np.sort(expected))
    assert len(lower.lines) == 3
    for curve in lower.lines:
        values = np.asarray(curve.get_ydata())
        assert (np.diff(values) <= 1e-9).all()
        assert values.max() <= 1


def test_unfinished_searches_are_named_with_the_command(
    searching: SearchSweep, drawn: list[Figure], capsys: pytest.CaptureFixture[str]
):
    searching.write(sizes()[:3], rounds=2)
    status, out = run(emc, searching)
    assert status == 0
    printed = capsys.readouterr().out
    assert "3 of 3 searches are not finished" in printed
    assert "redescent resume demo" in printed
    record = json.loads((out / "f.json").read_text())
    assert all(len(search["missing"]) == 6 for search in record["searches"])
    markers = [c.lines[0].get_markerfacecolor() for c in drawn[0].axes[0].containers]
    assert markers == ["white"] * 3


def test_searches_that_were_never_trained_do_not_stop_the_figure(
    searching: SearchSweep, drawn: list[Figure], capsys: pytest.CaptureFixture[str]
):
    searching.write(sizes()[:3])

    def forget(records: list[dict[str, Any]]) -> None:
        for trial in records[0]["trials"]:
            trial.update(success=None, cell="none" + trial["cell"])

    searching.edit(forget)
    status, out = run(emc, searching)
    assert status == 0
    assert len(pd.read_csv(out / "f.csv")) == 2
    assert "not drawn: 1 search without parameters yet" in capsys.readouterr().out


@pytest.mark.parametrize("figure", [emc, emc_activations, emc_budget])
def test_searches_without_any_outcome_are_not_drawn(
    searching: SearchSweep, capsys: pytest.CaptureFixture[str], figure: ModuleType
):
    searching.write(sizes()[:1])

    def forget(records: list[dict[str, Any]]) -> None:
        for record in records:
            for trial in record["trials"]:
                trial["success"] = None

    searching.edit(forget)
    status, _ = run(figure, searching)
    printed = capsys.readouterr()
    assert status != 0
    assert "no search has an outcome yet" in " ".join((printed.out + printed.err).split())


def test_another_share_of_wrong_answers_moves_the_points(
    searching: SearchSweep, drawn: list[Figure]
):
    searching.write(sizes()[:3])
    _, out = run(emc, searching)
    strict = pd.read_csv(out / "f.csv")
    _, out = run(emc, searching, "--eps", "0.05")
    loose = pd.read_csv(out / "f.csv")
    assert (loose["n50"] > strict["n50"]).all()
    assert json.loads((out / "f.json").read_text())["eps"] == 0.05


def test_columns_of_other_shares_come_with_a_note_on_abandoned_trainings(
    searching: SearchSweep, drawn: list[Figure], capsys: pytest.CaptureFixture[str]
):
    searching.write(sizes()[:2])
    assert run(emc, searching)[0] == 0
    assert "abandoned" not in capsys.readouterr().out
    path = searching.folder / "runs" / "runs.parquet"
    runs = pd.read_parquet(path)
    runs.loc[runs["wrong"].gt(0).idxmax(), "abandoned"] = True
    runs.to_parquet(path)
    status, out = run(emc, searching)
    assert status == 0
    (note,) = [n for n in json.loads((out / "f.json").read_text())["notes"] if "abandoned" in n]
    assert note.startswith("n50_eps01, n50_eps05, n50_eps10: without 1 abandoned training, whose")
    assert f"note: {note}" in capsys.readouterr().out


def test_a_search_without_an_outcome_at_a_share_has_no_point(
    searching: SearchSweep, drawn: list[Figure], capsys: pytest.CaptureFixture[str]
):
    searching.write(sizes()[:2])
    path = searching.folder / "runs" / "runs.parquet"
    runs = pd.read_parquet(path)
    is_first = runs["parameters"] == runs["parameters"].min()
    runs.loc[is_first, ["abandoned", "fitted"]] = [True, False]
    runs.to_parquet(path)
    status, out = run(emc, searching, "--eps", "0.05")
    assert status == 0
    table = pd.read_csv(out / "f.csv").set_index("status")
    assert table["n50"].isna().to_dict() == {"exhausted": True, "most": False}
    printed = capsys.readouterr().out
    assert "1 of 2 searches ended before their interval was narrow" in printed
    assert "and that of 1 search is not known; train without `trainer.abandon`" in printed


@pytest.mark.parametrize("n50", [1e6, 1.0])
@pytest.mark.parametrize("eps", ["0", "0.05"])
def test_unfinished_searches_are_drawn_from_their_bounds(
    searching: SearchSweep, drawn: list[Figure], n50: float, eps: str
):
    searching.write([Point({}, n50)], rounds=2)
    status, out = run(emc, searching, "--eps", eps)
    assert status == 0
    row = pd.read_csv(out / "f.csv").iloc[0]
    assert row["status"] == "open"
    assert arrows(drawn[0]) == 1
    low, high = drawn[0].axes[0].get_ylim()
    tenth = (high / low) ** 0.1  # the length of an arrow
    assert low * tenth < row["n50_bound"] < high / tenth


@pytest.mark.parametrize("share", ["2", "1", "-0.1", "nan", "half"])
def test_a_share_that_is_none_is_refused(
    searching: SearchSweep, capsys: pytest.CaptureFixture[str], share: str
):
    with pytest.raises(SystemExit):
        run(emc, searching, f"--eps={share}")
    message = capsys.readouterr().err
    assert f"found '{share}', expected a share of wrong answers from 0 to below 1" in message


def test_bars_hold_the_estimates_of_every_group(searching: SearchSweep, drawn: list[Figure]):
    points = []
    for model, n50s in ((MLP, (427, 222, 509)), (CNN, (1046, 848, 1e6))):
        tasks = (
            CORRECT | {"data.inputs": "real"},
            RANDOM | {"data.inputs": "real"},
            RANDOM | {"data.inputs": "noise"},
        )
        points += [Point({**model, **task}, n50) for task, n50 in zip(tasks, n50s, strict=True)]
    searching.write(points)
    status, out = run(emc_labels, searching)
    assert status == 0
    table = pd.read_csv(out / "f.csv")
    assert table["bar"].drop_duplicates().tolist() == [
        "correct labels",
        "random labels",
        "random inputs, random labels",
    ]
    axes = drawn[0].axes[0]
    heights = {round(p.get_height(), 3) for p in axes.patches if p.get_height() > 0}
    for height in table["n50"].fillna(table["n50_bound"]):
        assert round(height, 3) in heights
    assert arrows(drawn[0]) == 1
    comparisons = pd.read_csv(out / "f_comparisons.csv")
    assert len(comparisons) == 6
    assert set(comparisons["group"]) == {"MLP", "CNN"}
    row = comparisons[(comparisons["group"] == "MLP") & (comparisons["second"] == "random labels")]
    assert row["probability"].iloc[0] > 0.9


def test_architectures_are_compared_at_equal_parameters(
    searching: SearchSweep, drawn: list[Figure]
):
    points = [
        Point({"model.name": name, "model.width": width}, n50, parameters)
        for name, width, parameters, n50 in (
            ("mlp", 10, 2040, 220),
            ("convnet", 8, 2042, 850),
            ("vit", 9, 2089, 460),
            ("mlp", 40, 8130, 1300),
            ("vit", 20, 8200, 1700),
        )
    ]
    searching.write(points)
    _, out = run(emc_architectures, searching)
    table = pd.read_csv(out / "f.csv")
    assert table["panel"].tolist() == ["P = 2,040 to 2,089"] * 3 + ["P = 8,130 to 8,200"] * 2
    assert table["bar"].tolist() == ["MLP", "ViT", "CNN", "MLP", "ViT"]
    titles = [axes.get_title() for axes in drawn[0].axes[:2]]
    assert titles == ["P = 2,040 to 2,089", "P = 8,130 to 8,200"]
    record = json.loads((out / "f.json").read_text())
    assert record["parameters"]["P = 2,040 to 2,089"] == "2,040 to 2,089"


def test_optimisers_are_grouped_by_budget(searching: SearchSweep, drawn: list[Figure]):
    epochs = {"trainer.epochs": 256, "trainer.least_steps": 1}
    points = [
        Point({"optim.name": "sgd", "optim.lr": 0.1}, 500),
        Point({"optim.name": "sgd", "optim.lr": 0.03}, 700),
        Point({"optim.name": "sgd", "trainer.batch_size": None}, 1300),
        Point({"optim.name": "sgd", "trainer.batch_size": None, **epochs}, 600),
        Point({"optim.name": "shampoo"}, 950),
    ]
    searching.write(points)
    status, out = run(emc_optimizers, searching)
    assert status == 0
    table = pd.read_csv(out / "f.csv")
    assert table[["bar", "group"]].to_numpy().tolist() == [
        ["SGD", "3,000 steps"],
        ["full-batch GD", "3,000 steps"],
        ["full-batch GD", "256 epochs"],
        ["Shampoo", "3,000 steps"],
    ]
    assert table["tuned_lr"].iloc[0] == 0.03
    assert "biases n50 up" in json.loads((out / "f.json").read_text())["notes"][0]


def test_activations_stand_in_their_order(searching: SearchSweep, drawn: list[Figure]):
    names = ("tanh", "gelu", "relu")
    searching.write(
        [Point({"model.activation": name}, 500 + 10 * i) for i, name in enumerate(names)]
    )
    _, out = run(emc_activations, searching)
    assert pd.read_csv(out / "f.csv")["bar"].tolist() == ["ReLU", "tanh", "GELU"]


def test_a_bar_without_any_training_is_hatched(searching: SearchSweep, drawn: list[Figure]):
    searching.write([Point({"model.activation": name}) for name in ("relu", "tanh")])

    def forget(records: list[dict[str, Any]]) -> None:
        for trial in records[1]["trials"]:
            trial["success"] = None

    searching.edit(forget)
    status, out = run(emc_activations, searching)
    assert status == 0
    strips = [patch for patch in drawn[0].axes[0].patches if patch.get_hatch() == "////"]
    assert len(strips) == 1
    assert pd.read_csv(out / "f_comparisons.csv").empty


def test_data_sets_are_bars(searching: SearchSweep, drawn: list[Figure]):
    searching.write([Point({"data.name": "digits"}, 900), Point({"data.name": "cifar10"}, 300)])
    _, out = run(emc_modality, searching)
    assert set(pd.read_csv(out / "f.csv")["bar"]) == {"digits", "CIFAR-10"}


def test_classes_are_an_axis(searching: SearchSweep, drawn: list[Figure]):
    points = [
        Point({**RANDOM, "data.label_noise.classes": count}, n50)
        for count, n50 in ((2, 900), (10, 600), (100, 300))
    ]
    points += [Point({**CORRECT, "data.classes": count}, 1000 - 50 * count) for count in (2, 5)]
    points.append(Point(CORRECT, 500))
    searching.write(points)
    _, out = run(emc_classes, searching)
    table = pd.read_csv(out / "f.csv")
    assert table.groupby("line")["classes"].agg(list).to_dict() == {
        "correct labels": [2, 5, 10],
        "random labels": [2, 10, 100],
    }
    assert drawn[0].axes[0].get_xlabel() == "number of classes"
    pairs = pd.read_csv(out / "f_comparisons.csv").set_index(["first", "second"])
    assert {"random labels at 10", "correct labels at 10"} in [set(pair) for pair in pairs.index]
    assert pairs.loc[("random labels at 2", "random labels at 10"), "ratio"] == pytest.approx(
        1.5, rel=0.3
    )
    assert ("random labels at 2", "random labels at 100") not in pairs.index


def test_a_line_is_on_one_side_of_all_ratios_and_a_censored_one_is_a_bound(
    searching: SearchSweep, drawn: list[Figure], capsys: pytest.CaptureFixture[str]
):
    points = []
    for width, parameters, correct in ((10, 2040, 420), (20, 4070, 1e6), (40, 8130, 1e6)):
        size = {**MLP, "model.width": width}
        points.append(Point({**size, **RANDOM}, correct / 2 if correct < 1e6 else 700, parameters))
        points.append(Point({**size, **CORRECT}, correct, parameters))
    searching.write(points)
    assert run(emc, searching)[0] == 0
    ratios = [line for line in capsys.readouterr().out.splitlines() if line.startswith("n50(")]
    assert len(ratios) == 3
    assert all(line.startswith("n50(correct labels at ") for line in ratios)
    assert ["is at least" in line for line in ratios] == [False, True, True]
    foot = drawn[0].get_supxlabel()
    assert "panels over n: parameters P from pale to strong" in foot  # below one another, if narrow


def test_scaling_refuses_two_architectures(
    searching: SearchSweep, drawn: list[Figure], capsys: pytest.CaptureFixture[str]
):
    searching.write(sizes())
    assert run(emc_scaling, searching)[0] == 2
    assert "found model.name convnet, mlp, expected one" in words(capsys)


def test_architectures_of_different_sizes_are_refused(
    searching: SearchSweep, drawn: list[Figure], capsys: pytest.CaptureFixture[str]
):
    searching.write([point for point in sizes() if point.parameters not in (2040, 2042)])
    assert run(emc_architectures, searching)[0] == 2
    printed = words(capsys)
    assert "no two architectures have equally many parameters" in printed
    assert "MLP: 4,070, 8,130" in printed


def words(capsys: pytest.CaptureFixture[str]) -> str:
    """What was written to standard error, in one line."""
    return " ".join(capsys.readouterr().err.split())


def test_scaling_has_a_line_for_each_quantity(searching: SearchSweep, drawn: list[Figure]):
    base = {**CNN, "model.width": 4, "model.blocks": 1, "data.downscale": 4}
    points = [
        Point(base, 300, 700),
        Point({**base, "model.width": 8}, 800, 2000),
        Point({**base, "model.blocks": 2}, 400, 1500),
        Point({**base, "model.width": 8, "model.blocks": 2, "data.downscale": 2}, 1200, 5000),
    ]
    searching.write(points)
    status, out = run(emc_scaling, searching)
    assert status == 0
    assert set(pd.read_csv(out / "f.csv")["line"]) == {"base", "width", "depth", "all"}
    dotted = [line for line in drawn[0].axes[0].lines if line.get_linestyle() == ":"]
    starts = {tuple(np.round(line.get_xydata()[0], 6)) for line in dotted}
    assert (len(dotted), len(starts)) == (3, 1)
    pairs = pd.read_csv(out / "f_comparisons.csv")
    assert len(pairs) == 3  # each of the three grown models with the two others


def test_scaling_is_drawn_without_any_n50_within_its_range(
    searching: SearchSweep, drawn: list[Figure]
):
    base = {**CNN, "model.width": 4, "model.blocks": 1, "data.downscale": 4}
    wider = {**base, "model.width": 8}
    searching.write([Point(base, 1e6, 700), Point(wider, 1e6, 2000)])
    status, out = run(emc_scaling, searching)
    assert status == 0
    assert pd.read_csv(out / "f.csv")["n50"].isna().all()


def test_models_that_grew_in_steps_are_compared_at_equal_size(
    searching: SearchSweep, drawn: list[Figure]
):
    base = {**CNN, "model.width": 4, "model.blocks": 1, "data.downscale": 4}
    points = [Point(base, 300, 700)]
    for factor, parameters in ((2, 2000), (4, 5000)):
        points.append(Point({**base, "model.width": 4 * factor}, 800, parameters))
        points.append(Point({**base, "model.blocks": factor}, 400, parameters))
    searching.write(points)
    status, out = run(emc_scaling, searching)
    assert status == 0
    pairs = pd.read_csv(out / "f_comparisons.csv")
    assert pairs["place"].tolist() == [2000, 5000]
    compared = json.loads((out / "f.json").read_text())["comparisons"]
    assert compared == "posteriors of searches whose parameters differ by less than 3 %"


def test_budget_has_a_panel_for_each_setting_and_never_extrapolates(
    searching: SearchSweep, drawn: list[Figure]
):
    searching.write(sizes()[:5])
    status, out = run(emc_budget, searching)
    assert status == 0
    table = pd.read_csv(out / "f.csv")
    assert table["budget"].max() == 3000
    assert [axes.get_title() for axes in drawn[0].axes] == ["CNN", "MLP"]
    assert table.groupby(["panel", "parameters"]).size().eq(7).all()
    for _, curve in table.groupby(["panel", "parameters"]):
        assert curve.sort_values("budget")["n50"].dropna().is_monotonic_increasing


def test_budget_draws_censored_values_as_arrows_and_single_intervals(
    searching: SearchSweep, drawn: list[Figure], capsys: pytest.CaptureFixture[str]
):
    searching.write([Point({**MLP}, 1e6), Point({**CNN}, 600, 4000)])
    _, out = run(emc_budget, searching)
    table = pd.read_csv(out / "f.csv")
    censored = table["status"] == "above"
    assert censored.any()
    assert table.loc[censored, "n50_bound"].notna().all()
    kept = [axes for axes in drawn[0].axes if axes.get_title() == "MLP"]
    texts = [text for text in kept[0].texts if isinstance(text, mpl.text.Annotation)]
    assert len(texts) == (censored & (table["panel"] == "MLP")).sum()
    bars = [c for axes in drawn[0].axes for c in axes.containers if c.has_yerr]
    assert len(bars) == table["n50"].notna().sum()
    (legend,) = drawn[0].legends
    assert "beyond the range" in [text.get_text() for text in legend.get_texts()]
    printed = capsys.readouterr().out
    assert "above" in printed
    assert "(arrows)" in printed


def test_budget_refuses_a_schedule_and_another_share(
    searching: SearchSweep, drawn: list[Figure], capsys: pytest.CaptureFixture[str]
):
    searching.write([Point({"optim.schedule.name": "cosine"})])
    assert run(emc_budget, searching)[0] == 2
    assert "expected constant" in capsys.readouterr().err
    searching.write([Point({})])
    assert run(emc_budget, searching, "--eps", "0.1")[0] == 2


def gap_points() -> list[Point]:
    points = []
    for width, parameters, correct, random, error in (
        (10, 2040, 420, 220, 0.765),
        (20, 4070, 1050, 730, 0.73),
        (40, 8130, 1700, 1350, 0.712),
    ):
        for labels, n50 in ((CORRECT, correct), (RANDOM, random)):
            config = {**MLP, "model.width": width, **labels}
            points.append(Point(config, n50, parameters, test_error=error))
    return points


def test_the_gap_is_that_of_fitted_trainings_at_one_n(
    searching: SearchSweep, drawn: list[Figure], capsys: pytest.CaptureFixture[str]
):
    searching.write(gap_points())
    status, out = run(emc_gap, searching)
    assert status == 0
    table = pd.read_csv(out / "f.csv")
    assert table["point"].tolist() == ["MLP, P = 2,040", "MLP, P = 4,070", "MLP, P = 8,130"]
    assert table["gap"].to_numpy() == pytest.approx([0.765, 0.73, 0.712], abs=0.015)
    assert table["samples"].nunique() == 1
    assert pd.read_csv(out / "f_correlations.csv")["points"].tolist() == [3]
    assert "Pearson" in capsys.readouterr().out


def test_the_gap_can_come_from_a_plain_sweep(
    searching: SearchSweep, drawn: list[Figure], tmp_path: Path
):
    searching.write(gap_points())
    folder = tmp_path / "logs" / "plain"
    folder.mkdir()
    rows = []
    for width, parameters in ((10, 2040), (20, 4070), (40, 8130)):
        for seed in range(6):
            cell = {"cell": f"w{width}s{seed}", "status": "done", "attempt": 1, "updated": 1.0}
            config = {**BASE, **MLP, **CORRECT, "model.width": width, "data.train_samples": 304}
            outcome = {"fitted": seed < 5, "final_test_error": 0.7 + width / 1000 + 0.001 * seed}
            rows.append({**config, **cell, "seed": seed, "parameters": parameters, **outcome})
        diverged = {"cell": f"w{width}d", "status": "nonfinite", "seed": 6}
        rows.append({**rows[-2], **diverged, "final_test_error": 0.9})
    type(searching.sweep)(folder).runs("r", rows)
    status, out = run(emc_gap, searching, "--gap-from", str(folder))
    assert status == 0
    table = pd.read_csv(out / "f.csv")
    assert table["samples"].unique().tolist() == [304]
    assert table["trainings_of_gap"].tolist() == [5, 5, 5]
    assert table["gap"].iloc[0] == pytest.approx(0.712)
    assert (table["gap_se"] > 0).all()


def test_a_search_in_two_folders_is_one_point(
    searching: SearchSweep, drawn: list[Figure], tmp_path: Path
):
    searching.write(gap_points())
    second = tmp_path / "logs" / "second"
    second.mkdir()
    vit = [
        Point({"model.name": "vit", "model.width": 9, **labels}, n50, 2089, test_error=0.78)
        for labels, n50 in ((CORRECT, 660), (RANDOM, 456))
    ]
    SearchSweep(type(searching.sweep)(second)).write([*gap_points()[:2], *vit])
    status, out = run(emc_gap, searching, str(second))
    assert status == 0
    table = pd.read_csv(out / "f.csv")
    assert table["architecture"].tolist() == ["MLP"] * 3 + ["ViT"]
    record = json.loads((out / "f.json").read_text())
    assert record["notes"][0] == "2 searches are in several folders; the first is taken"
    assert len(record["searches"]) == 8
    assert record["source"] == [str(searching.folder), str(second)]


def test_models_without_both_searches_are_named(
    searching: SearchSweep, drawn: list[Figure], capsys: pytest.CaptureFixture[str]
):
    searching.write([*gap_points()[:3], Point({**MLP, "model.width": 80, **CORRECT}, 1e6, 16000)])
    status, _ = run(emc_gap, searching)
    assert status == 0
    printed = capsys.readouterr().out
    assert "MLP, P = 4,070 is left out: no search with random labels" in printed
    assert "may be larger than the range of the search: they" in printed
    searching.write([Point({**MLP, **CORRECT}, 400)])
    assert run(emc_gap, searching)[0] == 2
    assert "no model has a point" in capsys.readouterr().err


def test_notes_of_every_folder_are_kept(searching: SearchSweep, drawn: list[Figure]):
    searching.write(gap_points())
    path = searching.folder / "runs" / "runs.parquet"
    runs = pd.read_parquet(path)
    runs.loc[runs["wrong"].gt(0).idxmax(), "abandoned"] = True
    runs.to_parquet(path)
    status, out = run(emc_gap, searching, "--eps", "0.05")
    assert status == 0
    notes = json.loads((out / "f.json").read_text())["notes"]
    assert "ε = 0.05 leaves 1 abandoned training out" in " ".join(notes)


def test_a_caption_names_every_budget(searching: SearchSweep):
    points = [Point({"trainer.least_steps": steps}) for steps in (3000, 6000)]
    searching.write(points)
    caption = selection.load(str(searching.folder), ()).caption()
    assert "budgets 3,000 steps, 6,000 steps; 90 % intervals" in caption


def threshold_points(searching: SearchSweep) -> SearchSweep:
    """Searches for a width, rising, over label noise."""
    base = {**BASE, "data.train_samples": 700}
    widths = SearchSweep(searching.sweep, axis="model.width", base=base)
    return widths.with_settings(low=1, high=256)


def test_thresholds_of_another_axis_are_drawn_over_the_one_that_differs(
    searching: SearchSweep, drawn: list[Figure]
):
    widths = threshold_points(searching)
    points = [Point({"data.label_noise.rate": rate}, 20 + 100 * rate) for rate in (0.1, 0.4)]
    widths.write([*points, Point({"data.label_noise.rate": 0.9}, 1e6)])
    status, out = run(search_threshold, searching)
    assert status == 0
    table = pd.read_csv(out / "f.csv")
    assert table["data.label_noise.rate"].tolist() == [0.1, 0.4, 0.9]
    assert table["n50"].iloc[0] < table["n50"].iloc[1]
    assert table["status"].iloc[2] == "above"
    assert arrows(drawn[0]) == 1
    assert drawn[0].axes[0].get_ylabel() == "threshold of width k"
    assert len(drawn[0].axes[1].lines) == 3
    record = json.loads((out / "f.json").read_text())
    assert record["over"] == "data.label_noise.rate"
    assert "trainings succeed" in record["interval"]
    assert {"eps", "budgets", "minimum_check"}.isdisjoint(record), "it is no figure of capacity"


def test_a_sweep_without_searches_has_no_threshold(
    searching: SearchSweep, capsys: pytest.CaptureFixture[str]
):
    searching.write([Point({}, 30)])
    searching.save([])
    assert run(search_threshold, searching)[0] == 2
    assert "found no search; expected a sweep with `search`" in words(capsys)


def test_a_threshold_needs_one_axis_to_be_drawn_over(
    searching: SearchSweep, drawn: list[Figure], capsys: pytest.CaptureFixture[str]
):
    widths = threshold_points(searching)
    widths.write(
        [
            Point({"data.label_noise.rate": rate, "optim.lr": lr}, 30)
            for rate, lr in ((0.1, 0.1), (0.4, 0.1), (0.1, 0.01), (0.4, 0.01))
        ]
    )
    assert run(search_threshold, searching)[0] == 2
    assert "2 axes of the sweep have numbers" in capsys.readouterr().err
    status, out = run(search_threshold, searching, "--over", "data.label_noise.rate")
    assert status == 0
    assert set(pd.read_csv(out / "f.csv")["line"]) == {"optim.lr 0.1", "optim.lr 0.01"}


def test_searches_without_a_number_on_the_axis_are_noted(
    searching: SearchSweep, drawn: list[Figure], capsys: pytest.CaptureFixture[str]
):
    points = [Point({"data.label_noise.rate": rate}, 30) for rate in (0.1, 0.4, None)]
    threshold_points(searching).write(points)
    status, out = run(search_threshold, searching, "--over", "data.label_noise.rate")
    assert status == 0
    note = "1 search without a number >= 0 in data.label_noise.rate is left out"
    assert f"note: {note}\n" in capsys.readouterr().out
    assert json.loads((out / "f.json").read_text())["notes"] == [note]


def test_a_threshold_without_an_axis_says_so(
    searching: SearchSweep, capsys: pytest.CaptureFixture[str]
):
    threshold_points(searching).write([Point({}, 30)])
    assert run(search_threshold, searching)[0] == 2
    assert "no key with numbers differs among the searches" in capsys.readouterr().err


def test_logs_without_searches_are_one_message(
    searching: SearchSweep, capsys: pytest.CaptureFixture[str]
):
    assert run(emc, searching)[0] == 2
    assert "searches.json: no such file" in capsys.readouterr().err


def test_a_figure_is_saved_as_png_and_pdf(searching: SearchSweep):
    searching.write(sizes())
    status, out = run(emc, searching)
    assert status == 0
    names = {path.name for path in out.iterdir()}
    assert {"f.png", "f.pdf", "f.csv", "f.json", "f_comparisons.csv"} <= names


def test_an_axis_of_integers_has_ticks_at_integers():
    axes = Figure().subplots()
    axes.plot([4, 5], [1, 2])
    search_threshold.scale(axes, pd.Series([4.0, 5.0]))
    assert all(float(tick).is_integer() for tick in axes.get_xticks())
