"""The id of a cell: a hash of the configuration that decides its result. Pure."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from trainers.config.later import LATER_KEYS, SECTIONS, leave_out

SCHEME = "c1"
"""Version of the scheme; change it with the canonical form or with the keys left out."""

RESULT_FREE = ("run.", "data.root", "data.download", "data.cache", "trainer.of_folder")
"""Keys that say where and how often a cell runs, not what it computes. They are not in the id."""

SHORT_ID = 11
"""Characters of an id that tell the cells of most sweeps apart: "c1-" and eight more."""

_encode = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
).encode


def short_id(cell: str) -> str:
    """The beginning of an id, as commands and pages show it."""
    return cell[:SHORT_ID]


def cell_arguments(cell: str, sweep: str) -> str:
    """What `redescent why` and `redescent logs` take for a cell of a sweep: several sweeps, and the
    calibration of one, may hold a cell of the same id.
    """
    return f"{short_id(cell)} --sweep {sweep}"


def cell_id(flat: Mapping[str, Any]) -> str:
    """`c1-` and the first 32 hex digits (128 bits) of SHA-256 over the canonical JSON of a flat
    configuration.

    Canonical: keys sorted, no spaces, floats in Python's shortest form that reads back the same,
    keys of `RESULT_FREE` left out, and `LATER_KEYS` left out while they have the value that means
    "as before".

    Raises ValueError for a value without a stable form: NaN, infinities, and anything but None,
    bool, int, float, str and lists of these.
    """
    return id_of_sections([section_text(flat)])


def id_of_sections(texts: Iterable[str]) -> str:
    """The id of a configuration from the canonical texts of its sections, sorted by section.

    The keys of a section (`model.width`) begin alike, so the sections in order have all keys in
    order.
    """
    canonical = "{" + ",".join(filter(None, texts)) + "}"
    return f"{SCHEME}-{hashlib.sha256(canonical.encode()).hexdigest()[:32]}"


def section_text(flat: Mapping[str, Any]) -> str:
    """The canonical JSON of some keys of a configuration, without its braces; raises as `cell_id`.

    `flat` has the `name` of each section of which it has later keys.
    """
    return _encode(_hashed(flat))[1:-1]


def _hashed(flat: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of a flat configuration that are in the id, with their stable values."""
    hashed = {}
    for key, value in leave_out(flat).items():
        if not key.startswith(RESULT_FREE):
            hashed[key] = _stable(key, value)
    return hashed


def _stable(key: str, value: Any) -> Any:
    """The value as it is in the id: -0.0 is 0.0. Raises ValueError as `cell_id` does."""
    if value is None or type(value) in (bool, int, str):
        return value
    if type(value) is float and math.isfinite(value):
        return value + 0.0
    if type(value) is list:
        for item in value:
            _stable(key, item)
        return value
    raise ValueError(
        f"{key}: {value!r} ({type(value).__name__}) has no stable form; "
        "expected a finite number, text, bool, null or a list of these"
    )


def ids_of(
    bases: Sequence[Mapping[str, Any]], cells: Sequence[tuple[int, Mapping[str, Any]]]
) -> list[str]:
    """The ids of cells that are given by the index of a base and the values that differ from it.

    They are those of `cell_id`, for a sixth of its time: the JSON of each base is written once.
    Raises ValueError as `cell_id` does.
    """
    templates = [_Template(base) for base in bases]
    return [templates[base].id_with(values) for base, values in cells]


class _Template:
    """The canonical JSON of one configuration, cut into its entries."""

    def __init__(self, base: Mapping[str, Any]) -> None:
        self.base = base
        self.deciding_keys = {f"{section}.name" for section in SECTIONS}
        """Keys that decide which other keys are in the id, and those other keys."""
        for section in SECTIONS:
            self.deciding_keys |= {f"{section}.{key}" for _, key in LATER_KEYS}
        self.entries: dict[str, str] = {}
        for key, value in sorted(_hashed(base).items()):
            self.entries[key] = _entry(key, value)

    def id_with(self, values: Mapping[str, Any]) -> str:
        """The id of the base updated with `values`."""
        if not self.deciding_keys.isdisjoint(values) or not self.base.keys() >= values.keys():
            return cell_id({**self.base, **values})
        entries = self.entries.copy()
        for key, value in values.items():
            if not key.startswith(RESULT_FREE):
                entries[key] = _entry(key, _stable(key, value))
        return id_of_sections(entries.values())


def _entry(key: str, value: Any) -> str:
    """The canonical JSON of one key and its value, without braces."""
    return _encode(key) + ":" + _encode(value)
