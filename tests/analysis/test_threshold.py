"""The search for a threshold on planted curves: its path, its limits and its estimate."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from analysis.stats import posterior, threshold
from analysis.stats.threshold import Progress, Settings, Trial

Truth = Callable[[Trial], bool]

DEFAULT = Settings(
    low=16, high=16384, lattice=8, step=None, integer=True, falling=True, method="posterior",
    first=6, per_round=4, until=1.15, most=36, verify=True, seeds=8,
)  # fmt: skip
LINEAR = replace(DEFAULT, low=0.0, high=1.0, lattice=None, step=0.01, integer=False, falling=False)
METHODS = st.sampled_from(["posterior", "bisect", "ladder"])


def curve(n50: float, slope: float = 0.12, lapse: float = 0.0, seed: int = 0) -> Truth:
    """Outcomes of a logistic curve that depend on the trial alone; a fit stays one when the budget
    grows, by which n50 grows too."""

    def succeeds(trial: Trial) -> bool:
        draw = np.random.default_rng([seed, round(trial.value * 1000), trial.number]).random()
        distance = math.log(trial.value / n50) - 0.3 * trial.level
        return draw < (1 - lapse) / (1 + math.exp(distance / slope))

    return succeeds


def with_range(truth: Truth, low: float, high: float, success: bool) -> Truth:
    """A curve with a hole (success False) or an island (True) between two values."""
    return lambda trial: success if low <= trial.value <= high else truth(trial)


def search(settings: Settings, truth: Truth) -> tuple[Progress, dict[Trial, bool]]:
    """Runs a search to its end."""
    outcomes: dict[Trial, bool] = {}
    for _ in range(200):
        state = threshold.progress(settings, outcomes)
        if state.finished:
            return state, outcomes
        outcomes.update((trial, truth(trial)) for trial in state.open)
    raise AssertionError("the search does not end")


def result(settings: Settings, truth: Truth) -> threshold.Estimate:
    state, outcomes = search(settings, truth)
    return threshold.estimate(settings, threshold.results_on_path(state, outcomes))


@st.composite
def searches(draw: st.DrawFn) -> tuple[Settings, Truth]:
    """Settings and a planted curve, which need not suit each other."""
    settings = replace(
        DEFAULT,
        low=draw(st.sampled_from([1, 16, 60])),
        high=draw(st.sampled_from([500, 4096])),
        method=draw(METHODS),
        falling=draw(st.booleans()),
        verify=draw(st.booleans()),
        seeds=draw(st.integers(1, 8)),
        most=draw(st.integers(1, 40)),
        per_round=draw(st.integers(1, 6)),
        doublings=draw(st.integers(0, 2)),
    )
    n50 = draw(st.floats(10, 3000))
    slope = draw(st.sampled_from([0.02, 0.12, 0.4]))
    lapse = draw(st.sampled_from([0.0, 0.1]))
    truth = curve(n50, slope, lapse, draw(st.integers(0, 1000)))
    return settings, (truth if settings.falling else lambda trial: not truth(trial))


@hypothesis_settings(max_examples=40, deadline=None)
@given(searches(), st.randoms(use_true_random=False))
def test_the_order_of_outcomes_changes_nothing(pair: tuple[Settings, Truth], shuffler: Any):
    settings, truth = pair
    state, outcomes = search(settings, truth)
    items = list(outcomes.items())
    shuffler.shuffle(items)
    assert threshold.progress(settings, dict(items)) == state
    assert threshold.estimate(settings, items) == threshold.estimate(settings, [*outcomes.items()])


@hypothesis_settings(max_examples=40, deadline=None)
@given(searches(), st.randoms(use_true_random=False))
def test_a_search_resumed_from_some_outcomes_takes_the_same_path(
    pair: tuple[Settings, Truth], chooser: Any
):
    settings, truth = pair
    whole, outcomes = search(settings, truth)
    kept = {trial: success for trial, success in outcomes.items() if chooser.random() < 0.7}
    for _ in range(200):
        state = threshold.progress(settings, kept)
        assert whole.rounds[: len(state.rounds)] == state.rounds
        if state.finished:
            break
        kept.update((trial, truth(trial)) for trial in state.open[:2])
    assert state == whole


@hypothesis_settings(max_examples=40, deadline=None)
@given(searches(), st.integers(0, 2), st.integers(10, 5000), st.integers(0, 9), st.booleans())
def test_trainings_outside_the_path_change_nothing(
    pair: tuple[Settings, Truth], level: int, value: int, number: int, success: bool
):
    settings, truth = pair
    state, outcomes = search(settings, truth)
    other = {Trial(level, value, number): success, **outcomes}
    assert threshold.progress(settings, other) == state
    assert threshold.results_on_path(state, other) == threshold.results_on_path(state, outcomes)


@hypothesis_settings(max_examples=40, deadline=None)
@given(searches())
def test_a_search_keeps_its_limits(pair: tuple[Settings, Truth]):
    settings, truth = pair
    state, outcomes = search(settings, truth)
    searched = [trial for trial in outcomes if trial.level == 0]
    assert len(searched) <= settings.most
    assert len(outcomes) <= threshold.most_trainings(settings)
    per_value = Counter(trial.value for trial in searched)
    assert max(per_value.values()) <= settings.seeds
    numbers = [trial.number for trial in sorted(searched)]
    assert max(numbers) < settings.seeds
    assert all(settings.low <= trial.value <= settings.high for trial in outcomes)
    assert sum(map(len, state.rounds)) == len(outcomes)
    assert max(trial.level for trial in outcomes) <= settings.doublings
    for trial in outcomes:
        for level in range(trial.level):
            assert outcomes.get(replace(trial, level=level), False) is False


@hypothesis_settings(max_examples=30, deadline=None)
@given(searches(), st.sampled_from([1.05, 1.1]))
def test_a_smaller_ratio_continues_the_same_path(pair: tuple[Settings, Truth], until: float):
    settings = replace(pair[0], doublings=0)
    coarse, _ = search(settings, pair[1])
    fine, _ = search(replace(settings, until=until), pair[1])
    assert fine.rounds[: len(coarse.rounds)] == coarse.rounds


@pytest.mark.parametrize("n50", [61, 300, 2500, 5900])
@pytest.mark.parametrize("method", ["posterior", "bisect"])
def test_a_sharp_threshold_lies_within_the_interval(method: Any, n50: float):
    settings = replace(DEFAULT, method=method)
    found = result(settings, lambda trial: trial.value <= n50)
    assert found.status == "ok"
    assert found.low <= n50 <= found.high
    assert found.n50 == pytest.approx(n50, rel=0.12)
    assert found.n_largest <= n50 < found.n_first_failure
    assert not found.hole
    assert not found.island


def test_intervals_cover_planted_thresholds_as_often_as_they_say():
    covered = 0
    for seed in range(40):
        n50 = math.exp(np.random.default_rng(seed).uniform(math.log(60), math.log(6000)))
        found = result(DEFAULT, curve(n50, seed=seed))
        covered += found.low <= n50 <= found.high
    assert covered >= 32


def test_lapses_widen_the_interval():
    settings = replace(DEFAULT, until=1.01, most=24, verify=False)  # equally many trainings
    widths = {}
    for lapse in (0.0, 0.1):
        found = [result(settings, curve(700, 0.12, lapse, seed)) for seed in range(30)]
        widths[lapse] = np.mean([math.log(each.high / each.low) for each in found])
    assert widths[0.1] > 1.1 * widths[0.0]


def test_lapses_do_not_pull_the_estimate_down():
    errors = [math.log(result(DEFAULT, curve(700, 0.12, 0.1, i)).n50 / 700) for i in range(30)]
    assert abs(np.mean(errors)) < 0.06


def test_failures_far_below_the_threshold_are_a_hole():
    _, outcomes = search(replace(DEFAULT, verify=False), lambda trial: trial.value <= 1000)
    failures = {Trial(0, 45, number): False for number in range(2)}
    assert not threshold.estimate(DEFAULT, list(outcomes.items())).hole
    found = threshold.estimate(DEFAULT, list((outcomes | failures).items()))
    assert (found.hole, found.island) == (True, False)
    assert found.n_first_failure == 45


def test_a_search_survives_holes():
    truth = with_range(lambda trial: trial.value <= 1000, 117, 150, False)
    found = result(DEFAULT, truth)
    assert found.low <= 1000 <= found.high
    assert found.n_first_failure == 117


def test_a_fit_far_above_the_threshold_is_an_island():
    truth = with_range(lambda trial: trial.value <= 200, 2000, 2500, True)
    found = result(DEFAULT, truth)
    assert found.island
    assert found.n_largest == 2233


def test_where_success_rises_holes_and_islands_change_sides():
    settings = replace(DEFAULT, falling=False, until=1.01)  # most trainings outweigh the odd one
    _, outcomes = search(settings, lambda trial: trial.value >= 1000)
    success = {Trial(0, 45, 0): True}
    failures = {Trial(0, 9742, number): False for number in range(2)}
    below = threshold.estimate(settings, list((outcomes | success).items()))
    above = threshold.estimate(settings, list((outcomes | failures).items()))
    assert (below.hole, below.island) == (False, True)
    assert (above.hole, above.island) == (True, False)
    assert (below.n_largest, above.n_first_failure) == (45, 9742)


@pytest.mark.parametrize("method", ["posterior", "bisect", "ladder"])
@pytest.mark.parametrize("falling", [True, False])
@pytest.mark.parametrize("success", [True, False])
def test_a_threshold_outside_the_range_is_censored(method: Any, falling: bool, success: bool):
    settings = replace(DEFAULT, method=method, falling=falling, doublings=2)
    state, outcomes = search(settings, lambda trial: success)
    side = "above" if success == falling else "below"
    found = threshold.estimate(settings, list(outcomes.items()))
    assert state.finished == found.status == side
    assert found.n50 is None
    assert (found.high if side == "above" else found.low) is None
    assert settings.low <= found.bound <= settings.high
    assert (found.n_largest is None) == (not success)
    assert (found.n_first_failure is None) == success


def test_a_censored_search_stops_early():
    _, outcomes = search(DEFAULT, lambda trial: True)
    assert len(outcomes) <= 18


def test_noise_alone_uses_all_trainings_and_says_so():
    found = result(DEFAULT, curve(700, 5.0, 0.0, 3))
    assert found.status in ("most", "above", "below")
    assert found.trainings == DEFAULT.most


def test_integers_stay_integers_on_the_common_lattice():
    _, outcomes = search(DEFAULT, curve(700))
    lattice = {round(2 ** (j / 8)) for j in range(200)}
    assert all(type(trial.value) is int and trial.value in lattice for trial in outcomes)


def test_values_of_floats_have_nine_digits_at_most():
    settings = replace(DEFAULT, low=1e-4, high=1.0, integer=False)
    _, outcomes = search(settings, curve(0.03))
    assert all(type(trial.value) is float for trial in outcomes)
    assert all(trial.value == float(f"{trial.value:.9g}") for trial in outcomes)


@pytest.mark.parametrize("place", [0.055, 0.375, 0.815])
def test_a_linear_lattice_finds_a_threshold(place: float):
    _, outcomes = search(LINEAR, lambda trial: trial.value >= place)
    found = threshold.estimate(LINEAR, list(outcomes.items()))
    assert found.status == "ok"
    assert found.low <= place <= found.high
    assert found.high - found.low < max(0.3 * place, 0.01)
    assert {round(trial.value * 100) / 100 for trial in outcomes} == {t.value for t in outcomes}


def test_a_linear_lattice_of_integers_holds_integers():
    settings = replace(LINEAR, low=1, high=40, step=1, integer=True)
    _, outcomes = search(settings, lambda trial: trial.value >= 17)
    assert all(type(trial.value) is int for trial in outcomes)


def test_neighbouring_integers_are_told_apart():
    settings = replace(DEFAULT, low=1, high=64, falling=False)
    found = result(settings, lambda trial: trial.value >= 4)
    assert found.status == "ok"
    assert 3 < found.n50 < 4


def test_where_seeds_run_out_neighbours_are_trained():
    settings = replace(DEFAULT, seeds=1, verify=False)
    _, outcomes = search(settings, curve(700, 0.3))
    assert {trial.number for trial in outcomes} == {0}


def test_a_search_without_further_seeds_is_exhausted():
    settings = replace(DEFAULT, low=4, high=6, seeds=1, verify=False)
    state, outcomes = search(settings, lambda trial: trial.value == 5)
    assert state.finished in ("exhausted", "above", "below")
    assert len(outcomes) == 3


def test_verification_comes_once_and_around_the_estimate():
    plain, _ = search(replace(DEFAULT, verify=False), lambda trial: trial.value <= 700)
    verified, _ = search(DEFAULT, lambda trial: trial.value <= 700)
    assert verified.rounds[: len(plain.rounds)] == plain.rounds
    extra = [trial for trials in verified.rounds[len(plain.rounds) :] for trial in trials]
    indices = sorted(round(8 * math.log2(trial.value)) for trial in extra)
    centre = (indices[3] + indices[4]) // 2
    assert [index - centre for index in indices] == [-12, -8, -5, -3, 3, 5, 8, 12]
    assert 2 ** (centre / 8) == pytest.approx(700, rel=0.1)


def test_doublings_train_near_failures_again_and_move_the_estimate():
    settings = replace(DEFAULT, doublings=2, verify=False)
    truth = curve(700, 0.12, seed=1)
    state, outcomes = search(settings, truth)
    results = threshold.results_on_path(state, outcomes)
    first = threshold.estimate(settings, [pair for pair in results if pair[0].level == 0])
    last = threshold.estimate(settings, results)
    repeated = [trial for trial in outcomes if trial.level == 1]
    assert repeated
    assert all(trial.value <= 1.25 * first.high for trial in repeated)
    assert last.n50 > 1.1 * first.n50


def test_a_small_shift_of_a_linear_axis_saturates_also_around_zero():
    """From -0.003 to 0.003 is a third of a step; their ratio says nothing."""
    settings = replace(LINEAR, low=-0.5, high=0.5, step=0.02, falling=True)
    values = [float(value) for value in np.round(np.arange(-25, 26) * 0.02, 9)]

    def after(fits_at_zero: int, n50: float = 0.0) -> threshold.Posterior:
        results = []
        for trial in (Trial(0, value, number) for value in values for number in range(3)):
            is_hard = trial.value == n50 and trial.number >= fits_at_zero
            results.append((trial, trial.value <= n50 and not is_hard))
        return threshold.posterior(settings, results)

    one, two, far = after(1), after(2), after(2, n50=0.1)
    assert one.quantile(0.5) < 0 < two.quantile(0.5)
    assert threshold.is_saturated(settings, one, two)
    assert not threshold.is_saturated(settings, one, far)


def test_a_search_whose_interval_doublings_made_wide_is_not_called_narrow():
    """All failures near n50 turn into fits: what is left are fits below and failures far above."""
    settings = replace(DEFAULT, doublings=2, verify=False)
    state, outcomes = search(settings, lambda trial: trial.value <= 700 * 2 ** (trial.level / 2.4))
    first = replace(settings, doublings=0)
    assert threshold.progress(first, outcomes).finished == "converged"
    found = threshold.estimate(settings, threshold.results_on_path(state, outcomes))
    assert found.high / found.low > settings.until**2
    assert (state.finished, found.status) == ("exhausted", "exhausted")


def test_doublings_stop_when_the_estimate_does_not_move():
    settings = replace(DEFAULT, doublings=2, verify=False)
    _, outcomes = search(settings, lambda trial: trial.value <= 700)
    assert {trial.level for trial in outcomes} == {0, 1}


def test_nothing_is_known_without_outcomes():
    empty = threshold.estimate(DEFAULT, [])
    assert (empty.n50, empty.status, empty.trainings) == (None, "open", 0)


def test_an_unfinished_search_has_an_estimate_and_is_open():
    state = threshold.progress(DEFAULT, {})
    half = {trial: trial.value < 500 for trial in state.open[:4]}
    found = threshold.estimate(DEFAULT, list(half.items()))
    assert found.status == "open"
    assert found.low < 500 < found.high


def test_the_first_round_spreads_over_the_range():
    state = threshold.progress(DEFAULT, {})
    assert [trial.value for trial in state.open] == [41, 117, 304, 861, 2233, 6317]
    assert state.finished is None


def test_the_posterior_is_that_of_a_direct_sum():
    outcomes = [(Trial(0, 512, 0), True), (Trial(0, 724, 0), False)]
    belief = threshold.posterior(DEFAULT, outcomes)
    expected = np.zeros_like(belief.weights)
    for i, m in enumerate(belief.positions):
        for j, s in enumerate(belief.slopes):
            for k, (lapse, weight) in enumerate(
                zip(posterior.LAPSES, posterior.LAPSE_WEIGHTS, strict=True)
            ):
                fit = [(1 - lapse) / (1 + math.exp((math.log(n) - m) / s)) for n in (512, 724)]
                low, high = (min(max(p, 1e-6), 1 - 1e-6) for p in fit)
                expected[i, j, k] = weight * low * (1 - high)
    np.testing.assert_allclose(belief.weights, expected / expected.sum(), rtol=1e-9)
    assert belief.positions[0] == pytest.approx(math.log(8))
    assert belief.positions[-1] == pytest.approx(math.log(32768))


def test_fit_probabilities_fall_with_n():
    outcomes = [(Trial(0, 512, 0), True), (Trial(0, 724, 0), False)]
    values = threshold.fit_probability(DEFAULT, outcomes, [64, 600, 8192])
    assert values[0] > 0.8 > values[1] > 0.2 > values[2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"step": 0.1}, "exactly one"),
        ({"low": 0}, "above 0"),
        ({"low": 17, "high": 18}, "widen the range"),
        ({"until": 1.0}, "ratio above 1"),
        ({"seeds": 0}, "at least 1"),
    ],
)
def test_settings_that_contradict_are_refused(change: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        replace(DEFAULT, **change)


def test_replaying_a_whole_search_is_fast():
    _, outcomes = search(DEFAULT, curve(700, 0.3, seed=2))
    seconds = []
    for _ in range(3):
        posterior._likelihood.cache_clear()
        start = time.process_time()
        threshold.progress(DEFAULT, outcomes)
        seconds.append(time.process_time() - start)
    assert min(seconds) < 0.05


def coverage(settings: Settings, count: int) -> float:
    """Share of searches whose interval holds n50 where the training sets of a seed are nested, and
    most of the variance is between seeds."""
    covered = 0
    for repeat in range(count):
        hardness = np.random.default_rng(repeat).normal(0.0, 0.25, settings.seeds)

        def succeeds(trial: Trial, hardness: np.ndarray = hardness) -> bool:
            return trial.value < 300 * math.exp(hardness[trial.number])

        estimate = result(settings, succeeds)
        if estimate.low is not None and estimate.high is not None:
            covered += estimate.low <= 300 <= estimate.high
    return covered / count


def test_seeds_take_turns_so_that_few_trainings_share_one():
    for seeds in (36, 8):
        settings = replace(DEFAULT, seeds=seeds)
        state, _ = search(settings, curve(300))
        uses = Counter(trial.number for trials in state.rounds for trial in trials)
        assert max(uses.values()) <= math.ceil(sum(uses.values()) / seeds) + 1
    assert max(uses.values()) > 1


def test_intervals_hold_n50_where_the_outcomes_of_a_seed_are_alike():
    settings = replace(DEFAULT, verify=False, until=1.2, most=18, seeds=18)
    assert coverage(settings, 60) > 0.8
