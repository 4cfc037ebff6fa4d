"""The key `search` of a sweep, checked: how to find where a condition changes along an axis. Pure.

The search itself is in analysis/stats/threshold.py, and what it trains in adaptive.py.
"""

from __future__ import annotations

import dataclasses
import math
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from analysis.stats import threshold
from analysis.stats.lattice import MOST_VALUES
from launch.errors import UserError
from launch.plan.identity import RESULT_FREE
from launch.plan.outcome import STATES
from launch.plan.search import Advance, Search
from launch.sweep.condition import check_types, column_types, names, values_as_truths
from launch.sweep.grid import axis_values
from trainers.config.spelling import did_you_mean

_REQUIRED = ("axis", "success", "range")
_DEFAULTS: Mapping[str, Any] = {
    "lattice": 8,
    "falling": True,
    "method": "posterior",
    "first": 6,
    "per_round": 4,
    "until": 1.15,
    "most": 36,
    "verify": True,
    "doublings": 0,
    "budget": None,
    "advance": "auto",
}
KEYS = (*_REQUIRED, *_DEFAULTS)

_CHOICES: Mapping[str, tuple[str, ...]] = {
    "method": ("posterior", "bisect", "ladder"),
    "advance": ("auto", "manual"),
}
_BOOLEANS = ("falling", "verify")
_COUNTS: Mapping[str, tuple[int, int]] = {
    "first": (1, 10_000),
    "per_round": (1, 10_000),
    "most": (1, 100_000),
    "doublings": (0, 20),
}
"""The least and the largest value of keys that count."""

BOOLEAN_FACTS = ("fitted", "abandoned")
"""Columns of the runs table that are true or false, beside keys of the configuration."""

NUMBER_FACTS = (
    "wrong", "best_wrong", "fit_step", "epochs", "steps", "parameters", "bits", "seconds",
)  # fmt: skip
_NUMBERS_BEGIN = ("final_", "best_")
"""Columns of the runs table that are numbers, and how the others begin that a metric gives."""

_BUDGETS = ("trainer.steps", "trainer.epochs", "trainer.least_steps")
"""Keys that set the length of a training; a doubling of the budget doubles those that it has."""


_TEXT = reprlib.Repr()
"""Shows a value in an error, shortened if it is long or deep."""

_TEXT.maxstring = _TEXT.maxlong = _TEXT.maxother = 80


@dataclass(frozen=True)
class SearchRule:
    """What a sweep file says about its searches; the points of the grid are still missing."""

    axis: str
    success: str
    settings: threshold.Settings
    seeds: Sequence[int]
    budget: Sequence[str] | None
    advance: Advance

    def at(self, point: Mapping[str, Any]) -> Search:
        """The search at one point, a flat configuration. Raises UserError for a missing key."""
        if self.axis not in point:
            raise UserError(
                f"search.axis: {self.axis!r} is no key of every point of the sweep; expected one "
                f"that all have, such as {', '.join(_number_keys(point)[:8])}"
            )
        budget = [key for key in _BUDGETS if key in point and key != self.axis]
        if self.budget is not None:
            budget = [_budget_key(key, self.axis, point) for key in self.budget]
        if self.settings.doublings and not budget:
            raise UserError(
                f"search.doublings: found {self.settings.doublings}, but no key sets the budget of "
                f"a training along {self.axis}; name the keys to double in search.budget, or "
                "remove doublings"
            )
        return Search(
            axis=self.axis,
            success=self.success,
            settings=dataclasses.asdict(self.settings),
            seeds=self.seeds,
            budget=budget,
            advance=self.advance,
            point=dict(point),
        )

    def check_columns(self, trainer: str, columns: Sequence[str]) -> None:
        """Raise UserError for a name in the condition that is none of the `columns` of a runs
        table.
        """
        for name in names(self.success):
            if name not in columns:
                hint = did_you_mean(name, sorted(set(columns)), "expected a column of it")
                raise UserError(
                    f"search.success: {name!r} is no column of the runs table of "
                    f"trainer={trainer}; {hint}"
                )


def read(
    described: Any, axes: Mapping[str, Any], seeds: Any, columns: Mapping[str, type]
) -> SearchRule:
    """The rule that `search` describes, with the `axes` and `seeds` of the same sweep. `columns`
    has the keys of a cell with their types.

    Raises UserError for an unknown or missing key, a value of the wrong type or out of range, an
    axis that is among `axes`, or a sweep without a list of seeds.
    """
    given = _mapping(described)
    axis = _axis(given["axis"], axes, columns)
    success = _success(given["success"], columns)
    _check_plain(given)
    numbers = _seeds(seeds)
    return SearchRule(
        axis=axis,
        success=success,
        settings=_settings(given, len(numbers), columns[axis]),
        seeds=numbers,
        budget=_budget(given),
        advance=given["advance"],
    )


def _mapping(described: Any) -> dict[str, Any]:
    if not isinstance(described, Mapping):
        raise UserError(
            f"search: found {_TEXT.repr(described)}, expected a mapping with "
            f"{', '.join(_REQUIRED)}, or null"
        )
    for key in described:
        if key not in KEYS:
            raise UserError(f"search.{key}: unknown key; known: {', '.join(KEYS)}")
    for key in _REQUIRED:
        if described.get(key) is None:
            raise UserError(f"search.{key}: missing; a search needs {', '.join(_REQUIRED)}")
    return {**_DEFAULTS, **described}


def _check_plain(given: Mapping[str, Any]) -> None:
    """Check the keys whose value needs no other."""
    for key, choices in _CHOICES.items():
        if given[key] not in choices:
            raise _wrong(key, given[key], f"one of {', '.join(choices)}")
    for key in _BOOLEANS:
        if type(given[key]) is not bool:
            raise _wrong(key, given[key], "true or false")
    for key, (least, most) in _COUNTS.items():
        if type(given[key]) is not int or given[key] < least:
            raise _wrong(key, given[key], f"an integer of at least {least}")
        if given[key] > most:
            raise _wrong(key, given[key], f"an integer of at most {most}")


def _axis(axis: Any, axes: Mapping[str, Any], columns: Mapping[str, type]) -> str:
    is_key = isinstance(axis, str) and columns.get(axis) in (int, float)
    if not is_key or axis == "seed" or axis.startswith(RESULT_FREE):
        raise _wrong("axis", axis, "an integer or float key, such as data.train_samples")
    if axis in axes:
        raise UserError(f"search.axis: {axis} is also an axis of the sweep; remove one of the two")
    return str(axis)


def _success(text: Any, columns: Mapping[str, type]) -> str:
    if not isinstance(text, str) or not text.strip() or not names(text):
        raise _wrong(
            "success", text, "a condition over a row of the runs table, such as 'fitted == true'"
        )
    for part in values_as_truths(text):
        if part not in BOOLEAN_FACTS and columns.get(part) is not bool:
            raise UserError(
                f"search.success: found {text!r}, in which {part!r} stands alone; expected a "
                f"comparison, such as '{part} == 0'"
            )
    for word in names(text):
        if word in STATES:
            raise UserError(
                f"search.success: found {text!r}, in which {word} names no column; write '{word}' "
                "in quotes for a text"
            )
    numbers = [key for key in names(text) if key.startswith(_NUMBERS_BEGIN)]
    facts = dict.fromkeys((*NUMBER_FACTS, *numbers), float)
    booleans = dict.fromkeys(BOOLEAN_FACTS, bool)
    check_types(text, column_types({**columns, **facts, **booleans}))
    return text


def _settings(given: Mapping[str, Any], seeds: int, axis_type: type) -> threshold.Settings:
    low, high = _range(given["range"])
    lattice, step = _lattice(given["lattice"])
    if not _is_finite(given["until"]):
        raise _wrong("until", given["until"], "a ratio above 1, such as 1.15")
    names_of_settings = {field.name for field in dataclasses.fields(threshold.Settings)}
    values = {key: given[key] for key in KEYS if key in names_of_settings}
    values |= {"low": low, "high": high, "lattice": lattice, "step": step, "seeds": seeds}
    try:
        return threshold.Settings(**values, integer=axis_type is int)
    except ValueError as error:
        raise UserError(f"search: {error}") from None


def _range(ends: Any) -> tuple[float, float]:
    is_pair = isinstance(ends, list) and len(ends) == 2
    if not is_pair or not all(map(_is_finite, ends)) or ends[0] >= ends[1]:
        raise _wrong("range", ends, "[low, high] with low below high")
    return ends[0], ends[1]


def _is_finite(value: Any) -> bool:
    """Whether a value is a number that a float holds."""
    try:
        return type(value) in (int, float) and math.isfinite(value)
    except OverflowError:
        return False


def _lattice(lattice: Any) -> tuple[int | None, float | None]:
    """Values for every factor of two, or the distance of values on a linear lattice."""
    if type(lattice) is int and 1 <= lattice <= MOST_VALUES:
        return lattice, None
    if isinstance(lattice, Mapping) and list(lattice) == ["step"]:
        step = lattice["step"]
        if _is_finite(step) and step > 0:
            return None, float(step)
    expected = f"an integer of 1 to {MOST_VALUES}, or {{step: NUMBER above 0}}"
    raise _wrong("lattice", lattice, expected)


def _budget(given: Mapping[str, Any]) -> Sequence[str] | None:
    keys = given["budget"]
    if keys is not None and not (isinstance(keys, list) and keys):
        raise _wrong("budget", keys, "a list of keys that a doubling doubles, or null")
    return keys


def _budget_key(key: Any, axis: str, point: Mapping[str, Any]) -> str:
    is_number = isinstance(key, str) and type(point.get(key)) in (int, float)
    if not is_number or key == axis:
        raise _wrong("budget", key, f"numeric keys beside the axis, as {', '.join(_BUDGETS)}")
    return str(key)


def _seeds(seeds: Any) -> Sequence[int]:
    if seeds is None:
        raise UserError(
            "seeds: found null, but a search needs a list such as [0, 1, 2, 3]: every training "
            "takes the seed that its search used least so far"
        )
    try:
        numbers = axis_values("seed", seeds)
    except UserError as error:
        raise UserError(str(error).replace("axes.seed", "seeds")) from None
    for number in numbers:
        if type(number) is not int:
            raise UserError(f"seeds: found {number!r}, expected integers")
    return numbers


def _number_keys(point: Mapping[str, Any]) -> list[str]:
    return [key for key, value in point.items() if type(value) in (int, float) and "." in key]


def _wrong(key: str, value: Any, expected: str) -> UserError:
    return UserError(f"search.{key}: found {_TEXT.repr(value)}, expected {expected}")
