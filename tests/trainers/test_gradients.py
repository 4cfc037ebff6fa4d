"""Gradients at parameters that a loss does not depend on, and what needs them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from trainers import optim
from trainers.measures import minimum
from trainers.measures.gradients import gradients
from trainers.measures.sharpness import sharpness


class WithSpareParts(nn.Module):
    """A linear network with a frozen and an unused layer."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.frozen, self.unused = nn.Linear(3, 2), nn.Linear(3, 3), nn.Linear(5, 5)
        self.frozen.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.used(self.frozen(x)))


@pytest.fixture
def network() -> WithSpareParts:
    torch.manual_seed(0)
    return WithSpareParts()


def test_frozen_and_unused_parameters_have_gradients_of_zero(network: WithSpareParts) -> None:
    loss = network(torch.ones(4, 3)).square().sum()
    parameters = list(network.parameters())
    at = dict(zip(map(id, parameters), gradients(loss, parameters), strict=True))
    assert [at[id(p)].shape for p in parameters] == [p.shape for p in parameters]
    assert all(at[id(p)].count_nonzero() > 0 for p in network.used.parameters())
    for layer in (network.frozen, network.unused):
        assert all(at[id(p)].count_nonzero() == 0 for p in layer.parameters())


def test_a_minimum_and_a_sharpness_are_measured_of_such_a_network(network: WithSpareParts) -> None:
    x, y = torch.randn(6, 3), torch.tensor([0, 1, 0, 1, 1, 0])

    def blocks() -> Iterator[tuple[Tensor, Tensor]]:
        yield x, y

    found = minimum.measure(network, blocks, 6, seed=0)
    used = list(network.used.parameters())
    slope = torch.autograd.grad(functional.cross_entropy(network(x), y), used)
    norm = torch.cat([part.flatten() for part in slope]).norm()
    count = sum(p.numel() for p in [*used, *network.unused.parameters()])
    assert found.full_grad_norm == pytest.approx(float(norm) / count**0.5, rel=1e-5)
    assert found.lambda_max is not None
    assert found.lambda_max > 0
    before = [p.detach().clone() for p in network.parameters()]
    value = sharpness(
        list(network.parameters()), lambda: functional.cross_entropy(network(x), y), seed=0
    )
    assert value > 0
    assert all(torch.equal(p, q) for p, q in zip(network.parameters(), before, strict=True))


def test_noise_of_updates_moves_only_what_is_trained(network: WithSpareParts) -> None:
    parameters = list(network.parameters())
    optimiser = torch.optim.SGD(parameters, 0.1)
    optim._noise_updates(optimiser, parameters, 1.0)
    before = [p.detach().clone() for p in parameters]
    network(torch.ones(4, 3)).sum().backward()
    optimiser.step()
    is_moved = {id(p): not torch.equal(p, q) for p, q in zip(parameters, before, strict=True)}
    assert all(is_moved[id(p)] for p in network.used.parameters())
    for layer in (network.frozen, network.unused):
        assert not any(is_moved[id(p)] for p in layer.parameters())
