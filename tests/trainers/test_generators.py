"""The random generator of a GPU in checkpoints. It is a fake, as the tests run without a GPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from test_algorithmic import FLAT as ALGORITHMIC
from torch import Tensor

from trainers import algorithmic, config, vision
from trainers.run import Run

Begin = Callable[..., Run]
Flat = Mapping[str, Any]

GPU, CPU = torch.device("cuda"), torch.device("cpu")


class FakeGenerator:
    """Stands in for the generator of a GPU: torch.cuda reads and sets its state here."""

    def __init__(self) -> None:
        self.state = torch.tensor([1, 2, 3], dtype=torch.uint8)

    def get(self, device: torch.device) -> Tensor:
        assert device == GPU
        return self.state.clone()

    def set(self, state: Tensor, device: torch.device) -> None:
        assert device == GPU
        self.state = state.clone()


@pytest.fixture
def generator(monkeypatch: pytest.MonkeyPatch) -> FakeGenerator:
    fake = FakeGenerator()
    monkeypatch.setattr(torch.cuda, "get_rng_state", fake.get)
    monkeypatch.setattr(torch.cuda, "set_rng_state", fake.set)
    return fake


@pytest.fixture(params=["epochs", "steps"])
def build(request: pytest.FixtureRequest, begin: Begin, flat: Flat) -> Callable[..., Any]:
    """Builds an attempt of a small cell on the CPU that takes itself to be on another device; of
    both training loops.
    """
    trainer, cell = (vision, flat) if request.param == "epochs" else (algorithmic, ALGORITHMIC)

    def training(attempt: int, device: torch.device) -> Any:
        run = begin(trainer.METRICS, attempt, cell)
        built = trainer.Training(config.parse(cell), run)
        built.device = device
        return built

    return training


def test_a_checkpoint_brings_back_the_generator_of_the_gpu(
    build: Callable[..., Any], generator: FakeGenerator
) -> None:
    build(1, GPU)._checkpoint()
    generator.state = torch.tensor([9, 9, 9], dtype=torch.uint8)
    build(2, GPU).restore()
    assert generator.state.tolist() == [1, 2, 3]


def test_a_checkpoint_of_a_cpu_leaves_the_generator_of_a_gpu_alone(
    build: Callable[..., Any], generator: FakeGenerator
) -> None:
    first = build(1, CPU)
    assert first.state()["cuda_rng"] is None
    first._checkpoint()
    generator.state = torch.tensor([9, 9, 9], dtype=torch.uint8)
    build(2, GPU).restore()
    assert generator.state.tolist() == [9, 9, 9]


def test_a_checkpoint_of_a_gpu_is_continued_on_a_cpu(
    build: Callable[..., Any], generator: FakeGenerator
) -> None:
    build(1, GPU)._checkpoint()
    build(2, CPU).restore()
    assert generator.state.tolist() == [1, 2, 3]


def test_a_checkpoint_of_an_earlier_version_has_no_generator_of_the_gpu(
    build: Callable[..., Any], generator: FakeGenerator
) -> None:
    first = build(1, GPU)
    state = first.state() | {"snapshot": None}
    del state["cuda_rng"]
    first.run.checkpoint(state, 0)
    build(2, GPU).restore()
    assert generator.state.tolist() == [1, 2, 3]
