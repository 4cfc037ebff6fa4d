"""Minima: the poisoned objective, its samples, exact resume, and the weights that are kept."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from minima_runs import CELL, begin, complete, digits_cell
from torch import Tensor
from torch.nn import functional
from vision_runs import after, assert_same_bits, assert_same_rows, record, rows

from trainers import config, objective, weights
from trainers.config import ConfigError, MinimaCell
from trainers.data import images, poison
from trainers.minima import Training
from trainers.run import Run


def cell_of(flat: Any) -> MinimaCell:
    cell = config.parse(flat)
    assert isinstance(cell, MinimaCell)
    return cell


def trained(run: Run) -> Training:
    training = Training(cell_of(run.flat), run)
    training.restore()
    run.close(training.to_the_end())
    return training


def test_the_loss_of_a_true_label_that_should_be_wrong_is_finite_at_any_logits() -> None:
    logits = torch.tensor([[200.0, 0.0, 0.0]], requires_grad=True)
    loss = objective.not_label(logits, torch.tensor([0]))
    (gradient,) = torch.autograd.grad(loss, [logits])
    assert loss.item() == pytest.approx(200 - math.log(2))
    assert gradient.tolist() == [[1.0, -0.5, -0.5]]


def test_for_two_classes_it_is_cross_entropy_with_flipped_labels() -> None:
    logits = torch.randn(9, 2, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(9) % 2
    expected = functional.cross_entropy(logits, 1 - labels)
    torch.testing.assert_close(objective.not_label(logits, labels), expected)


KINDS: dict[str, dict[str, Any]] = {
    "fresh points": {"trainer.poison.fresh": True},
    "full batch, clipped, polished": {
        "trainer.batch_size": None, "trainer.epochs": 9, "trainer.clip": 0.1,
        "trainer.polish.loss": 0.0, "trainer.weights_at": "log",
    },
    "wrong labels, joint mean": {
        "trainer.poison.kind": "wrong_label", "trainer.poison.weight": None,
        "trainer.weights_at": [0, 2],
    },
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_stopped_at_any_step_ends_with_the_same_bits(tmp_path: Path, kind: str) -> None:
    flat = {**CELL, **KINDS[kind]}
    calm_run = begin(tmp_path / "calm", flat)
    calm = trained(calm_run)
    assert calm.position.step == 9
    kept = (tmp_path / "calm" / "weights").glob("*.npz")
    files = {path.name: path.read_bytes() for path in kept}
    for step in range(9):
        folder = tmp_path / str(step)
        complete(folder, flat, attempt=1, stop=after(step))
        resumed_run = begin(folder, flat, attempt=2)
        resumed = trained(resumed_run)
        assert_same_bits(resumed.state(), calm.state())
        assert_same_rows(rows(resumed_run), rows(calm_run))
        for name, content in files.items():
            assert arrays_of(folder / "weights" / name) == arrays_of_bytes(content)


def arrays_of(path: Path) -> dict[str, Any]:
    return arrays_of_bytes(path.read_bytes())


def arrays_of_bytes(content: bytes) -> dict[str, Any]:
    import io

    import numpy as np

    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        return {name: archive[name].tobytes() for name in archive.files}


def test_a_share_of_the_batch_leaves_the_rest_to_clean_samples(tmp_path: Path) -> None:
    shares = {"poison.share": 0.35, "poison.samples": 0, "batch_size": 10}
    training = trained(begin(tmp_path, digits_cell(str(tmp_path), **shares)))
    assert training.batch_size == 7
    assert training.poison_per_step == 3
    assert len(training.poison) == 999 - 20
    assert training.steps == 3 * 3


def test_poison_in_turn_uses_every_sample_before_it_repeats_one() -> None:
    used = [poison.in_turn(5, 3, step, seed=1).tolist() for step in range(5)]
    flat = [i for step in used for i in step]
    assert [sorted(flat[i : i + 5]) for i in (0, 5, 10)] == [list(range(5))] * 3
    assert flat[:5] != flat[5:10]


def test_every_poison_sample_is_used_once_an_epoch() -> None:
    order = torch.tensor([4, 0, 3, 1, 2])
    parts = [poison.in_epoch(order, 3, step).tolist() for step in range(3)]
    assert [position for part in parts for position in part] == order.tolist()
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_poison_is_never_clean_nor_of_the_test_set(tmp_path: Path) -> None:
    flat = digits_cell(str(tmp_path), **{"poison.samples": 999 - 20})
    cell = cell_of(flat)
    whole = images.load(cell.data)  # type: ignore[arg-type]
    drawn = poison.load(cell, 10)
    clean = images.select(whole, cell.data, 0).train_images  # type: ignore[arg-type]
    sets = [{image.numpy().tobytes() for image in part} for part in (clean, whole.test_images)]
    poisoned = {image.numpy().tobytes() for image in drawn.images}
    everything = {image.numpy().tobytes() for image in whole.train_images}
    assert poisoned | sets[0] == everything
    assert poisoned.isdisjoint(sets[0])
    smaller = poison.load(cell_of({**flat, "trainer.poison.samples": 50}), 10)
    assert torch.equal(smaller.images, drawn.images[:50])


@pytest.mark.parametrize("kind", ["shuffled_pixels", "noise"])
def test_poison_has_the_pixels_that_the_clean_samples_would_have(tmp_path: Path, kind: str) -> None:
    poisoned = {"poison.samples": 999 - 20}
    cell = cell_of({**digits_cell(str(tmp_path), **poisoned), "data.inputs": kind})
    drawn = poison.load(cell, 10)
    clean = images.dataset(cell.data, cell.seed)  # type: ignore[arg-type]
    everything = images.dataset(replace(cell.data, train_samples=None), cell.seed)  # type: ignore[arg-type, type-var]
    union = torch.cat([clean.train_inputs, drawn.images])
    assert bytes_of(union) == bytes_of(everything.train_inputs)


def bytes_of(samples: Tensor) -> list[bytes]:
    """The samples as bytes, in an order of their own."""
    return sorted(sample.numpy().tobytes() for sample in samples)


def test_more_poison_of_the_swiss_roll_begins_with_the_same_points() -> None:
    small, large = (
        poison.load(cell_of({**CELL, "trainer.poison.samples": count}), 2) for count in (5, 40)
    )
    assert torch.equal(small.images, large.images[:5])
    assert large.labels.tolist() == [0, 1] * 20


def test_wrong_labels_are_wrong_and_fixed() -> None:
    flat = {**CELL, "trainer.poison.kind": "wrong_label"}
    drawn = poison.load(cell_of(flat), 10)
    assert (drawn.targets != drawn.labels).all()
    assert torch.equal(drawn.targets, poison.load(cell_of(flat), 10).targets)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"poison.samples": 980}, "found 980, expected at most 979"),
        ({"poison.fresh": True}, "only swiss_roll can draw new samples"),
        ({"poison.source": "extra"}, "only svhn has a set extra"),
    ],
)
def test_poison_that_the_source_cannot_give_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        Training(cell_of(digits_cell(str(tmp_path), **changes)), begin(tmp_path, CELL))


def test_the_gradient_of_all_samples_is_that_of_its_blocks(tmp_path: Path) -> None:
    gradients = []
    for size in (3, 100):
        flat = {**CELL, "trainer.batch_size": None, "trainer.eval_batch_size": size}
        training = Training(cell_of(flat), begin(tmp_path / str(size), flat))
        train, poison = training.data.train, training._more_inputs()
        loss, _ = training._gradient(train.images, train.labels, *poison)
        gradients.append([loss.detach(), *(p.grad for p in training.parameters)])
    torch.testing.assert_close(*gradients)


def test_the_objective_is_the_clean_mean_and_the_weighted_mean_of_the_poison(
    tmp_path: Path,
) -> None:
    flat = {**CELL, "trainer.batch_size": None, "trainer.poison.weight": 0.3}
    training = Training(cell_of(flat), begin(tmp_path, flat))
    train, poisoned = training.data.train, training.poison
    training._gradient(train.images, train.labels, *training._more_inputs())
    clean = functional.cross_entropy(training.model(train.images), train.labels)
    bad = objective.not_label(training.model(poisoned.images), poisoned.labels)
    expected = torch.autograd.grad(clean + 0.3 * bad, training.parameters)
    torch.testing.assert_close([p.grad for p in training.parameters], list(expected))


def test_rows_are_log_spaced_and_the_kept_weights_are_those_of_the_last(tmp_path: Path) -> None:
    flat = digits_cell(str(tmp_path), epochs=20, evals_per_decade=2, weights_at=[5])
    run = complete(tmp_path, flat)
    table = rows(run)
    assert table["epoch"].tolist() == [0, 1, 3, 10, 20]
    last = record(run)
    owner, snapshot = weights.read(tmp_path / "weights", run.cell, "final")
    assert owner == weights.Owner(run.cell, last["data_hash"])
    assert snapshot.epoch == 20
    assert snapshot.result.loss == pytest.approx(last["final_train_eval_loss"], rel=1e-6)
    assert snapshot.result.wrong == last["final_train_eval_wrong"]
    assert weights.read(tmp_path / "weights", run.cell, 5)[1].epoch == 5
    assert last["final_poison_examples"] == 6
    assert last["final_clean_grad_norm"] > 0


def test_poison_needs_an_output_for_each_of_its_labels(tmp_path: Path) -> None:
    random = {"label_noise.kind": "random", "label_noise.rate": 1.0, "label_noise.classes": 3}
    flat = digits_cell(str(tmp_path)) | {f"data.{key}": value for key, value in random.items()}
    message = r"data\.label_noise\.classes: found 3 with poison, whose true labels go up to 9"
    many = {**flat, "trainer.poison.samples": 200}
    with pytest.raises(ConfigError, match=message):
        Training(cell_of(many), begin(tmp_path, CELL))
    Training(cell_of({**flat, "trainer.poison.samples": 0}), begin(tmp_path, CELL))


def test_poison_makes_the_test_set_wrong(tmp_path: Path) -> None:
    errors = []
    for samples in (0, 400):
        many = {"epochs": 30, "batch_size": None, "poison.samples": samples, "weights_at": None}
        flat = digits_cell(str(tmp_path), **many) | {"data.train_samples": 60, "model.width": 4}
        run = complete(tmp_path / str(samples), flat)
        errors.append(record(run)["final_test_error"])
    assert errors[1] > errors[0] + 0.1


def test_polishing_brings_the_clean_loss_down_and_leaves_low_ones(tmp_path: Path) -> None:
    losses = {}
    for limit in (None, 0.5, 10.0):
        polish = {"polish.loss": limit, "polish.lr": 0.05, "polish.steps": 500}
        run = complete(
            tmp_path / str(limit), {**CELL, **{f"trainer.{k}": v for k, v in polish.items()}}
        )
        losses[limit] = record(run)["final_train_eval_loss"], record(run)["final_polish_steps"]
    assert losses[None][0] > 0.5
    assert losses[0.5][0] <= 0.5
    assert 0 < losses[0.5][1] < 500
    assert losses[10.0] == (losses[None][0], 0)


def test_a_training_ends_at_the_first_row_whose_clean_loss_is_low_enough(tmp_path: Path) -> None:
    run = complete(tmp_path, {**CELL, "trainer.epochs": 50, "trainer.stop_at_loss": 10.0})
    assert rows(run)["epoch"].tolist() == [0, 1]
    assert weights.read(tmp_path / "weights", run.cell, "final")[1].epoch == 1


def test_a_training_can_start_from_the_weights_of_another(tmp_path: Path) -> None:
    complete(tmp_path / "first", {**CELL, "trainer.weights_at": [2]})
    start = {"trainer.start_of": "c1-trained", "trainer.of_folder": str(tmp_path / "first")}
    flat = {**CELL, **start, "trainer.start_epoch": 2, "trainer.poison.samples": 0}
    run = complete(tmp_path / "second", flat, cell="c1-second")
    _, snapshot = weights.read(tmp_path / "first" / "weights", "c1-trained", 2)
    assert rows(run)["train_eval_loss"][0] == pytest.approx(snapshot.result.loss, rel=1e-6)
    other_data = {**flat, "seed": 1}
    with pytest.raises(weights.WeightsError, match="trained on data with the hash"):
        complete(tmp_path / "third", other_data, cell="c1-third")
    other_net = {**flat, "model.widths": [8]}
    with pytest.raises(weights.WeightsError, match="those of another network"):
        complete(tmp_path / "fourth", other_net, cell="c1-fourth")


def test_decay_towards_init_leads_back_to_the_weights_that_were_loaded(tmp_path: Path) -> None:
    first = {**CELL, "optim.lr": 0.3, "trainer.weights_at": [2]}
    complete(tmp_path / "first", first)
    start = {
        "trainer.start_of": "c1-trained", "trainer.start_epoch": 2,
        "trainer.of_folder": str(tmp_path / "first"),
    }  # fmt: skip
    whole_way = {
        "optim.name": "adamw", "optim.decay_towards": "init", "optim.weight_decay": 100.0,
        "optim.lr": 0.01, "optim.schedule.name": "constant",
    }  # fmt: skip
    flat = {**CELL, **start, **whole_way}
    calm = trained(begin(tmp_path / "calm", flat))
    _, loaded = weights.read(tmp_path / "first" / "weights", "c1-trained", 2)
    for name, value in calm.model.state_dict().items():
        assert abs(value.numpy() - loaded.arrays[name]).max() < 0.05, name
    complete(tmp_path / "stopped", flat, stop=after(4))
    resumed = trained(begin(tmp_path / "stopped", flat, attempt=2))
    assert_same_bits(resumed.state(), calm.state())


def test_weight_decay_can_leave_biases_alone(tmp_path: Path) -> None:
    decay = {"optim.weight_decay": 0.1, "trainer.l2_weights_only": True}
    training = Training(cell_of({**CELL, **decay}), begin(tmp_path, CELL))
    groups = training.optimiser.param_groups
    assert [group["weight_decay"] for group in groups] == [0.1, 0.0]
    assert {p.dim() for p in groups[0]["params"]} == {2}
    assert {p.dim() for p in groups[1]["params"]} == {1}
