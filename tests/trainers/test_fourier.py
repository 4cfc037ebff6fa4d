"""Progress measures of modular addition against tables and a network with known frequencies."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from test_algorithmic import FLAT as ALGORITHMIC

from trainers import config, trained, weights
from trainers.cell_measures.fourier import Fourier
from trainers.config import AlgorithmicCell, Arithmetic, ConfigError, MeasureCell
from trainers.data import arithmetic
from trainers.measures import fourier
from trainers.models.transformer import OnPairs
from trainers.weights import Evaluated, Owner, Snapshot

P, FREQUENCIES, PHASES = 13, (2, 5), 16


def angles(k: int, x: torch.Tensor) -> torch.Tensor:
    return 2 * math.pi * k * x.double() / P


@pytest.mark.parametrize("sign", [1, -1])
def test_waves_of_known_frequencies_are_told_from_all_else(sign: int) -> None:
    x = torch.arange(P)
    s = fourier.results(P, sign)
    wave = sum(a * angles(k, s[:, :, None] - x).cos() for k, a in ((2, 3.0), (5, 1.0)))
    other = angles(4, x).cos()[:, None, None] * torch.randn(P).double()  # of the left operand alone
    coefficients = fourier.waves(wave + other + 7.0, s)
    shares = fourier.power_shares(coefficients, P)
    assert shares[[1, 4]].tolist() == pytest.approx([0.9, 0.1])
    assert fourier.key_frequencies(shares, 0.05) == [2, 5]
    assert fourier.key_frequencies(shares, 0.95) == [2]
    torch.testing.assert_close(fourier.only(coefficients, [2, 5], s), wave.double())


def test_gini_of_equal_and_of_single_components() -> None:
    assert fourier.gini(torch.ones(10)) == pytest.approx(0)
    assert fourier.gini(torch.tensor([0.0, 0.0, 0.0, 2.0])) == pytest.approx(3 / 4)
    x = torch.arange(P)
    norms = fourier.component_norms(torch.stack([angles(3, x).cos(), angles(3, x).sin()], dim=1))
    assert (norms > 1e-6).nonzero().flatten().tolist() == [4, 5]


def test_an_even_modulus_has_one_wave_of_its_highest_frequency() -> None:
    p, x = 10, torch.arange(10)
    matrix = torch.randn(p, 4, generator=torch.Generator().manual_seed(0))
    waves = [torch.cos(2 * math.pi * k * x / p) for k in range(1, 6)]
    waves += [torch.sin(2 * math.pi * k * x / p) for k in range(1, 5)]
    parts = [(wave / wave.norm()) @ matrix for wave in waves]
    norms = fourier.component_norms(matrix)
    assert len(norms) == p - 1
    expected = torch.stack([part.norm() for part in parts]).double()
    torch.testing.assert_close(
        (norms / norms.norm()).sort()[0], (expected / expected.norm()).sort()[0]
    )

    table = matrix[fourier.results(p, 1)]
    shares = fourier.power_shares(fourier.waves(table, fourier.results(p, 1)), p)
    centred = [float((part - part.mean()).square().sum()) for part in parts]
    powers = [centred[k] + (centred[5 + k] if k < 4 else 0.0) for k in range(5)]
    assert shares.tolist() == pytest.approx([power / sum(powers) for power in powers], rel=1e-5)


def hand_made(cell: AlgorithmicCell) -> OnPairs:
    """A network that adds with two frequencies.

    The hidden units relu(cos(w x + phi) + cos(w y + phi)) of many phases phi hold
    |cos(w (x - y) / 2)| times a wave in w (x + y); the output reads its second harmonic in phi.
    """
    model = OnPairs(cell.model, ["a", "b", "="], P, None)
    x, phases = torch.arange(P), torch.arange(PHASES) * (2 * math.pi / PHASES)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        block: Any = model.blocks[0]
        block.qkv.weight[16:24] = torch.eye(8)
        block.attention_out.weight.copy_(3 * torch.eye(8))  # the sum of three embeddings
        for number, k in enumerate(FREQUENCIES):
            embedded, read = (
                slice(2 * number, 2 * number + 2),
                slice(2 * number + 4, 2 * number + 6),
            )
            wave = torch.stack([angles(k, x).cos(), angles(k, x).sin()], dim=1)
            units = slice(PHASES * number, PHASES * (number + 1))
            model.embedding.weight[:P, embedded] = wave
            block.feedforward_in.weight[units, embedded] = torch.stack(
                [phases.cos(), -phases.sin()], dim=1
            )
            harmonic = torch.stack([(2 * phases).cos(), -(2 * phases).sin()])
            block.feedforward_out.weight[read, units] = harmonic
            model.output.weight[:P, read] = wave
    return model


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Weights of the hand-made network, and of a first snapshot that answers nothing."""
    cell = config.parse(FLAT)
    assert isinstance(cell, AlgorithmicCell)
    table = arithmetic.split(cell.data, cell.seed)
    model = hand_made(cell)
    left, right = table.train.left_n, table.train.right_n
    with torch.no_grad():
        logits = model(torch.stack([left, right], dim=1)[:, :, None, None])
    result = Evaluated(
        fourier.loss(logits[:, None], torch.arange(len(left)), 0 * left, table.train.answer_n),
        int((logits.argmax(1) != table.train.answer_n).sum()),
    )
    assert result.wrong == 0
    arrays = {name: value.numpy() for name, value in model.state_dict().items()}
    nothing = {name: 0 * value for name, value in arrays.items()}
    untrained = Snapshot(0, Evaluated(math.log(P + 1), 0), nothing)
    final = Snapshot(20, result, arrays)
    owner = Owner("c1-trained", table.content_hash)
    weights.write_path(tmp_path / "weights", owner, [untrained, final])
    weights.write_final(tmp_path / "weights", owner, final)
    return tmp_path


FLAT = {
    **ALGORITHMIC,
    "data.operation": "x+y", "data.modulus": P, "data.sequence": "a b =", "data.outliers": 0,
    "data.train_fraction": 0.5,
    "model.width": 8, "model.depth": 1, "model.heads": 1, "model.feedforward": 4,
    "model.norm": "none", "model.activation": "relu", "model.positions": "none",
    "model.biases": "none",
}  # fmt: skip


def measuring(folder: Path, **changes: Any) -> Fourier:
    kept = {k: v for k, v in FLAT.items() if not k.startswith(("optim.", "trainer."))}
    own = {
        "trainer.name": "progress", "trainer.of": "c1-trained", "trainer.of_folder": str(folder),
        "trainer.weights": "final", "trainer.images": None, "trainer.bn": "kept",
        "trainer.batch": 50, "trainer.key_share": 0.05,
    }  # fmt: skip
    cell = config.parse({**kept, "optim.name": "none", **own, **changes})
    assert isinstance(cell, MeasureCell)
    return Fourier(trained.load(cell))


def test_the_frequencies_of_a_hand_made_network_are_its_key_ones(folder: Path) -> None:
    measure = measuring(folder)
    assert measure.units == 2
    (first, *_), (last, *spectrum) = (list(measure.rows(unit)) for unit in (0, 1))
    assert [row["frequency"] for row in spectrum] == list(range(1, P // 2 + 1))
    assert [row["frequency"] for row in spectrum if row["is_key"]] == list(FREQUENCIES)
    assert sum(row["power_share"] for row in spectrum if row["is_key"]) > 0.999
    assert (first["snapshot_step"], last["snapshot_step"]) == (0, 20)
    chance = math.log(P + 1)
    assert first["test_loss"] == pytest.approx(chance)
    assert first["restricted_loss"] == pytest.approx(chance)
    assert last["train_loss"] < 0.5 * chance
    assert last["restricted_loss"] < last["train_loss"]  # without the modulation by x - y
    assert last["excluded_loss"] > last["train_loss"] + 1
    # four of the twelve components of the embedding have equal norms, the others none
    assert last["gini_embedding"] == pytest.approx(2 / 3, abs=1e-6)
    assert last["gini_output"] > 0.6


def test_only_modular_addition_has_progress_measures(folder: Path) -> None:
    network = measuring(folder).network
    assert isinstance(network.cell.data, Arithmetic)
    product = replace(network.cell, data=replace(network.cell.data, operation="x*y"))
    with pytest.raises(ConfigError, match=r"data\.operation: found x\*y, expected x\+y or x-y"):
        Fourier(replace(network, cell=product))
