"""Whether means of errors can be means of error counts, and what the ones that cannot share.

The error of one run on N images is a whole number over N, the mean over m seeds a whole number over
mN, and m²N² times the population variance is whole. Pure functions of arrays.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Whole = NDArray[np.int64]
Stretch = tuple[int, int, float]  # first and last place, step between neighbours
ROUNDINGS = 64  # a stored number may be this many roundings away from the exact one


@dataclass(frozen=True)
class Check:
    """Which cells hold a whole number.

    possible: mask of those cells, False also where a value is not finite. greatest: the greatest
    distance from a whole number. tolerance: the distance that counts as none.
    """

    possible: NDArray[np.bool_]
    greatest: float
    tolerance: float

    @property
    def share(self) -> float:
        """Share of cells that can be what they are said to be."""
        return float(self.possible.mean())

    @property
    def chance(self) -> float:
        """Share that would be by accident."""
        return min(1.0, 2 * self.tolerance)


@dataclass(frozen=True)
class Offset:
    """Fractional parts of the counts as a function of the row plus one of the column.

    additive: share of cells where they are such a sum. rows, columns: stretches (first, last, step)
    in which neighbours differ by the same step, in counts modulo 1.
    """

    additive: float
    rows: list[Stretch]
    columns: list[Stretch]


@dataclass(frozen=True)
class Slopes:
    """Steps of the offset for each stretch, in counts modulo the number of seeds.

    They are those that agree best with the std. share: of cells in which mean without offset and
    std agree. second: the best share of another choice, at the stretch where it was closest.
    """

    rows: list[Stretch]
    columns: list[Stretch]
    share: float
    second: float


def unit(images: int, batch: int | None = None) -> int:
    """The whole number N of which one run's error is a multiple of 1/N."""
    if batch is None or images % batch == 0:
        return images
    return math.ceil(images / batch) * math.lcm(batch, images % batch)


def check_integers(scaled: Array, eps: float = float(np.finfo(np.float64).eps)) -> Check:
    """Checks numbers that should be whole.

    eps: relative precision of the numbers that they were computed from. Raises ValueError if that
    precision cannot tell whole numbers from others.
    """
    finite = np.isfinite(scaled)
    tolerance = ROUNDINGS * eps * max(1.0, float(np.abs(scaled[finite]).max(initial=0)))
    if tolerance > 0.05:
        top = scaled[finite].max()
        raise ValueError(
            f"counts up to {top:.3g} at precision {eps:.1g}: too coarse to tell; expected float64 "
            "arrays"
        )
    distance = np.abs(scaled - np.round(scaled))
    greatest = float(distance[finite].max(initial=0))
    return Check(finite & (distance <= tolerance), greatest, tolerance)


def check_mean(mean: Array, images: int, seeds: int, batch: int | None = None) -> Check:
    """Which cells can be a mean over seeds of error counts over images."""
    counts = np.asarray(mean, np.float64) * unit(images, batch) * seeds
    return check_integers(counts, float(np.finfo(mean.dtype).eps))


def check_std(std: Array, images: int, seeds: int, batch: int | None = None) -> Check:
    """Which cells can be a population std over seeds: N²m² times the variance is whole."""
    counts = np.asarray(std, np.float64) * unit(images, batch) * seeds
    return check_integers(counts**2, float(np.finfo(std.dtype).eps))


def agreement(total: Whole, variance: Whole, seeds: int) -> NDArray[np.bool_]:
    """Where the sum of counts S and V = m²N²·variance fit the same counts: m divides V + S²."""
    return np.asarray((np.mod(total, seeds) ** 2 + variance) % seeds == 0)


def offset(scaled: Array, tolerance: float) -> Offset:
    """Describes the fractional parts of counts, (rows, columns), all finite."""
    part = scaled % 1
    rest = part - part[:, :1] - part[:1] + part[0, 0]
    additive = float((np.abs(rest - np.round(rest)) <= 4 * tolerance).mean())
    rows, columns = (_stretches(line % 1, 4 * tolerance) for line in (part[:, 0], part[0]))
    return Offset(additive, rows, columns)


def _stretches(line: Array, tolerance: float) -> list[Stretch]:
    """Stretches (first, last, step modulo 1) of equal steps in a line of numbers modulo 1."""
    steps = np.diff(line) % 1
    turn = np.diff(steps)
    borders = np.flatnonzero(np.abs(turn - np.round(turn)) > tolerance) + 1
    bounds = [0, *borders.tolist(), len(steps)]
    stretches = []
    for first, last in pairwise(bounds):
        if last > first:
            stretches.append((first, last, _centred(float(steps[first]), tolerance)))
    return stretches


def _centred(step: float, tolerance: float) -> float:
    """A number modulo 1 with 0.9999999 taken as 0."""
    return 0.0 if min(step, 1 - step) <= tolerance else step


@dataclass
class _Search:
    """A search for whole steps. base: counts without the fractional offset, modulo those steps."""

    base: Whole
    variance: Whole
    offset: Offset
    seeds: int
    rows: list[int]
    columns: list[int]
    constant: int = 0
    second: float = 0.0

    def agrees(self, block: tuple[slice, slice] = (slice(None), slice(None))) -> float:
        """Share of the block's cells in which mean and std agree under the present choice."""
        drift = _drift(self.offset.rows, self.rows, len(self.base))[block[0], None]
        drift = drift + _drift(self.offset.columns, self.columns, self.base.shape[1])[block[1]]
        total = self.base[block] - drift - self.constant
        return float(agreement(total, self.variance[block], self.seeds).mean())

    def choose(
        self,
        places: Sequence[tuple[list[int], int]],
        block: tuple[slice, slice],
        *,
        with_constant: bool = False,
    ) -> None:
        """Sets the steps at `places`, and the constant if asked, to the best in the block.

        A place is a list of steps, and an index into it.
        """
        unknowns = len(places) + int(with_constant)
        scores = {}
        for choice in product(range(self.seeds), repeat=unknowns):
            self._set(places, choice)
            scores[choice] = self.agrees(block)
        best, next_best = sorted(scores, key=lambda choice: -scores[choice])[:2]
        self.second = max(self.second, scores[next_best])
        self._set(places, best)

    def _set(self, places: Sequence[tuple[list[int], int]], choice: Sequence[int]) -> None:
        for (target, index), value in zip(places, choice, strict=False):
            target[index] = value
        if len(choice) > len(places):
            self.constant = choice[-1]


def slopes(scaled: Array, variance: Whole, offset: Offset, seeds: int) -> Slopes:
    """Whole parts of the steps, modulo the number of seeds (at least two), that agree with the std.

    Begins with the first stretch of rows and of columns (their two steps and a constant), then
    takes one stretch at a time and judges its step by the cells in it.
    """
    of_row, of_column = _line(offset.rows, len(scaled)), _line(offset.columns, scaled.shape[1])
    fraction = of_row[:, None] + of_column + scaled[0, 0] % 1
    base = np.round(scaled - fraction).astype(np.int64)
    rows, columns = [0] * len(offset.rows), [0] * len(offset.columns)
    search = _Search(base, variance, offset, seeds, rows, columns)
    first = slice(0, offset.columns[0][1] + 1)
    corner = (slice(0, offset.rows[0][1] + 1), first)
    search.choose([(rows, 0), (columns, 0)], corner, with_constant=True)
    for index, (start, end, _) in enumerate(offset.rows[1:], start=1):
        search.choose([(rows, index)], (slice(start + 1, end + 1), first))
    for index, (start, end, _) in enumerate(offset.columns[1:], start=1):
        search.choose([(columns, index)], (slice(None), slice(start + 1, end + 1)))
    return Slopes(
        _shifted(offset.rows, rows),
        _shifted(offset.columns, columns),
        search.agrees(),
        search.second,
    )


def _line(stretches: Sequence[Stretch], length: int) -> Array:
    """The sum of the fractional steps up to each place."""
    steps = np.zeros(length)
    for first, last, step in stretches:
        steps[first + 1 : last + 1] = step
    return np.cumsum(steps)


def _drift(stretches: Sequence[Stretch], parts: Sequence[int], length: int) -> Whole:
    """The sum of the whole steps up to each place."""
    steps = np.zeros(max(length, stretches[-1][1] + 1), np.int64)
    for (first, last, _), part in zip(stretches, parts, strict=True):
        steps[first + 1 : last + 1] = part
    return np.cumsum(steps)[:length]


def _shifted(stretches: Sequence[Stretch], parts: Sequence[int]) -> list[Stretch]:
    """Stretches with the whole part of their steps."""
    pairs = zip(stretches, parts, strict=True)
    return [(first, last, step + part) for (first, last, step), part in pairs]
