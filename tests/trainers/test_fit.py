"""Trainings that look for the first step at which they fit all their samples."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from torch import nn
from vision_runs import (
    after,
    assert_same_bits,
    assert_same_rows,
    record,
    rows,
    train,
    with_changes,
)

from trainers import config, weights
from trainers.measures import minimum
from trainers.measures.fit import Check, FitChecks, halves
from trainers.run import Run, log_spaced
from trainers.vision import METRICS, Training

Begin = Callable[..., Run]
Flat = Mapping[str, Any]

ADAM = {"optim.name": "adam", "optim.lr": 0.02, "optim.momentum": ..., "optim.beta1": 0.9,
        "optim.beta2": 0.99, "optim.eps": 1e-8, "optim.weight_decay": 0.0,
        "optim.decay_towards": "zero", "optim.update_noise": 0.0}  # fmt: skip
EASY = ADAM | {
    "model.width": 16,
    "trainer.epochs": 40,
    "trainer.stop_at_fit": True,
    "trainer.rows": "checks",
    "trainer.eval_train": "never",
}
"""Forty samples that 16 hidden units fit after some fifteen epochs of three batches."""

HARD = EASY | {"model.width": 1, "trainer.epochs": 5}
"""One hidden unit never fits them."""


def vision(flat: Flat, **changes: Any) -> Any:
    settings = {f"trainer.{key}": value for key, value in changes.items()}
    return config.parse({**flat, **settings}).trainer


def finished(begin: Begin, flat: Flat, folder: Path, **keys: Any) -> tuple[Run, dict[str, Any]]:
    """A run of a cell in a folder of its own, and the state at its end."""
    for name in ("curves", "runs", "checkpoints"):
        (folder / name).mkdir(parents=True)
    run = begin(METRICS, flat=flat, folder=folder, **keys)
    _, state = train(run)
    return run, state


def test_a_training_ends_at_the_first_check_without_a_wrong_sample(
    begin: Begin, flat: Flat
) -> None:
    run = begin(METRICS, flat=with_changes(flat, EASY))
    outcome, state = train(run)
    assert outcome == "done"
    facts, table = record(run), rows(run)
    assert facts["fitted"]
    assert facts["fit_step"] == facts["steps"] == state["step"] < 120
    assert (facts["wrong"], facts["best_wrong"], facts["abandoned"]) == (0, 0, False)
    assert table["train_eval_wrong"].iloc[-1] == 0
    assert (table["train_eval_wrong"].iloc[1:-1] > 0).all()
    assert table["test_examples"].iloc[-1] == 20
    assert facts["final_train_eval_wrong"] == 0


def test_a_failure_goes_to_the_end_of_its_budget(begin: Begin, flat: Flat) -> None:
    run = begin(METRICS, flat=with_changes(flat, HARD | {"trainer.least_steps": 23}))
    assert train(run)[0] == "done"
    facts = record(run)
    assert (facts["fitted"], facts["fit_step"], facts["steps"]) == (False, None, 23)
    assert facts["wrong"] == facts["final_train_eval_wrong"] >= facts["best_wrong"] > 0
    assert rows(run)["step"].tolist() == [0, *sorted(log_spaced(23, 12) - {0})]


def test_rows_inside_an_epoch_count_what_was_seen_of_it(begin: Begin, flat: Flat) -> None:
    run = begin(METRICS, flat=with_changes(flat, HARD | {"trainer.least_steps": 23}))
    train(run)
    table = rows(run).set_index("step").loc[[1, 2, 3, 4, 23]]
    assert table["epoch"].tolist() == [1, 1, 1, 2, 8]
    assert table["train_examples"].tolist() == [16, 32, 40, 16, 32]
    assert table["examples"].tolist() == [16, 32, 40, 56, 7 * 40 + 32]
    assert (
        table["train_error"] - table["train_wrong"] / table["train_examples"]
    ).abs().max() < 1e-6


def test_a_training_that_stops_at_its_fit_is_a_prefix_of_the_full_one(
    begin: Begin, flat: Flat, tmp_path: Path
) -> None:
    cell = with_changes(flat, EASY)
    stopped, _ = finished(begin, cell, tmp_path / "stopped")
    full, state = finished(begin, {**cell, "trainer.stop_at_fit": False}, tmp_path / "full")
    assert state["step"] == 120
    prefix = rows(full).iloc[: len(rows(stopped))]
    assert_same_rows(rows(stopped), prefix)
    for fact in ("fitted", "fit_step"):
        assert record(full)[fact] == record(stopped)[fact]


def test_checks_do_not_change_what_is_trained(begin: Begin, flat: Flat, tmp_path: Path) -> None:
    plain = with_changes(flat, EASY | {"trainer.stop_at_fit": False, "trainer.rows": "every"})
    _, expected = finished(begin, plain, tmp_path / "plain")
    _, checked = finished(begin, {**plain, "trainer.rows": "checks"}, tmp_path / "checked")
    assert "fit" not in expected
    assert_same_bits({key: checked[key] for key in expected}, expected)


def test_rows_of_every_epoch_are_kept_when_asked_for(begin: Begin, flat: Flat) -> None:
    run = begin(METRICS, flat=with_changes(flat, HARD | {"trainer.rows": "every"}))
    train(run)
    assert set(rows(run)["step"]) >= {0, 3, 6, 9, 12, 15}
    assert rows(run)["step"].is_unique


@pytest.mark.parametrize(
    "changes",
    [
        EASY,
        HARD | {"trainer.least_steps": 17, "trainer.minimum_check": True},
        HARD | {"trainer.abandon": [[0.5, 0.1]]},
        EASY | {"trainer.batch_size": None, "trainer.epochs": 12},
    ],
    ids=["fits", "fails", "is abandoned", "full batch"],
)
def test_a_checked_run_stopped_at_any_step_ends_with_the_same_bits(
    begin: Begin, flat: Flat, tmp_path: Path, changes: dict[str, Any]
) -> None:
    cell = with_changes(flat, changes)
    calm, state = finished(begin, cell, tmp_path / "calm")
    run, end, attempt, outcome = calm, state, 0, "stopped"
    while outcome == "stopped":
        attempt += 1
        run = begin(METRICS, attempt, flat=cell, stop=after(1))
        outcome, end = train(run)
    assert attempt == max(state["step"], 1)
    assert_same_bits(end, state)
    assert_same_rows(rows(run), rows(calm))
    names = ["fitted", "fit_step", "wrong", "best_wrong", "abandoned", "lambda_min", "loss_trend"]
    facts, expected = record(run), record(calm)
    assert [facts[name] for name in names] == [expected[name] for name in names]


def test_a_look_abandons_a_training_with_too_many_errors(begin: Begin, flat: Flat) -> None:
    cell = with_changes(
        flat, HARD | {"trainer.abandon": [[0.4, 0.99], [0.6, 0.1]], "trainer.minimum_check": True}
    )
    run = begin(METRICS, flat=cell)
    assert train(run)[0] == "done"
    facts = record(run)
    assert (facts["abandoned"], facts["fitted"], facts["steps"]) == (True, False, 9)
    assert facts["full_grad_norm"] is None
    assert rows(run)["step"].iloc[-1] == 9


def test_a_look_inside_an_epoch_ends_a_diverged_training_as_diverged(
    begin: Begin, flat: Flat
) -> None:
    changes = {
        "trainer.abandon": [[0.05, 0.1]],
        "trainer.weights_at": "final",
        "trainer.batch_size": 1,
    }
    ends = {}
    for rate in (0.02, 1e38):
        cell = with_changes(flat, HARD | changes | {"optim.lr": rate})
        run = begin(METRICS, flat=cell, cell=f"c1-{rate:g}")
        ends[rate] = train(run)[0]
        assert record(run)["abandoned"]
        assert rows(run)["epoch"].iloc[-1] == 1
        assert (run.part.folder / "weights" / f"{run.cell}.npz").exists() == (rate < 1)
    assert ends == {0.02: "done", 1e38: "nonfinite"}


def test_weights_of_a_training_that_ends_inside_an_epoch_have_the_epoch_of_its_last_row(
    begin: Begin, flat: Flat
) -> None:
    changes = {"trainer.batch_size": 1, "trainer.weights_at": "final", "model.width": 64}
    changes |= {"optim.lr": 0.002}
    run = begin(METRICS, flat=with_changes(flat, EASY | changes))
    train(run)
    last = rows(run).iloc[-1]
    assert last["step"] % 40, "it ends inside an epoch"
    _, final = weights.read(run.part.folder / "weights", run.cell, "final")
    assert final.epoch == last["epoch"]


def test_an_epoch_with_few_errors_is_checked_until_the_fit(begin: Begin, flat: Flat) -> None:
    epochs_end = {3 * epoch for epoch in range(1, 31)}
    steps = {}
    for trigger in (0.0, 1.0):
        changes = {"trainer.stop_at_fit": False, "trainer.epochs": 30}
        cell = with_changes(flat, EASY | changes | {"trainer.fit_trigger": trigger})
        run = begin(METRICS, flat=cell, cell=f"c1-{trigger}")
        train(run)
        steps[trigger] = set(rows(run)["step"])
    fit_step = record(run)["fit_step"]
    before = {step for step in epochs_end if step <= fit_step}
    assert steps[1.0] - steps[0.0] == before - steps[0.0] != set()


def test_checks_evaluate_in_float32_whatever_the_training_uses(begin: Begin, flat: Flat) -> None:
    cell = with_changes(flat, HARD | {"trainer.precision": "bfloat16", "trainer.epochs": 1})
    training = Training(config.parse(cell), begin(METRICS))
    dtypes: list[torch.dtype] = []
    training.model.register_forward_hook(lambda _model, _x, logits: dtypes.append(logits.dtype))
    training._check()
    assert set(dtypes) == {torch.float32}
    dtypes.clear()
    training._train_epoch()
    training._test_columns()
    assert torch.bfloat16 in dtypes


def test_facts_are_null_for_a_training_without_checks(begin: Begin) -> None:
    run = begin(METRICS)
    train(run)
    names = ("fitted", "fit_step", "wrong", "best_wrong", "abandoned", "bits", "lambda_min")
    assert [record(run)[name] for name in names] == [None] * len(names)


def test_a_nonfinite_training_did_not_fit(begin: Begin, flat: Flat) -> None:
    cell = with_changes(flat, HARD | {"optim.lr": 1e38, "trainer.minimum_check": True})
    run = begin(METRICS, flat=cell)
    assert train(run)[0] == "nonfinite"
    assert record(run)["fitted"] is False
    assert record(run)["bits"] is None
    assert not math.isfinite(rows(run)["train_loss"].iloc[-1])


def test_bits_are_those_of_random_labels_alone(begin: Begin, flat: Flat) -> None:
    random = {"data.label_noise.kind": "random", "data.label_noise.rate": 1.0}
    run = begin(METRICS, flat=with_changes(flat, HARD | random))
    train(run)
    loss = rows(run)["train_eval_loss"].iloc[-1]
    assert record(run)["bits"] == pytest.approx(
        40 * math.log2(10) - 40 * loss / math.log(2), abs=1e-3
    )
    other = begin(METRICS, flat=with_changes(flat, HARD), cell="c1-other")
    train(other)
    assert record(other)["bits"] is None


def test_the_test_set_is_not_evaluated_for_labels_of_other_classes(
    begin: Begin, flat: Flat
) -> None:
    noise = {"kind": "random", "rate": 1.0, "classes": 3}
    changes = {f"data.label_noise.{key}": value for key, value in noise.items()}
    run = begin(METRICS, flat=with_changes(flat, EASY | changes))
    train(run)
    assert rows(run)["test_wrong"].isna().all()
    assert record(run)["parameters"] == 65 * 16 + 17 * 3


def test_all_samples_in_one_step_give_the_gradient_of_the_whole_set(
    begin: Begin, flat: Flat
) -> None:
    """In blocks of 7 of the 40 samples, or all at once."""
    gradients = []
    for block in (7, 40):
        changes = {"trainer.batch_size": None, "trainer.eval_batch_size": block}
        training = Training(config.parse({**flat, **changes}), begin(METRICS))
        assert (training.batches, training.batch_size) == (1, 40)
        training.optimiser.zero_grad()
        loss, wrong = training._gradient(training.data.train.images, training.data.train.labels)
        grads = [p.grad.flatten() for p in training.model.parameters() if p.grad is not None]
        gradients.append(torch.cat([*grads, loss[None], wrong[None]]))
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-5, atol=1e-6)


def test_an_epoch_on_all_samples_is_one_step(begin: Begin, flat: Flat) -> None:
    run = begin(METRICS, flat={**flat, "trainer.batch_size": None})
    assert train(run)[1]["step"] == 3
    assert rows(run)["step"].tolist() == [0, 1, 2, 3]
    assert rows(run)["train_examples"].tolist()[1:] == [40, 40, 40]


@pytest.mark.parametrize("budget", [10, 70, 1000, 3000])
@pytest.mark.parametrize(
    "changes", [{}, {"minimum_check": True}, {"abandon": [[0.3, 0.3], [0.5, 0.1]]}], ids=str
)
def test_a_doubled_budget_has_every_check_of_the_half(
    flat: Flat, changes: Mapping[str, Any], budget: int
) -> None:
    settings = vision(flat, stop_at_fit=True, **changes)
    half, double = (
        FitChecks(settings, 40, steps, log_spaced(steps, 12)).steps
        for steps in (budget, 2 * budget)
    )
    assert half <= double
    assert max(half) == budget


def test_halves_end_at_the_first_odd_number() -> None:
    assert halves(3000) == {3000, 1500, 750, 375}
    assert halves(7) == {7}


@pytest.mark.parametrize(("loss", "expected"), [(0.1, 5), (math.nan, None)])
def test_a_fit_needs_a_finite_loss(flat: Flat, loss: float, expected: int | None) -> None:
    checks = FitChecks(vision(flat, stop_at_fit=True), 40, 9, {5, 9})
    checks.add(Check(5, 0, loss))
    assert checks.fit_step == expected
    assert checks.has_ended is (expected is not None)


def test_the_first_fit_counts_and_the_best_check_is_kept(flat: Flat) -> None:
    checks = FitChecks(vision(flat, rows="checks"), 40, 9, {2, 5, 9})
    for step, wrong in ((2, 3), (5, 0), (9, 4)):
        checks.add(Check(step, wrong, 0.1))
    facts = checks.facts(None)
    assert (facts["fit_step"], facts["wrong"], facts["best_wrong"]) == (5, 4, 0)
    assert not checks.has_ended


def test_the_state_of_the_checks_survives_a_checkpoint(flat: Flat) -> None:
    settings = vision(flat, minimum_check=True)
    checks = FitChecks(settings, 40, 10, {10})
    checks.add(Check(8, 3, 0.5))
    restored = FitChecks(settings, 40, 10, {10})
    restored.load(checks.state())
    for each in (checks, restored):
        each.add(Check(10, 2, 0.4))
    assert restored.state() == checks.state()
    assert restored.loss_trend() == pytest.approx(-0.2)


MODELS: dict[str, dict[str, Any]] = {
    "mlp": {"model.width": 3, "model.activation": "tanh"},
    "convnet": {"model.name": "convnet", "model.width": 1, "model.depth": ..., "model.stages": 2,
                "model.blocks": 1, "model.down": "stride", "model.norm": "none",
                "model.activation": "gelu"},
    "vit": {"model.name": "vit", "model.width": 2, "model.depth": 1, "model.heads": 2,
            "model.feedforward": 1, "model.patch": 4},
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_the_eigenvalues_are_those_of_the_dense_hessian(
    begin: Begin, flat: Flat, name: str
) -> None:
    changes = HARD | MODELS[name] | {"trainer.minimum_check": True}
    run = begin(METRICS, flat=with_changes(flat, changes))
    training = Training(config.parse(run.flat), run)
    training.restore()
    training.to_the_end()
    network = training.model.double().eval()
    x_nchw = training.data.train.images.double() / 255
    names = [key for key, _ in network.named_parameters()]
    shapes = [p.shape for p in network.parameters()]
    vector = nn.utils.parameters_to_vector(network.parameters()).detach().requires_grad_()

    def loss(flat_parameters: torch.Tensor) -> torch.Tensor:
        parts = flat_parameters.split([math.prod(shape) for shape in shapes])
        values = {k: part.view(s) for k, part, s in zip(names, parts, shapes, strict=True)}
        logits = torch.func.functional_call(network, values, x_nchw)
        return nn.functional.cross_entropy(logits, training.data.train.labels)

    hessian = torch.autograd.functional.hessian(loss, vector)
    values = torch.linalg.eigvalsh(hessian)
    (gradient,) = torch.autograd.grad(loss(vector), vector)
    facts = run.facts
    assert len(vector) < 1000
    tolerance = minimum.TOLERANCE * float(values[-1])
    assert facts["lambda_max"] == pytest.approx(float(values[-1]), rel=minimum.TOLERANCE)
    assert facts["lambda_min"] == pytest.approx(float(values[0]), abs=tolerance)
    expected = float(gradient.norm()) / len(vector) ** 0.5
    assert facts["full_grad_norm"] == pytest.approx(expected, rel=1e-5)


def test_a_minimum_check_leaves_the_network_as_it_was(begin: Begin, flat: Flat) -> None:
    training = Training(config.parse(with_changes(flat, HARD)), begin(METRICS))
    before = {key: value.clone() for key, value in training.model.state_dict().items()}
    training.model.train()
    first = minimum.measure(training.model, training._train_blocks, 40, seed=0)
    assert_same_bits(dict(training.model.state_dict()), before)
    assert training.model.training
    assert all(parameter.grad is None for parameter in training.model.parameters())
    assert minimum.measure(training.model, training._train_blocks, 40, seed=0) == first


def test_eigenvalues_of_large_problems_are_left_out(
    begin: Begin, flat: Flat, monkeypatch: pytest.MonkeyPatch
) -> None:
    training = Training(config.parse(with_changes(flat, HARD)), begin(METRICS))
    monkeypatch.setattr(minimum, "LARGEST_PROBLEM", 100)
    result = minimum.measure(training.model, training._train_blocks, 40, seed=0)
    assert result.full_grad_norm > 0
    assert (result.lambda_min, result.lambda_max) == (None, None)


def test_curves_have_the_rows_of_the_checks_only(begin: Begin, flat: Flat) -> None:
    run = begin(METRICS, flat=with_changes(flat, EASY | {"trainer.eval_test": "last"}))
    train(run)
    table: pd.DataFrame = rows(run)
    assert table["test_wrong"].notna().tolist() == [False] * (len(table) - 1) + [True]
    assert table["train_eval_wrong"].notna().tolist() == [False] + [True] * (len(table) - 1)
