"""Operation tables against a second, slow and obvious computation; splits, outliers and redrawn
noise.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
import torch

from trainers.config import OPERATIONS, Arithmetic, ConfigError
from trainers.data import arithmetic

DATA = Arithmetic("arithmetic", "x+y", 7, 3, 0.5, 0, 0, 0.0, "a o b =", None)


def divided(x: int, y: int, p: int) -> int:
    """The c with c * y = x (mod p), found by trying."""
    return next(c for c in range(p) if c * y % p == x)


MODULAR: dict[str, Any] = {
    "x+y": lambda x, y, p: (x + y) % p,
    "x-y": lambda x, y, p: (x - y) % p,
    "x*y": lambda x, y, p: (x * y) % p,
    "x/y": lambda x, y, p: divided(x, y, p) if y else None,
    "x/y_if_y_odd_else_x-y": lambda x, y, p: divided(x, y, p) if y % 2 else (x - y) % p,
    "x**2+y**2": lambda x, y, p: (x * x + y * y) % p,
    "x**2+x*y+y**2": lambda x, y, p: (x * x + x * y + y * y) % p,
    "x**2+x*y+y**2+x": lambda x, y, p: (x * x + x * y + y * y + x) % p,
    "x**3+x*y": lambda x, y, p: (x * x * x + x * y) % p,
    "x**3+x*y**2+y": lambda x, y, p: (x * x * x + x * y * y + y) % p,
    "x**3+y**3": lambda x, y, p: (x * x * x + y * y * y) % p,
    "x/y_or_0": lambda x, y, p: divided(x, y, p) if y else 0,
}


def composed(x: tuple[int, ...], y: tuple[int, ...]) -> tuple[int, ...]:
    """y first, then x."""
    return tuple(x[y[i]] for i in range(len(x)))


def inverse(x: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(x.index(i) for i in range(len(x)))


PERMUTING: dict[str, Any] = {
    "x.y": composed,
    "x.y.x": lambda x, y: composed(composed(x, y), x),
    "x.y.x**-1": lambda x, y: composed(composed(x, y), inverse(x)),
}


def as_tuples(rows: arithmetic.Rows) -> list[tuple[int, int, int]]:
    return list(
        zip(rows.left_n.tolist(), rows.right_n.tolist(), rows.answer_n.tolist(), strict=True)
    )


def test_every_operation_is_recomputed_here() -> None:
    assert set(OPERATIONS) == {*MODULAR, *PERMUTING}


@pytest.mark.parametrize("p", [2, 5, 13, 97])
@pytest.mark.parametrize("operation", MODULAR)
def test_modular_tables_hold_every_row_of_their_domain_once(operation: str, p: int) -> None:
    result = as_tuples(arithmetic.table(replace(DATA, operation=operation, modulus=p)))
    slow = [(x, y, MODULAR[operation](x, y, p)) for x in range(p) for y in range(p)]
    assert result == [row for row in slow if row[2] is not None]


@pytest.mark.parametrize("degree", [3, 4, 5])
@pytest.mark.parametrize("operation", PERMUTING)
def test_tables_of_permutations_hold_every_row_once(operation: str, degree: int) -> None:
    group = list(itertools.permutations(range(degree)))
    number = {permutation: i for i, permutation in enumerate(group)}
    slow = [
        (number[x], number[y], number[PERMUTING[operation](x, y)])
        for x, y in itertools.product(group, group)
    ]
    assert as_tuples(arithmetic.table(replace(DATA, operation=operation, degree=degree))) == slow


@pytest.mark.parametrize(
    ("operation", "rows"),
    [("x+y", 9409), ("x/y", 9312), ("x/y_if_y_odd_else_x-y", 9409), ("x.y.x**-1", 14400)],
)
def test_the_published_domains_have_their_published_sizes(operation: str, rows: int) -> None:
    assert len(arithmetic.table(replace(DATA, operation=operation, modulus=97, degree=5))) == rows


@pytest.mark.parametrize(
    "change", [{}, {"operation": "x/y"}, {"operation": "x.y"}, {"outliers": 5}]
)
def test_a_split_covers_the_table_and_larger_fractions_hold_smaller_ones(
    change: dict[str, Any],
) -> None:
    data = replace(DATA, **change)
    full_table = as_tuples(arithmetic.table(data))
    before: list[tuple[int, int, int]] = []
    for fraction in (0.3, 0.31, 0.4, 0.9):
        split = arithmetic.split(replace(data, train_fraction=fraction), seed=3)
        pairs = [row[:2] for row in as_tuples(split.train) + as_tuples(split.test)]
        assert sorted(pairs) == [row[:2] for row in full_table]
        assert len(split.train) == int(fraction * len(full_table) + 1e-9)
        assert set(as_tuples(split.test)) <= set(full_table)
        assert as_tuples(split.train)[: len(before)] == before
        before = as_tuples(split.train)


def test_a_split_depends_on_its_own_seed_or_else_on_the_cells() -> None:
    fixed, free = replace(DATA, split_seed=1), replace(DATA, split_seed=None)
    assert as_tuples(arithmetic.split(fixed, 2).train) == as_tuples(
        arithmetic.split(fixed, 3).train
    )
    assert as_tuples(arithmetic.split(free, 2).train) != as_tuples(arithmetic.split(free, 3).train)
    assert as_tuples(arithmetic.split(free, 1).train) == as_tuples(arithmetic.split(fixed, 3).train)


def test_outliers_are_training_rows_with_the_answer_of_another_row() -> None:
    data = replace(DATA, modulus=31, outliers=200)
    clean, noisy = arithmetic.split(replace(data, outliers=0), 0), arithmetic.split(data, 0)
    assert as_tuples(clean.test) == as_tuples(noisy.test)
    assert as_tuples(clean.train)[200:] == as_tuples(noisy.train)[200:]
    assert torch.equal(noisy.true_answer_n, clean.train.answer_n)
    wrong = (noisy.train.answer_n != clean.train.answer_n).sum().item()
    assert noisy.changed_count == wrong
    assert 200 * 30 / 31 - 12 < wrong <= 200  # one answer in 31 happens to be the right one
    few = arithmetic.split(replace(data, outliers=20), 0)
    assert as_tuples(few.train)[:20] == as_tuples(noisy.train)[:20]
    assert few.outlier_hash != noisy.outlier_hash
    assert (
        few.outlier_hash
        == arithmetic.split(replace(data, outliers=20, train_fraction=0.9), 5).outlier_hash
    )


def test_redrawn_noise_has_its_rate_and_is_new_at_every_epoch() -> None:
    answers = torch.arange(100) % 7
    rows, answers_n = arithmetic.redrawn(20_000, 0.3, answers, seed=0, epoch=1)
    assert rows.double().mean().item() == pytest.approx(0.3, abs=0.02)
    assert torch.bincount(answers_n, minlength=7).double().div(20_000).tolist() == pytest.approx(
        [1 / 7] * 7, abs=0.02
    )
    repeat, other = (arithmetic.redrawn(20_000, 0.3, answers, 0, epoch)[0] for epoch in (1, 2))
    assert torch.equal(rows, repeat)
    assert not torch.equal(rows, other)


def test_an_epoch_takes_every_row_once_or_draws_with_replacement() -> None:
    first, second = (arithmetic.order(50, 16, False, 0, epoch) for epoch in (1, 2))
    assert first.tolist() != second.tolist()
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(50))
    assert arithmetic.order(50, 50, False, 0, 1).tolist() == list(range(50))
    answers_n = arithmetic.order(50, 16, True, 0, 1)
    assert answers_n.shape == (64,)
    assert len(set(answers_n.tolist())) < 50


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"operation": "x%y"}, ["data.operation", "x%y", "x+y"]),
        ({"operation": "x/y", "modulus": 96}, ["data.modulus", "96", "prime"]),
        ({"modulus": 1}, ["data.modulus", "1"]),
        ({"degree": 6}, ["data.degree", "6"]),
    ],
)
def test_a_table_that_cannot_be_is_refused(change: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        replace(DATA, **change)
    assert all(word in str(error.value) for word in words)


@pytest.mark.parametrize(
    "change", [{"train_fraction": 0.0}, {"train_fraction": 1.0}, {"outliers": 25}]
)
def test_a_split_that_cannot_be_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(
        ConfigError, match=f"data.{next(iter(change))}: found {next(iter(change.values()))}"
    ):
        arithmetic.split(replace(DATA, **change), 0)
