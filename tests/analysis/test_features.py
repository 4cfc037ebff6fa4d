"""Features and their intervals, against direct computations and the published table."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from analysis.double_descent import published
from analysis.stats import features
from analysis.stats.features import Bootstrap

CURVES = arrays(np.float64, st.integers(1, 60), elements=st.floats(0, 1, width=32))
# column: first minimum, its epoch, peak, its epoch, mean of the last twenty epochs
TABLE = {
    17: (0.2135, 75, 0.2890, 632, 0.2783),
    20: (0.2164, 50, 0.2856, 325, 0.2664),
    25: (0.2231, 36, 0.2859, 149, 0.2530),
    30: (0.2230, 33, 0.2967, 92, 0.2446),
    40: (0.2097, 25, 0.2805, 79, 0.2223),
    60: (0.2021, 28, 0.2713, 78, 0.1997),
    91: (0.1947, 25, 0.2607, 72, 0.1881),
}


def bump(seeds: int = 5, height: float = 0.1, noise: float = 0.002) -> np.ndarray:
    t = np.arange(1, 301)
    clean = 0.15 + 0.5 / t + height * np.exp(-((np.log(t / 70) / 0.4) ** 2))
    return clean + np.random.default_rng(0).normal(0, noise, (seeds, 300))


@given(CURVES, st.sampled_from([1, 3, 5, 11]))
def test_smoothing_is_the_mean_of_what_the_window_covers(curve: np.ndarray, window: int):
    h = window // 2
    direct = [curve[max(0, i - h) : i + h + 1].mean() for i in range(len(curve))]
    np.testing.assert_allclose(features.smooth(curve, window), direct, atol=1e-12)


@pytest.mark.parametrize("window", [0, -1, 4])
def test_a_window_without_a_centre_is_refused(window: int):
    with pytest.raises(ValueError, match="odd, positive"):
        features.smooth(np.ones(5), window)


@given(CURVES)
def test_features_obey_their_definition(curve: np.ndarray):
    result, s = features.features(curve, 5, last=20), features.smooth(curve, 5)
    low, peak = int(result.first_minimum_epoch) - 1, int(result.peak_epoch) - 1
    assert low <= peak
    assert result.first_minimum == s[low] == s[: peak + 1].min()
    rises = s - np.minimum.accumulate(s)
    assert result.rise == rises.max() == s[peak] - s[low]
    assert result.second_descent == s[peak] - result.final
    np.testing.assert_allclose(result.final, curve[-20:].mean(), atol=1e-12)


def test_the_end_of_a_curve_is_its_last_logged_value_unless_more_are_asked_for():
    curve = [0.5, 0.4, 0.3, 0.1]
    assert features.final(curve) == 0.1
    assert features.final(curve, last=2) == pytest.approx(0.2)
    assert features.final(curve, epochs=[1, 2, 3, 50], last=2) == 0.1


def test_a_falling_curve_has_no_rise():
    result = features.features(1 / np.arange(1, 50))
    assert (result.rise, result.peak_epoch, result.first_minimum_epoch) == (0, 49, 49)


@pytest.mark.parametrize("window", [1, 5, 11])
def test_a_curve_that_stays_where_it_is_never_rises(window: int):
    flat = features.features(np.full(60, 0.1), window)
    assert (flat.rise, flat.peak_epoch, flat.first_minimum_epoch) == (0, 1, 1)
    shorter_than_its_window = features.features(np.array([0.3, 0.1, 0.7]), window=11)
    assert (shorter_than_its_window.rise, shorter_than_its_window.peak_epoch) == (0, 1)
    falls_then_flat = np.concatenate([np.linspace(0.9, 0.1, 20), np.full(80, 0.1)])
    result = features.features(falls_then_flat, window)
    assert (result.rise, result.first_minimum) == (0, 0.1)
    assert result.peak_epoch == result.first_minimum_epoch == 20 + window // 2


def test_smoothing_forgets_a_spike_outside_its_window():
    curve = np.array([1e30] + [0.3] * 20)
    assert features.smooth(curve, 5)[3:].tolist() == [0.3] * 18


def test_many_curves_at_once_equal_one_at_a_time():
    curves = bump(7)
    batch = features.features(curves)
    for i, curve in enumerate(curves):
        single = features.features(curve)
        assert all(
            getattr(batch, f)[i] == pytest.approx(getattr(single, f), abs=1e-12)
            for f in features.FIELDS
        )


def test_epochs_with_gaps_are_reported_as_they_were_logged():
    epochs = np.unique(np.geomspace(1, 300, 60).round().astype(int))
    result = features.features(bump(1, noise=0)[0][epochs - 1], 3, epochs, last=20)
    assert result.peak_epoch in epochs
    assert 60 < result.peak_epoch < 80
    assert result.final == pytest.approx(bump(1, noise=0)[0][epochs[epochs > 280] - 1].mean())


@pytest.mark.parametrize("bad", [np.array([]), np.array([0.1, np.nan])])
def test_curves_with_gaps_in_them_are_refused(bad: np.ndarray):
    with pytest.raises(ValueError, match="not finite"):
        features.features(bad)


def test_epochs_must_match_and_increase():
    with pytest.raises(ValueError, match="expected 3 increasing epoch numbers"):
        features.features(np.ones(3), 1, [1, 1, 2])


def test_threshold_epoch_is_the_first_below_or_nan():
    curves = np.array([[0.5, 0.2, 0.01, 0.3], [0.5, 0.4, 0.3, 0.2]])
    np.testing.assert_array_equal(
        features.threshold_epoch(curves, 0.05, [1, 10, 20, 30]), [20, np.nan]
    )


def test_the_published_table_is_reproduced(reference):
    mean = np.load(reference / "resnet-test-errors_mean.npy")
    result = features.features(mean.T, last=features.PUBLISHED_LAST)
    for column, (low, low_epoch, peak, peak_epoch, final) in TABLE.items():
        assert result.first_minimum[column] == pytest.approx(low, abs=1e-4)
        assert result.peak[column] == pytest.approx(peak, abs=1e-4)
        assert result.final[column] == pytest.approx(final, abs=1e-4)
        assert (result.first_minimum_epoch[column], result.peak_epoch[column]) == (
            low_epoch,
            peak_epoch,
        )


def test_the_features_of_every_published_column_are_reproduced(reference):
    table = pd.read_csv(reference / "resnet_features_per_lambda.csv")
    _, curves = published.read(reference)
    errors = curves["test_error"].to_numpy().reshape(92, 1001)
    result = features.features(errors, last=features.PUBLISHED_LAST)
    np.testing.assert_array_equal(result.first_minimum_epoch, table["saved_first_min_epoch"])
    np.testing.assert_array_equal(result.peak_epoch, table["saved_peak_epoch"])
    for field, column in (
        ("first_minimum", "first_min_err"),
        ("peak", "peak_err"),
        ("final", "last20_err"),
    ):
        np.testing.assert_allclose(getattr(result, field), table[f"saved_{column}"], atol=1e-5)
    np.testing.assert_allclose(result.rise, table["saved_rise"], atol=2e-5)
    np.testing.assert_allclose(result.second_descent, table["saved_second_descent"], atol=2e-5)


def test_the_bootstrap_equals_a_direct_loop_over_the_same_draws():
    curves = bump(4)
    result = features.bootstrap(curves, draws=Bootstrap(50, 3, 0.9))
    draws = np.random.default_rng(3).multinomial(4, [0.25] * 4, 50)
    direct = [features.features(np.repeat(curves, d, axis=0).mean(axis=0)) for d in draws]
    for field in features.FIELDS:
        low, high = np.quantile([getattr(d, field) for d in direct], [0.05, 0.95])
        assert getattr(result.low, field) == pytest.approx(low, rel=1e-5)
        assert getattr(result.high, field) == pytest.approx(high, rel=1e-5)


def test_intervals_hold_the_estimate_and_repeat_with_the_seed():
    curves = bump()
    result, repeat = features.bootstrap(curves), features.bootstrap(curves)
    centre = features.features(curves.mean(axis=0))
    assert result == repeat
    assert result.low.peak <= centre.peak <= result.high.peak
    assert result.low.peak < result.high.peak


def test_one_seed_has_no_interval():
    result = features.bootstrap(bump(1))
    assert np.isnan([getattr(result.low, f) for f in features.FIELDS]).all()


def test_a_threshold_interval_is_open_where_seeds_never_get_below() -> None:
    epochs = np.arange(1, 101)
    seeds = np.stack([np.clip(1 - epochs / n, 0, 1) for n in (40, 50, 60, 70)])
    low, high = features.threshold_interval(seeds, 0.1, epochs)
    assert low < features.threshold_epoch(seeds.mean(axis=0), 0.1, epochs) < high
    assert features.threshold_interval(seeds, 0.1, epochs) == (low, high)
    seeds[2:] = 1.0
    low, high = features.threshold_interval(seeds, 0.1, epochs)
    assert np.isnan(high)
    assert np.isnan(features.threshold_interval(seeds[:1], 0.1, epochs)).all()
