"""Rows at log-spaced steps inside epochs, and tests with recomputed batch-norm statistics."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from vision_runs import assert_same_bits, assert_same_rows, record, rows, train, with_changes

from trainers.measures.recalibration import Recalibration
from trainers.run import Run
from trainers.vision import METRICS

Begin = Callable[..., Run]
Flat = Mapping[str, Any]

CNN = {"model.name": "cnn5", "model.width": 3, "model.depth": ...}
SMALL_BATCHES = {"trainer.batch_size": 4, "trainer.epochs": 5}  # of ten steps each


def test_rows_stand_at_log_spaced_steps_until_epochs_are_as_dense(begin: Begin, flat: Flat) -> None:
    changes = SMALL_BATCHES | {"trainer.step_rows_per_decade": 4, "trainer.eval_test": "log"}
    run = begin(METRICS, flat={**flat, **changes})
    train(run)
    table = rows(run)
    assert table["step"].tolist() == [0, 1, 2, 3, 6, 10, 13, 20, 30, 40, 50]
    assert table["epoch"].tolist() == [0, 1, 1, 1, 1, 1, 2, 2, 3, 4, 5]
    assert table["examples"].tolist() == [4 * step for step in table["step"]]
    assert table["test_error"].notna().all()
    assert table["train_examples"].iloc[1:].tolist() == [4, 8, 12, 24, 40, 12, 40, 40, 40, 40]
    assert (record(run)["epochs"], record(run)["steps"]) == (5, 50)


def test_rows_inside_epochs_change_neither_the_training_nor_its_other_rows(
    begin: Begin, flat: Flat
) -> None:
    plain = begin(METRICS, 1, flat=with_changes(flat, CNN | SMALL_BATCHES))
    state = train(plain)[1]
    finer_keys = {"trainer.step_rows_per_decade": 10, "trainer.recalibrate": 1000}
    finer = begin(METRICS, 2, flat={**plain.flat, **finer_keys})
    assert_same_bits(train(finer)[1], state)
    table, expected = rows(finer), rows(plain)
    of_epochs = table[table["step"] % 10 == 0].reset_index(drop=True)
    recalibrated = [name for name in table if name.startswith("recalibrated")]
    assert_same_rows(of_epochs.drop(columns=recalibrated), expected.drop(columns=recalibrated))
    assert table["recalibrated_test_error"].notna().all()
    assert expected["recalibrated_test_error"].isna().all()


def test_weights_that_are_not_finite_get_no_row_inside_their_epoch(
    begin: Begin, flat: Flat
) -> None:
    changes = SMALL_BATCHES | {"optim.lr": 1e30, "trainer.step_rows_per_decade": 10}
    run = begin(METRICS, flat={**flat, **changes})
    assert train(run)[0] == "nonfinite"
    norms = rows(run)["weight_norm"].tolist()
    assert all(math.isfinite(norm) for norm in norms[:-1])
    assert not math.isfinite(norms[-1])


def test_without_batch_norm_the_recalibrated_error_is_the_error(begin: Begin, flat: Flat) -> None:
    run = begin(METRICS, flat={**flat, "trainer.recalibrate": 20})
    train(run)
    table = rows(run)
    assert table["recalibrated_test_wrong"].tolist() == table["test_wrong"].tolist()
    assert table["recalibrated_test_loss"].tolist() == table["test_loss"].tolist()


@pytest.mark.parametrize("block_size", [3, 7, 100])
def test_recomputed_statistics_are_those_of_the_images(block_size: int) -> None:
    model = nn.Sequential(nn.BatchNorm2d(2), nn.Dropout(0.5))
    images = torch.randn(11, 2, 3, 3)
    recalibration = Recalibration(model, images)
    with torch.no_grad():
        model[0].weight.mul_(2)
    state = torch.get_rng_state()
    recalibration.update(model, lambda x: x, block_size)
    assert torch.equal(torch.get_rng_state(), state)
    norm = recalibration.model[0]
    mean: Tensor = images.mean(dim=(0, 2, 3))
    torch.testing.assert_close(norm.running_mean, mean)
    if block_size == 100:
        torch.testing.assert_close(norm.running_var, images.var(dim=(0, 2, 3)))
    assert torch.equal(norm.weight, torch.tensor([2.0, 2.0]))
    assert torch.equal(model[0].running_mean, torch.zeros(2))
