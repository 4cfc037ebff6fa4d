"""The tables of searches and of their outcomes, on hand-made log folders."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from search_sweep import BASE, Point, SearchSweep

from analysis import store
from analysis.stats import threshold, time_to_fit
from analysis.store.searches import at_share, read


@pytest.fixture
def searching(sweep: Any) -> SearchSweep:
    """An empty log folder of a sweep that searches."""
    return SearchSweep(sweep)


def two_widths() -> list[Point]:
    return [
        Point({"model.width": 10}, n50=300, parameters=2040),
        Point({"model.width": 20}, n50=900, parameters=4070),
    ]


def test_a_search_is_a_row_with_its_point_and_estimate(searching: SearchSweep):
    searching.write(two_widths())
    frame = store.searches(searching.folder)
    assert frame["model.width"].tolist() == [10, 20]
    assert frame["status"].isin(["ok", "most"]).all()
    for row, n50 in zip(frame.itertuples(), (300, 900), strict=True):
        assert row.n50_low <= n50 <= row.n50_high
        assert row.n50_per_parameter == pytest.approx(row.n50 / row.parameters)
    assert frame["trainings"].tolist() == [len(cells) for cells in frame["cells"]]
    assert "seed" not in frame.columns
    assert "data.train_samples" not in frame.columns
    assert (frame["seconds"] == 2.0 * frame["trainings"]).all()


def test_the_estimate_is_that_of_the_search(searching: SearchSweep):
    searching.write(two_widths())
    for search, row in zip(
        read(searching.folder), store.searches(searching.folder).itertuples(), strict=True
    ):
        estimate = threshold.estimate(search.settings, search.results)
        assert (row.n50, row.n50_low, row.n50_high) == (estimate.n50, estimate.low, estimate.high)
        assert (row.n_largest, row.n_first_failure) == (
            estimate.n_largest,
            estimate.n_first_failure,
        )


def test_a_training_is_a_row_with_its_facts(searching: SearchSweep):
    searching.write(two_widths())
    frame = store.outcomes(searching.folder)
    assert frame["cell"].is_unique
    first = frame[frame["search"] == 0]
    assert first["round"].tolist() == sorted(first["round"])
    assert (first["model.width"] == 10).all()
    assert (frame["budget_steps"] == 3000).all()
    fitted = frame[frame["success"].astype(bool)]
    assert (fitted["fit_step"] <= 3000).all()
    assert (fitted["fit_epoch"] == np.ceil(fitted["fit_step"] / np.ceil(fitted["n"] / 64))).all()
    assert frame.loc[~frame["success"].astype(bool), "fit_step"].isna().all()
    assert frame["test_error"].between(0.7, 0.8).all()


def test_a_larger_share_of_wrong_answers_fits_more(searching: SearchSweep):
    searching.write(two_widths())
    frame = store.searches(searching.folder)
    assert (frame["n50"] < frame["n50_eps05"]).all()
    assert (frame["n50"] < frame["n50_eps10"]).all()
    assert (frame["n50_eps10_low"] < frame["n50_eps10"]).all()
    assert (frame["n50_half_budget"] < frame["n50"]).all()


def test_a_share_that_floats_miss_counts_as_it_is_written():
    """29 of 100 wrong answers are a share of 0.29, and 0.29 * 100 is a little less than 29."""
    unknown = dict.fromkeys(("level", "fit_step", "budget_steps"), 0.0)
    rows = [{**unknown, "n": 100, "best_wrong": w, "fitted": 0, "abandoned": 0} for w in (29, 30)]
    assert at_share(pd.DataFrame(rows), 0.29)["success"].tolist() == [True, False]


def test_abandoned_trainings_count_at_no_other_share(searching: SearchSweep):
    searching.write(two_widths()[:1])
    before = store.searches(searching.folder).iloc[0]
    runs = store.runs(searching.folder)
    failed = runs["fit_step"].isna()
    runs.loc[failed, "abandoned"] = True
    (searching.folder / "runs" / "runs.parquet").unlink()
    searching.sweep.runs("abandoned", runs.drop(columns="attempts").to_dict("records"))
    after = store.searches(searching.folder).iloc[0]
    assert after["n50"] == before["n50"]
    assert math.isnan(after["n50_eps10"])  # nothing but fits is left: censored above
    assert math.isnan(after["bits_max"])
    assert before["bits_max"] > 0


def test_time_to_fit_gives_the_planted_exponent(searching: SearchSweep):
    searching.with_settings(most=36, until=1.05).write([Point({}, n50=500, exponent=2.4)])
    row = store.searches(searching.folder).iloc[0]
    assert row["aft_exponent"] == pytest.approx(2.4, abs=0.6)
    assert row["aft_noise"] == pytest.approx(0.35, abs=0.2)


def test_a_training_with_a_doubled_budget_counts_once_in_the_time_to_fit(searching: SearchSweep):
    searching.with_settings(doublings=2, most=36).write([Point({}, n50=500, noise=0.2)])
    row, runs = store.searches(searching.folder).iloc[0], store.outcomes(searching.folder)
    assert runs.duplicated(["n", "number"]).any()
    last = runs.sort_values("level").drop_duplicates(["n", "number"], keep="last")
    fitted = last["fitted"] == 1
    line = time_to_fit.fit(last["n"], last["fit_step"].where(fitted, last["steps"]), fitted)
    assert line is not None
    assert (row["aft_exponent"], row["aft_noise"]) == pytest.approx((line.exponent, line.noise))


def test_with_a_schedule_half_the_budget_says_nothing(searching: SearchSweep):
    searching.write([Point({"optim.schedule.name": "cosine"})])
    row = store.searches(searching.folder).iloc[0]
    assert np.isnan(row["n50_half_budget"])
    assert np.isnan(row["aft_exponent"])
    assert not np.isnan(row["n50"])


def test_a_censored_search_has_a_bound_and_no_n50(searching: SearchSweep):
    searching.write([Point({}, n50=1e6), Point({"model.width": 1}, n50=1)])
    frame = store.searches(searching.folder)
    assert frame["status"].tolist() == ["above", "below"]
    assert frame["n50"].isna().all()
    assert frame["n50_per_parameter"].isna().all()
    assert frame["n50_bound"].tolist() == [16384, 16]
    assert np.isnan(frame["n50_high"][0])
    assert np.isnan(frame["n50_low"][1])


def test_doublings_are_reported_with_the_estimate_before_them(searching: SearchSweep):
    searching.with_settings(doublings=2, most=36).write([Point({}, n50=500, noise=0.2)])
    row = store.searches(searching.folder).iloc[0]
    assert row["doublings"] >= 1
    assert row["n50"] > 1.05 * row["n50_first_budget"]
    assert row["budget_saturated"] in (True, False)
    assert row["budget_steps"] == 3000 * 2 ** row["doublings"]


def test_an_unfinished_search_is_open_and_a_blocked_one_held(searching: SearchSweep):
    searching.write(two_widths(), rounds=2)
    frame = store.searches(searching.folder)
    assert frame["status"].tolist() == ["open", "open"]
    assert frame["rounds"].tolist() == [2, 2]
    assert frame["trainings"].tolist() == [6, 6]
    assert not frame["n50"].isna().any()
    open_trainings = store.outcomes(searching.folder)["success"].isna()
    assert open_trainings.sum() == 12

    def hold(records: list[dict[str, Any]]) -> None:
        records[1]["held"] = [records[1]["trials"][-1]["cell"]]

    searching.edit(hold)
    assert store.searches(searching.folder)["status"].tolist() == ["open", "held"]


def test_a_search_without_any_outcome_has_a_row(searching: SearchSweep):
    searching.write(two_widths())

    def forget(records: list[dict[str, Any]]) -> None:
        for trial in records[0]["trials"]:
            trial["success"] = None

    searching.edit(forget)
    row = store.searches(searching.folder).iloc[0]
    assert row["status"] == "open"
    assert math.isnan(row["n50"])
    assert row["trainings"] == 0


def test_runs_that_are_missing_leave_their_facts_empty(searching: SearchSweep):
    searching.write(two_widths())
    (searching.folder / "runs" / "runs.parquet").unlink()
    searching.sweep.plan(BASE, {"other": {"model.width": 3}})
    frame = store.searches(searching.folder)
    assert not frame["n50"].isna().any()
    assert frame["n50_eps05"].isna().all()
    assert frame["parameters"].isna().all()
    assert store.outcomes(searching.folder)["fitted"].isna().all()


def test_runs_of_other_sweeps_do_not_leak_in(searching: SearchSweep):
    searching.write(two_widths())
    before = store.searches(searching.folder)
    other = {**BASE, "cell": "other", "status": "done", "attempt": 1, "updated": 2.0}
    searching.sweep.runs("other", [{**other, "fitted": True, "bits": 1e9, "seconds": 1e9}])
    pd.testing.assert_frame_equal(store.searches(searching.folder), before)


def test_a_search_over_another_axis_has_no_shares(searching: SearchSweep):
    base = {**BASE, "data.train_samples": 1000}
    SearchSweep(searching.sweep, axis="model.width", base=base).write([Point({})])
    row = store.searches(searching.folder).iloc[0]
    assert row["axis"] == "model.width"
    assert row["data.train_samples"] == 1000
    assert math.isnan(row["n50_eps05"])
    assert not math.isnan(row["n50"])


def test_without_searches_the_error_says_what_to_run(sweep: Any):
    with pytest.raises(store.StoreError, match=r"searches\.json: no such file.*resume demo"):
        store.searches(sweep.folder)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"version": 1}',
        '{"version": 1, "searches": [{}]}',
        '{"version": 1, "searches": 3}',
    ],
)
def test_damaged_searches_are_an_error_that_names_the_file(searching: SearchSweep, text: str):
    searching.write(two_widths())
    (searching.folder / "searches.json").write_text(text)
    with pytest.raises(
        store.StoreError, match=r"searches\.json: not a list of searches.*`redescent resume "
    ):
        store.outcomes(searching.folder)


def test_a_version_of_the_future_is_refused(searching: SearchSweep):
    (searching.folder / "searches.json").write_text(json.dumps({"version": 2, "searches": []}))
    with pytest.raises(store.StoreError, match="version 2, expected 1"):
        read(searching.folder)


@pytest.mark.parametrize("change", [{"low": 0}, {"lattice": None}])
def test_settings_that_contradict_are_damage(searching: SearchSweep, change: dict[str, Any]):
    searching.write(two_widths())

    def contradict(records: list[dict[str, Any]]) -> None:
        records[0]["settings"].update(change)

    searching.edit(contradict)
    with pytest.raises(store.StoreError, match="not a list of searches"):
        store.searches(searching.folder)


def test_a_sweep_without_points_gives_empty_tables(searching: SearchSweep):
    searching.save([])
    searching.sweep.plan(BASE, {"a": {}})
    assert store.searches(searching.folder).empty
    assert store.outcomes(searching.folder).empty
