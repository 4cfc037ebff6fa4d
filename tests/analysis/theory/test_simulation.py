"""Simulated students: the random stream, explicit descent, the trace formula, and the published
means.
"""

from __future__ import annotations

import csv
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import ortho_group

from analysis.theory import averages, simulation
from analysis.theory.teacher_student import (
    Draws,
    Setting,
    descend,
    exact_trace,
    independent_draw,
    modulation,
    published_draw,
    scheduled,
    shrinkage,
    simulate,
    trace_over_draws,
)

STEPS = np.array([0, 1, 2, 3, 10, 57, 200])


def explicit(seed, setting, step=None, stream=published_draw):
    """R, Q, population and test error after STEPS of explicit descent, for F = U S V."""
    d, sigma = setting.d, setting.sigma
    draw = stream(seed, setting.n, d, 30)
    v = np.linalg.qr(np.random.default_rng(seed).standard_normal((d, d)))[0]
    f = modulation(draw.u, setting.p, setting.kappas)[0] @ v
    y = draw.z @ draw.teacher + sigma * draw.label_noise
    outputs = descend(draw.z @ f, y, int(STEPS[-1]), step, setting.weight_decay)[STEPS] @ f.T
    r, q = outputs @ draw.teacher / d, np.sum(outputs**2, axis=1) / d
    error = 0.5 * (draw.teacher @ draw.teacher / d + sigma**2 - 2 * r + q)
    wrong = (outputs - draw.teacher) @ draw.z_test.T
    return r, q, error, 0.5 * (np.mean(wrong**2, axis=1) + sigma**2)


def test_published_stream_draws_what_the_published_script_draws():
    draw = published_draw(5, 7, 4, 3)
    np.random.seed(5)
    z, z_test, w, noise = (np.random.randn(*shape) for shape in ((7, 4), (3, 4), (4, 1), (7, 1)))
    u = ortho_group.rvs(4)
    expected = (z / 2, z_test / 2, w[:, 0], noise[:, 0], u)
    for result, value in zip(draw, expected, strict=True):
        np.testing.assert_allclose(result, value, atol=1e-14)


def test_independent_streams_do_not_move_each_other():
    one, two = independent_draw(3, 20, 6, 10), independent_draw(3, 25, 6, 40)
    np.testing.assert_array_equal(one.z, two.z[:20])
    np.testing.assert_array_equal(one.u, two.u)
    np.testing.assert_array_equal(one.teacher, two.teacher)
    assert abs(independent_draw(4, 20, 6, 10).teacher - one.teacher).min() > 0
    np.testing.assert_allclose(one.u @ one.u.T, np.eye(6), atol=1e-14)


@pytest.mark.parametrize("stream", [published_draw, independent_draw])
@pytest.mark.parametrize(
    ("n", "decay", "step"), [(40, 0.0, None), (40, 0.03, None), (20, 0.01, None), (40, 0.0, 0.3)]
)
def test_closed_form_is_explicit_descent(stream, n, decay, step):
    setting = Setting(n, 30, 20, [5.0, 50.0], 0.2, decay)
    result = simulate(setting, STEPS, Draws([0, 1], 30, stream), "descent", step)
    for i, seed in enumerate((0, 1)):
        for j, kappa in enumerate((5.0, 50.0)):
            expected = explicit(seed, replace(setting, kappa=kappa), step, stream)
            for values, reference in zip(result[:4], expected, strict=True):
                np.testing.assert_allclose(values[i, j], reference, atol=1e-12)


def test_flow_is_the_limit_of_small_steps():
    setting, draws = Setting(40, 30, 20, 5.0, 0.1, 0.02), Draws([0], 5)
    small = simulate(setting, STEPS * 1000, draws, "descent", 1e-4)
    flow = simulate(setting, STEPS, draws, "flow", 0.1)
    np.testing.assert_allclose(small.error, flow.error, atol=1e-4)


def test_ridge_solves_the_normal_equations():
    draw = published_draw(0, 40, 30, 5)
    x = draw.z @ modulation(draw.u, 20, [5.0])[0]
    y = draw.z @ draw.teacher + 0.1 * draw.label_noise
    weights = np.linalg.solve(x.T @ x + (0.02 + 1 / 7) * np.eye(30), x.T @ y)
    outputs = modulation(draw.u, 20, [5.0])[0] @ weights
    result = simulate(Setting(40, 30, 20, 5.0, 0.1, 0.02), 7.0, Draws([0], 5), "ridge")
    assert result.Q.shape == (1, 1)
    assert result.Q[0, 0] == pytest.approx(outputs @ outputs / 30)
    assert result.R[0, 0] == pytest.approx(outputs @ draw.teacher / 30)


def test_times_and_decays_broadcast_and_chunks_do_not_show(monkeypatch):
    times, decays = np.array([1.0, 30.0, 400.0])[:, None], np.array([0.0, 0.1])
    setting, draws = Setting(40, 30, 20, [5.0, 50.0], 0.2, decays), Draws([3, 1, 2], 7)
    one_call = simulate(setting, times, draws, "flow")
    assert one_call.error.shape == (3, 2, 3, 2)
    monkeypatch.setattr(simulation, "CHUNK_BYTES", 1)
    for one, two in zip(one_call, simulate(setting, times, draws, "flow"), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-13)
    single = simulate(Setting(40, 30, 20, 50.0, 0.2, 0.1), 30.0, Draws([1], 7), "flow")
    assert one_call.test_error[1, 1, 1, 1] == pytest.approx(single.test_error[0, 0], rel=1e-12)


def naive_trace(t, z, f, noise, decay, flow):
    """The trace formula with dense matrices and the inverse of F̃, as the paper writes it."""
    d = z.shape[1]
    values, v = np.linalg.eigh(f.T @ z.T @ z @ f)
    rate = (values + decay) / (values.max() + decay)
    progress = 1 - (np.exp(-rate * t) if flow else (1 - rate) ** t)
    k, outputs = np.diag(progress * values / (values + decay)), f @ v
    a, b = outputs @ k @ np.linalg.inv(outputs), outputs @ k @ np.diag(values**-0.5)
    r, q = np.trace(k) / d, (np.trace(a.T @ a) + noise**2 * np.trace(b.T @ b)) / d
    return r, q, 0.5 * (1 + noise**2 - 2 * r + q)


@pytest.mark.parametrize("flow", [True, False])
@pytest.mark.parametrize("decay", [0.0, 0.05])
def test_trace_formula_is_the_papers(flow, decay):
    draw = published_draw(1, 40, 30, 5)
    setting = Setting(40, 30, 20, [3.0, 40.0], 0.3, decay)
    f = modulation(draw.u, 20, setting.kappas)
    result = exact_trace(setting, STEPS, draw, "flow" if flow else "descent")
    for j in (0, 1):
        for i, t in enumerate(STEPS):
            expected = naive_trace(t, draw.z, f[j], 0.3, decay, flow)
            assert [float(part[j, i]) for part in result] == pytest.approx(expected, abs=1e-10)


def test_trace_formula_is_the_average_over_teachers_and_label_noise():
    n, d, noise, draws = 20, 24, 0.4, 20_000
    draw = published_draw(2, n, d, 5)
    f = modulation(draw.u, 15, [4.0])[0]
    x, generator = draw.z @ f, np.random.default_rng(0)
    teachers, noises = generator.standard_normal((draws, d)), generator.standard_normal((draws, n))
    labels = teachers @ draw.z.T + noise * noises
    step = 1 / np.linalg.norm(x, 2) ** 2
    weights = np.zeros((draws, d))
    for _ in range(25):
        weights -= step * (weights @ x.T - labels) @ x
    outputs = weights @ f.T
    wrong = 0.5 * (np.mean((outputs - teachers) ** 2, axis=1) + noise**2)
    result = exact_trace(Setting(n, d, 15, 4.0, noise), 25, draw)
    assert abs(wrong.mean() - result.error[0]) < 4 * wrong.std() / np.sqrt(draws)
    norms = np.mean(outputs**2, axis=1)
    assert abs(norms.mean() - result.Q[0]) < 4 * norms.std() / np.sqrt(draws)


@pytest.mark.parametrize("method", ["flow", "descent", "ridge"])
def test_students_agree_with_the_trace_formula_within_their_standard_error(method):
    times, seeds = 10.0 ** np.arange(0, 6), range(80)
    setting, draws = Setting(150, 100, 70, [1.0, 100.0, 1e4], 0.2), Draws(seeds, 200)
    students = simulate(setting, times, draws, method)
    trace = trace_over_draws(setting, times, draws, method)
    for result, expected in (
        (students.test_error, trace.error),
        (students.error, trace.error),
        (students.R, trace.R),
        (students.Q, trace.Q),
    ):
        gap = result - expected
        error = gap.std(axis=0, ddof=1) / np.sqrt(len(seeds))
        assert (np.abs(gap.mean(axis=0)) < 3.5 * error + 1e-12).all()


def test_a_thousand_published_seeds_have_the_published_means(theory_reference):
    with (theory_reference / "emp_vs_analytic_reference_1000seeds.csv").open() as stream:
        rows = [row for row in csv.DictReader(stream) if row["series"] == "empirical_testset"]
    kappas = (1.0, 100.0, 10000.0)
    setting, times = Setting(150, 100, 70, kappas), 10 ** np.linspace(-3, 5, 50)
    result = simulate(setting, times, Draws(range(1000)), "flow").test_error
    for j, kappa in enumerate(kappas):
        mean, std = (
            np.array([float(row[name]) for row in rows if float(row["kappa"]) == kappa])
            for name in ("EG_mean", "EG_std_over_seeds")
        )
        np.testing.assert_allclose(result[:, j].mean(axis=0), mean, atol=2e-6)
        np.testing.assert_allclose(result[:, j].std(axis=0), std, atol=2e-6)
        assert (np.abs(result[:, j].mean(axis=0) - mean) <= 3 * std / np.sqrt(1000) + 1e-6).all()


def test_turning_points_of_a_mean_have_two_standard_errors():
    times = np.array([0.0, 9.0, 99.0, 999.0])
    mean, std = np.array([0.5, 0.2, 0.3, 0.1]), np.array([0.0, 0.06, 0.09, 0.0])
    points = averages.turning_points(averages.Average("test_set", 100.0, times, mean, std, 10))
    assert [(point["kind"], point["t_plus_1"]) for point in points] == [
        ("minimum", 10.0),
        ("maximum", 100.0),
    ]
    # population std / sqrt(10 - 1)
    np.testing.assert_allclose([points[0]["low"], points[0]["high"]], [0.16, 0.24])
    np.testing.assert_allclose([points[1]["low"], points[1]["high"]], [0.24, 0.36])


def test_a_scheduled_penalty_is_its_explicit_descent():
    draw = published_draw(0, 40, 30, 5)
    x, y = draw.z @ modulation(draw.u, 20, [5.0])[0], draw.z @ draw.teacher
    eta, weights, outputs = 1 / np.linalg.norm(x, 2) ** 2, np.zeros(30), []
    strength = 0.6 * np.log1p(np.exp(-0.5 * np.arange(201.0))) / np.log(2)
    for i in range(201):
        if i in STEPS:
            outputs.append(modulation(draw.u, 20, [5.0])[0] @ weights)
        weights = weights - eta * ((1 + strength[i]) * x.T @ x @ weights - x.T @ y)
    method = scheduled(lambda i: 0.6 * np.log1p(np.exp(-0.5 * i)) / np.log(2))
    result = simulate(Setting(40, 30, 20, 5.0), STEPS, Draws([0], 5), method)
    np.testing.assert_allclose(
        result.Q[0, 0], np.sum(np.array(outputs) ** 2, axis=1) / 30, atol=1e-12
    )


def test_no_penalty_is_plain_descent_also_for_times_in_disorder():
    method = scheduled(np.zeros_like)
    times = np.array([50.0, 0.0, 7.0])
    values = np.array([[4.0, 1.0, 1e-8], [2.0, 0.5, 0.0]])
    for decay in (0.0, 0.1):
        decays = np.full(3, decay)
        np.testing.assert_allclose(
            method(values, times, decays), shrinkage(values, times, decays), atol=1e-13
        )
    with pytest.raises(ValueError, match="whole times"):
        method(values, times + 0.5, np.zeros(3))


def test_steps_beyond_stability_alternate_in_sign():
    k = shrinkage(np.array([1.0]), np.arange(4.0), np.zeros(4), "descent", step=1.5)
    np.testing.assert_allclose(k[:, 0], 1 - (-0.5) ** np.arange(4), atol=1e-14)
    between = shrinkage(np.array([1.0]), np.array([0.5]), np.zeros(1), "descent", step=1.5)
    assert between[0, 0] == pytest.approx(1 - 0.5**0.5)


def test_tiny_rates_keep_their_digits():
    k = shrinkage(np.array([1.0, 1e-12]), np.array([2.0]), np.zeros(1), "descent")
    assert k[0, 1] == pytest.approx(2e-12, rel=1e-11)


def test_unknown_methods_and_no_seeds_are_refused():
    with pytest.raises(ValueError, match="expected 'descent'"):
        shrinkage(np.ones(2), np.ones(1), np.zeros(1), "newton")
    with pytest.raises(ValueError, match="no seeds"):
        Draws([])
