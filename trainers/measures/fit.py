"""When does a training first fit all of its samples? The steps at which that is checked, and what
the checks counted.

A training fits when none of its samples is wrong in evaluation mode. That is seen only at a check:
a training that fits between two checks and no longer at the second does not count.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from trainers.config import Vision

CHECKS_PER_DECADE = 12
TREND_SHARE = 0.8  # of the budget, where the loss trend begins


def halves(step: int) -> set[int]:
    """`step` and its halves as long as they are whole.

    With those of its last step, a training of twice the budget has every check of this one, so that
    it fits whenever this one does.
    """
    steps = {step}
    while step % 2 == 0:
        step //= 2
        steps.add(step)
    return steps


@dataclass(frozen=True)
class Check:
    """What one check found: wrong samples, and the mean loss in nats."""

    step: int
    wrong: int
    loss: float


class FitChecks:
    """The checks of one training: which steps are due, and what the last and the best found.

    steps: the log-spaced steps up to `budget`, the planned steps. Further steps are due, each with
    its halves: `budget` itself, the looks of `settings.abandon`, and TREND_SHARE of the budget
    where a minimum check needs the trend of the loss.
    """

    def __init__(self, settings: Vision, samples: int, budget: int, steps: set[int]) -> None:
        self.settings, self.samples = settings, samples
        self.error_limits = {_step(share, budget): limit for share, limit in settings.abandon or ()}
        self.trend_step = _step(TREND_SHARE, budget) if settings.minimum_check else budget
        self.steps = steps - {0}
        for step in (budget, self.trend_step, *self.error_limits):
            self.steps |= halves(step)
        self.last: Check | None = None
        self.best_wrong: int | None = None
        self.fit_step: int | None = None
        self.trend_loss: float | None = None
        self.abandoned = False

    @property
    def has_ended(self) -> bool:
        """Whether the training need not go on."""
        return self.abandoned or (self.settings.stop_at_fit and self.fit_step is not None)

    @property
    def is_failure(self) -> bool:
        """Whether the training went to its end without a fit, with a finite loss."""
        ends_finite = self.last is not None and math.isfinite(self.last.loss)
        return ends_finite and self.fit_step is None and not self.abandoned

    def due_after_epoch(self, step: int, error: float) -> bool:
        """Whether to check at an epoch's end; `error` is the share of wrong answers in it, which
        no longer matters after a fit.
        """
        is_near_fit = self.fit_step is None and error <= self.settings.fit_trigger
        return step in self.steps or is_near_fit

    def add(self, check: Check) -> None:
        """Take a check into account; a fit needs a finite loss."""
        self.last = check
        if self.best_wrong is None or check.wrong < self.best_wrong:
            self.best_wrong = check.wrong
        if self.settings.minimum_check and check.step == self.trend_step:
            self.trend_loss = check.loss
        if check.wrong == 0 and math.isfinite(check.loss):
            self.fit_step = self.fit_step or check.step
        limit = self.error_limits.get(check.step)
        if limit is not None and check.wrong > limit * self.samples:
            self.abandoned = self.fit_step is None

    def facts(self, random_classes: int | None) -> dict[str, Any]:
        """Columns of the runs table. `random_classes` is the number of classes of random labels.

        bits: what the network knows of random labels at the last check, n log2(classes) minus the
        summed cross-entropy in bits; None for other labels and for abandoned trainings.
        """
        return {
            "fitted": self.fit_step is not None,
            "fit_step": self.fit_step,
            "wrong": self.last.wrong if self.last else None,
            "best_wrong": self.best_wrong,
            "abandoned": self.abandoned,
            "bits": self._bits(random_classes),
        }

    def loss_trend(self) -> float | None:
        """Relative change of the loss since TREND_SHARE of the budget, negative for a decrease."""
        if self.last is None or not self.trend_loss:
            return None
        return self.last.loss / self.trend_loss - 1

    def state(self) -> dict[str, Any]:
        """What `load` restores, as plain values."""
        last = self.last
        return {
            "last": None if last is None else [last.step, last.wrong, last.loss],
            "best_wrong": self.best_wrong,
            "fit_step": self.fit_step,
            "trend_loss": self.trend_loss,
            "abandoned": self.abandoned,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore what `state` returned."""
        self.last = None if state["last"] is None else Check(*state["last"])
        self.best_wrong = state["best_wrong"]
        self.fit_step = state["fit_step"]
        self.trend_loss = state["trend_loss"]
        self.abandoned = state["abandoned"]

    def _bits(self, classes: int | None) -> float | None:
        if classes is None or self.abandoned or self.last is None:
            return None
        if not math.isfinite(self.last.loss):
            return None
        return self.samples * (math.log2(classes) - self.last.loss / math.log(2))


def _step(share: float, budget: int) -> int:
    """The step nearest to a share of the budget, at least the first."""
    return max(1, round(share * budget))
