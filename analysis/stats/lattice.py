"""The settings of a search, and the values that it can try: a lattice.

Searches, methods and refinements that overlap meet at the same values. Standard library only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

Value = int | float

LARGEST = 1e15
"""The largest value that a search can try; every integer up to it is a float."""

MOST_VALUES = 10_000
"""The largest number of values of a lattice."""


@dataclass(frozen=True)
class Settings:
    """Settings of one search, from `search:` in the sweep file. ValueError if they contradict.

    low, high: the range. lattice: values for every factor of two, or None with step: distance of
    the values on a linear lattice. integer: the values are ints. falling: success becomes rarer as
    the axis grows. first, per_round: trainings of the first and of every later round. until: ratio
    of the half-width of the 90 % interval at which the search has converged; on a linear lattice
    the half-width is compared with (until - 1) n50; half the distance of neighbouring values
    always suffices. most: trainings of the search with its verification round; doublings of the
    budget come on top. verify: train once more around n50. seeds: trainings possible at one value.
    doublings: the most doublings of the budget, each of which trains failures again.

    `first`, `per_round` and `verify` are for the method "posterior". "bisect" takes the majority of
    three trainings at the middle of the range that is left; "ladder" is one round of two trainings
    at every second value, or at fewer values where `most` would not suffice.
    """

    low: float
    high: float
    lattice: int | None
    step: float | None
    integer: bool
    falling: bool
    method: Literal["posterior", "bisect", "ladder"]
    first: int
    per_round: int
    until: float
    most: int
    verify: bool
    seeds: int
    doublings: int = 0

    def __post_init__(self) -> None:
        if (self.lattice is None) == (self.step is None):
            raise ValueError(
                f"lattice {self.lattice} and step {self.step}: expected exactly one of the two"
            )
        if not -LARGEST <= self.low < self.high <= LARGEST:
            raise ValueError(
                f"range {self.low:g} to {self.high:g}: expected two numbers between "
                f"{-LARGEST:.0e} and {LARGEST:.0e}, the lower one first"
            )
        if self.step is None and self.low <= 0:
            raise ValueError(f"range from {self.low:g}: a lattice of ratios needs values above 0")
        if _number_of_values(self) > MOST_VALUES:
            raise ValueError(
                f"range {self.low:g} to {self.high:g} has more than {MOST_VALUES} values of the "
                "lattice: narrow the range or coarsen the lattice"
            )
        if len(values(self)) < 2:
            raise ValueError(
                f"range {self.low:g} to {self.high:g} has {len(values(self))} values of the "
                "lattice, expected 2 or more: widen the range or refine the lattice"
            )
        if min(self.first, self.per_round, self.most, self.seeds) < 1:
            raise ValueError("first, per_round, most and the number of seeds must be at least 1")
        if not 1 < self.until < math.inf:
            raise ValueError(f"until {self.until:g}: expected a ratio above 1, such as 1.15")


@dataclass(frozen=True, order=True)
class Trial:
    """One training of a search.

    level: doublings of the budget so far. value: on the lattice. number: an index into the seeds
    of the sweep.
    """

    level: int
    value: Value
    number: int


Outcomes = Mapping[Trial, bool]
Results = Sequence[tuple[Trial, bool]]


@lru_cache(maxsize=64)
def values(settings: Settings) -> tuple[Value, ...]:
    """The values of the lattice in the range, increasing.

    round(2^(j / lattice)) or step j: every search, method and refinement meets at the same values.
    Floats have at most 9 significant digits, so that they are the same on every machine.
    """
    if settings.step is None and settings.lattice is not None:
        bounds = [settings.lattice * math.log2(end) for end in (settings.low, settings.high)]
        points = {j: 2.0 ** (j / settings.lattice) for j in _integers_around(*bounds)}
    else:
        step = settings.step or 1.0
        points = {j: step * j for j in _integers_around(settings.low / step, settings.high / step)}
    inside: list[Value] = []
    for point in points.values():
        value = round(point) if settings.integer else float(f"{point:.9g}")
        slack = 1e-9 * max(abs(settings.low), abs(settings.high))
        if settings.low - slack <= value <= settings.high + slack:
            inside.append(value)
    return tuple(dict.fromkeys(inside))


def ends(settings: Settings) -> tuple[Value, Value]:
    """The least and the largest value that a search tries."""
    every_value = values(settings)
    return every_value[0], every_value[-1]


@lru_cache(maxsize=64)
def positions(settings: Settings) -> tuple[float, ...]:
    """The positions of the values of the lattice."""
    return tuple(position(settings, value) for value in values(settings))


def position(settings: Settings, value: float) -> float:
    """Where a value lies on the axis of the model: its logarithm, or itself if linear."""
    return math.log(value) if settings.step is None else value


def distance(settings: Settings) -> float:
    """Distance of neighbouring values, as positions."""
    return math.log(2) / settings.lattice if settings.lattice else float(settings.step or 0)


def _number_of_values(settings: Settings) -> float:
    """About how many values the lattice has, before they are made."""
    if settings.step is not None:
        return (settings.high - settings.low) / settings.step
    return (settings.lattice or 0) * (math.log2(settings.high) - math.log2(settings.low))


def _integers_around(low: float, high: float) -> range:
    """The integers from just below `low` to just above `high`."""
    return range(math.floor(low) - 1, math.ceil(high) + 2)
