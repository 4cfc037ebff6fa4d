"""The censored line of the time to fit, on planted times."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.stats import time_to_fit


def planted(
    seed: int, budget: float = 3000, trainings: int = 30
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """n, steps and fits of T = 3000 (n / 700)^2.4 with noise 0.35, seen at 12 checks a decade."""
    random = np.random.default_rng(seed)
    n = np.exp(random.uniform(np.log(100), np.log(1500), trainings))
    times = 3000 * (n / 700) ** 2.4 * np.exp(0.35 * random.normal(size=trainings))
    checks = 10 ** (np.ceil(12 * np.log10(times)) / 12)
    fitted = checks <= budget
    return n, np.where(fitted, checks, budget), fitted


def test_the_planted_line_is_recovered():
    lines = [time_to_fit.fit(*planted(seed)) for seed in range(20)]
    exponents = np.array([line.exponent for line in lines])
    errors = np.array([np.sqrt(line.covariance[1, 1]) for line in lines])
    assert abs(exponents.mean() - 2.4) < 0.08
    assert np.mean([line.noise for line in lines]) == pytest.approx(0.35, abs=0.06)
    assert np.mean([line.n50(3000) for line in lines]) == pytest.approx(700, rel=0.05)
    assert 0.5 < np.std(exponents) / errors.mean() < 2


def test_n50_grows_with_the_budget_as_the_exponent_says():
    line = time_to_fit.fit(*planted(1))
    half, whole = line.n50([1500, 3000])
    assert whole / half == pytest.approx(2 ** (1 / line.exponent))


def test_the_line_is_not_extrapolated():
    line = time_to_fit.fit(*planted(1))
    with pytest.raises(ValueError, match="at most 3000"):
        line.n50(6000)


def test_few_fits_give_no_line():
    n, steps, fitted = planted(1)
    fitted[np.flatnonzero(fitted)[2:]] = False
    assert time_to_fit.fit(n, steps, fitted) is None


def test_fits_alone_give_a_line():
    n, steps, fitted = planted(3, budget=1e9)
    assert fitted.all()
    assert time_to_fit.fit(n, steps, fitted).exponent == pytest.approx(2.4, abs=0.4)
