"""The grammar of conditions (analysis/stats/condition.py), with errors as the command line shows
them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

from analysis.stats import condition as grammar
from launch.errors import UserError

T = TypeVar("T")
Condition = Callable[[Mapping[str, Any]], bool]


class UnknownKey(UserError):
    """A condition names a key that the mapping lacks."""


def names(text: str) -> list[str]:
    """The keys that a condition names, in order of appearance. Raises UserError for bad syntax."""
    return _with_errors(grammar.names, text)


def values_as_truths(text: str) -> list[str]:
    """The parts of a condition that stand for true or false without a comparison, as text.

    Raises UserError for bad syntax.
    """
    return _with_errors(grammar.values_as_truths, text)


def condition(text: str) -> Condition:
    """A condition as a function of a flat configuration.

    Raises UserError for bad syntax, and when called with a configuration that it cannot be computed
    for; that is an UnknownKey where a key is missing.
    """
    return _with_user_errors(_with_errors(grammar.condition, text))


def remembered(text: str) -> Condition:
    """What `condition(text)` returns, computed once for equal values of the keys that it names."""
    return _with_user_errors(_with_errors(grammar.remembered, text))


def conditions_on(texts: Sequence[str], flats: Collection[Mapping[str, Any]]) -> list[Condition]:
    """Conditions that cells with these flat configurations are to meet.

    Raises UserError for bad syntax, and for a key that is compared with a value of another type
    than it has in these cells.
    """
    conditions = []
    for text in texts:
        check_types(text, grammar.value_types(flats, names(text)))
        conditions.append(remembered(text))
    return conditions


def check_types(text: str, types: Mapping[str, Collection[type]]) -> None:
    """Raise UserError if a condition compares a key with a value of another type than these."""
    try:
        grammar.check_types(text, types)
    except grammar.ConditionError as error:
        raise UserError(str(error)) from None


def column_types(columns: Mapping[str, type]) -> dict[str, list[type]]:
    """The types that values of a key have, where its column tells: one of texts may hold others."""
    return {key: [kind] for key, kind in columns.items() if kind in (int, float, bool)}


def _with_user_errors(meets: Condition) -> Condition:
    return lambda flat: _with_errors(meets, flat)


def _with_errors(function: Callable[[Any], T], argument: Any) -> T:
    try:
        return function(argument)
    except grammar.UnknownKey as error:
        raise UnknownKey(str(error)) from None
    except grammar.ConditionError as error:
        raise UserError(str(error)) from None
