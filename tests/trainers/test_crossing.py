"""The search for the first step that reaches each threshold, on planted counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from trainers.measures.crossing import CrossingSearch, Mode

STEPS = 40
LOGGED = (0, 10, 20, 30, 40)


def counts(right: int) -> dict[str, Any]:
    return {"train_right": right, "train_examples": 100, "test_right": 0, "test_examples": 100}


class Training:
    """A training whose state is its step, and whose right answers are planted."""

    def __init__(self, mode: Mode, right: Sequence[int]) -> None:
        self.search, self.right, self.step = CrossingSearch(mode), right, 0
        self.compared: list[int] = []
        self.compare()

    def state(self) -> dict[str, Any]:
        return {"step": self.step, **self.search.state()}

    def compare(self) -> None:
        self.compared.append(self.step)
        rewind = self.search.check(counts(self.right[self.step]), self.step)
        if rewind is not None:
            self.step = rewind.state["step"]
            self.search.load(rewind.state)
            self.search.begin_again(rewind)
        elif self.step in LOGGED:
            self.search.remember(self.state)

    def finish(self) -> dict[str, int]:
        while self.step < STEPS:
            self.step += 1
            if self.step in LOGGED or self.search.due(self.step):
                self.compare()
        return self.search.reached


def rising(*crossings: int) -> list[int]:
    """Right answers that reach 50, 90, 95, 99 percent at these steps."""
    right = [0] * (STEPS + 1)
    for percent, first in zip((50, 90, 95, 99), crossings, strict=False):
        right[first:] = [percent] * (STEPS + 1 - first)
    return right


@pytest.mark.parametrize("mode", ["every", "crossed"])
def test_the_first_step_is_found_between_logged_ones(mode: Mode) -> None:
    reached = Training(mode, rising(13, 17, 31)).finish()
    assert reached == {"train_steps_50": 13, "train_steps_90": 17, "train_steps_95": 31}


def test_rows_takes_the_logged_step() -> None:
    reached = Training("rows", rising(13, 17, 31)).finish()
    assert reached == {"train_steps_50": 20, "train_steps_90": 20, "train_steps_95": 40}


def test_crossed_compares_again_only_where_a_threshold_was_passed() -> None:
    training = Training("crossed", rising(13))
    training.finish()
    assert training.compared == [0, 10, 20, *range(11, 21), 30, 40]


def test_every_ends_once_all_thresholds_are_reached() -> None:
    search = CrossingSearch("every")
    assert search.due(1)
    counts = {f"{split}_{key}": 100 for split in ("train", "test") for key in ("right", "examples")}
    assert search.check(counts, 1) is None
    assert not search.is_open
    assert not search.due(2)


def test_crossed_misses_a_touch_between_logged_steps() -> None:
    right = [60 if step == 13 else 0 for step in range(STEPS + 1)]
    assert Training("crossed", right).finish() == {}
    assert Training("every", right).finish() == {"train_steps_50": 13}


def test_a_search_continues_from_its_state() -> None:
    training = Training("crossed", rising(13))
    while training.step != 12 or len(training.compared) < 4:
        training.step += 1
        if training.step in LOGGED or training.search.due(training.step):
            training.compare()
    repeat = CrossingSearch("crossed")
    repeat.load(training.search.state())
    assert repeat.due(20)
    assert not repeat.due(21)
