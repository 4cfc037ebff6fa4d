"""The id of a cell: a hash of the configuration that decides its result. Pure."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from trainers.config.later import LATER_KEYS, LaterKeys, leave_out

SCHEME = "c1"
"""Version of the scheme; change it with the canonical form or with the keys left out."""

RESULT_FREE = ("run.", "data.root", "data.download", "data.cache")
"""Keys that say where and how often a cell runs, not what it computes. They are not in the id."""


def cell_id(flat: Mapping[str, Any], later_keys: LaterKeys = LATER_KEYS) -> str:
    """`c1-` and the first 32 hex digits (128 bits) of SHA-256 over the canonical JSON of a flat
    configuration.

    Canonical: keys sorted, no spaces, floats in Python's shortest form that reads back the same,
    keys of `RESULT_FREE` left out, and `later_keys` left out while they have the value that means
    "as before".

    Raises ValueError for a value without a stable form: NaN, infinities, and anything but None,
    bool, int, float, str and lists of these.
    """
    return id_of_sections([section_text(flat, later_keys)])


def id_of_sections(texts: Iterable[str]) -> str:
    """The id of a configuration from the canonical texts of its sections, sorted by section.

    The keys of a section (`model.width`) begin alike, so the sections in order have all keys in
    order.
    """
    text = "{" + ",".join(text for text in texts if text) + "}"
    return f"{SCHEME}-{hashlib.sha256(text.encode()).hexdigest()[:32]}"


def section_text(flat: Mapping[str, Any], later_keys: LaterKeys = LATER_KEYS) -> str:
    """The canonical JSON of some keys of a configuration, without its braces; raises as `cell_id`.

    `flat` has the `name` of each section of which it has later keys.
    """
    hashed = {}
    for key, value in leave_out(flat, later_keys).items():
        if not key.startswith(RESULT_FREE):
            _check(key, value)
            hashed[key] = value + 0.0 if type(value) is float else value  # -0.0 is 0.0
    text = json.dumps(
        hashed, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    )
    return text[1:-1]


def _check(key: str, value: Any) -> None:
    if value is None or type(value) in (bool, int, str):
        return
    if type(value) is float and math.isfinite(value):
        return
    if type(value) is list:
        for item in value:
            _check(key, item)
        return
    raise ValueError(
        f"{key}: {value!r} ({type(value).__name__}) has no stable form; "
        "expected a finite number, text, bool, null or a list of these"
    )
