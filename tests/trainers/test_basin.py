"""Radii and volumes against cases with a known answer."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import special, stats
from torch import nn

from trainers.measures import basin, directions
from trainers.measures.basin import Cut, Ray
from trainers.measures.samples import Samples
from trainers.measures.surface import Landscape, Plane

torch.set_num_threads(1)  # such small networks are slower with more

KAPPA = 0.1


def squared_error(output_bk: torch.Tensor, target_bk: torch.Tensor) -> torch.Tensor:
    """The mean squared error of each sample (b,)."""
    return (output_bk - target_bk).square().mean(1)


def bowl(curvatures: np.ndarray) -> Landscape:
    """Landscape with loss sum h_i w_i^2 / 2 at w = 0: a linear map of n inputs to 0, on n samples
    that are multiples of the unit vectors.
    """
    n = len(curvatures)
    model = nn.Linear(n, 1, bias=False)
    nn.init.zeros_(model.weight)
    inputs = torch.diag(torch.tensor(np.sqrt(n * curvatures / 2), dtype=torch.float32))
    return Landscape(model, Samples(inputs, torch.zeros(n, 1), n), loss=squared_error)


def losses_along(plane: Plane, above: float | None = None) -> Callable[[float], float]:
    return lambda c: plane.at(c, above=above).value


@pytest.mark.parametrize("kappa", [0.1, 0.37, 1.0])
def test_the_radius_of_a_quadratic_is_exact(kappa: float) -> None:
    curvatures = np.arange(1, 13, dtype=float) ** -2.0
    landscape = bowl(curvatures)
    median = None
    for index in range(8):
        direction = directions.draw(landscape.model, "gaussian", 3, index)
        phi = direction[0].double().numpy().ravel()
        expected = math.sqrt(2 * kappa / float(curvatures @ phi**2))
        plane, cut = landscape.along([direction]), Cut(0.0, kappa, 50)
        crossing = basin.first_crossing(losses_along(plane), cut, median)
        assert crossing.radius == pytest.approx(expected, rel=1e-3)
        assert (crossing.status, crossing.evaluations) == (basin.CROSSED, plane.evaluations)
        assert crossing.evaluations < 25
        scan = basin.audit(losses_along(plane, above=kappa), cut)
        assert scan.radius == pytest.approx(expected, rel=1e-5)
        assert not basin.differ(crossing, scan)
        median = crossing.radius


def test_a_search_that_knows_a_median_takes_about_ten_evaluations() -> None:
    counts = []
    for scale in np.geomspace(0.7, 1.4, 15):
        cut = Cut(1e-4, KAPPA, 4)
        loss = lambda c, s=scale: 1e-4 + KAPPA * (c / (0.2 * s)) ** 3  # noqa: E731
        counts.append(basin.first_crossing(loss, cut, 0.2).evaluations)
    assert np.mean(counts) <= 12


def test_of_a_search_and_its_audit_the_first_crossing_counts() -> None:
    never = basin.Crossing(None, basin.NEVER, 1)
    near, far = (basin.Crossing(radius, basin.CROSSED, 1) for radius in (0.3, 0.8))
    assert basin.earlier(near, far) == basin.earlier(far, near) == near
    assert basin.earlier(never, far) == basin.earlier(far, never) == far
    assert basin.earlier(never, never) == never


def test_an_audit_finds_a_bump_that_the_search_steps_over() -> None:
    def loss(c: float) -> float:
        return 0.2 if 0.30 < c < 0.31 or c > 0.8 else 0.01

    cut = Cut(0.01, KAPPA, 4)
    search, scan = basin.first_crossing(loss, cut, 0.79), basin.audit(loss, cut)
    assert search.radius == pytest.approx(0.8, rel=1e-3)
    assert scan.radius == pytest.approx(0.30, rel=1e-3)
    assert basin.differ(search, scan)


def test_a_guard_finds_an_earlier_crossing() -> None:
    def loss(c: float) -> float:
        return 0.2 if 0.35 < c < 0.5 or c > 0.9 else 0.01

    assert basin.first_crossing(loss, Cut(0.01, KAPPA, 4), 0.9).radius == pytest.approx(0.35, 1e-3)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_above_the_cut(value: float) -> None:
    def loss(c: float) -> float:
        return 0.01 if c <= 0.25 else value

    crossing = basin.first_crossing(loss, Cut(0.01, KAPPA, 4))
    assert crossing.radius == pytest.approx(0.25, rel=1e-3)


def test_a_centre_above_the_cut_has_no_radius() -> None:
    for search in (basin.first_crossing, basin.audit):
        crossing = search(lambda c: 1.0, Cut(KAPPA, KAPPA, 4))
        assert crossing == basin.Crossing(None, basin.UNDEFINED, 0)


def test_a_loss_that_stays_below_the_cut_never_crosses() -> None:
    for search in (basin.first_crossing, basin.audit):
        crossing = search(lambda c: KAPPA * c / 4, Cut(0.0, KAPPA, 4))  # at 4 exactly the cut
        assert (crossing.radius, crossing.status) == (None, basin.NEVER)


@pytest.mark.parametrize(("n", "expected"), [(10, -3.08828), (1000, -1234.99647)])
def test_the_volume_of_a_ball_is_exact_from_one_direction(n: int, expected: float) -> None:
    term = basin.log_volume_term(n, 0.4472136, 0.0) / math.log(10)
    assert term == pytest.approx(expected, rel=1e-6)
    assert basin.log_ball(2) == pytest.approx(math.log(math.pi))


def test_the_preconditioner_of_a_bowl_gives_its_volume_from_any_direction() -> None:
    """With P = H^(-1/2) every ray ends at the same multiplier."""
    curvatures = np.arange(1, 11, dtype=float) ** -2.0
    scales = [torch.tensor(curvatures**-0.5, dtype=torch.float32)[None]]
    landscape = bowl(curvatures)
    terms = []
    for index in range(5):
        proposal = directions.proposal(landscape.model, scales, 0, index)
        plane = landscape.along([proposal])
        crossing = basin.first_crossing(losses_along(plane), Cut(0.0, KAPPA, 50))
        assert crossing.radius is not None
        term = basin.log_volume_term(10, crossing.radius, directions.log_det(scales))
        terms.append(term / math.log(10))
    assert terms == pytest.approx([3.4715] * 5, abs=5e-3)


def test_the_mean_over_directions_is_the_volume_without_a_preconditioner() -> None:
    curvatures = np.array([1.0, 0.25, 0.5, 2.0])
    u = np.random.default_rng(0).standard_normal((4000, 4))
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    multipliers = np.sqrt(2 * KAPPA / (u**2 @ curvatures))
    terms = [basin.log_volume_term(4, m, 0.0) for m in multipliers]
    mean = special.logsumexp(terms) - math.log(len(terms))
    exact = basin.log_ball(4) + 2 * math.log(2 * KAPPA) - 0.5 * np.log(curvatures).sum()
    assert mean == pytest.approx(exact, abs=0.03)


@pytest.mark.parametrize(
    ("n", "sigma", "radius", "centre"), [(10, 1.0, 1.0, 2.0), (4, 0.7, 1.5, 1.0)]
)
def test_the_gaussian_measure_of_a_ball_is_that_of_a_noncentral_chi_square(
    n: int, sigma: float, radius: float, centre: float
) -> None:
    # the mean over directions, as an integral over the cosine of the angle to the centre
    cosines, shares = np.polynomial.legendre.leggauss(400)
    shares = shares * (1 - cosines**2) ** ((n - 3) / 2)
    terms = [
        basin.log_gauss_term(Ray(n, centre, 1.0, centre * float(c)), radius, sigma) for c in cosines
    ]
    estimate = special.logsumexp(terms, b=shares / shares.sum())
    exact = stats.ncx2.logcdf((radius / sigma) ** 2, n, (centre / sigma) ** 2)
    assert estimate == pytest.approx(exact, abs=1e-4)


@pytest.mark.parametrize("n", [3, 50, 3457])
def test_the_radial_integral_is_the_incomplete_gamma_function(n: int) -> None:
    """Without a centre: exp(-x^2 / 2) x^(n-1) from 0 to R, below and beyond its top."""
    for end in (0.8 * math.sqrt(n), math.sqrt(n), 3 * math.sqrt(n)):
        half = special.gammainc(n / 2, end**2 / 2)
        exact = math.log(half) + math.lgamma(n / 2) + (n / 2 - 1) * math.log(2)
        assert basin._log_integral(n, 0.0, 1.0, end) == pytest.approx(exact, abs=1e-5)
