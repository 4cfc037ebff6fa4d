"""Image classification: train a network on CIFAR-10 or digits, with label noise, epoch by epoch.

    python -m launch.train model=cnn model.width=16 data=digits trainer.epochs=50

The loop is that of trainers/epochs.py, on cross-entropy. If the cell asks for it, checks look for
the first step at which the network fits all its samples, which can end the training. Shape
suffixes: b samples of a batch, c channels, h and w pixels.
"""

from __future__ import annotations

import math
import time
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from trainers import precision
from trainers.config import VisionCell
from trainers.epochs import EpochTraining
from trainers.evaluation import evaluate
from trainers.measures import minimum, trainings
from trainers.measures.counts import counts
from trainers.measures.fit import CHECKS_PER_DECADE, Check, FitChecks
from trainers.measures.recalibration import Recalibration
from trainers.run import Outcome, Run, log_spaced
from trainers.seeding import torch_stream

METRICS = trainings.VISION


def train(cell: VisionCell, run: Run) -> Outcome:
    """Train `cell` from its newest checkpoint or from the start.

    Returns "done" (after the last step, or at a check that ends the training), "stopped" (a
    checkpoint was written at a step boundary because `run.should_stop()`), or "nonfinite" (the
    training loss of an epoch is NaN or infinite; the rows so far stay as the result).
    """
    training = Training(cell, run)
    training.restore()
    return training.to_the_end()


class Training(EpochTraining):
    """A training on images with cross-entropy."""

    def __init__(self, cell: VisionCell, run: Run) -> None:
        self.cell = cell
        super().__init__(cell, run)
        self.fit = self._fit_checks()
        self.row_steps = self._row_steps()
        self.recalibration = self._recalibration()

    def _row_steps(self) -> set[int]:
        """The steps of `trainer.step_rows_per_decade`, up to where they are an epoch apart."""
        per_decade = self.cell.trainer.step_rows_per_decade
        if per_decade is None:
            return set()
        last = math.ceil(self.batches / (10 ** (1 / per_decade) - 1))
        return log_spaced(min(last, self.steps), per_decade)

    def _recalibration(self) -> Recalibration | None:
        """None without `trainer.recalibrate`, and for a model that has nothing to recompute."""
        samples = self.cell.trainer.recalibrate
        if samples is None or not Recalibration.applies_to(self.model):
            return None
        order = torch.randperm(self.samples, generator=torch_stream(self.seed, "recalibration"))
        images = self.data.train.images[order[:samples].to(self.device)]
        return Recalibration(self.model, images)

    def _fit_checks(self) -> FitChecks | None:
        settings = self.cell.trainer
        if not settings.checks_fit:
            return None
        steps = log_spaced(self.steps, CHECKS_PER_DECADE)
        return FitChecks(settings, self.samples, self.steps, steps)

    @property
    def has_ended(self) -> bool:
        """Whether all steps are done, or a check ended the training."""
        return self.position.step >= self.steps or (self.fit is not None and self.fit.has_ended)

    def _own_state(self) -> dict[str, Any]:
        return {} if self.fit is None else {"fit": self.fit.state()}

    def _load_own(self, state: dict[str, Any]) -> None:
        if self.fit is not None:
            self.fit.load(state["fit"])

    def _gradient(self, x_bchw: Tensor, y_b: Tensor, *more: Tensor) -> tuple[Tensor, ...]:
        """Add the loss gradient to the parameters'; returns the mean loss and the wrong answers.

        A step on all samples goes through them in blocks, so that it needs no more memory than an
        evaluation.
        """
        if self.cell.trainer.batch_size is not None:
            return self._add_gradient(x_bchw, y_b, len(y_b))
        size = self.cell.trainer.eval_batch_size
        blocks = zip(torch.split(x_bchw, size), torch.split(y_b, size), strict=True)
        parts = [self._add_gradient(x, y, len(y_b)) for x, y in blocks]
        losses, wrongs = zip(*parts, strict=True)
        return torch.stack(losses).sum(), torch.stack(wrongs).sum()

    def _add_gradient(self, x_bchw: Tensor, y_b: Tensor, total: int) -> tuple[Tensor, Tensor]:
        """`_gradient` of some of the `total` samples of a step: their share of the mean loss."""
        with precision.autocast(self.precision, self.device):
            logits = self._logits(x_bchw)
            loss = functional.cross_entropy(logits, y_b)
        if len(y_b) < total:
            loss = loss * (len(y_b) / total)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        return loss.detach(), (logits.argmax(1) != y_b).sum()

    def _check_inside_epoch(self) -> bool:
        """Log a row if the step is due, with a check of the fit if that is; True if the check ends
        the training.
        """
        checks = self.fit is not None and self.position.step in self.fit.steps
        if not checks and not self._is_row_step():
            return False
        self._stop_clock()
        row = self._running_columns()
        if checks:
            row |= self._check()
        self._log_row(self.position.begun, self._examples(), row)
        self.model.train()
        self.clock_start = time.monotonic()
        return self.fit is not None and self.fit.has_ended

    def _is_row_step(self) -> bool:
        """Whether the step has a row of its own; weights that are not finite get no more rows
        before that of their epoch.
        """
        is_due = self.position.step in self.row_steps
        return is_due and math.isfinite(self.weight_norm)

    def _finish_epoch(self) -> bool:
        """Check and log the epoch that just ended; False if it diverged."""
        row, examples = self._running_columns(), self._examples()
        error, is_finite = row["train_error"], self._is_finite(row["train_loss"])
        self.position = self.position.next_epoch()
        checks = self.fit is not None and self.fit.due_after_epoch(self.position.step, error)
        if checks:
            row |= self._check()
        if checks or not is_finite or self.cell.trainer.rows == "every":
            self._log_row(self.position.epoch, examples, row)
        return is_finite

    def _check(self) -> dict[str, float | None]:
        """Evaluate the training set in float32 for the checks; returns the row's columns.

        Rounding to 8 or 11 bits could decide whether the last sample is right.
        """
        assert self.fit is not None
        result = self._evaluate(self.data.train, "float32")
        self.fit.add(Check(self.position.step, result.wrong, result.loss))
        return self._train_columns(result)

    def _log_row(self, epoch: int, examples: int, row: dict[str, Any]) -> None:
        """Log `row` for the present state; `epoch` counts the current one if it is not finished."""
        settings = self.cell.trainer
        ends_log_epoch = epoch == self.position.epoch and epoch in self.log_epochs
        logs = ends_log_epoch or self.position.step in self.row_steps
        if self._evaluates_test(logs):
            row |= self._test_columns() | self._recalibrated_columns()
        wants_train = settings.eval_train == "every" or (settings.eval_train == "log" and logs)
        if wants_train and "train_eval_loss" not in row:
            row |= self._train_columns(self._evaluate(self.data.train, self.precision))
        row["weight_norm"] = self.weight_norm
        self.run.log(epoch=epoch, step=self.position.step, examples=examples, **row)

    def _recalibrated_columns(self) -> dict[str, float | None]:
        """Columns of the test set with recomputed statistics, if the cell asks for them.

        Without batch norm they equal those with the running statistics.
        """
        if self.cell.trainer.recalibrate is None:
            return {}
        test, size = self.data.test, self.settings.eval_batch_size
        if self.recalibration is None:
            result = self._evaluate(test, self.precision)
        else:
            with precision.autocast(self.precision, self.device):
                self.recalibration.update(self.model, self.data.scaled, size)
            logits_of = self.recalibration.logits_of(self.data.scaled)
            result = evaluate(logits_of, test, size, self.precision)
        columns = counts("recalibrated_test", result.wrong, len(test))
        return {"recalibrated_test_loss": result.loss} | columns

    def _evaluates_test(self, logs: bool) -> bool:
        if not self.data.has_test:
            return False  # the test set has other classes than the network
        settings = self.cell.trainer.eval_test
        return settings == "every" or self.has_ended or (settings == "log" and logs)

    def _record_end(self) -> None:
        """Record what the checks of the fit found, if there were any."""
        if self.fit is None:
            return
        self.run.add_facts(**self.fit.facts(self.data.random_classes))
        if self.cell.trainer.minimum_check and self.fit.is_failure:
            self._record_minimum()

    def _record_minimum(self) -> None:
        """Record how near to a minimum of its training loss the network is, in float64."""
        assert self.fit is not None
        result = minimum.measure(self.model, self._train_blocks, self.samples, self.cell.seed)
        self.run.add_facts(**asdict(result), loss_trend=self.fit.loss_trend())
