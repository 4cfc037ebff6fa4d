"""Keys that were added to a kind of model, data set, optimiser or trainer after results of it
existed.

Each key has one value that means "as before". The id of a cell leaves the key out while it has that
value, and the reader fills it in where a plan or a record lacks it, so results outlive versions.
Keys are listed by kind and never by their flat name: the activation of a transformer has been part
of its id from the start, and stays so. Standard library alone: launch/plan reads this inside jobs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LaterKeys = Mapping[tuple[str, str], Any]
"""(kind, key below the kind's section) -> the value that means "as before"."""

LATER_KEYS: LaterKeys = {}
"""For example `("mlp", "activation"): "relu"`. An entry is never changed and never removed."""

_SECTIONS = ("model", "data", "optim", "trainer")


def as_before(flat: Mapping[str, Any], later_keys: LaterKeys = LATER_KEYS) -> dict[str, Any]:
    """The later keys of the kinds that a flat configuration names, by flat key."""
    values = {}
    for section in _SECTIONS:
        kind = flat.get(f"{section}.name")
        for (owner, key), value in later_keys.items():
            if owner == kind:
                values[f"{section}.{key}"] = value
    return values


def fill_in(flat: Mapping[str, Any], later_keys: LaterKeys = LATER_KEYS) -> dict[str, Any]:
    """`flat` with the later keys that it lacks at the values that mean "as before"."""
    return {**as_before(flat, later_keys), **flat}


def leave_out(flat: Mapping[str, Any], later_keys: LaterKeys = LATER_KEYS) -> dict[str, Any]:
    """`flat` without the later keys whose value means "as before"."""
    before = as_before(flat, later_keys)
    return {
        key: value
        for key, value in flat.items()
        if key not in before or not _same(value, before[key])
    }


def _same(value: Any, other: Any) -> bool:
    """Equal and of one type: 1, 1.0 and True are equal in Python, and give different ids."""
    return type(value) is type(other) and bool(value == other)
