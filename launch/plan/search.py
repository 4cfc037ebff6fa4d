"""A search along one more axis, as a plan freezes it.

Read inside jobs: standard library only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Advance = Literal["auto", "manual"]
"""Who sends the next round: a job after the last task of a round, or only the user's commands."""

SETTINGS = (
    "low", "high", "lattice", "step", "integer", "falling", "method", "first", "per_round",
    "until", "most", "verify", "seeds", "doublings",
)  # fmt: skip
"""Keys of `Search.settings`: the fields of analysis.stats.threshold.Settings."""


@dataclass(frozen=True)
class Search:
    """At one point of a grid, the search for the value of `axis` at which `success` changes.

    `settings` are the fields of `analysis.stats.threshold.Settings`. A trial has the
    number of one of `seeds`; the values of `budget` double at each level. `point` is a flat
    configuration; its seed and its value of the axis mean nothing.
    """

    axis: str
    success: str
    settings: Mapping[str, Any]
    seeds: Sequence[int]
    budget: Sequence[str]
    advance: Advance
    point: Mapping[str, Any]
