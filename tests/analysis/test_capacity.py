"""Comparing capacities, choosing rates, labels, and capacity over the budget."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from search_sweep import SETTINGS, Point, SearchSweep

from analysis import store
from analysis.capacity import estimate, generalisation, labels, selection
from analysis.capacity.rates import choose_rates
from analysis.figure.query import FigureError
from analysis.stats import threshold
from analysis.stats.threshold import Posterior, Trial

RANDOM = {"data.label_noise.rate": 1.0}
CORRECT = {"data.label_noise.rate": 0.0}


def belief(n50: float, trainings: int = 18, slope: float = 0.1, seed: int = 0) -> Posterior:
    """The posterior of a search that was planted at n50."""
    random = np.random.default_rng([seed, round(n50)])
    results = []
    for number, position in enumerate(np.linspace(-0.6, 0.6, trainings)):
        fit = random.random() < 1 / (1 + math.exp(position / slope))
        results.append((Trial(0, round(n50 * math.exp(position)), number), bool(fit)))
    return threshold.posterior(SETTINGS, results)


def test_a_ratio_is_that_of_draws_from_both_posteriors():
    first, second = belief(900), belief(500)
    ratio = estimate.ratio(first, second)
    random = np.random.default_rng(1)
    draws = estimate.draws(first, 40000, random) / estimate.draws(second, 40000, random)
    assert ratio.median == pytest.approx(np.median(draws), rel=0.02)
    assert ratio.low == pytest.approx(np.quantile(draws, 0.05), rel=0.04)
    assert ratio.high == pytest.approx(np.quantile(draws, 0.95), rel=0.04)
    assert ratio.probability == pytest.approx((draws > 1).mean(), abs=0.02)


def test_a_ratio_turned_around_is_its_inverse():
    ratio, inverse = (
        estimate.ratio(belief(900), belief(500)),
        estimate.ratio(belief(500), belief(900)),
    )
    assert inverse.median == pytest.approx(1 / ratio.median)
    assert inverse.low == pytest.approx(1 / ratio.high)
    assert inverse.probability == pytest.approx(1 - ratio.probability)


def test_equal_posteriors_cannot_be_told_apart():
    ratio = estimate.ratio(belief(700), belief(700))
    assert ratio.median == pytest.approx(1)
    assert ratio.probability == pytest.approx(0.5)
    assert ratio.low < 1 < ratio.high


def test_comparisons_leave_out_pairs_that_are_both_censored():
    beliefs = {"a": belief(500), "b": belief(900), "c": belief(2000)}
    pairs = estimate.comparisons(beliefs, {"b": "above", "c": "below"})
    assert pairs["bound"].tolist() == ["at most", "at least"]
    assert f" is at most {pairs['ratio_high'][0]:.2f}, P" in estimate.sentences(pairs)[0]
    assert list(zip(pairs["first"], pairs["second"], strict=True)) == [("a", "b"), ("a", "c")]
    assert estimate.sentences(pairs)[0].endswith("differ")
    assert (
        "cannot be distinguished"
        in estimate.sentences(estimate.comparisons({"a": belief(500), "b": belief(500)}))[0]
    )


@pytest.fixture
def searching(sweep: Any) -> SearchSweep:
    return SearchSweep(sweep)


def test_capacity_over_the_budget_ends_at_that_of_the_search(searching: SearchSweep):
    searching.write([Point({}, n50=600)])
    loaded = selection.load(str(searching.folder), [])
    curve = estimate.by_budget(SETTINGS, loaded.trainings)
    search = loaded.table.iloc[0]
    assert curve["budget"].tolist() == pytest.approx(
        [3000 * 2 ** (-i / 2) for i in range(6, -1, -1)]
    )
    assert curve["n50"].iloc[-1] == pytest.approx(search["n50"])
    assert curve["n50_high"].iloc[-1] == pytest.approx(search["n50_high"])
    assert curve["n50"].is_monotonic_increasing
    assert curve["n50"].iloc[0] < 0.75 * search["n50"]
    assert curve["n50_line"].iloc[-1] == pytest.approx(search["n50"], rel=0.2)


def test_doubled_budgets_continue_the_curve_and_the_line_does_not(searching: SearchSweep):
    searching.with_settings(doublings=2, most=36).write([Point({}, n50=600, noise=0.2)])
    loaded = selection.load(str(searching.folder), [])
    curve = estimate.by_budget(SETTINGS, loaded.trainings)
    assert curve["budget"].iloc[-1] > 3000
    assert curve["n50"].iloc[-1] == pytest.approx(loaded.table["n50"].iloc[0])
    assert curve.loc[curve["budget"] > 3000, "n50_line"].isna().all()


def test_a_budget_at_which_nothing_fits_is_censored(searching: SearchSweep):
    searching.write([Point({}, n50=40, exponent=1.0, noise=0.05)])
    loaded = selection.load(str(searching.folder), [])
    curve = estimate.by_budget(SETTINGS, loaded.trainings)
    assert curve["status"].iloc[0] == "below"
    assert math.isnan(curve["n50"].iloc[0])
    assert curve["n50_high"].iloc[0] > 0


def test_without_a_budget_there_is_no_curve(searching: SearchSweep):
    searching.write([Point({}, n50=600)])
    loaded = selection.load(str(searching.folder), [])
    trainings = loaded.trainings.assign(budget_steps=np.nan)
    assert estimate.by_budget(SETTINGS, trainings).empty


def rates(searching: SearchSweep) -> list[Point]:
    return [
        Point({"optim.lr": rate, "model.width": width}, n50=n50, parameters=200 * width)
        for width, best in ((10, 0.01), (20, 0.03))
        for rate in (0.01, 0.03)
        for n50 in [30 * width * (1 if rate == best else 0.5)]
    ]


def test_the_rate_with_the_largest_n50_is_kept_and_said_to_flatter(searching: SearchSweep):
    searching.write(rates(searching))
    table, notes = choose_rates(store.searches(searching.folder))
    assert table.set_index("model.width")["tuned_lr"].to_dict() == {10: 0.01, 20: 0.03}
    assert "biases n50 up" in notes[0]


def test_a_censored_rate_beats_every_other(searching: SearchSweep):
    searching.write([Point({"optim.lr": 0.1}, n50=500), Point({"optim.lr": 0.2}, n50=1e6)])
    table, _ = choose_rates(store.searches(searching.folder))
    assert table["tuned_lr"].tolist() == [0.2]


def of_other_seeds(table: pd.DataFrame) -> pd.DataFrame:
    """The searches as if other trainings had measured them."""
    return table.assign(cells=[[f"other {cell}" for cell in cells] for cells in table["cells"]])


def test_rates_are_chosen_in_a_folder_with_more_settings(searching: SearchSweep):
    batch_norm = Point({"optim.lr": 0.03, "model.name": "cnn5", "model.norm": "batch"})
    searching.write([*rates(searching), batch_norm])
    table = store.searches(searching.folder)
    ours = of_other_seeds(table[table["model.name"] != "cnn5"].drop(columns="model.norm"))
    chosen, _ = choose_rates(ours, store.searches(searching.folder))
    assert chosen.set_index("model.width")["tuned_lr"].to_dict() == {10: 0.01, 20: 0.03}


def test_rates_can_be_chosen_on_other_seeds(searching: SearchSweep, tmp_path: Any):
    searching.write(rates(searching))
    table = store.searches(searching.folder)
    swapped = table.assign(**{"optim.lr": table["optim.lr"].map({0.01: 0.03, 0.03: 0.01})})
    with pytest.raises(FigureError, match=r"found \d+ trainings that this figure measures too"):
        choose_rates(swapped, table, "logs/first")
    swapped = of_other_seeds(swapped)
    chosen, notes = choose_rates(swapped, table, "logs/first")
    assert chosen.set_index("model.width")["tuned_lr"].to_dict() == {10: 0.01, 20: 0.03}
    assert "biases" not in notes[0]
    assert chosen["n50"].max() < 400  # of the other rate: measured, not chosen
    with pytest.raises(FigureError, match="1 point without a search there"):
        choose_rates(swapped.assign(**{"model.width": 99}), table, "logs/first")


def test_all_columns_are_those_of_the_share_of_wrong_answers(searching: SearchSweep):
    searching.write([Point({}, noise=0.1)])
    folder = str(searching.folder)
    strict, loose = (selection.load(folder, (), share).table.iloc[0] for share in (0.0, 0.2))
    for column in ("n50", "n50_low", "n50_high", "n_largest", "n_first_failure"):
        assert loose[column] > strict[column], column


def test_abandoned_trainings_leave_no_claim_beyond_the_range(searching: SearchSweep):
    searching.write([Point({}, n50=600, noise=0.1)])
    path = searching.folder / "runs" / "runs.parquet"
    runs = pd.read_parquet(path)
    runs["abandoned"] = runs["fitted"].eq(False)
    runs.to_parquet(path)
    loaded = selection.load(str(searching.folder), (), 0.05)
    row = loaded.table.iloc[0]
    assert row["status"] == "exhausted"  # without them every training fits: above, it would seem
    assert row[["n50", "n50_low", "n50_high", "n50_bound"]].isna().all()
    left_out = int(runs["abandoned"].sum())
    assert loaded.trainings["success"].isna().sum() == left_out
    assert f"; 90 % intervals; {len(runs) - left_out} trainings in 1 search" in loaded.caption()
    (note,) = loaded.notes
    assert f"leaves {left_out} abandoned trainings out" in note
    assert "that of 1 search is not known" in note


def test_the_table_beside_a_figure_has_the_outcomes_at_its_share(searching: SearchSweep):
    searching.write([Point({}, n50=500)])
    loaded = selection.load(str(searching.folder), (), 0.05)
    trainings = loaded.trainings
    fits = trainings["best_wrong"] <= 0.05 * trainings["n"]
    assert trainings["success"].tolist() == (fits | trainings["fitted"].eq(1)).tolist()
    assert trainings["success"].sum() > trainings["fitted"].sum()


def test_without_an_outcome_at_a_share_nothing_is_known(searching: SearchSweep):
    searching.write([Point({})])
    path = searching.folder / "runs" / "runs.parquet"
    runs = pd.read_parquet(path)
    runs["abandoned"], runs["fitted"] = True, False
    runs.to_parquet(path)
    row = selection.load(str(searching.folder), (), 0.05).table.iloc[0]
    assert row[["n50", "n50_low", "n50_high", "n50_bound"]].isna().all()
    assert row["status"] == "exhausted"


def test_rates_are_chosen_at_the_share_of_wrong_answers_that_is_drawn(searching: SearchSweep):
    # the second rate fits less at first, and is wrong on few samples beyond
    slow = Point({"optim.lr": 0.03}, n50=400, exponent=0.6, noise=0.1)
    searching.write([Point({"optim.lr": 0.01}, n50=500, noise=0.1), slow])
    folder, best = str(searching.folder), []
    for share in (0.0, 0.05):
        table = selection.load(folder, (), share).table
        kept, _ = choose_rates(of_other_seeds(table), table, folder)
        best.append(kept["tuned_lr"].tolist())
    assert best == [[0.01], [0.03]]


def test_one_rate_needs_no_note(searching: SearchSweep):
    searching.write([Point({})])
    assert choose_rates(store.searches(searching.folder))[1] == []


def test_axes_that_are_not_drawn_are_refused_with_what_to_choose(searching: SearchSweep):
    searching.write([Point({"optim.name": name}) for name in ("sgd", "adam")])
    table = store.searches(searching.folder)
    with pytest.raises(FigureError, match=r"--where optim.name=adam"):
        selection.check_axes(table, ("model.",))
    assert selection.check_axes(table, ("optim.",)) == []


def test_axes_that_change_together_are_noted(searching: SearchSweep):
    points = [
        Point({"model.name": name, "trainer.least_steps": steps})
        for name, steps in (("mlp", 3000), ("vit", 2000))
    ]
    searching.write(points)
    notes = selection.check_axes(store.searches(searching.folder), ("model.",))
    assert notes == ["trainer.least_steps changes together with what is drawn: 2000, 3000"]


def test_two_conditions_at_one_place_can_be_chosen_from(searching: SearchSweep):
    searching.write([Point({})])
    entries = searching.load()
    searching.save([*entries, {**entries[0], "success": "wrong <= 3"}])
    table = store.searches(searching.folder).assign(line="MLP")
    with pytest.raises(FigureError, match=r"success: .*, wrong <= 3\n.* --where 'success == "):
        selection.check_unique(table, ["line"])


def test_results_newer_than_the_searches_are_noted(searching: SearchSweep):
    searching.write([Point({})])
    assert selection.load(str(searching.folder), []).notes == ()
    entries = searching.load()
    entries[0]["trials"][-1]["success"] = None
    searching.save(entries)
    (note,) = selection.load(str(searching.folder), []).notes
    assert note.startswith("searches.json was written before 1 of 18 trainings ended")
    entries[0]["held"] = [entries[0]["trials"][-1]["cell"]]
    searching.save(entries)
    assert selection.load(str(searching.folder), []).notes == ()


def test_two_searches_at_one_place_are_refused(searching: SearchSweep):
    searching.write([Point({"optim.lr": 0.1}), Point({"optim.lr": 0.2})])
    table = store.searches(searching.folder).assign(bar="", line="MLP", classes=10.0)
    with pytest.raises(
        FigureError,
        match=r"2 searches .* \(MLP, 10\);.*\n.*optim\.lr: 0\.1, 0\.2\n.*--where optim\.lr=0\.1",
    ):
        selection.check_unique(table, ["bar", "line", "classes"])


def test_two_searches_without_a_place_are_refused_too(searching: SearchSweep):
    searching.write([Point({"optim.lr": 0.1}), Point({"optim.lr": 0.2})])
    table = store.searches(searching.folder).assign(parameters=math.nan)
    with pytest.raises(FigureError, match=r"2 searches .* \(nan\)"):
        selection.check_unique(table, ["parameters"])


def test_searches_over_another_axis_are_refused(searching: SearchSweep):
    base = {**searching.base, "data.train_samples": 100}
    SearchSweep(searching.sweep, axis="model.width", base=base).write([Point({})])
    with pytest.raises(FigureError, match=r"searches over model\.width, expected"):
        selection.load(str(searching.folder), [])


def test_another_share_of_wrong_answers_gives_its_own_table(searching: SearchSweep):
    searching.write([Point({}, n50=500), Point({"model.width": 20}, n50=4000)])
    strict = selection.load(str(searching.folder), [])
    loose = selection.load(str(searching.folder), [], 0.05)
    assert loose.table["n50"].iloc[0] == pytest.approx(strict.table["n50_eps05"].iloc[0])
    assert "ε = 0.05" in loose.caption()
    assert loose.table["n50"].iloc[0] > strict.table["n50"].iloc[0]
    fits = [sum(success for _, success in each.results(0)) for each in (strict, loose)]
    assert fits[0] < fits[1]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"data.label_noise.kind": "random", "data.label_noise.rate": 1.0}, "random labels"),
        ({"data.label_noise.kind": "uniform", "data.label_noise.rate": 1.0}, "random labels"),
        ({"data.label_noise.kind": "random", "data.label_noise.rate": 0.0}, "correct labels"),
        ({"data.label_noise.kind": "incorrect", "data.label_noise.rate": 0.2}, "20 % noisy labels"),
        ({}, "correct labels"),
        ({**RANDOM, "data.label_noise.kind": "random", "data.inputs": "noise"},
         "random inputs, random labels"),
    ],
)  # fmt: skip
def test_tasks_have_readable_names(row: dict[str, Any], expected: str):
    assert labels.task(row) == expected


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"optim.name": "sgd", "trainer.batch_size": 64}, "SGD"),
        ({"optim.name": "sgd", "trainer.batch_size": None}, "full-batch GD"),
        ({"optim.name": "adam", "trainer.batch_size": float("nan")}, "full-batch Adam"),
        ({"optim.name": "lion"}, "lion"),
    ],
)
def test_optimisers_have_readable_names(row: dict[str, Any], expected: str):
    assert labels.optimiser(row) == expected


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"trainer.epochs": 1, "trainer.least_steps": 3000}, "3,000 steps"),
        (
            {"trainer.epochs": 300, "trainer.least_steps": 20000},
            "300 epochs, at least 20,000 steps",
        ),
        ({"trainer.epochs": 300}, "300 epochs"),
        ({"trainer.steps": 1000}, "1,000 steps"),
    ],
)
def test_budgets_are_named_in_steps_and_epochs(row: dict[str, Any], expected: str):
    assert labels.budget(row) == expected


def test_a_text_names_what_differs():
    table = pd.DataFrame(
        {"model.name": ["mlp", "vit"], "data.label_noise.rate": [0.0, 0.0], "data.name": "digits"}
    )
    assert labels.texts(table, [labels.model, labels.task]).tolist() == ["MLP", "ViT"]
    assert labels.texts(table, [labels.data, labels.task]).tolist() == ["digits", "digits"]


def test_models_that_grow_in_one_quantity_are_named_after_it():
    table = pd.DataFrame(
        {
            "parameters": [100, 200, 300, 400, 500],
            "model.width": [2, 4, 2, 2, 4],
            "model.blocks": [1, 1, 2, 1, 2],
            "data.downscale": [4, 4, 4, 2, 2],
        }
    )
    assert labels.scaled(table).tolist() == ["base", "width", "depth", "resolution", "all"]


def planted_models(slope: float, trainings: int = 5) -> list[generalisation.Model]:
    """Models whose gap changes with their increase by a slope, with little noise."""
    random = np.random.default_rng(0)
    points = []
    for i, increase in enumerate((0.1, 0.4, 0.8, 1.2, 1.8, 2.4)):
        gaps = 0.5 + slope * increase + 0.01 * random.normal(size=trainings)
        correct = belief(400 * (1 + increase), 40, 0.02)
        architecture = "MLP" if i % 2 else "CNN"
        points.append(
            generalisation.Model(f"m{i}", architecture, correct, belief(400, 40, 0.02), gaps)
        )
    return points


@pytest.mark.parametrize("slope", [0.2, -0.2])
def test_planted_relations_have_their_sign(slope: float):
    table = generalisation.correlations(planted_models(slope))
    assert table["models"].tolist() == ["all", "CNN", "MLP"]
    assert table["points"].tolist() == [6, 3, 3]
    pooled = table.iloc[0]
    assert pooled["pearson"] * np.sign(slope) > 0.9
    assert pooled["pearson_low"] * pooled["pearson_high"] > 0
    assert pooled["kendall_low"] <= pooled["kendall"] <= pooled["kendall_high"]


def test_without_a_relation_the_interval_holds_zero():
    points = planted_models(0.0)
    pooled = generalisation.correlations(points).iloc[0]
    assert pooled["pearson_low"] < 0 < pooled["pearson_high"]


def test_points_carry_increase_and_gap_with_their_errors():
    table = generalisation.table(planted_models(0.2))
    assert table["increase"].to_numpy() == pytest.approx([0.1, 0.4, 0.8, 1.2, 1.8, 2.4], abs=0.3)
    assert (table["increase_low"] < table["increase"]).all()
    assert table["gap_se"].between(0.001, 0.01).all()
    single = generalisation.table(planted_models(0.2, trainings=1))
    assert single["gap_se"].isna().all()


def test_two_points_have_no_correlation():
    assert generalisation.correlations(planted_models(0.2)[:2]).empty


def test_the_common_n_is_the_largest_that_most_models_fitted():
    trainings = pd.DataFrame({"n": [32, 64, 128, 32, 64, 64]})
    points = pd.Series(["a", "a", "a", "b", "b", "b"])
    assert generalisation.common_samples(trainings, points) == 64
    with pytest.raises(ValueError, match="--gap-from"):
        generalisation.common_samples(trainings.head(0), points.head(0))
