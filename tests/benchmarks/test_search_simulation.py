"""The simulation of search rules: its planted curves, its rules, and its table."""

from __future__ import annotations

import importlib
import math
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def simulation(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("search_simulation")


def test_the_table_has_every_rule_and_scenario(simulation: ModuleType):
    lines = simulation.report(2)
    rows = [line for line in lines if re.match(r".{32} (usual|wide|lapse|holes|island) ", line)]
    assert len(rows) == len(simulation.RULES) * len(simulation.SCENARIOS)
    assert all("nan" not in row for row in rows)
    ratios = [line.split() for line in lines if line.startswith("ratio ")]
    assert len(ratios) == 4 * len(simulation.SCENARIOS)
    assert all(float(value) > 0 for _, _, value in ratios)


def test_the_posterior_errs_least_where_trainings_lapse(simulation: ModuleType):
    lapse = list(simulation.SCENARIOS).index("lapse")
    ours = simulation.simulate(simulation.RULES[simulation.OURS], lapse, 10)
    sequential = simulation.simulate(simulation.RULES["sequential x1.19"], lapse, 10)
    assert ours.rmse < 0.2 < 1 < sequential.rmse
    assert sequential.bias < -1
    assert ours.trainings <= simulation.SETTINGS.most


@pytest.mark.parametrize("name", ["holes", "island"])
def test_fits_are_rare_within_a_hole(simulation: ModuleType, name: str):
    task = simulation.Task(simulation.SCENARIOS[name], [0, 1])
    for start, stop in task.flaws:
        n = task.n50 * math.exp(-(start + stop) / 2)
        assert task.probability(n) == simulation.FLAW
    assert len(task.flaws) == {"holes": 2, "island": 1}[name]
    assert task.probability(task.n50) == pytest.approx(0.5)


def test_a_task_counts_what_a_rule_costs(simulation: ModuleType):
    task = simulation.Task(simulation.SCENARIOS["usual"], [0, 0])
    fits = task.round([task.n50 / 100, task.n50 * 100])
    assert fits == [True, False]
    assert (task.trainings, task.rounds) == (2, 1)
    assert task.effort == pytest.approx(1 + 100**-1.5)
