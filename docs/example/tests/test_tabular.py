"""The network has the shape that its settings say, and the data are split by the seed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))

from tabular.measurements import Measurements, load  # noqa: E402
from tabular.residual_mlp import ResidualMLP, build  # noqa: E402

from trainers.config import ConfigError, LabelNoise  # noqa: E402

TABLE = str(PROJECT / "data" / "measurements.csv")
CLEAN = LabelNoise("incorrect", 0.0, None, "nearest")


def test_the_network_maps_features_to_logits() -> None:
    import torch

    network = build(ResidualMLP("tabular.residual_mlp.ResidualMLP", 8, 2), 4, 1, 3)
    assert network(torch.zeros(5, 4, 1, 1)).shape == (5, 3)


def test_a_network_without_units_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected at least 1"):
        ResidualMLP("tabular.residual_mlp.ResidualMLP", 0, 2)


def test_the_seed_splits_the_rows() -> None:
    settings = Measurements("tabular.measurements.Measurements", TABLE, 0.25, CLEAN)
    first, second = load(settings, 0), load(settings, 1)
    assert (len(first.train_labels), len(first.test_labels)) == (180, 60)
    assert abs(first.train_inputs.mean()) < 1e-9
    assert (first.train_inputs != second.train_inputs).any()
