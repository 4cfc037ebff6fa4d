"""A note on curves whose seeds end before those of others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from analysis.stats.seed_curves import SeedCurves


def common_ends(data: Sequence[SeedCurves]) -> dict[float, int]:
    """The last time that all seeds of each column have, by its value; 0 if they share none."""
    ends = {}
    for curves in data:
        if curves.cells:
            shared = curves.x[np.isfinite(curves.values).all(axis=0)]
            ends[curves.value] = int(shared.max(initial=0))
    return ends


def early_ends(ends: Mapping[float, int], axis: str, time: str, effect: str) -> list[str]:
    """A note on the columns whose seeds end early, empty without any.

    ends: the last time of each column, by its value on `axis`. effect: what it means for the
    figure.
    """
    last = max(ends.values(), default=0)
    early = ", ".join(f"{value:g} ({end})" for value, end in ends.items() if end < last)
    if not early:
        return []
    return [f"seeds of {axis} {early} end before the last {time}, {last}; {effect}"]
