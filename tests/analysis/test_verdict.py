"""The double-descent criterion on planted bumps and on noise."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.figure import provenance
from analysis.stats import features, verdict
from analysis.stats.verdict import Criterion


def bump(seeds: int = 5, height: float = 0.1, noise: float = 0.002) -> np.ndarray:
    t = np.arange(1, 301)
    clean = 0.15 + 0.5 / t + height * np.exp(-((np.log(t / 70) / 0.4) ** 2))
    return clean + np.random.default_rng(0).normal(0, noise, (seeds, 300))


def test_a_bump_over_several_seeds_is_double_descent():
    judgement = verdict.has_double_descent(bump())
    assert judgement.double_descent
    assert "standard errors" in judgement.reason or "floor" in judgement.reason


@pytest.mark.parametrize("height", [0.0, 0.002])
def test_noise_is_not_double_descent(height: float):
    judgement = verdict.has_double_descent(bump(height=height, noise=0.004))
    assert not judgement.double_descent
    assert "<=" in judgement.reason


def test_a_rise_without_a_descent_is_not_double_descent():
    t = np.arange(1, 301)
    judgement = verdict.has_double_descent(0.2 + 0.3 / t + 0.1 / (1 + np.exp(-(t - 80) / 10)))
    assert not judgement.double_descent
    assert "spread over seeds unknown" in judgement.reason


def test_a_bump_within_the_spread_of_seeds_is_not_found():
    curves = bump(3, noise=0)
    curves[0] += 3 * (curves[0] - curves[0].min())
    assert not verdict.has_double_descent(
        curves - 0.09 * (curves - curves.min()), criterion=Criterion(factor=6.0)
    ).double_descent


def test_judging_uses_the_larger_of_floor_and_errors():
    assert verdict.judge(0.01, 0.01).double_descent
    assert verdict.judge(0.01, 0.01, (0.001, 0.001)).double_descent
    assert not verdict.judge(0.01, 0.01, (0.006, 0.001)).double_descent
    assert not verdict.judge(0.004, 0.01, (0.0, 0.0)).double_descent


@settings(max_examples=30)
@given(st.integers(2, 6))
def test_the_standard_error_is_that_of_the_mean(n: int):
    values = np.arange(n, dtype=float)
    assert verdict.standard_error(values) == pytest.approx(values.std(ddof=1) / np.sqrt(n))


def test_noise_alone_is_seldom_double_descent() -> None:
    rng = np.random.default_rng(0)
    result = naive = 0
    for _ in range(100):
        curves = 0.3 / np.arange(1, 151) + 0.1 + rng.normal(0, 0.02, (5, 150))
        mean = features.features(curves.mean(axis=0), 5, last=20)
        naive += verdict.judge(float(mean.rise), float(mean.second_descent)).double_descent
        result += verdict.has_double_descent(curves, 5, last=20).double_descent
    assert naive > 90
    assert result <= 10


def test_held_out_rises_are_those_of_a_bump_that_all_seeds_share() -> None:
    rise, descent = verdict.held_out(bump(height=0.1, noise=0.0), 1)
    curve_features = features.features(bump(height=0.1, noise=0.0).mean(axis=0), 1)
    np.testing.assert_allclose(rise, curve_features.rise, atol=1e-12)
    np.testing.assert_allclose(descent, curve_features.second_descent, atol=1e-12)


def test_of_two_columns_without_descent_the_one_that_rises_more_is_closest():
    features = pd.DataFrame(
        {
            "lambda": [0.0, 0.2],
            "n_seeds": [3, 3],
            "double_descent": [False, False],
            "rise": [0.0, 0.03],
            "second_descent": [0.0, 0.0],
            "reason": ["flat", "it rises"],
        }
    )
    assert provenance.summary(features).endswith("closest at lambda 0.2: it rises")
    assert provenance.summary(features[::-1]).endswith("closest at lambda 0.2: it rises")
