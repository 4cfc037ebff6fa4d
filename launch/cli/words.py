"""Tell the conditions on a command line from the overrides."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

_OVERRIDE = re.compile(r"[+~]{0,2}[\w./@-]+=(?!=)|~\S+$")
"""How an override begins: KEY=VALUE, +KEY=VALUE, ~KEY."""


def conditions_and_overrides(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words that are conditions, such as "model.width == 4", and those that are overrides."""
    conditions: list[str] = []
    overrides: list[str] = []
    for word in words:
        (overrides if _OVERRIDE.match(word) else conditions).append(word)
    return conditions, overrides


def as_conditions(overrides: Sequence[str], keys: Collection[str]) -> list[str]:
    """The overrides that give one of these keys a value, written as conditions: "seed == 4"."""
    conditions = []
    for word in overrides:
        key, _, value = word.partition("=")
        if key in keys:
            conditions.append(f"{key} == {value}")
    return conditions
