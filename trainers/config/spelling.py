"""What a misspelt name may stand for. Standard library only: log folders are read in jobs too."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_ALIKE = 0.7
"""How alike two names of a section must be, from 0 to 1, for one to be a misspelling of the other:
`depth` and `width` are not.
"""


def did_you_mean(name: str, known: Iterable[str], otherwise: str, most: int = 3) -> str:
    """A question with the `known` names that are spelt like `name`; `otherwise` if none is."""
    near = difflib.get_close_matches(name, list(known), n=most)
    return f"did you mean {' or '.join(near)}?" if near else otherwise


def key_hint(key: str, keys: Iterable[str], otherwise: str) -> str:
    """A question with the key that `key` is a misspelling of; `otherwise` if it is like none."""
    near = nearest_key(key, keys)
    return f"did you mean {near}?" if near else otherwise


def nearest_key(key: str, keys: Iterable[str]) -> str | None:
    """The one of `keys` that `key` is a misspelling of; None if it is like none of them.

    In a section that exists, the names behind the last dot are compared: all keys of a section are
    alike as a whole.
    """
    section, _, name = key.rpartition(".")
    all_keys = list(keys)
    by_name = {}
    for known in all_keys:
        known_section, _, known_name = known.rpartition(".")
        if known_section == section:
            by_name[known_name] = known
    if section and by_name:
        near = difflib.get_close_matches(name, by_name, n=1, cutoff=_ALIKE)
        return by_name[near[0]] if near else None
    near = difflib.get_close_matches(key, all_keys, n=1)
    return near[0] if near else None
