"""Eigenvalues, trace, density and sharpness against cases with a known answer."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import torch
from test_basin import bowl, squared_error
from torch import nn
from torch.func import functional_call

from trainers.config import ViT
from trainers.measures import ascent, directions, hessian
from trainers.measures.columns import CURVATURE
from trainers.measures.hessian import CurvatureUnavailable, Hessian
from trainers.measures.samples import Samples
from trainers.models import build

needs_curvlinops = pytest.mark.skipif(
    not hessian.is_available(), reason="curvlinops is not installed (extra landscape)"
)


def quadratic(curvatures: list[float]) -> Hessian:
    """The Hessian diag(curvatures) of a linear map with squared error."""
    landscape = bowl(np.array(curvatures))
    return Hessian(landscape.model, landscape.samples, loss=squared_error)


def test_both_ends_of_a_known_spectrum_are_found() -> None:
    ends = quadratic([1.0, 4.0, 0.5, 2.0]).ends(seed=0, tolerance=1e-6)
    assert ends.largest == pytest.approx(4.0, rel=1e-5)
    assert ends.smallest == pytest.approx(0.5, rel=1e-5)
    assert ends.residual == pytest.approx(0.0, abs=1e-5)


def test_a_spectrum_of_low_rank_is_the_same_again() -> None:
    """ARPACK draws a new vector where it has found an invariant subspace."""
    low_rank = [3.0, 1.0, 0.1] + [0.0] * 60
    first, second = (quadratic(low_rank).ends(seed=0, tolerance=1e-6) for _ in range(2))
    assert first == second
    directions = [quadratic(low_rank).steepest(2, seed=0, length=1.0) for _ in range(2)]
    for one, other in zip(*directions, strict=True):
        assert torch.equal(one[0], other[0])


def test_the_steepest_directions_are_those_of_the_largest_eigenvalues() -> None:
    first, second = quadratic([1.0, 4.0, 0.5, 2.0]).steepest(2, seed=0, length=3.0)
    assert first[0].flatten().tolist() == pytest.approx([0, 3, 0, 0], abs=1e-4)
    assert second[0].flatten().tolist() == pytest.approx([0, 0, 0, 3], abs=1e-4)


def test_a_probe_of_a_diagonal_hessian_is_its_trace() -> None:
    operator = quadratic([1.0, 4.0, 0.25])
    assert [operator.trace_probe(0, index) for index in range(3)] == pytest.approx([5.25] * 3)
    assert operator.products == 3


@needs_curvlinops
def test_a_density_has_its_mass_at_the_eigenvalues() -> None:
    places, density = quadratic([1.0, 1.1, 0.9, 1.05, 0.95, 1.02, 4.0, 4.1]).density(
        (0.9, 4.1), 2000, 5, (0, 0)
    )
    mass = np.trapezoid(density, places)
    above = np.array(places) > 2.5
    share = np.trapezoid(np.where(above, density, 0), places) / mass
    assert 0 < share < 0.7  # two of eight, weighted by one random vector
    assert places[int(np.argmax(density))] == pytest.approx(1.0, abs=0.5)


@needs_curvlinops
def test_a_density_is_a_share_per_unit_of_eigenvalue() -> None:
    small, large = (
        quadratic([scale, 2 * scale, 4 * scale]).density((scale, 4 * scale), 50, 3, (0, 0))
        for scale in (1.0, 10.0)
    )
    np.testing.assert_allclose(large[0], 10 * np.array(small[0]), rtol=1e-5)
    np.testing.assert_allclose(large[1], np.array(small[1]) / 10, rtol=1e-4)
    units = {metric.name: metric.unit for metric in CURVATURE}
    assert (units["eigenvalue"], units["density"]) == ("nats", "1 / nats")
    assert (units["eigenvalue_scaled"], units["density_scaled"]) == ("nats", "1 / nats")


def test_the_hessian_of_a_small_network_is_the_dense_one() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3))
    samples = Samples(torch.randn(7, 3), torch.arange(7) % 3, 4)
    names = [name for name, _ in model.named_parameters()]
    shapes = [p.shape for p in model.parameters()]

    def loss(vector: torch.Tensor) -> torch.Tensor:
        parts = torch.split(vector, [shape.numel() for shape in shapes])
        values = {n: p.view(s) for n, p, s in zip(names, parts, shapes, strict=True)}
        logits = functional_call(model.double(), values, (samples.inputs.double(),))
        return nn.functional.cross_entropy(logits, samples.targets)

    theta = torch.cat([p.detach().flatten() for p in model.parameters()]).double()
    dense = torch.autograd.functional.hessian(loss, theta).numpy()
    model.float()
    for scales in (None, directions.filter_sizes(model)):
        factors = np.ones(len(theta))
        if scales is not None:
            factors = torch.cat([s.flatten() for s in scales]).double().numpy()
        expected = np.linalg.eigvalsh(factors[:, None] * dense * factors)
        operator = Hessian(model, samples, scales)
        ends = operator.ends(0, 1e-6)
        assert ends.largest == pytest.approx(expected.max(), rel=1e-4)
        assert ends.smallest == pytest.approx(expected.min(), rel=1e-4)
        probes = [operator.trace_probe(1, index) for index in range(200)]
        standard_error = np.std(probes) / len(probes) ** 0.5
        assert abs(np.mean(probes) - expected.sum()) < 4 * standard_error


def test_a_density_without_curvlinops_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}")

    operator = quadratic([1.0, 4.0])
    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(CurvatureUnavailable, match="install --no-deps -r requirements-landscape"):
        operator.density((1.0, 4.0), 5, 2, (0, 0))


def test_products_of_a_vision_transformer_are_differences_of_gradients() -> None:
    torch.manual_seed(0)
    model = build(ViT("vit", 4, 1, 1, 2, 4), 1, 8, 3)
    samples = Samples(torch.randn(6, 1, 8, 8), torch.arange(6) % 3, 4)
    operator = Hessian(model, samples)
    vector = torch.randn(operator.shape[0], dtype=torch.float64)
    network = model.double()
    start = nn.utils.parameters_to_vector(network.parameters()).detach()

    def gradient(place: torch.Tensor) -> torch.Tensor:
        nn.utils.vector_to_parameters(place, network.parameters())
        loss = nn.functional.cross_entropy(network(samples.inputs.double()), samples.targets)
        return nn.utils.parameters_to_vector(torch.autograd.grad(loss, network.parameters()))

    ahead, behind = gradient(start + 1e-5 * vector), gradient(start - 1e-5 * vector)
    torch.testing.assert_close(operator @ vector, (ahead - behind) / 2e-5, rtol=1e-4, atol=1e-6)


@needs_curvlinops
def test_a_lanczos_run_is_the_same_again_and_leaves_the_random_numbers_alone() -> None:
    operator = quadratic([1.0, 4.0, 0.5, 2.0])
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first, again, other = (operator.density((0.5, 4.0), 20, 4, (0, run)) for run in (0, 0, 1))
    assert first == again != other
    assert torch.equal(torch.get_rng_state(), before)


def test_the_largest_rise_of_a_quadratic_is_along_its_steepest_direction() -> None:
    landscape = bowl(np.array([1.0, 4.0]))
    rise = ascent.rise(landscape, rho=0.1, steps=20, seed=0)
    assert rise.ascent == pytest.approx(0.02, rel=0.01)
    assert rise.one_step == 0.0  # no slope at the minimum
    assert not landscape.model.weight.any()
