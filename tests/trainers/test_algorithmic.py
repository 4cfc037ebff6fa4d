"""The trainer on operation tables: exact resume, exact steps to each accuracy, noise, and where
runs end.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from trainers import algorithmic, config, weights
from trainers.measures import sharpness, thresholds
from trainers.measures.trainings import PARAMETER_GROUPS
from trainers.models import linear
from trainers.run import Outcome, Run

CLOCK = ("seconds", "steps_per_second", "attempt")
FLAT: Mapping[str, Any] = MappingProxyType({
    "seed": 0,
    "model.name": "transformer", "model.width": 16, "model.depth": 2, "model.heads": 2,
    "model.feedforward": 2,
    "model.norm": "post", "model.activation": "relu", "model.positions": "learned",
    "model.biases": "none",
    "model.tied": False, "model.init": "torch", "model.dropout_attention": 0.0,
    "model.dropout_residual": 0.0,
    "model.dropout_hidden": 0.0,
    "data.name": "arithmetic", "data.operation": "x+y", "data.modulus": 7, "data.degree": 3,
    "data.train_fraction": 0.7, "data.split_seed": 0, "data.outliers": 3, "data.outlier_size": 0.0,
    "data.sequence": "a o b =", "data.vocabulary": None,
    "optim.name": "adamw", "optim.lr": 0.01, "optim.beta1": 0.9, "optim.beta2": 0.98,
    "optim.eps": 1e-8,
    "optim.weight_decay": 1.0, "optim.decay_towards": "zero", "optim.update_noise": 0.0,
    "optim.schedule.name": "constant", "optim.schedule.period": 4, "optim.schedule.factor": 0.5,
    "optim.schedule.warmup": 5,
    "trainer.name": "algorithmic", "trainer.steps": 40, "trainer.batch_size": 10,
    "trainer.at_most_half": True,
    "trainer.replacement": False, "trainer.eval_batch_size": 20, "trainer.evals_per_decade": 6,
    "trainer.exact_steps": "crossed", "trainer.stop_at": None, "trainer.weight_noise": 0.0,
    "trainer.precision": "float32",
    "trainer.loss_precision": "float32", "trainer.sharpness": False, "trainer.save_weights": False,
    "trainer.deterministic": False,
    "run.device": "cpu", "run.threads": 1, "run.compile": False, "run.checkpoint_seconds": 1e9,
})  # fmt: skip
KINDS = {
    "minibatches": {},
    "full batch, float64": {"trainer.batch_size": None, "trainer.precision": "float64"},
    "bfloat16": {"trainer.precision": "bfloat16", "trainer.loss_precision": "float64"},
    "dropout": {
        "model.dropout_attention": 0.2,
        "model.dropout_residual": 0.1,
        "model.dropout_hidden": 0.1,
    },
    "noise on weights and updates": {"trainer.weight_noise": 0.01, "optim.update_noise": 0.1},
    "decay to the initial weights": {"optim.decay_towards": "init"},
    "redrawn labels, with replacement": {"data.outlier_size": 0.3, "trainer.replacement": True},
}


@pytest.fixture
def run_training(
    begin: Callable[..., Run], tmp_path: Path
) -> Callable[..., tuple[Outcome, list[dict[str, Any]]]]:
    """Trains a cell in a folder of its own, stopped and resumed at the given steps; outcome and
    rows.
    """
    numbers = itertools.count()

    def run(
        changes: Mapping[str, Any], stops: tuple[int, ...] = ()
    ) -> tuple[Outcome, list[dict[str, Any]]]:
        flat = {**FLAT, **changes}
        folder = tmp_path / str(next(numbers))
        for name in ("curves", "runs", "checkpoints"):
            (folder / name).mkdir(parents=True)
        for attempt, last in enumerate((*stops, None), 1):
            calls = itertools.count()
            stop = (
                (lambda last=last, calls=calls: next(calls) >= last)
                if last is not None
                else (lambda: False)
            )
            torch.manual_seed(attempt)  # whatever was drawn before must not matter
            began = begin(algorithmic.METRICS, attempt, flat, folder=folder, stop=stop)
            outcome = algorithmic.train(config.parse(flat), began)
            began.close(outcome)
        return outcome, [{k: v for k, v in row.items() if k not in CLOCK} for row in began._rows]

    return run


Trained = Callable[..., tuple[Outcome, list[dict[str, Any]]]]


@pytest.mark.parametrize("change", KINDS.values(), ids=KINDS)
def test_a_run_stopped_anywhere_and_resumed_logs_the_same_rows(
    change: dict[str, Any], run_training: Trained
) -> None:
    outcome, rows = run_training(change)
    assert (outcome, rows[-1]["step"]) == ("done", 40)
    assert len({row["train_loss"] for row in rows}) == len(rows)
    stops = (0, 1, 17, 14)  # steps of each attempt, those taken again counted too
    assert run_training(change, stops) == (outcome, rows)


def first_reached(rows: list[dict[str, Any]], split: str, percent: int) -> int:
    return next(
        r["step"] for r in rows if r[f"{split}_right"] * 100 >= percent * r[f"{split}_examples"]
    )


def test_the_steps_to_an_accuracy_are_the_first_that_reached_it(run_training: Trained) -> None:
    change = {
        "data.outliers": 0,
        "optim.lr": 0.003,
        "trainer.steps": 150,
        "optim.weight_decay": 0.0,
    }
    change |= {"model.width": 32}
    _, dense = run_training(
        change | {"trainer.evals_per_decade": 10_000, "trainer.exact_steps": "rows"}
    )
    _, every = run_training(change | {"trainer.exact_steps": "every"})
    _, crossed = run_training(change)
    _, rows = run_training(change | {"trainer.exact_steps": "rows"})
    assert [row["step"] for row in dense] == list(range(151))
    assert len(crossed) < 20
    logged = [row["step"] for row in crossed]
    result = set()
    for percent in thresholds.PERCENTS:
        name = f"train_steps_{percent}"
        assert every[-1][name] == first_reached(dense, "train", percent)
        assert rows[-1][name] == first_reached(rows, "train", percent)
        below = logged[logged.index(rows[-1][name]) - 1]  # the last row that had not reached it
        assert crossed[-1][name] == first_reached(dense[below + 1 :], "train", percent)
        result.add(crossed[-1][name])
    assert not result <= set(logged)
    for row in crossed:  # going back changes no number
        library = {k: v for k, v in row.items() if "_steps_" not in k and not k.startswith("gap_")}
        assert library.items() <= dense[row["step"]].items()


def test_gaps_are_between_the_splits_and_rows_count_what_they_say(run_training: Trained) -> None:
    _, rows = run_training(
        {"trainer.steps": 500, "data.outliers": 0, "data.train_fraction": 0.8, "model.depth": 1}
    )
    last = rows[-1]
    assert (last["train_examples"], last["test_examples"]) == (39, 10)
    assert last["gap_50"] == last["test_steps_50"] - last["train_steps_50"]
    for row in rows:
        assert row["train_accuracy"] == row["train_right"] / 39
        assert row["epoch"] == -(-row["step"] // 4)
        assert row["examples"] == row["step"] // 4 * 39 + row["step"] % 4 * 10
        assert ("gap_99" in row) == ("test_steps_99" in row and "train_steps_99" in row)


def test_outliers_are_learnt_as_the_answers_they_were_given(run_training: Trained) -> None:
    _, rows = run_training({"data.outliers": 8, "trainer.steps": 250, "optim.weight_decay": 0.0})
    assert rows[0]["outlier_right"] < 8
    assert (rows[-1]["outlier_right"], rows[-1]["outlier_examples"]) == (8, 8)
    assert rows[-1]["train_right"] == rows[-1]["train_examples"]


def test_batches_can_be_limited_to_half_of_the_training_rows(run_training: Trained) -> None:
    epochs = {}
    for half in (True, False):
        _, rows = run_training(
            {"trainer.batch_size": 512, "trainer.at_most_half": half, "trainer.steps": 4}
        )
        epochs[half] = rows[-1]["epoch"]
    assert epochs == {True: 2, False: 4}


def test_training_ends_at_the_configured_accuracy(run_training: Trained) -> None:
    change = {
        "trainer.steps": 2000,
        "data.outliers": 0,
        "data.train_fraction": 0.8,
        "trainer.stop_at": 0.5,
    }
    outcome, rows = run_training(change)
    assert outcome == "done"
    assert rows[-1]["step"] < 2000
    assert rows[-1]["test_accuracy"] >= 0.5 > rows[-2]["test_accuracy"]


def test_a_loss_that_is_not_finite_ends_the_run_as_a_result(run_training: Trained) -> None:
    outcome, rows = run_training(
        {"optim.lr": 1e30, "optim.weight_decay": 0.0, "model.norm": "none"}
    )
    assert outcome == "nonfinite"
    assert not np.isfinite(rows[-1]["train_loss"])


@pytest.mark.parametrize(
    "change",
    [
        {"trainer.steps": 2000, "data.outliers": 0, "data.train_fraction": 0.8,
         "trainer.stop_at": 0.1},
        {"optim.lr": 1e30, "optim.weight_decay": 0.0, "model.norm": "none"},
    ],
    ids=["reached", "not finite"],
)  # fmt: skip
def test_a_run_that_dies_after_its_last_step_ends_at_the_same_step_again(
    begin: Callable[..., Run], change: dict[str, Any]
) -> None:
    flat = {**FLAT, **change, "run.checkpoint_seconds": 0.0, "trainer.save_weights": True}
    ends = []
    for attempt in (1, 2):  # the first one writes no record
        run = begin(algorithmic.METRICS, attempt, flat)
        outcome = algorithmic.train(config.parse(flat), run)
        ends.append((outcome, [row["step"] for row in run._rows]))
        weights = run.part.folder / "weights" / f"{run.cell}.npz"
        assert weights.exists() == (outcome == "done")
    assert ends[0] == ends[1]


def test_a_checkpoint_of_other_data_is_refused(begin: Callable[..., Run]) -> None:
    run = begin(algorithmic.METRICS, 1, FLAT, stop=lambda: True)
    assert algorithmic.train(config.parse(FLAT), run) == "stopped"
    other = {**FLAT, "data.split_seed": 1}
    with pytest.raises(RuntimeError, match="made with another data_hash, and continuing would"):
        algorithmic.train(config.parse(other), begin(algorithmic.METRICS, 2, other))


def test_weights_are_kept_if_configured(begin: Callable[..., Run], sweep: Path) -> None:
    flat = {**FLAT, "trainer.save_weights": True, "trainer.steps": 3}
    run = begin(algorithmic.METRICS, 1, flat)
    algorithmic.train(config.parse(flat), run)
    with np.load(sweep / "weights" / f"{run.cell}.npz") as arrays:
        norms = sum(float((arrays[name].astype(float) ** 2).sum()) for name in arrays) ** 0.5
        assert arrays["output.weight"].shape == (9, 16)
    assert norms == pytest.approx(run._rows[-1]["weight_norm"], rel=1e-6)


def test_snapshots_at_steps_are_kept_once_though_steps_are_repeated(
    begin: Callable[..., Run], sweep: Path
) -> None:
    flat = {**FLAT, "trainer.weights_at": [0, 7, 40], "trainer.evals_per_decade": 2}
    run = begin(algorithmic.METRICS, 1, flat)
    algorithmic.train(config.parse(flat), run)
    owner, snapshots = weights.read_path(sweep / "weights", run.cell)
    assert [snapshot.epoch for snapshot in snapshots] == [0, 7, 40]
    final = weights.read(sweep / "weights", run.cell, "final")[1]
    assert (final.epoch, final.result) == (40, snapshots[-1].result)
    assert final.result.loss == pytest.approx(run._rows[-1]["train_loss"], rel=1e-6)
    assert owner.cell == run.cell


def test_norms_of_the_parts_make_up_the_whole(run_training: Trained) -> None:
    _, rows = run_training({"trainer.steps": 2, "model.norm": "pre"})
    for row in rows:
        parts = [row[f"norm_{part}"] for part in PARAMETER_GROUPS]
        assert sum(part**2 for part in parts) ** 0.5 == pytest.approx(row["weight_norm"], rel=1e-6)


def test_sharpness_is_that_of_a_bowl_worked_out_by_hand() -> None:
    # at the bottom of f = c |x|^2 / 2 the highest point of the box is a corner: |A z|^2 with |z_i|
    # = 1e-3
    curvature = 1e6
    x = torch.zeros(4000, requires_grad=True)
    result = sharpness.sharpness([x], lambda: curvature * x.double().square().sum() / 2, seed=0)
    # the columns of A are nearly orthogonal, of length sqrt(4000)
    expected = curvature * 4000 * 10 * 1e-6 / 2 * 100
    assert result == pytest.approx(expected, rel=0.3) or result == pytest.approx(0.0, abs=1e-9)
    start = torch.full((4000,), 0.01, requires_grad=True)
    sloped = sharpness.sharpness(
        [start], lambda: curvature * start.double().square().sum() / 2, seed=0
    )
    assert sloped > 0
    assert torch.equal(start, torch.full((4000,), 0.01))


def test_sharpness_in_the_trainer_is_measured_once_and_changes_nothing(
    run_training: Trained,
) -> None:
    _, plain = run_training({})
    _, rows = run_training({"trainer.sharpness": True})
    assert [row for row in rows if "sharpness" in row] == rows[-1:]
    assert rows[-1].pop("sharpness") >= 0
    assert rows == plain


WIDE = {"model.width": 64, "data.modulus": 47, "trainer.batch_size": 512, "trainer.steps": 4}
"""Products large enough for oneDNN, whose bits are not MKL's."""


@pytest.fixture
def on(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Lets a processor be one whose matrices the given library multiplies."""
    return lambda library: monkeypatch.setattr(linear, "fastest_here", lambda: library)


@pytest.mark.parametrize("library", ["onednn", "mkl"])
def test_the_library_is_a_fact_of_the_run(
    library: str, on: Callable[[str], None], begin: Callable[..., Run]
) -> None:
    on(library)
    run = begin(algorithmic.METRICS, flat=FLAT)
    algorithmic.train(config.parse(FLAT), run)
    run.close("done")
    table = pq.read_table(run.part.folder / "runs" / f"{run.part.writer}.parquet")
    assert table["matrix_library"].to_pylist() == [library]


@pytest.mark.skipif(not linear.is_available("onednn"), reason="this build of torch has no oneDNN")
@pytest.mark.parametrize(("began", "other_folder"), [("onednn", "mkl"), ("mkl", "onednn")])
def test_a_resumed_run_keeps_the_library_of_its_checkpoint(
    began: str,
    other_folder: str,
    on: Callable[[str], None],
    run_training: Trained,
    begin: Callable[..., Run],
) -> None:
    on(began)
    _, rows = run_training(WIDE)
    flat = {**FLAT, **WIDE}
    calls = itertools.count()
    first = begin(algorithmic.METRICS, 1, flat, stop=lambda: next(calls) >= 2)
    assert algorithmic.train(config.parse(flat), first) == "stopped"
    on(other_folder)
    second = begin(algorithmic.METRICS, 2, flat)
    assert algorithmic.train(config.parse(flat), second) == "done"
    assert second.facts["matrix_library"] == began
    assert [{k: v for k, v in row.items() if k not in CLOCK} for row in second._rows] == rows


@pytest.mark.parametrize(
    ("name", "library", "warned"),
    [
        ({}, linear.BEFORE, False),
        ({"matrix_library": "blis"}, "mkl", True),
        ({"matrix_library": None}, "mkl", True),
    ],
    ids=["a checkpoint of before", "a library that is not here", "a GPU"],
)
def test_a_checkpoint_without_a_library_of_here(
    name: dict[str, str | None],
    library: str,
    warned: bool,
    on: Callable[[str], None],
    begin: Callable[..., Run],
    caplog: pytest.LogCaptureFixture,
) -> None:
    on("mkl")
    first = begin(algorithmic.METRICS, 1, FLAT)
    training = algorithmic.Training(config.parse(FLAT), first)
    state = {**training.state(), "snapshot": None}
    state.pop("matrix_library")
    first.checkpoint(state | name, 0)
    second = begin(algorithmic.METRICS, 2, FLAT)
    algorithmic.train(config.parse(FLAT), second)
    assert second.facts["matrix_library"] == library
    assert ("only mkl can" in caplog.text) == warned
