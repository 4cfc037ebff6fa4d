"""The first step of a training that reaches each threshold, found by repeating steps if needed."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from trainers.measures import thresholds

Mode = Literal["every", "crossed", "rows"]


@dataclass(frozen=True)
class Rewind:
    """Go back to `state` and compare every step up to `until` with the thresholds."""

    state: dict[str, Any]
    until: int


class CrossingSearch:
    """Finds the first step that reaches each threshold.

    "every" compares every step until all thresholds are reached, "rows" only the logged steps.
    "crossed" also compares logged steps; when one reaches a threshold, training goes back to the
    logged step before it and repeats the same steps, comparing each. It records the first step that
    reached the threshold.
    """

    def __init__(self, mode: Mode) -> None:
        self.mode = mode
        self.reached: dict[str, int] = {}
        """Steps by threshold metric, for the thresholds reached so far."""
        self.rewind_state: dict[str, Any] | None = None
        """The training's state at the last logged step, while a threshold is open."""
        self._compared = 0
        self._until = 0

    @property
    def is_open(self) -> bool:
        """Whether a threshold is not reached yet."""
        return any(thresholds.is_open(split, self.reached) for split in thresholds.SPLITS)

    def due(self, step: int) -> bool:
        """Whether `step` must be compared although it is not logged."""
        return step <= self._until or (self.mode == "every" and self.is_open)

    def open_splits(self) -> list[str]:
        """The splits whose counts `check` still needs."""
        return [split for split in thresholds.SPLITS if thresholds.is_open(split, self.reached)]

    def check(self, row: Mapping[str, Any], step: int) -> Rewind | None:
        """Compare the counts of `step`; returns a Rewind if earlier steps must be compared too."""
        crossed = thresholds.new_crossings(row, step, self.reached)
        has_gap = step - self._compared > 1
        if crossed and has_gap and self.mode == "crossed" and self.rewind_state:
            return Rewind(copy.deepcopy(self.rewind_state), step)
        self.reached |= crossed
        self._compared = step
        return None

    def begin_again(self, rewind: Rewind) -> None:
        """Compare every step of a rewind, after its state is loaded."""
        self._until = rewind.until

    def remember(self, state: Callable[[], dict[str, Any]]) -> None:
        """Keep the training's state at a logged step, if a rewind may need it."""
        may_rewind = self.mode == "crossed" and self.is_open
        self.rewind_state = copy.deepcopy(state()) if may_rewind else None

    def state(self) -> dict[str, Any]:
        """The state of the search for a checkpoint, without that to rewind to."""
        return {
            "compared": self._compared,
            "watched_until": self._until,
            "reached": dict(self.reached),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore what `state` returned."""
        self._compared = state["compared"]
        self._until = state["watched_until"]
        self.reached = dict(state["reached"])
