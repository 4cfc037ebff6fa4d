"""The counts of sizes.py at sizes that can be counted by hand."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from trainers import config

ROOT = Path(__file__).parents[2]


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The script as a module."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("sizes")


def test_parameters_and_weights_are_counted(sizes: ModuleType) -> None:
    model = config.FullyConnected("fully_connected", (3,), "relu", "torch", "classes")
    cell = SimpleNamespace(model=model, data=SimpleNamespace(name="rings"))
    assert sizes.parameters(cell) == (2 + 1) * 3 + (3 + 1) * 2
    assert sizes.weights(cell) == 2 * 3 + 3 * 2
    assert sizes.features(cell) == 3


def test_rows_and_inner_parameters_are_counted(sizes: ModuleType) -> None:
    overrides = ("data.modulus=7", "data.vocabulary=20")
    cell = sizes.first_cell(sizes.Size("", "grok_fig1", sizes.rows, overrides))
    assert sizes.rows(cell) == 7 * 6
    assert sizes.training_rows(cell) == 21
    assert sizes.parameters(cell) - sizes.inner_parameters(cell) == 2 * 20 * 128


def test_every_size_of_the_results_is_counted(sizes: ModuleType) -> None:
    record = json.loads((ROOT / "docs" / "results" / "sizes.json").read_text())
    assert list(record) == [size.name for size in sizes.SIZES]
