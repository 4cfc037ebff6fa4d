"""The closed forms against published numbers, against the paper's formula in 60 digits, and in
their limits.
"""

from __future__ import annotations

import csv

import mpmath
import numpy as np
import pytest

from analysis.theory.curves import turning_points
from analysis.theory.teacher_student import Setting, fast_slow, ridge_asymptotics

TIMES = 10 ** np.linspace(-3, 8, 300)
PLAIN = Setting(150, 100, 70, 100.0)
FROZEN = {"both": None, "fast": "slow", "slow": "fast"}


def paper(t, n, d, p, kappa, sigma=0.0, weight_decay=0.0, digits=60):
    """R, Q and error by the formula as the paper writes it, in `digits` digits, so that
    cancellation does not show.
    """
    with mpmath.workdps(digits):
        f = mpmath.mpf
        ridge = f(weight_decay) + 1 / f(t)
        aa, bb, rr = [], [], []
        for size, s in ((p, f(1) / 2), (d - p, f(1) / 2 / f(kappa))):
            alpha, lam = f(n) / size, ridge / (f(size) / d * s**2)
            u = 1 - alpha - lam
            a = 1 + 2 * lam / (u + mpmath.sqrt(u**2 + 4 * lam))
            aa.append(a)
            bb.append(alpha / (a**2 - alpha))
            rr.append(f(n) / d / a)
        c = [1 + f(sigma) ** 2 - 2 * rr[1 - i] - (2 - aa[i]) / aa[i] * f(n) / d for i in (0, 1)]
        product = bb[0] * bb[1]
        q = ((product * c[1] + bb[0] * c[0]) + (product * c[0] + bb[1] * c[1])) / (1 - product)
        r = rr[0] + rr[1]
        return float(r), float(q), float((1 + f(sigma) ** 2 - 2 * r + q) / 2)


def test_every_published_curve_is_reproduced(theory_reference):
    with (theory_reference / "analytic_fast_slow_reference.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 1464
    worst = 0.0
    for r in rows:
        sizes = int(r["n"]), int(r["d"]), int(r["p"])
        setting = Setting(*sizes, float(r["kappa"]), float(r["noise"]), float(r["lambda"]))
        result = fast_slow(setting, float(r["t"]), FROZEN[r["mode"]])
        expected = [float(r[name]) for name in ("R", "Q", "EG")]
        worst = max(worst, *(abs(a - b) for a, b in zip(result, expected, strict=True)))
    assert worst < 1e-6


@pytest.mark.parametrize(
    ("n", "d", "p", "kappa", "noise", "decay"),
    [
        (173, 91, 37, 13.0, 0.3, 1e-6),
        (101, 100, 50, 300.0, 0.0, 0.0),
        (150, 100, 70, 1e6, 0.1, 0.0),
        (2000, 150, 10, 5.0, 1.0, 1e-3),
        (60, 100, 20, 50.0, 0.0, 0.01),
        (70, 100, 70, 10.0, 0.2, 0.1),
    ],
)
def test_other_parameters_agree_with_the_formula_in_60_digits(n, d, p, kappa, noise, decay):
    times = 10.0 ** np.arange(-6, 10.5, 1.5)
    result = fast_slow(Setting(n, d, p, kappa, noise, decay), times)
    expected = np.array([paper(t, n, d, p, kappa, noise, decay) for t in times]).T
    valid = expected[2] > 0
    assert valid.sum() >= 4
    for values, reference in zip(result, expected, strict=True):
        np.testing.assert_allclose(values[valid], reference[valid], rtol=1e-11, atol=0)


def test_late_errors_keep_digits_that_the_order_parameters_lose():
    result = fast_slow(PLAIN, 1e12)
    assert result.error == pytest.approx(paper(1e12, 150, 100, 70, 100.0)[2], rel=1e-12)
    assert result.error < 1e-14


def test_times_decays_and_kappas_broadcast():
    times, decays, kappas = (
        TIMES[:, None, None],
        np.array([0, 1e-3, 0.1])[:, None],
        np.array([1, 30]),
    )
    for function in (fast_slow, ridge_asymptotics):
        grid = function(Setting(120, 100, 80, kappas, 0.2, decays), times)
        assert [part.shape for part in grid] == [(300, 3, 2)] * 3
        one = function(Setting(120, 100, 80, 30, 0.2, 1e-3), TIMES[7])
        assert [float(part[7, 1, 1]) for part in grid] == pytest.approx(
            [float(part) for part in one], rel=1e-14
        )


@pytest.mark.parametrize("function", [fast_slow, ridge_asymptotics])
def test_learned_to_the_end_the_student_is_the_teacher(function):
    result = function(PLAIN, np.inf)
    assert [float(part) for part in result] == pytest.approx([1, 1, 0], abs=1e-12)
    noisy = function(Setting(150, 100, 70, 100.0, 0.3), np.inf)
    assert noisy.error == pytest.approx(0.5 * 0.09 / (1 - 100 / 150))
    assert float(noisy.R) == pytest.approx(1)


@pytest.mark.parametrize("function", [fast_slow, ridge_asymptotics])
def test_untrained_the_student_knows_nothing(function):
    result = function(Setting(150, 100, 70, 100.0, 0.2), 0.0)
    assert (result.R, result.Q) == (0, 0)
    assert result.error == pytest.approx(0.52)


@pytest.mark.parametrize("function", [fast_slow, ridge_asymptotics])
@pytest.mark.parametrize(
    ("n", "d", "p", "plateau"),
    [(150, 100, 70, 0.28125), (110, 100, 70, 0.4125), (120, 100, 90, 0.2), (110, 100, 30, 0.48125)],
)
def test_slow_features_never_learned_leave_a_plateau(function, n, d, p, plateau):
    expected = 0.5 * (1 - p / d) / (1 - p / n)
    assert expected == pytest.approx(plateau)
    assert function(Setting(n, d, p, np.inf), np.inf).error == pytest.approx(expected, rel=1e-12)
    assert function(Setting(n, d, p, 1e9), 1e8).error == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("function", [fast_slow, ridge_asymptotics])
def test_error_is_that_of_its_order_parameters(function):
    result = function(Setting(120, 100, 80, 40.0, 0.2, 1e-5), TIMES)
    np.testing.assert_allclose(result.error, 0.5 * (1.04 - 2 * result.R + result.Q), atol=1e-13)


def test_with_one_block_both_closed_forms_are_one_formula():
    for p in (0, 100):
        setting = Setting(150, 100, p, 7.0, 0.1, 1e-3)
        one, two = fast_slow(setting, TIMES), ridge_asymptotics(setting, TIMES)
        np.testing.assert_allclose(one, two, rtol=1e-10)


def test_ridge_asymptotics_are_the_mean_of_large_ridge_problems():
    generator = np.random.default_rng(3)
    n, d, p, kappa, noise, penalty = 1500, 1000, 700, 6.0, 0.3, 0.05
    scales = np.where(np.arange(d) < p, 1, 1 / kappa)
    errors = []
    for _ in range(3):
        z, w = generator.standard_normal((n, d)) / np.sqrt(d), generator.standard_normal(d)
        x, y = z * scales, z @ w + noise * generator.standard_normal(n)
        student = scales * np.linalg.solve(x.T @ x + penalty * np.eye(d), x.T @ y)
        errors.append(0.5 * (np.mean((student - w) ** 2) + noise**2))
    setting = Setting(n, d, p, kappa, noise, penalty)
    exact = ridge_asymptotics(setting, np.inf, scales=(1, 1)).error
    assert np.mean(errors) == pytest.approx(float(exact), rel=0.03)


def test_distance_of_the_closed_forms_is_the_known_one():
    for setting, gap in (
        (PLAIN, 0.051),
        (Setting(110, 100, 70, 100), 0.114),
        (Setting(120, 100, 80, 40, 0.2, 1e-8), 0.084),
    ):
        pair = [function(setting, TIMES).error for function in (fast_slow, ridge_asymptotics)]
        assert np.abs(pair[0] - pair[1]).max() == pytest.approx(gap, abs=5e-4)


def test_a_frozen_block_does_not_move():
    fast = fast_slow(PLAIN, TIMES, frozen_block="slow")
    slow = fast_slow(PLAIN, TIMES, frozen_block="fast")
    assert fast.R[-1] == pytest.approx(0.7, abs=1e-6)
    assert slow.R[0] == pytest.approx(0.7, abs=1e-6)
    assert slow.error[0] == pytest.approx(0.28125, abs=1e-5)
    single = fast_slow(PLAIN, 5.0, frozen_block="slow")
    assert single.error == pytest.approx(float(np.interp(5, TIMES, fast.error)), abs=1e-4)


def test_fewer_samples_than_features_give_nan_out_of_range():
    setting, times = Setting(60, 100, 50, 10.0), 10.0 ** np.arange(-3, 9)
    error = fast_slow(setting, times).error
    assert np.isfinite(error[0])
    assert np.isnan(error[-1])
    assert np.isfinite(ridge_asymptotics(setting, times).error).all()


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match="0 <= p <= d"):
        Setting(10, 10, 11, 2.0)
    with pytest.raises(ValueError, match="negative"):
        ridge_asymptotics(Setting(10, 10, 5, 2.0), -1.0)
    with pytest.raises(ValueError, match="'fast' or 'slow'"):
        fast_slow(Setting(10, 10, 5, 2.0), 1.0, frozen_block="both")


STEP = 10 ** (11 / 299) - 1  # relative distance of two times of the grid
FEATURES = [
    ((150, 100, 70), 100, 0, 0, "slow", [("minimum", 14.2, 0.2329)]),
    ((150, 100, 70), 100, 0, 0, "fast", []),
    ((150, 100, 70), 100, 0, 0, None, [("minimum", 14.2, 0.2327), ("maximum", 331, 0.2677)]),
    ((120, 100, 70), 100, 0, 0, None, [("minimum", 14.2, 0.2540), ("maximum", 598, 0.3356)]),
    ((150, 100, 80), 100, 0, 0, None, [("minimum", 21.2, 0.1758), ("maximum", 392, 0.2018)]),
    ((300, 280, 70), 100, 0, 0, None, [("minimum", 6.2, 0.4306), ("maximum", 217, 0.4773)]),
    ((130, 100, 70), 100, 0, 0, None, [("minimum", None, None), ("maximum", 464, 0.3058)]),
    ((120, 100, 80), 40, 0.2, 10**-0.8979798, None, []),
    ((120, 100, 80), 40, 0.2, 10**-2.4939394, None, [("minimum", 19.5, 0.2303)]),
    ((120, 100, 80), 40, 0.2, 1e-8, None,
     [("minimum", 18.0, 0.2303), ("maximum", 331, 0.2953), ("minimum", 3.5e4, 0.1043)]),
    ((110, 100, 70), 1, 0, 0, None, []),
    ((110, 100, 70), 7, 0, 0, None, []),
    ((110, 100, 70), 12, 0, 0, None, [("minimum", 22.9, 0.2504), ("maximum", 44.2, 0.2517)]),
    ((110, 100, 70), 30, 0, 0, None, [("minimum", 15.4, 0.2616), ("maximum", 200, 0.3210)]),
    ((110, 100, 70), 100, 0, 0, None, [("minimum", 14.2, 0.2632), ("maximum", 771, 0.3794)]),
    ((110, 100, 70), 1000, 0, 0, None, [("minimum", None, 0.2633), ("maximum", 8.2e3, 0.4089)]),
    ((150, 100, 70), 30, 0, 0, None, [("minimum", None, None), ("maximum", 79, 0.2425)]),
    ((150, 100, 70), 1000, 0, 0, None, [("minimum", None, None), ("maximum", 3.5e3, 0.2798)]),
    ((110, 100, 30), 30, 0, 0, None, [("minimum", None, None), ("maximum", 67, 0.4418)]),
    ((110, 100, 30), 100, 0, 0, None, [("minimum", None, None), ("maximum", 257, 0.4681)]),
    ((120, 100, 90), 30, 0, 0, None, [("minimum", None, None), ("maximum", 236, 0.1381)]),
    ((120, 100, 90), 100, 0, 0, None, [("minimum", None, None), ("maximum", 1081, 0.1756)]),
]  # fmt: skip


@pytest.mark.parametrize(("sizes", "kappa", "sigma", "decay", "frozen_block", "expected"), FEATURES)
def test_minima_and_peaks_are_where_the_published_curves_have_them(
    sizes, kappa, sigma, decay, frozen_block, expected
):
    error = fast_slow(Setting(*sizes, kappa, sigma, decay), TIMES, frozen_block).error
    result = turning_points(TIMES + 1, error)
    assert [kind for kind, _, _ in result] == [kind for kind, _, _ in expected]
    for (_, at, value), (_, where, height) in zip(result, expected, strict=True):
        assert where is None or abs(at - where) < STEP * where
        assert height is None or value == pytest.approx(height, abs=6e-5)


def test_published_values_of_the_slices():
    times = np.array([1, 10, 100, 1e3, 1e4]) - 1
    for decay, expected in (
        (10**-0.8979798, (0.5198, 0.2737, 0.2462, 0.2437, 0.2435)),
        (10**-2.4939394, (0.5198, 0.2402, 0.2637, 0.2937, 0.2953)),
        (1e-8, (0.5198, 0.2394, 0.2730, 0.2675, 0.1261)),
    ):
        at = np.maximum(times, TIMES[0])
        result = fast_slow(Setting(120, 100, 80, 40, 0.2, decay), at).error
        np.testing.assert_allclose(result, expected, atol=6e-5)


def test_trajectories_turn_and_end_where_they_should():
    ends = fast_slow(Setting(110, 100, 70, np.array([1, 30, 100, 1000, 1e5])), TIMES[:, None])
    np.testing.assert_allclose(ends.Q.max(axis=0)[1:4], (1.047, 1.161, 1.218), atol=1e-3)
    assert ends.R[-1, 0] == pytest.approx(1, abs=1e-6)
    assert (ends.R[-1, 4], ends.Q[-1, 4]) == pytest.approx((0.70, 1.22), abs=0.01)
    assert fast_slow(Setting(110, 100, 70, 1000), 1e7).error == pytest.approx(0.0615, abs=1e-4)
    turn = ends.R[ends.Q.argmax(axis=0), range(5)][1:4]
    assert ((turn > 0.695) & (turn < 0.725)).all()


def test_turning_points_of_flat_and_wavy_lines():
    x = np.arange(7.0)
    assert turning_points(x, np.ones(7)) == []
    assert turning_points(x, np.array([3, 2, 2, 2, 3, 4, 1.0])) == [
        ("minimum", 1, 2),
        ("maximum", 5, 4),
    ]
    assert turning_points(x, np.array([3, 2, 1, 1 - 1e-12, 1, 1 - 1e-12, 1])) == []
