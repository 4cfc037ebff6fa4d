"""What a search trains: cells of its rounds, whatever the order of outcomes."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from analysis.stats import threshold
from analysis.stats.threshold import Trial
from launch.errors import UserError
from launch.plan import Plan, Search, load
from launch.sweep import adaptive
from launch.sweep.adaptive import SearchState, replay

SETTINGS = threshold.Settings(
    low=16,
    high=512,
    lattice=8,
    step=None,
    integer=True,
    falling=True,
    method="posterior",
    first=4,
    per_round=3,
    until=1.15,
    most=24,
    verify=False,
    seeds=3,
)


@pytest.fixture
def search(flat: Mapping[str, Any]) -> Search:
    return Search(
        axis="data.train_samples",
        success="fitted == true",
        settings=asdict(SETTINGS),
        seeds=[10, 11, 12],
        budget=["trainer.epochs"],
        advance="auto",
        point=dict(flat),
    )


def fits(one: adaptive.TrialCell) -> bool:
    """A planted outcome: sharp at 100 samples, but seed 11 fails everywhere."""
    return one.cell.flat["data.train_samples"] <= 100 and one.cell.flat["seed"] != 11


def run_to_the_end(search: Search, outcomes: dict[str, bool]) -> list[SearchState]:
    """The states after each round, until the search is finished."""
    states = [replay(search, outcomes)]
    while states[-1].open:
        outcomes |= {one.cell.id: fits(one) for one in states[-1].open}
        states.append(replay(search, outcomes))
    return states


def test_a_trial_is_the_point_with_its_value_and_seed(search: Search) -> None:
    cell = adaptive.trial_cell(search, Trial(0, 64, 2))
    changes = {"data.train_samples": 64, "seed": 12}
    assert {key: cell.flat[key] for key in search.point} == {**search.point, **changes}
    assert type(cell.flat["data.train_samples"]) is int


def test_a_doubled_budget_makes_another_cell(search: Search) -> None:
    cell = adaptive.trial_cell(search, Trial(2, 64, 0))
    assert cell.flat["trainer.epochs"] == 4 * search.point["trainer.epochs"]
    assert cell.id != adaptive.trial_cell(search, Trial(0, 64, 0)).id


def test_a_value_that_no_trainer_accepts_is_an_error(search: Search) -> None:
    bad = replace(search, axis="data.label_noise.rate")
    with pytest.raises(UserError, match=r"data.label_noise.rate: found 2.0, expected 0.0 to 1.0"):
        adaptive.trial_cell(bad, Trial(0, 2.0, 0))


def test_the_rounds_of_a_search_follow_from_the_outcomes(search: Search) -> None:
    states = run_to_the_end(search, {})
    assert [len(states[0].open), states[0].trained, states[0].rounds] == [4, 0, 1]
    first_round = [replace(one, success=fits(one)) for one in states[0].trials]
    assert states[1].trials[:4] == first_round
    last = states[-1]
    assert last.finished is not None
    assert last.trained == len(last.trials) <= SETTINGS.most
    assert len({one.cell.id for one in last.trials}) == len(last.trials)
    assert [one.round for one in last.trials] == sorted(one.round for one in last.trials)


def test_order_and_foreign_outcomes_change_nothing(search: Search) -> None:
    outcomes: dict[str, bool] = {}
    calm = run_to_the_end(search, outcomes)[-1]
    shuffled = list(outcomes.items())
    random.Random(0).shuffle(shuffled)
    assert replay(search, dict(shuffled)) == calm
    foreign = adaptive.trial_cell(search, Trial(0, 17, 0))
    assert replay(search, {**outcomes, foreign.id: False, "c1-0": True}) == calm


def test_a_search_that_stops_after_any_outcome_continues_the_same_path(search: Search) -> None:
    outcomes: dict[str, bool] = {}
    calm = run_to_the_end(search, outcomes)[-1]
    ids = [one.cell.id for one in calm.trials]
    for count in range(len(ids)):
        part = {cell: outcomes[cell] for cell in ids[:count]}
        state = replay(search, part)
        assert [one.cell.id for one in state.trials] == ids[: len(state.trials)]
        assert [one.cell.id for one in state.open] == ids[count : len(state.trials)]
    assert run_to_the_end(search, {})[-1] == calm


def test_a_narrower_search_repeats_no_training(search: Search) -> None:
    wide = replace(search, settings={**search.settings, "until": 3.0})
    outcomes: dict[str, bool] = {}
    first = {one.cell.id for one in run_to_the_end(wide, outcomes)[-1].trials}
    state = replay(search, outcomes)
    assert first == {one.cell.id for one in state.trials if one.success is not None}
    assert {one.cell.id for one in state.open}.isdisjoint(first)
    assert state.open


def test_a_doubling_trains_failures_again_with_a_larger_budget(search: Search) -> None:
    search = replace(search, settings={**search.settings, "doublings": 1})
    last = run_to_the_end(search, {})[-1]
    again = [one for one in last.trials if one.trial.level == 1]
    assert again
    assert {one.cell.flat["trainer.epochs"] for one in again} == {6}
    failed = {
        (one.trial.value, one.trial.number)
        for one in last.trials
        if one.trial.level == 0 and not one.success
    }
    assert {(one.trial.value, one.trial.number) for one in again} <= failed


def test_a_plan_freezes_its_searches(
    search: Search, plan_of: Callable[..., Plan], tmp_path: Path
) -> None:
    plan = plan_of(searches=[search])
    path = plan.write(tmp_path)
    assert load(path) == plan
    assert replay(load(path).searches[0], {}) == replay(search, {})
    assert plan.advances_by_itself
    assert not plan_of(searches=[replace(search, advance="manual")]).advances_by_itself


def test_a_plan_without_searches_is_read_as_before(
    plan_of: Callable[..., Plan], tmp_path: Path
) -> None:
    path = plan_of().write(tmp_path)
    raw = json.loads(path.read_text())
    del raw["searches"], raw["checksum"]
    path.write_text(json.dumps(raw))
    assert load(path) == plan_of()


def test_the_usual_number_of_trainings_is_below_the_most() -> None:
    defaults = replace(SETTINGS, high=16384, first=6, per_round=4, most=36, seeds=8)
    usual, most = adaptive.expected_trainings(defaults)
    assert most == 36
    assert 25 <= usual <= 33
    assert adaptive.expected_trainings(replace(defaults, most=8)) == (8, 8)


def test_a_calibration_measures_the_ends_of_the_first_round(search: Search) -> None:
    values = [cell.flat["data.train_samples"] for cell in adaptive.calibration_cells([search])]
    trials = [one.trial.value for one in replay(search, {}).trials]
    assert values == [min(trials), max(trials)]
