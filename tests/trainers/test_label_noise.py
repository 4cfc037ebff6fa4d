"""Label noise: how many labels change, to what, and what the choice depends on."""

from __future__ import annotations

from typing import Any, Literal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from trainers.config import LabelNoise
from trainers.data.label_noise import NoisyLabels, apply

Kind = Literal["incorrect", "uniform", "permute"]
KINDS: list[Kind] = ["incorrect", "uniform", "permute"]
LABELS = torch.arange(20_000) % 10


def noisy(kind: Kind, rate: float, seed: int = 0, labels: Tensor = LABELS) -> NoisyLabels:
    return apply(labels, LabelNoise(kind, rate, None, "floor"), 10, seed)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rate", [0.0, 0.05, 0.15, 0.2, 0.5, 1.0])
def test_exactly_the_requested_number_of_labels_is_drawn(kind: Kind, rate: float) -> None:
    result = noisy(kind, rate)
    assert int(result.is_chosen.sum()) == int(20_000 * rate)
    assert torch.equal(result.is_changed, result.labels != LABELS)
    assert not (result.is_changed & ~result.is_chosen).any()
    assert result.rate == int((result.labels != LABELS).sum()) / 20_000


def test_types_and_input_are_kept() -> None:
    labels = LABELS.clone()
    result = noisy("incorrect", 0.5, labels=labels)
    assert torch.equal(labels, LABELS)
    assert (result.labels.dtype, result.is_chosen.dtype, result.is_changed.dtype) == (
        torch.int64,
        torch.bool,
        torch.bool,
    )


def test_incorrect_never_keeps_a_label_and_spreads_over_the_other_nine() -> None:
    result = noisy("incorrect", 0.5)
    assert torch.equal(result.is_changed, result.is_chosen)
    assert result.rate == 0.5
    shift = (result.labels - LABELS)[result.is_chosen] % 10
    counts = torch.bincount(shift, minlength=10)
    assert counts[0] == 0
    assert (counts[1:] - 10_000 / 9).abs().max() < 5 * (10_000 / 9) ** 0.5


def test_uniform_keeps_about_a_tenth_of_the_chosen() -> None:
    result = noisy("uniform", 0.5)
    assert result.rate == pytest.approx(0.45, abs=0.01)
    counts = torch.bincount(result.labels[result.is_chosen], minlength=10)
    assert (counts - 1000).abs().max() < 5 * 1000**0.5


def test_permute_preserves_the_histogram_and_keeps_about_a_tenth() -> None:
    labels = torch.tensor([0] * 700 + [1] * 200 + [2] * 100)
    result = noisy("permute", 0.5, labels=labels)
    assert torch.equal(torch.bincount(result.labels), torch.bincount(labels))
    assert result.is_changed.any()
    assert noisy("permute", 0.2).rate == pytest.approx(0.18, abs=0.01)


@pytest.mark.parametrize("kind", KINDS)
def test_equal_seeds_agree_and_other_seeds_do_not(kind: Kind) -> None:
    first, repeat, other = noisy(kind, 0.2, 3), noisy(kind, 0.2, 3), noisy(kind, 0.2, 4)
    assert torch.equal(first.labels, repeat.labels)
    assert first.mask_hash == repeat.mask_hash
    assert not torch.equal(first.is_chosen, other.is_chosen)
    assert first.mask_hash != other.mask_hash
    assert len(first.mask_hash) == 16


def test_the_stream_is_the_same_in_every_release() -> None:
    assert noisy("incorrect", 0.2).mask_hash == "e9e16a312cc75847"
    assert noisy("permute", 0.2).mask_hash == "3db132c56b314b23"


@given(seed=st.integers(0, 1000), low=st.floats(0, 1), high=st.floats(0, 1))
def test_choice_is_nested_in_the_rate_and_the_same_for_every_kind(
    seed: int, low: float, high: float
) -> None:
    low, high = sorted((low, high))
    labels = LABELS[:200]
    masks = {
        kind: (noisy(kind, low, seed, labels).is_chosen, noisy(kind, high, seed, labels).is_chosen)
        for kind in KINDS
    }
    for smaller, larger in masks.values():
        assert not (smaller & ~larger).any()
        assert torch.equal(smaller, masks["incorrect"][0])
        assert torch.equal(larger, masks["incorrect"][1])


@pytest.mark.parametrize("kind", ["incorrect", "uniform"])
def test_new_labels_stay_when_the_rate_grows(kind: Kind) -> None:
    low, high = noisy(kind, 0.1), noisy(kind, 0.3)
    assert torch.equal(low.labels[low.is_chosen], high.labels[low.is_chosen])


def test_choice_does_not_depend_on_the_labels() -> None:
    assert torch.equal(
        noisy("incorrect", 0.2).is_chosen, noisy("incorrect", 0.2, labels=LABELS.flip(0)).is_chosen
    )


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_set_has_rate_zero(kind: Kind) -> None:
    assert noisy(kind, 0.5, labels=LABELS[:0]).rate == 0.0


def random(n: int, index: Tensor | None = None, **changes: Any) -> NoisyLabels:
    """Random labels of `n` samples, at rate 1 and seed 0 unless `changes` says otherwise."""
    settings = {"rate": 1.0, "seed": 0, "classes": None, **changes}
    noise = LabelNoise("random", settings["rate"], settings["classes"], "floor")
    return apply(LABELS[:n], noise, 10, settings["seed"], index)


def test_random_labels_are_uniform_and_change_nine_tenths() -> None:
    result = random(20_000)
    assert result.is_chosen.all()
    assert result.rate == pytest.approx(0.9, abs=0.01)
    assert (torch.bincount(result.labels) - 2000).abs().max() < 5 * 2000**0.5


@given(seed=st.integers(0, 1000), data=st.data())
def test_a_random_label_depends_on_seed_and_source_alone(seed: int, data: st.DataObject) -> None:
    """Samples of a smaller or another subset keep their labels."""
    whole = random(300, seed=seed)
    positions = data.draw(st.lists(st.integers(0, 299), min_size=1, max_size=50, unique=True))
    index = torch.tensor(sorted(positions))
    subset = random(len(index), index, seed=seed)
    assert torch.equal(subset.labels, whole.labels[index])


def test_random_labels_do_not_depend_on_the_true_ones() -> None:
    noise = LabelNoise("random", 1.0, None, "floor")
    assert torch.equal(apply(LABELS.flip(0), noise, 10, 0).labels, random(20_000).labels)
    assert not torch.equal(random(20_000, seed=1).labels, random(20_000).labels)


@pytest.mark.parametrize("rate", [0.0, 0.3])
def test_the_rate_of_random_labels_is_each_samples_chance(rate: float) -> None:
    result = random(20_000, rate=rate)
    assert int(result.is_chosen.sum()) / 20_000 == pytest.approx(rate, abs=0.02)
    assert torch.equal(result.labels[~result.is_chosen], LABELS[~result.is_chosen])
    assert not (result.is_chosen & ~random(20_000, rate=0.5).is_chosen).any()


@pytest.mark.parametrize("classes", [2, 100])
def test_random_labels_can_have_other_classes(classes: int) -> None:
    assert random(20_000, classes=classes).labels.unique().tolist() == list(range(classes))


def test_the_stream_of_random_labels_is_the_same_in_every_release() -> None:
    assert random(20_000).mask_hash == "bd600f8735bde428"


@pytest.mark.parametrize(
    ("samples", "rate", "floor", "nearest"),
    [(700, 0.35, 244, 245), (50_000, 0.29, 14_499, 14_500), (10, 0.25, 2, 2), (40, 0.2, 8, 8)],
)
def test_the_count_is_rounded_down_or_to_the_nearest(
    samples: int, rate: float, floor: int, nearest: int
) -> None:
    for count, expected in (("floor", floor), ("nearest", nearest)):
        noise = LabelNoise("incorrect", rate, None, count)
        noisy = apply(torch.zeros(samples, dtype=torch.int64), noise, 10, 0)
        assert int(noisy.is_chosen.sum()) == expected
