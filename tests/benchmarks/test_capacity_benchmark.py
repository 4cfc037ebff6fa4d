"""The two searches that benchmarks/capacity.py compares, on planted outcomes."""

from __future__ import annotations

import importlib
import math
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from analysis.stats.threshold import Settings

CAPACITY = 100
"""Samples that a planted training fits, at most."""

SETTINGS = Settings(
    low=16, high=512, lattice=8, step=None, integer=True, falling=True, method="posterior",
    first=6, per_round=4, until=1.15, most=36, verify=True, seeds=100,
)  # fmt: skip


@pytest.fixture(scope="module")
def capacity() -> ModuleType:
    """The script as a module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
        return importlib.import_module("capacity")


@dataclass
class Planted:
    """A task whose trainings fit up to CAPACITY samples, each in a step a sample and a second."""

    costs: Any
    settings: Settings
    seeds: list[int]

    def fits(self, samples: int, seed: int) -> tuple[bool, Any]:
        self.seeds.append(seed)
        return samples <= CAPACITY, self.costs(1, samples, 1.0)


@pytest.fixture
def task(capacity: ModuleType) -> Planted:
    return Planted(capacity.Cost, SETTINGS, [])


def test_the_posterior_search_finds_the_planted_capacity(
    capacity: ModuleType, task: Planted
) -> None:
    answer = capacity.posterior_search(task, repeat=0)
    assert answer.low < CAPACITY < answer.high
    assert answer.high / answer.low < 1.15**2
    assert answer.cost.trainings == answer.cost.seconds == len(task.seeds) <= 36
    assert len(set(task.seeds)) == len(task.seeds)


def test_the_sequential_search_ends_at_its_first_failure(
    capacity: ModuleType, task: Planted
) -> None:
    answer = capacity.sequential_search(task, repeat=1)
    ladder = [round(16 * capacity.FACTOR**step) for step in range(20)]
    assert answer.value == max(value for value in ladder if value <= CAPACITY)
    tried = ladder[: ladder.index(answer.value) + 2]
    assert answer.cost == capacity.Cost(len(tried), sum(tried), float(len(tried)))
    assert set(task.seeds).isdisjoint(range(1000))  # other seeds than those of repeat 0


def test_searches_needed_follow_from_the_spread(capacity: ModuleType) -> None:
    assert capacity.searches_needed([100.0, 100.0, 100.0]) == 1.0
    spread = [math.exp(-0.5), 1.0, math.exp(0.5)]  # a standard deviation of 0.5 in the logarithm
    expected = (1.645 * 0.5 / math.log(1.15)) ** 2
    assert capacity.searches_needed(spread) == pytest.approx(expected)
