"""The network has the shape that its settings say, the data are split by the seed, bad labels are
refused, and the figure counts seeds.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
import pytest

PROJECT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(PROJECT))

from figures.error_by_width import main, reduce  # noqa: E402
from tabular.measurements import Measurements, load  # noqa: E402
from tabular.residual_mlp import ResidualMLP, build  # noqa: E402

from trainers.config import ConfigError, LabelNoise  # noqa: E402
from trainers.data import DataError  # noqa: E402

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


@pytest.mark.parametrize("labels", [(0, 1, 2, 7), (0, 1, 1.5), (1, 2), (-1, 0), (0, 0)])
def test_labels_that_are_no_classes_are_refused(tmp_path: Path, labels: tuple[float, ...]) -> None:
    table = tmp_path / "labels.csv"
    rows = [f"{row}.0,1.0,{label}" for row, label in enumerate(labels)]
    table.write_text("\n".join(["length,width,class", *rows]))
    settings = Measurements("tabular.measurements.Measurements", str(table), 0.25, CLEAN)
    with pytest.raises(DataError, match="expected 0, 1,"):
        load(settings, 0)


def runs_of(epochs: tuple[int, ...]) -> pd.DataFrame:
    rows = []
    for seed in range(3):
        for count in epochs:
            rows.append({"model.width": 2, "data.label_noise.rate": 0.0, "seed": seed,
                         "trainer.epochs": count, "final_test_error": 0.1})  # fmt: skip
    return pd.DataFrame(rows)


def test_the_figure_counts_seeds_and_refuses_runs_that_differ_in_another_key() -> None:
    assert reduce(runs_of((60,)))["seeds"].tolist() == [3]
    with pytest.raises(SystemExit, match=r"the runs differ in trainer\.epochs: 120, 60"):
        reduce(runs_of((60, 120)))


def test_the_figure_of_a_missing_folder_is_refused_with_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"^error: .*none"):
        main(tmp_path / "none")
