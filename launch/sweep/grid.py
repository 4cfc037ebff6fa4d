"""Expand the axes of a sweep into the points of its grid. Pure."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from launch.errors import UserError

MOST_VALUES = 1_000_000
"""Most values of one axis. `limits.cells` bounds the grid as a whole."""


@dataclass(frozen=True)
class Grid:
    """Axes in the order of the sweep file (config path -> values), and the groups of them that
    advance together.
    """

    axes: Mapping[str, Sequence[Any]]
    zipped: Sequence[Sequence[str]] = ()

    def points(self) -> Iterator[dict[str, Any]]:
        """Every point as {config path: value}; the last axis varies fastest, a zipped group counts
        as one axis.

        Raises UserError if a zipped axis is unknown, named twice, or of another length than its
        group.
        """
        factors = self._factors()
        for combination in itertools.product(*factors):
            yield {key: value for part in combination for key, value in part.items()}

    def size(self) -> int:
        """The number of points, without making any."""
        return math.prod(len(factor) for factor in self._factors())

    def _factors(self) -> list[list[dict[str, Any]]]:
        """The values of each axis, or of the axes that advance together, in the order of axes."""
        groups = [list(group) for group in self.zipped]
        zipped_axes = [axis for group in groups for axis in group]
        for axis in zipped_axes:
            if axis not in self.axes:
                raise UserError(
                    f"zip: {axis!r} is not an axis; the axes are {', '.join(self.axes)}"
                )
            if zipped_axes.count(axis) > 1:
                raise UserError(
                    f"zip: {axis!r} is listed twice; an axis can advance with only one group"
                )
        factors = []
        for axis in self.axes:
            group = next((zipped for zipped in groups if axis in zipped), [axis])
            if axis == min(group, key=list(self.axes).index):
                factors.append(self._zip_rows(group))
        return factors

    def _zip_rows(self, group: Sequence[str]) -> list[dict[str, Any]]:
        lengths = {axis: len(self.axes[axis]) for axis in group}
        if len(set(lengths.values())) > 1:
            raise UserError(
                f"zip: axes that advance together need equally many values, found {lengths}"
            )
        rows = zip(*(self.axes[axis] for axis in group), strict=True)
        return [dict(zip(group, row, strict=True)) for row in rows]


def axis_values(axis: str, spec: Any) -> list[Any]:
    """The values of one axis.

    `spec` is a list, or `{log: [start, stop, num]}` (evenly spaced logarithms, both ends included),
    `{linear: [start, stop, num]}`, or `{range: [start, stop, step]}` (integers, stop left out as in
    Python). Computed values are rounded to 12 significant digits. So they do not depend on the
    machine's math library, and `{log: [0.1, 0.001, 3]}` contains exactly the 0.01 that a user
    types.

    Raises UserError for anything else, with what was found.
    """
    if isinstance(spec, Mapping) and len(spec) == 1:
        kind, numbers = next(iter(spec.items()))
        is_triple = isinstance(numbers, Sequence) and len(numbers) == 3
        if kind in _RANGES and is_triple and all(map(_is_number, numbers)):
            return _distinct(axis, _RANGES[kind](axis, *numbers))
    elif isinstance(spec, Sequence) and not isinstance(spec, str) and len(spec) > 0:
        return _distinct(axis, list(spec))
    raise UserError(
        f"axes.{axis}: found {spec!r}, expected a non-empty list, {{log: [start, stop, num]}}, "
        "{linear: [start, stop, num]} or {range: [start, stop, step]} with finite numbers"
    )


def _distinct(axis: str, values: list[Any]) -> list[Any]:
    """The values; UserError if two of them make the same cell, as 1 and 1.0 do."""
    for value in values:
        if not _is_plain(value):
            raise UserError(
                f"axes.{axis}: found {value!r} in the list, expected numbers, texts, true, false, "
                "null or lists of these"
            )
    keys = {value if _is_number(value) else repr(value) for value in values}
    if len(keys) < len(values):
        raise UserError(f"axes.{axis}: found a value twice in {values}, expected each value once")
    return values


def _is_plain(value: Any) -> bool:
    """Whether a value can be that of one configuration key."""
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (bool, int, float, str))


def _is_number(value: Any) -> bool:
    """Whether a value is a finite number, small enough for a float."""
    if type(value) not in (int, float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _check_count(axis: str, count: int) -> None:
    """Raise UserError for an axis that is too long to be meant."""
    if count > MOST_VALUES:
        raise UserError(
            f"axes.{axis}: found {count} values, expected at most {MOST_VALUES} on one axis"
        )


def _log(axis: str, start: float, stop: float, num: int) -> list[float]:
    if start <= 0 or stop <= 0:
        raise UserError(
            f"axes.{axis}: log needs positive ends, found {start} and {stop}; list a 0 by itself"
        )
    return [_round(10**x) for x in _spaced(axis, math.log10(start), math.log10(stop), num)]


def _linear(axis: str, start: float, stop: float, num: int) -> list[float]:
    return [_round(x) for x in _spaced(axis, start, stop, num)]


def _range(axis: str, start: int, stop: int, step: int) -> list[int]:
    are_integers = all(isinstance(number, int) for number in (start, stop, step))
    if not are_integers or step == 0 or not range(start, stop, step):
        raise UserError(
            f"axes.{axis}: range needs three integers that give at least one value, found "
            f"{[start, stop, step]}"
        )
    _check_count(axis, math.ceil((stop - start) / step))
    return list(range(start, stop, step))


def _spaced(axis: str, start: float, stop: float, num: int) -> list[float]:
    if not isinstance(num, int) or num < 2:
        raise UserError(f"axes.{axis}: found {num!r} values, expected an integer of at least 2")
    _check_count(axis, num)
    return [start + (stop - start) * i / (num - 1) for i in range(num)]


def _round(value: float) -> float:
    return float(f"{value:.12g}")


_RANGES: dict[str, Callable[..., list[Any]]] = {"log": _log, "linear": _linear, "range": _range}
