"""Tell the conditions on a command line from the overrides."""

from __future__ import annotations

import re
from collections.abc import Sequence

_OVERRIDE = re.compile(r"[+~]{0,2}[\w./@-]+=(?!=)|~\S+$")
"""How an override begins: KEY=VALUE, +KEY=VALUE, ~KEY."""


def conditions_and_overrides(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words that are conditions, such as "model.width == 4", and those that are overrides."""
    conditions: list[str] = []
    overrides: list[str] = []
    for word in words:
        (overrides if _OVERRIDE.match(word) else conditions).append(word)
    return conditions, overrides
