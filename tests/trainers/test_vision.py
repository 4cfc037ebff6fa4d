"""The image trainer: exact resume from every step, what its rows count, and what decides its
numbers.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor, nn
from vision_runs import (
    after,
    assert_same_bits,
    assert_same_rows,
    record,
    rows,
    train,
    with_changes,
)

import trainers
from trainers import config, optim
from trainers.config import ConfigError, Schedule
from trainers.epochs import l2_norm
from trainers.run import Run
from trainers.vision import METRICS, Training

Begin = Callable[..., Run]
Flat = Mapping[str, Any]

STEPS = 9
RESNET = {"model.name": "resnet18", "model.width": 2, "model.depth": ...}
PRE, POST = (RESNET | {"model.variant": variant} for variant in ("preactivation", "postactivation"))
CNN = {"model.name": "cnn5", "model.width": 3, "model.depth": ...}
MLP: dict[str, Any] = {}
MOMENTUM = {"optim.momentum": 0.9, "optim.weight_decay": 1e-3}
ADAM = {"optim.name": "adam", "optim.lr": 0.01, "optim.momentum": ..., "optim.beta1": 0.9,
        "optim.beta2": 0.99,
        "optim.eps": 1e-8, "optim.weight_decay": 1e-3, "optim.decay_towards": "zero",
        "optim.update_noise": 0.0}  # fmt: skip
ADAMW = ADAM | {"optim.name": "adamw", "optim.weight_decay": 0.1}
AUGMENT = {"data.augment": True, "data.scaling": "standardised"}
SCHEDULES = {
    name: {"optim.schedule.name": name} for name in ("constant", "cosine", "step", "inverse_sqrt")
}

KINDS = {
    "resnet18_pre sgd cosine augmented": PRE | MOMENTUM | SCHEDULES["cosine"] | AUGMENT,
    "resnet18_post adam constant": POST | ADAM | SCHEDULES["constant"],
    "cnn5 adamw step augmented, evaluated inside epochs": CNN | ADAMW | SCHEDULES["step"] | AUGMENT
    | {"trainer.step_rows_per_decade": 4, "trainer.recalibrate": 30},
    "mlp sgd inverse_sqrt": MLP | SCHEDULES["inverse_sqrt"] | {"data.scaling": "symmetric"},
    "mlp adamw cosine, evaluated at few epochs": ADAMW | SCHEDULES["cosine"]
    | {"trainer.eval_test": "log", "trainer.eval_train": "log", "trainer.evals_per_decade": 1},
}  # fmt: skip


@pytest.fixture
def undisturbed(
    begin: Begin, flat: Flat, tmp_path: Path
) -> Callable[..., tuple[dict[str, Any], pd.DataFrame]]:
    """The end state and rows of a run that never stops."""

    def run(changes: Mapping[str, Any]) -> tuple[dict[str, Any], pd.DataFrame]:
        folder = tmp_path / "undisturbed"
        for name in ("curves", "runs", "checkpoints"):
            (folder / name).mkdir(parents=True)
        calm = begin(METRICS, flat=with_changes(flat, changes), folder=folder)
        outcome, state = train(calm)
        assert outcome == "done"
        assert state["step"] == STEPS
        return state, rows(calm)

    return run


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_stopped_once_and_resumed_ends_with_the_same_bits(
    begin: Begin, flat: Flat, undisturbed: Any, kind: str
) -> None:
    state, curve = undisturbed(KINDS[kind])
    cell = with_changes(flat, KINDS[kind])
    for step in (0, 1, STEPS // 2, STEPS - 1):  # the next test stops after every one
        stopped_run = begin(METRICS, 1, flat=cell, cell=f"c1-{step}", stop=after(step))
        assert train(stopped_run)[0] == "stopped"
        assert record(stopped_run)["status"] == "stopped"
        resumed = begin(METRICS, 2, flat=cell, cell=f"c1-{step}")
        outcome, end = train(resumed)
        assert outcome == "done"
        assert_same_bits(end, state)
        assert_same_rows(rows(resumed).assign(cell=""), curve.assign(cell=""))


def test_a_checkpoint_of_a_network_with_other_layers_is_refused_with_what_to_do(
    begin: Begin, flat: Flat
) -> None:
    train(begin(METRICS, 1, flat=flat, stop=after(1)))
    edited = {**flat, "model.width": flat["model.width"] + 1}  # as code that was edited would have
    with pytest.raises(
        RuntimeError, match=r"remove the checkpoint.*\n.*size mismatch.*; rm .*/c1-\S+\.\*"
    ):
        train(begin(METRICS, 2, flat=edited))


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_stopped_after_every_single_step_ends_with_the_same_bits(
    begin: Begin, flat: Flat, undisturbed: Any, kind: str
) -> None:
    state, curve = undisturbed(KINDS[kind])
    for attempt in range(1, STEPS + 1):
        run = begin(METRICS, attempt, flat=with_changes(flat, KINDS[kind]), stop=after(1))
        outcome, end = train(run)
        assert (outcome, end["step"]) == ("stopped" if attempt < STEPS else "done", attempt)
        assert run.progressed
    assert_same_bits(end, state)
    assert_same_rows(rows(run), curve)
    computed_by = [max(step, 1) for step in curve["step"]]
    assert rows(run)["attempt"].tolist() == computed_by


def test_a_lost_run_continues_from_the_checkpoint_of_an_epochs_end(
    begin: Begin, flat: Flat, undisturbed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, curve = undisturbed(ADAM)
    lost_run = begin(METRICS, 1, flat=with_changes(flat, ADAM | {"run.checkpoint_seconds": 0.0}))
    real = lost_run.log

    def die(**values: Any) -> None:
        if values["epoch"] == 3:
            raise KeyboardInterrupt
        real(**values)

    monkeypatch.setattr(lost_run, "log", die)
    with pytest.raises(KeyboardInterrupt):
        train(lost_run)
    resumed = begin(METRICS, 2, flat=lost_run.flat)
    _, end = train(resumed)
    assert_same_bits(end, state)
    assert_same_rows(rows(resumed), curve)
    assert rows(resumed)["attempt"].tolist() == [1, 1, 1, 2]


def test_checkpoints_along_the_way_change_nothing(
    begin: Begin, flat: Flat, undisturbed: Any
) -> None:
    state, curve = undisturbed(PRE | MOMENTUM)
    often = begin(
        METRICS, flat=with_changes(flat, PRE | MOMENTUM | {"run.checkpoint_seconds": 0.0})
    )
    _, end = train(often)
    assert_same_bits(end, state)
    assert_same_rows(rows(often), curve)


def test_a_model_that_draws_random_numbers_resumes_exactly_too(
    begin: Begin, flat: Flat, undisturbed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = trainers.models.build
    monkeypatch.setattr(
        trainers.models, "build", lambda *args: nn.Sequential(nn.Dropout(0.5), real(*args))
    )
    state, curve = undisturbed({})
    train(begin(METRICS, 1, stop=after(4)))
    torch.rand(100)  # of another cell of the same child
    resumed = begin(METRICS, 2)
    _, end = train(resumed)
    assert_same_bits(end, state)
    assert_same_rows(rows(resumed), curve)


def test_two_runs_of_a_cell_are_the_same_whatever_ran_before(
    begin: Begin, flat: Flat, undisturbed: Any
) -> None:
    state, curve = undisturbed(POST | ADAM | AUGMENT)
    torch.manual_seed(99)
    repeat = begin(METRICS, flat=with_changes(flat, POST | ADAM | AUGMENT))
    _, end = train(repeat)
    assert_same_bits(end, state)
    assert_same_rows(rows(repeat), curve)


@pytest.mark.parametrize(
    ("changes", "name"),
    [({"data.train_samples": 30}, "data_hash"), ({"trainer.precision": "bfloat16"}, "precision")],
)
def test_a_checkpoint_of_another_experiment_is_refused(
    begin: Begin, flat: Flat, changes: dict[str, Any], name: str
) -> None:
    train(begin(METRICS, 1, stop=after(2)))
    errors = []
    for cell in ("c1-a", "c1-b"):
        train(begin(METRICS, 1, cell=cell, stop=after(2)))
        with pytest.raises(RuntimeError) as refusal:
            train(begin(METRICS, 2, cell=cell, flat={**flat, **changes}))
        errors.append(str(refusal.value).splitlines())
    (first, details), (same, others) = errors
    assert f"made with another {name}, and continuing would mix two experiments" in first
    assert first == same, "cells with the same mistake are counted together"
    values = rf"{name} \S+ in the checkpoint, \S+ now"
    assert re.fullmatch(rf"cell c1-a: {values}; rm .*/checkpoints/c1-a\.\*", details)
    assert others.endswith("/c1-b.*")


def test_a_checkpoint_is_not_continued_on_a_second_data_set(
    begin: Begin, flat: Flat, tmp_path: Path
) -> None:
    path = tmp_path / "rows.csv"
    settings = {
        "data.name": "table", "data.root": str(path), "data.label": "label",
        "data.features": None, "data.test_share": 0.25, "data.split_seed": None,
        "data.train_samples": None, "data.standardise": True,
        "data.label_noise.kind": "incorrect", "data.label_noise.rate": 0.0,
        "data.label_noise.classes": None, "data.label_noise.count": "nearest",
    }  # fmt: skip
    others = {key: value for key, value in flat.items() if not key.startswith("data.")}
    tabular = {**others, **settings}
    lines = [f"{number},{number % 2}" for number in range(40)]
    path.write_text("\n".join(["a,label", *lines]))
    train(begin(METRICS, 1, flat=tabular, stop=after(2)))
    path.write_text("\n".join(["a,label", *reversed(lines[1:])]))
    with pytest.raises(RuntimeError, match="made with another data_hash, and continuing would"):
        train(begin(METRICS, 2, flat=tabular))


@pytest.mark.parametrize(
    ("lr", "changes"),
    [(1e30, {}), (1e38, ADAM), (1e30, {"trainer.eval_test": "log", "trainer.eval_train": "never"})],
)
def test_a_loss_that_is_not_finite_is_a_result_and_keeps_its_rows(
    begin: Begin, flat: Flat, lr: float, changes: dict[str, Any]
) -> None:
    run = begin(METRICS, flat=with_changes(flat, changes | {"optim.lr": lr, "trainer.epochs": 50}))
    assert train(run)[0] == "nonfinite"
    table = rows(run)
    assert 2 <= len(table) < 51
    assert table["epoch"].tolist() == list(range(len(table)))
    last = table.iloc[-1]
    assert not (math.isfinite(last["train_loss"]) and math.isfinite(last["weight_norm"]))
    assert table["train_loss"].iloc[1:-1].map(math.isfinite).all()
    assert table["weight_norm"].iloc[:-1].map(math.isfinite).all()
    assert (record(run)["status"], record(run)["epochs"]) == ("nonfinite", len(table) - 1)
    assert not list((run.part.folder / "checkpoints").iterdir())


def test_weights_that_the_last_step_left_infinite_are_no_result(begin: Begin, flat: Flat) -> None:
    changes = {"optim.lr": 1e30, "trainer.epochs": 1, "trainer.batch_size": 40}
    run = begin(METRICS, flat=with_changes(flat, changes))
    assert train(run)[0] == "nonfinite"
    last = rows(run).iloc[-1]
    assert math.isfinite(last["train_loss"])  # of the epoch's only batch, before the step
    assert not math.isfinite(last["weight_norm"])


def test_rows_are_one_per_epoch_with_their_position(begin: Begin) -> None:
    run = begin(METRICS)
    train(run)
    table = rows(run)
    assert table["epoch"].tolist() == [0, 1, 2, 3]
    assert table["step"].tolist() == [0, 3, 6, 9]
    assert table["examples"].tolist() == [0, 40, 80, 120]
    assert table["seconds"].is_monotonic_increasing
    assert table["train_loss"].isna().tolist() == [True, False, False, False]
    assert {metric.name for metric in METRICS} <= set(table)


def test_counts_add_up_and_are_what_the_rates_say(begin: Begin, flat: Flat) -> None:
    run = begin(METRICS, flat=with_changes(flat, CNN | ADAM))
    train(run)
    table = rows(run)
    for name, examples in (
        ("train", 40),
        ("train_eval", 40),
        ("clean", 30),
        ("noisy", 10),
        ("test", 20),
    ):
        rows_with_counts = table[table[f"{name}_wrong"].notna()]
        assert (rows_with_counts[f"{name}_examples"] == examples).all()
        assert rows_with_counts[f"{name}_wrong"].between(0, examples).all()
        expected = (rows_with_counts[f"{name}_wrong"] / examples).astype("float32")
        assert rows_with_counts[f"{name}_error"].tolist() == expected.tolist()
    assert (table["clean_wrong"] + table["noisy_wrong"] == table["train_eval_wrong"]).all()
    facts = record(run)
    assert (facts["noise_rate"], facts["noise_chosen"]) == (0.25, 10)
    # two channels fewer than CIFAR-10
    assert facts["parameters"] == 378 * 9 + 152 * 3 + 10 - 2 * 9 * 3


@pytest.mark.parametrize("changes", [MLP, CNN, POST], ids=["mlp", "cnn5", "resnet18"])
def test_evaluation_agrees_with_the_model_in_evaluation_mode(
    begin: Begin, flat: Flat, changes: dict[str, Any]
) -> None:
    run = begin(METRICS, flat=with_changes(flat, changes))
    training = Training(config.parse(run.flat), run)
    training.restore()
    training.to_the_end()
    run.close("done")
    last = rows(run).iloc[-1]
    training.model.eval()
    for name, split in (("train_eval", training.data.train), ("test", training.data.test)):
        with torch.no_grad():
            logits = training.model(split.images.float() / 255)
        assert last[f"{name}_wrong"] == int((logits.argmax(1) != split.labels).sum())
        assert last[f"{name}_loss"] == pytest.approx(
            float(nn.functional.cross_entropy(logits, split.labels)), rel=1e-4
        )
    norm = math.sqrt(
        sum(float(p.detach().double().square().sum()) for p in training.model.parameters())
    )
    assert last["weight_norm"] == pytest.approx(norm, rel=1e-5)


def test_training_figures_are_means_over_samples_and_not_over_batches(
    begin: Begin, flat: Flat
) -> None:
    run = begin(METRICS, flat={**flat, "optim.lr": 0.0})
    train(run)
    table = rows(run).iloc[1:]
    assert table["train_loss"].tolist() == pytest.approx(
        table["train_eval_loss"].tolist(), rel=1e-6
    )
    assert table["train_wrong"].tolist() == table["train_eval_wrong"].tolist()


def test_the_gradient_norm_is_that_of_the_loss_without_weight_decay(
    begin: Begin, flat: Flat
) -> None:
    one_step = {
        "optim.lr": 0.0,
        "optim.weight_decay": 0.5,
        "trainer.batch_size": 40,
        "trainer.epochs": 1,
    }
    run = begin(METRICS, flat={**flat, **one_step})
    training = Training(config.parse(run.flat), run)
    training.restore()
    split = training.data.train
    loss = nn.functional.cross_entropy(training.model(split.images.float() / 255), split.labels)
    gradients = torch.autograd.grad(loss, list(training.model.parameters()))
    training.to_the_end()
    run.close("done")
    norm = math.sqrt(sum(float(gradient.double().square().sum()) for gradient in gradients))
    assert rows(run)["grad_norm"].iloc[-1] == pytest.approx(norm, rel=1e-5)


def test_the_size_of_evaluation_batches_does_not_change_the_counts(
    begin: Begin, flat: Flat
) -> None:
    table = []
    for attempt, size in enumerate((1, 7, 1000), start=1):
        run = begin(METRICS, attempt, flat={**flat, "trainer.eval_batch_size": size})
        train(run)
        table.append(rows(run).filter(regex="wrong|examples$").to_numpy().tolist())
    assert repr(table[0]) == repr(table[1]) == repr(table[2])


def test_without_noise_the_noisy_error_is_absent_and_not_a_number_made_up(
    begin: Begin, flat: Flat
) -> None:
    run = begin(METRICS, flat={**flat, "data.label_noise.rate": 0.0})
    train(run)
    assert rows(run)["noisy_error"].isna().all()
    assert (rows(run)["noisy_examples"] == 0).all()
    assert (rows(run)["clean_error"] == rows(run)["train_eval_error"]).all()


@pytest.mark.parametrize(
    ("epochs", "per_decade", "expected"),
    [
        (100, 2, [0, 1, 3, 10, 32, 100]),
        (20, 3, [0, 1, 2, 5, 10, 20]),
        (7, 1, [0, 1, 7]),
        (1, 10, [0, 1]),
        (5, 50, [0, 1, 2, 3, 4, 5]),
    ],
)
def test_evaluations_are_log_spaced_and_hold_the_first_and_last_epoch(
    begin: Begin, flat: Flat, epochs: int, per_decade: int, expected: list[int]
) -> None:
    changes = {
        "trainer.epochs": epochs,
        "trainer.evals_per_decade": per_decade,
        "trainer.batch_size": 40,
    }
    run = begin(
        METRICS, flat={**flat, **changes, "trainer.eval_test": "log", "trainer.eval_train": "log"}
    )
    train(run)
    table = rows(run)
    assert table["epoch"].tolist() == list(range(epochs + 1))
    for column in ("test_error", "train_eval_error", "clean_wrong"):
        assert table.loc[table[column].notna(), "epoch"].tolist() == expected


@pytest.mark.parametrize(("train_", "expected"), [("never", []), ("every", [0, 1, 2, 3])])
def test_the_training_set_is_evaluated_at_the_configured_epochs(
    begin: Begin, flat: Flat, train_: str, expected: list[int]
) -> None:
    run = begin(METRICS, flat={**flat, "trainer.eval_train": train_, "trainer.evals_per_decade": 1})
    train(run)
    assert rows(run).dropna(subset="train_eval_error")["epoch"].tolist() == expected
    assert rows(run)["test_error"].notna().all()


def overflowing(training: Training, steps: set[int]) -> list[float]:
    """Make gradients overflow in some steps, as they can in float16; returns the norms of all, as
    they will be.
    """
    training.scaler = torch.amp.GradScaler("cpu")
    norms: list[float] = []
    real = training.scaler.unscale_

    def unscale(optimiser: torch.optim.Optimizer) -> None:
        if training.position.step in steps:
            training.parameters[0].grad[0] = math.inf
        real(optimiser)
        norms.append(float(l2_norm([p.grad for p in training.parameters])))

    training.scaler.unscale_ = unscale  # type: ignore[method-assign]
    return norms


TO_INIT_WITH_NOISE = ADAMW | {"optim.decay_towards": "init", "optim.update_noise": 0.1}


@pytest.mark.parametrize("optimiser", [{}, TO_INIT_WITH_NOISE], ids=["sgd", "adamw with hooks"])
def test_steps_that_overflow_change_nothing_and_are_left_out_of_means(
    begin: Begin, flat: Flat, optimiser: Flat
) -> None:
    training = new_training(begin, with_changes(flat, optimiser))
    norms = overflowing(training, {0, 1, 2, 4})
    training.restore()
    training.run.close(training.to_the_end())
    table = rows(training.run)
    assert table["weight_norm"][1] == table["weight_norm"][0] != table["weight_norm"][2]
    assert table["skipped_steps"].tolist()[1:] == [3, 1, 0]
    means = [math.nan, (norms[3] + norms[5]) / 2, sum(norms[6:]) / 3]
    assert table["grad_norm"].tolist()[1:] == pytest.approx(means, nan_ok=True)


def test_no_steps_are_counted_as_skipped_without_float16(begin: Begin, flat: Flat) -> None:
    run = begin(METRICS, flat={**flat, "optim.lr": 1e30})
    train(run)
    assert rows(run)["skipped_steps"].isna().all()
    assert not math.isfinite(rows(run)["grad_norm"].iloc[-1])


def test_a_checkpoint_without_a_count_of_skipped_steps_is_continued(
    begin: Begin, flat: Flat, undisturbed: Any
) -> None:
    state, curve = undisturbed({})
    stopped = begin(METRICS, 1, stop=after(4))
    _, middle = train(stopped)
    stopped.checkpoint({**middle, "sums": middle["sums"][:3].clone()}, middle["step"])
    resumed = begin(METRICS, 2)
    _, end = train(resumed)
    assert_same_bits(end, state)
    assert_same_rows(rows(resumed), curve)


def test_the_sums_of_a_position_stay_as_they_were(begin: Begin, flat: Flat) -> None:
    training = new_training(begin, flat)
    training.restore()
    start = training.position
    training._train_epoch()
    assert training.position.sums[0] > 0
    assert start.sums.tolist() == [0.0] * 4


def new_training(begin: Begin, flat: Flat, **keys: Any) -> Training:
    """A training that has not begun; keys with __ instead of the dot."""
    cell = with_changes(flat, {key.replace("__", "."): value for key, value in keys.items()})
    return Training(config.parse(cell), begin(METRICS, flat=cell))


def test_the_noise_mask_is_the_same_across_models_widths_and_decays(
    begin: Begin, flat: Flat
) -> None:
    same = [
        new_training(begin, flat),
        new_training(begin, flat, model__width=9),
        new_training(begin, flat, optim__weight_decay=0.5, optim__lr=3.0),
        new_training(begin, with_changes(flat, CNN | ADAMW | AUGMENT)),
        new_training(begin, flat, trainer__epochs=9, trainer__batch_size=7),
    ]
    assert len({training.run.facts["noise_mask_hash"] for training in same}) == 1
    assert all(
        torch.equal(same[0].data.train.labels, training.data.train.labels) for training in same
    )
    other = [
        new_training(begin, flat, seed=1),
        new_training(begin, flat, data__label_noise__rate=0.5),
    ]
    assert len({training.run.facts["noise_mask_hash"] for training in [*other, same[0]]}) == 3


def test_the_test_set_is_clean_and_the_same_for_every_seed(begin: Begin, flat: Flat) -> None:
    first, second = (
        new_training(begin, flat, seed=1),
        new_training(begin, flat, seed=2, data__label_noise__rate=0.0),
    )
    assert torch.equal(first.data.test.images, second.data.test.images)
    assert torch.equal(first.data.test.labels, second.data.test.labels)
    assert not first.data.test.is_changed.any()
    assert not torch.equal(first.data.train.images, second.data.train.images)


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"trainer.batch_size": 13}, "trainer.batch_size: found 13"),
        ({"trainer.batch_size": None, "trainer.eval_batch_size": 39}, "trainer.eval_batch_size"),
    ],
)
def test_a_last_sample_that_batch_norm_cannot_train_on_is_explained(
    begin: Begin, flat: Flat, changes: dict[str, Any], key: str
) -> None:
    cell = with_changes(flat, PRE | changes)
    with pytest.raises(ConfigError, match=rf"^{key}.* with 40 training samples, which leaves 1"):
        train(begin(METRICS, flat=cell))


def test_seeds_differ_in_their_first_weights_and_equal_ones_do_not(
    begin: Begin, flat: Flat
) -> None:
    def weights(**keys: Any) -> Tensor:
        return nn.utils.parameters_to_vector(new_training(begin, flat, **keys).model.parameters())

    assert torch.equal(weights(), weights(data__label_noise__rate=0.0, optim__lr=3.0))
    assert not torch.equal(weights(), weights(seed=1))


def test_building_a_model_leaves_the_order_of_the_data_alone(
    begin: Begin, flat: Flat, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[Tensor] = []
    monkeypatch.setattr(Training, "_train_step", lambda self, x, y: batches.append(y))
    for width in (4, 9):
        training = new_training(begin, flat, model__width=width)
        training._train_epoch()
    assert torch.equal(torch.cat(batches[:3]), torch.cat(batches[3:]))


def test_every_epoch_shows_every_sample_once_in_an_order_of_its_own(
    begin: Begin, flat: Flat, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches: list[Tensor] = []
    monkeypatch.setattr(Training, "_train_step", lambda self, x, y: batches.append(x.flatten(1)))
    training = new_training(begin, flat)
    for epoch in range(2):
        training.position = replace(training.position, epoch=epoch, batch=0)
        training._train_epoch()
    first, second = torch.cat(batches[:3]), torch.cat(batches[3:])
    everything = sorted(training.data.train.images.flatten(1).tolist())
    assert sorted(first.tolist()) == sorted(second.tolist()) == everything
    assert not torch.equal(first, second)


def test_a_cpu_trains_in_float32_and_says_so(begin: Begin, flat: Flat) -> None:
    run = begin(METRICS)
    assert train(run)[0] == "done"
    assert record(run)["precision"] == "float32"
    assert record(run)["gpu"] is None
    training = new_training(begin, flat)
    assert {p.dtype for p in training.model.parameters()} == {torch.float32}
    assert training.model(training.data.test.images.float()).dtype == torch.float32


def test_half_precision_on_a_cpu_is_refused(begin: Begin, flat: Flat) -> None:
    with pytest.raises(RuntimeError, match=r"trainer\.precision=float16 needs a GPU"):
        new_training(begin, flat, trainer__precision="float16")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_gpu_that_is_not_there_is_named(begin: Begin, flat: Flat) -> None:
    with pytest.raises(
        RuntimeError, match=r"run\.device=cuda: .* sees no GPU here; use run\.device=auto or cpu"
    ):
        new_training(begin, flat, run__device="cuda")


@pytest.mark.parametrize(
    ("name", "step", "expected"),
    [
        ("constant", 0, 0.8), ("constant", 99, 0.8),
        ("cosine", 0, 0.8), ("cosine", 25, 0.4 * (1 + math.sqrt(0.5))), ("cosine", 50, 0.4),
        ("cosine", 100, 0.0),
        ("step", 3, 0.8), ("step", 4, 0.4), ("step", 7, 0.4), ("step", 8, 0.2),
        ("inverse_sqrt", 3, 0.8), ("inverse_sqrt", 4, 0.8 / math.sqrt(2)),
        ("inverse_sqrt", 12, 0.4),
    ],
)  # fmt: skip
def test_schedules_follow_their_formulas(name: Any, step: int, expected: float) -> None:
    schedule = Schedule(name, period=4, factor=0.5, warmup=0)
    rate = optim.learning_rate(0.8, schedule, step, total_steps=100, epoch_steps=10)
    assert rate == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_logged_learning_rate_is_that_of_the_last_step_of_the_epoch(
    begin: Begin, flat: Flat, name: Any
) -> None:
    run = begin(METRICS, flat={**flat, **SCHEDULES[name]})
    train(run)
    schedule = config.parse(run.flat).optim.schedule
    expected = [optim.learning_rate(0.1, schedule, step, STEPS, 3) for step in (2, 5, 8)]
    assert rows(run)["lr"].tolist()[1:] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("changes", "kind", "expected"),
    [
        ({}, torch.optim.SGD, {"momentum": 0.0, "weight_decay": 0.0}),
        (MOMENTUM, torch.optim.SGD, {"momentum": 0.9, "weight_decay": 1e-3}),
        (ADAM, torch.optim.Adam, {"betas": (0.9, 0.99), "eps": 1e-8, "weight_decay": 1e-3}),
        (ADAMW, torch.optim.AdamW, {"betas": (0.9, 0.99), "eps": 1e-8, "weight_decay": 0.1}),
    ],
)
def test_the_optimiser_has_the_settings_of_the_cell_for_all_parameters(
    begin: Begin, flat: Flat, changes: dict[str, Any], kind: type, expected: dict[str, Any]
) -> None:
    training = new_training(begin, with_changes(flat, changes))
    assert type(training.optimiser).__base__ is kind
    (group,) = training.optimiser.param_groups
    assert {key: group[key] for key in expected} == expected
    assert len(group["params"]) == len(list(training.model.parameters()))
    assert group.get("decoupled_weight_decay", False) is (kind is torch.optim.AdamW)


def test_training_a_cell_by_name_learns_the_digits(begin: Begin, flat: Flat) -> None:
    learnable = {
        "data.train_samples": None,
        "data.test_samples": None,
        "data.label_noise.rate": 0.0,
        "model.width": 32,
        "trainer.epochs": 8,
        "trainer.eval_batch_size": 1000,
    }
    run = begin(METRICS, flat=with_changes(flat, ADAM | learnable))
    assert trainers.train(config.parse(run.flat), run) == "done"
    run.close("done")
    assert record(run)["final_test_error"] < 0.15
    assert record(run)["final_train_eval_error"] < 0.1
    assert record(run)["best_test_error"] <= record(run)["final_test_error"]
