"""How searches are shown: state, interval, and what the user can do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import pytest

from analysis.stats.threshold import Estimate, Settings
from launch.cli.console import PlainConsole
from launch.cli.searches import search_table
from launch.plan import Search
from launch.report import searches
from launch.submit.rounds import Standing
from launch.sweep.adaptive import replay

SETTINGS = Settings(
    low=16,
    high=512,
    lattice=8,
    step=None,
    integer=True,
    falling=True,
    method="posterior",
    first=6,
    per_round=4,
    until=1.5,
    most=16,
    verify=False,
    seeds=3,
)
ESTIMATE = Estimate(
    n50=100.0,
    low=80.0,
    high=125.0,
    bound=None,
    slope=0.1,
    lapse=0.0,
    n_largest=100,
    n_first_failure=120,
    hole=False,
    island=False,
    trainings=9,
    status="ok",
)


def standing(flat: Mapping[str, Any], held: int = 0, unsent: int = 0, **point: Any) -> Standing:
    """A search after its first round was planned."""
    search = Search(
        axis="data.train_samples",
        success="fitted == true",
        settings=asdict(SETTINGS),
        seeds=[0, 1, 2],
        budget=[],
        advance="auto",
        point={**flat, **point},
    )
    state = replay(search, {})
    ids = [one.cell.id for one in state.open]
    return Standing(state, ids[:held], ids[:unsent])


def shown(standings: list[Standing], *, live: bool) -> str:
    console = PlainConsole(width=160)
    with console.capture() as capture:
        console.print(search_table(standings, live=live))
    return capture.get()


def test_a_search_is_shown_with_what_tells_it_apart(flat: Mapping[str, Any]) -> None:
    text = shown([standing(flat, **{"model.width": 2}), standing(flat, held=2)], live=True)
    assert "2 searches for data.train_samples where fitted == true changes" in text
    header = next(line for line in text.splitlines() if "state" in line)
    assert (header.split()[0], header.split()[-1]) == ("width", "state")
    assert "trains" in text
    assert "held by c1-" in text
    assert "and 1 more" in text


def test_searches_with_two_conditions_show_them(flat: Mapping[str, Any]) -> None:
    one = standing(flat)
    search = replace(one.search, success="wrong <= 3")
    text = shown([one, replace(one, state=replace(one.state, search=search))], live=True)
    rows = [line.split() for line in text.splitlines() if "trains" in line]
    assert [row[1:4] for row in rows] == [["fitted", "==", "true"], ["wrong", "<=", "3"]]


def test_the_searches_of_a_sweep_fit_into_eighty_columns(flat: Mapping[str, Any]) -> None:
    places = [(0.0, 4), (1.0, 4), (1.0, 16)]
    points = [{"data.label_noise.rate": rate, "model.width": width} for rate, width in places]
    console = PlainConsole(width=80)
    with console.capture() as capture:
        console.print(search_table([standing(flat, **p) for p in points], live=True))
    header = next(line for line in capture.get().splitlines() if "state" in line)
    assert header.split()[:3] == ["rate", "width", "round"]
    assert max(map(len, capture.get().splitlines())) <= 80


def test_keys_that_follow_from_others_are_left_out(flat: Mapping[str, Any]) -> None:
    points = [
        {"model.name": "mlp", "model.width": 2, "model.depth": 1},
        {"model.name": "mlp", "model.width": 4, "model.depth": 1},
        {"model.name": "convnet", "model.width": 4, "model.stages": 2},
    ]
    assert searches.varying_keys(points) == ["model.name", "model.width"]
    assert searches.varying_keys(points[:1]) == ["model.name"]


def test_many_searches_are_counted_by_state(flat: Mapping[str, Any]) -> None:
    held = [standing(flat, held=1, **{"model.width": width}) for width in range(1, 4)]
    training = [standing(flat, **{"model.width": width}) for width in range(4, 25)]
    text = shown([*held, *training], live=True)
    rows = [line.split()[:2] for line in text.splitlines()[1:]]
    assert rows == [["state", "searches"], ["trains", "21"], ["held", "3"]]


def test_the_next_round_follows_only_while_jobs_run(flat: Mapping[str, Any]) -> None:
    unsent = standing(flat, unsent=6)
    assert searches.state_text(unsent, live=True) == "next round follows"
    assert searches.state_text(unsent, live=False) == "next round not sent"
    assert searches.advice([unsent], "demo", live=True) == []
    (line,) = searches.advice([unsent], "demo", live=False)
    assert "`redescent resume demo`" in line


def test_advice_names_a_cell_that_holds_a_search(flat: Mapping[str, Any]) -> None:
    held = standing(flat, held=2)
    (line,) = searches.advice([held], "demo", live=False)
    assert "2 cells without an outcome hold 1 search" in line
    assert f"`redescent why {held.held[0][:11]} --sweep demo`" in line


def test_a_shared_error_is_part_of_the_advice(flat: Mapping[str, Any]) -> None:
    both = [standing(flat, held=2), standing(flat, unsent=6)]
    lines = searches.advice(both, "demo", live=False, held_back=True)
    assert all("`redescent resume demo --retry-errors`" in line for line in lines)
    assert len(lines) == 2


def test_cells_that_are_done_without_a_value_need_more_than_a_resume(
    flat: Mapping[str, Any],
) -> None:
    held = standing(flat, held=3)
    first, second = searches.advice([replace(held, valueless=held.held[1:])], "demo", live=False)
    assert first.startswith("1 cell without an outcome holds 1 search")
    assert second.startswith("2 cells done without a value that `success` needs hold 1 search")
    assert "resume" not in second
    assert f"`redescent why {held.held[1][:11]} --sweep demo`" in second
    text = searches.trial_text([replace(held, valueless=held.held)], held.held[0])
    assert "no outcome, because its row lacks a value that `success` needs" in str(text)


@pytest.mark.parametrize(
    ("estimate", "text"),
    [
        (ESTIMATE, "100 [80, 125]"),
        (replace(ESTIMATE, n50=None, high=None, bound=512), "> 512"),
        (replace(ESTIMATE, n50=None, low=None, bound=16.0), "< 16"),
        (replace(ESTIMATE, n50=None, low=None, high=None), ""),
    ],
)
def test_an_estimate_is_shown_with_its_interval_or_its_bound(estimate: Estimate, text: str) -> None:
    assert searches.estimate_text(estimate) == text


def test_a_plan_shows_the_trainings_to_expect(flat: Mapping[str, Any]) -> None:
    states = [standing(flat, **{"model.width": width}).state for width in (2, 4)]
    (_, count), (_, trainings), (_, values) = searches.expectation_rows(states)
    assert count == "2 along data.train_samples"
    assert "32 at most" in trainings
    assert "16 at most); 0 so far" in trainings
    assert searches.expectation_rows([]) == []
    first = sorted({one.trial.value for one in states[0].trials})
    assert values == ", ".join(str(value) for value in first)


def test_a_cell_of_a_search_is_named_with_its_value_and_outcome(flat: Mapping[str, Any]) -> None:
    one = standing(flat)
    trial = one.state.trials[0]
    text = searches.trial_text([one], trial.cell.id)
    assert text is not None
    assert text.startswith(f"data.train_samples={trial.trial.value} in round 1 of 1: no outcome")
    assert searches.trial_text([one], "c1-other") is None
