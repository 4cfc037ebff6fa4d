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
    """At one point of a grid, the search for the value of `axis` at which `success` changes."""

    axis: str
    success: str
    """A condition on the runs table."""
    settings: Mapping[str, Any]
    """The fields of `analysis.stats.threshold.Settings`."""
    seeds: Sequence[int]
    """The seeds of its trials; a trial has the number of one of them."""
    budget: Sequence[str]
    """The keys whose values double at each level."""
    advance: Advance
    point: Mapping[str, Any]
    """A flat configuration; its seed and its value of the axis mean nothing."""
