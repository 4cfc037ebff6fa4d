"""Image classification: train a network on CIFAR-10 or digits, with label noise, epoch by epoch.

    python -m launch.train model=cnn model.width=16 data=digits trainer.epochs=50

The data set is one uint8 tensor on the training device; batches are drawn by index, augmented and
scaled there. All randomness is a function of (seed, purpose, epoch), so that the state to save is
the weights, the optimiser's moments, and the position. If the cell asks for it, checks look for the
first step at which the network fits all its samples, which can end the training. Shape suffixes: n
samples of the set, b of a batch, c channels, h and w pixels.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from trainers import models, optim, precision
from trainers.config import VisionCell
from trainers.data import augment, splits
from trainers.data.splits import Split
from trainers.measures import minimum
from trainers.measures.counts import METRICS, counts
from trainers.measures.fit import CHECKS_PER_DECADE, Check, FitChecks
from trainers.run import Outcome, Run, log_spaced
from trainers.seeding import stream_seed, torch_stream

__all__ = ["METRICS", "Training", "evaluate", "train"]


@dataclass(frozen=True)
class Evaluation:
    """Mean loss in nats, wrong answers, and those among the changed labels."""

    loss: float
    wrong: int
    changed_wrong: int


@torch.inference_mode()
def evaluate(
    logits_of: Callable[[Tensor], Tensor], split: Split, batch_size: int, number_format: str
) -> Evaluation:
    """Evaluate a model that maps uint8 images (b, c, h, w) to logits (b, classes)."""
    device = split.labels.device
    sums = torch.zeros(3, dtype=torch.float64, device=device)
    for start in range(0, len(split), batch_size):
        batch = slice(start, start + batch_size)
        y_b = split.labels[batch]
        with precision.autocast(number_format, device):
            logits = logits_of(split.images[batch])
            loss = functional.cross_entropy(logits, y_b, reduction="sum")
        wrong_b = logits.argmax(1) != y_b
        changed_wrong = (wrong_b & split.is_changed[batch]).sum()
        sums += torch.stack([loss.double(), wrong_b.sum().double(), changed_wrong.double()])
    loss_sum, wrong, changed_wrong = sums.tolist()
    return Evaluation(loss_sum / len(split), int(wrong), int(changed_wrong))


@dataclass(frozen=True)
class Position:
    """The position of a training, and the sums of the current epoch so far."""

    epoch: int
    """Epochs finished."""
    batch: int
    """Batches of the current epoch done so far."""
    step: int
    sums: Tensor
    """Loss times samples, wrong answers and gradient norm of these batches, float64 (3,)."""
    epoch_seconds: float
    """Training time of these batches."""

    def next_epoch(self) -> Position:
        """The start of the next epoch."""
        return Position(self.epoch + 1, 0, self.step, torch.zeros_like(self.sums), 0.0)


def train(cell: VisionCell, run: Run) -> Outcome:
    """Train `cell` from its newest checkpoint or from the start.

    Returns "done" (after the last step, or at a check that ends the training), "stopped" (a
    checkpoint was written at a step boundary because `run.should_stop()`), or "nonfinite" (the
    training loss of an epoch is NaN or infinite; the rows so far stay as the result).
    """
    training = Training(cell, run)
    training.restore()
    return training.to_the_end()


class Training:
    """The state of one training and the loop over its epochs.

    The last epoch is cut short where the steps of the training end inside it.
    """

    def __init__(self, cell: VisionCell, run: Run) -> None:
        self.cell, self.run = cell, run
        precision.set_numerics(cell.trainer.deterministic, cell.run.threads)
        self.device = precision.device(cell.run.device)
        self.precision = precision.resolve(cell.trainer.precision, self.device)
        precision.warn_if_slow(self.precision, self.device)
        self.data = splits.load(cell.data, cell.seed, self.device)
        self._build_model()
        self._record_facts()
        self.batch_size = cell.trainer.batch_size or self.samples
        self.batches = math.ceil(self.samples / self.batch_size)
        self.steps = cell.trainer.budget(self.samples)
        epochs = math.ceil(self.steps / self.batches)
        self.log_epochs = log_spaced(epochs, cell.trainer.evals_per_decade)
        self.fit = self._fit_checks()
        self.clock_start = time.monotonic()
        sums = torch.zeros(3, dtype=torch.float64, device=self.device)
        self.position = Position(0, 0, 0, sums, 0.0)

    def _build_model(self) -> None:
        cell = self.cell
        _, channels, size, _ = self.data.train.images.shape
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream_seed(cell.seed, "init"))
            model = models.build(cell.model, channels, size, self.data.classes)
        self.model = model.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        # static shapes: the last batch of an epoch, and an evaluation's, get graphs of their own
        self.forward = torch.compile(self.model, dynamic=False) if cell.run.compile else self.model
        self.parameters = list(self.model.parameters())
        self.optimiser = optim.build(cell.optim, self.parameters)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == "float16")
        torch.manual_seed(stream_seed(cell.seed, "dropout"))

    def _record_facts(self) -> None:
        on_gpu = self.device.type == "cuda"
        self.run.add_facts(
            **self.data.facts,
            precision=self.precision,
            gpu=torch.cuda.get_device_name(self.device) if on_gpu else None,
            parameters=sum(p.numel() for p in self.parameters),
        )

    def _fit_checks(self) -> FitChecks | None:
        settings = self.cell.trainer
        if not settings.checks_fit:
            return None
        steps = log_spaced(self.steps, CHECKS_PER_DECADE)
        return FitChecks(settings, self.samples, self.steps, steps)

    @property
    def samples(self) -> int:
        return len(self.data.train)

    @property
    def has_ended(self) -> bool:
        """Whether all steps are done, or a check ended the training."""
        return self.position.step >= self.steps or (self.fit is not None and self.fit.has_ended)

    def restore(self) -> None:
        """Load the newest checkpoint; without one, log epoch 0."""
        expect = {"data_hash": self.data.facts["data_hash"], "precision": self.precision}
        state = self.run.restore(expect)
        if state is None:
            self._log_row(0, 0, {})
            return
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.scaler.load_state_dict(state["scaler"])
        self.position = Position(
            state["epoch"],
            state["batch"],
            state["step"],
            state["sums"].to(self.device),
            state["epoch_seconds"],
        )
        torch.set_rng_state(state["torch_rng"])
        if self.fit is not None:
            self.fit.load(state["fit"])

    def state(self) -> dict[str, Any]:
        """All state that the next step depends on."""
        position = self.position
        checks = {} if self.fit is None else {"fit": self.fit.state()}
        return {
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "epoch": position.epoch,
            "batch": position.batch,
            "step": position.step,
            "sums": position.sums,
            "epoch_seconds": position.epoch_seconds,
            "torch_rng": torch.get_rng_state(),
            "data_hash": self.data.facts["data_hash"],
            "precision": self.precision,
            **checks,
        }

    def to_the_end(self) -> Outcome:
        """Run the remaining epochs, and checkpoint when due."""
        while not self.has_ended:
            if not self._train_epoch():
                self._checkpoint()
                return "stopped"
            if self.fit is not None and self.fit.has_ended:
                break  # inside the epoch, whose row is logged
            if not self._finish_epoch():
                self._record_fit()
                return "nonfinite"
            if self.run.checkpoint_due():
                self._checkpoint()
        self._record_fit()
        return "done"

    def _checkpoint(self) -> None:
        self.run.checkpoint(self.state(), self.position.step)

    def _train_epoch(self) -> bool:
        """Train the remaining batches of the epoch; False if the run should stop before its end."""
        self.clock_start = time.monotonic()
        is_complete = self._train_batches()
        self._stop_clock()
        return is_complete

    def _stop_clock(self) -> None:
        """Add the time since `clock_start` to that of the epoch."""
        seconds = self.position.epoch_seconds + time.monotonic() - self.clock_start
        self.position = replace(self.position, epoch_seconds=seconds)

    def _train_batches(self) -> bool:
        cell, train, number = self.cell, self.data.train, self.position.epoch + 1
        size, last = self.batch_size, self._batches_of_epoch()
        order_n = torch.randperm(self.samples, generator=torch_stream(cell.seed, "order", number))
        order_n = order_n.to(self.device)
        if cell.data.augment:
            offsets_n2, flips_n = augment.draw(self.samples, cell.seed, number)
            offsets_n2, flips_n = offsets_n2.to(self.device), flips_n.to(self.device)
        if not self.model.training:  # to set it takes a twentieth of a step
            self.model.train()
        for index in range(self.position.batch, last):
            if self.run.should_stop():
                return False
            batch = slice(index * size, (index + 1) * size)
            indices_b = order_n[batch]
            x_bchw = train.images[indices_b]
            if cell.data.augment:
                x_bchw = augment.crop_and_flip(x_bchw, offsets_n2[batch], flips_n[batch])
            self._train_step(x_bchw, train.labels[indices_b])
            self.position = replace(self.position, batch=index + 1, step=self.position.step + 1)
            if index + 1 < last and self._check_inside_epoch():
                return True
        return True

    def _batches_of_epoch(self) -> int:
        """Batches of the current epoch: fewer where the steps of the training end inside it."""
        before = self.position.step - self.position.batch
        return min(self.batches, self.steps - before)

    def _train_step(self, x_bchw: Tensor, y_b: Tensor) -> None:
        """One optimiser step; sums stay on the device, so the CPU does not wait."""
        lr = self._lr()
        for group in self.optimiser.param_groups:
            group["lr"] = lr
        for parameter in self.parameters:
            parameter.grad = None
        loss, wrong = self._gradient(x_bchw, y_b)
        self.scaler.unscale_(self.optimiser)
        norm = _norm([p.grad for p in self.parameters if p.grad is not None])
        self.scaler.step(self.optimiser)
        self.scaler.update()
        loss_sum = loss.double() * len(y_b)
        self.position.sums.add_(torch.stack([loss_sum, wrong.double(), norm.double()]))

    def _gradient(self, x_bchw: Tensor, y_b: Tensor) -> tuple[Tensor, Tensor]:
        """Add the loss gradient to the parameters'; returns the mean loss and the wrong answers.

        A step on all samples goes through them in blocks, so that it needs no more memory than an
        evaluation.
        """
        if self.cell.trainer.batch_size is not None:
            return self._add_gradient(x_bchw, y_b, len(y_b))
        size = self.cell.trainer.eval_batch_size
        blocks = zip(torch.split(x_bchw, size), torch.split(y_b, size), strict=True)
        parts = [self._add_gradient(x, y, len(y_b)) for x, y in blocks]
        losses, counts = zip(*parts, strict=True)
        return torch.stack(losses).sum(), torch.stack(counts).sum()

    def _add_gradient(self, x_bchw: Tensor, y_b: Tensor, total: int) -> tuple[Tensor, Tensor]:
        """`_gradient` of some of the `total` samples of a step: their share of the mean loss."""
        with precision.autocast(self.precision, self.device):
            logits = self._logits(x_bchw)
            loss = functional.cross_entropy(logits, y_b)
        if len(y_b) < total:
            loss = loss * (len(y_b) / total)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        return loss.detach(), (logits.argmax(1) != y_b).sum()

    def _lr(self) -> float:
        settings = self.cell.optim
        return optim.learning_rate(settings.lr, settings.schedule, self.position.step, self.steps)

    def _check_inside_epoch(self) -> bool:
        """Check the fit and log a row if the step is due; True if that ends the training."""
        if self.fit is None or self.position.step not in self.fit.steps:
            return False
        self._stop_clock()
        row = self._running_columns() | self._check()
        self._log_row(self.position.epoch + 1, self._examples(), row)
        self.model.train()
        self.clock_start = time.monotonic()
        return self.fit.has_ended

    def _finish_epoch(self) -> bool:
        """Check and log the epoch that just ended; False if its training loss is not finite."""
        row, examples = self._running_columns(), self._examples()
        error, is_finite = row["train_error"], math.isfinite(row["train_loss"])
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

    def _examples(self) -> int:
        """Training samples seen so far, at most all of them in the current epoch."""
        return self.position.epoch * self.samples + self._seen_in_epoch()

    def _seen_in_epoch(self) -> int:
        return min(self.position.batch * self.batch_size, self.samples)

    def _running_columns(self) -> dict[str, Any]:
        """Means over the batches of the current epoch so far."""
        position, seen = self.position, self._seen_in_epoch()
        loss, wrong, norm = position.sums.tolist()
        return {
            "train_loss": loss / seen,
            "train_wrong": int(wrong),
            "train_examples": seen,
            "train_error": wrong / seen,
            "lr": self.optimiser.param_groups[0]["lr"],
            "grad_norm": norm / position.batch,
            "examples_per_second": seen / position.epoch_seconds,
        }

    def _log_row(self, epoch: int, examples: int, row: dict[str, Any]) -> None:
        """Log `row` for the present state; `epoch` counts the current one if it is not finished."""
        settings = self.cell.trainer
        logs = epoch == self.position.epoch and epoch in self.log_epochs
        if self._evaluates_test(logs):
            row |= self._test_columns()
        wants_train = settings.eval_train == "every" or (settings.eval_train == "log" and logs)
        if wants_train and "train_eval_loss" not in row:
            row |= self._train_columns(self._evaluate(self.data.train, self.precision))
        row["weight_norm"] = float(_norm([p.detach() for p in self.parameters]))
        self.run.log(epoch=epoch, step=self.position.step, examples=examples, **row)

    def _evaluates_test(self, logs: bool) -> bool:
        if self.cell.data.label_noise.classes is not None:
            return False  # the test set has other classes than the network
        settings = self.cell.trainer.eval_test
        return settings == "every" or self.has_ended or (settings == "log" and logs)

    def _test_columns(self) -> dict[str, float | None]:
        result = self._evaluate(self.data.test, self.precision)
        return {"test_loss": result.loss} | counts("test", result.wrong, len(self.data.test))

    def _train_columns(self, result: Evaluation) -> dict[str, float | None]:
        changed_count = int(self.data.train.is_changed.sum())
        clean_wrong = result.wrong - result.changed_wrong
        return {
            "train_eval_loss": result.loss,
            **counts("train_eval", result.wrong, self.samples),
            **counts("clean", clean_wrong, self.samples - changed_count),
            **counts("noisy", result.changed_wrong, changed_count),
        }

    def _record_fit(self) -> None:
        """Record what the checks of the fit found, if there were any."""
        if self.fit is None:
            return
        random_classes = self.data.classes if self.cell.data.label_noise.is_random else None
        self.run.add_facts(**self.fit.facts(random_classes))
        if self.cell.trainer.minimum_check and self.fit.is_failure:
            self._record_minimum()

    def _record_minimum(self) -> None:
        """Record how near to a minimum of its training loss the network is, in float64."""
        assert self.fit is not None
        result = minimum.measure(self.model, self._train_blocks, self.samples, self.cell.seed)
        self.run.add_facts(**asdict(result), loss_trend=self.fit.loss_trend())

    def _train_blocks(self) -> Iterator[tuple[Tensor, Tensor]]:
        """All training samples in blocks: scaled images and labels."""
        train, size = self.data.train, self.cell.trainer.eval_batch_size
        blocks = zip(torch.split(train.images, size), torch.split(train.labels, size), strict=True)
        for x_bchw, y_b in blocks:
            yield self._scaled(x_bchw), y_b

    def _evaluate(self, split: Split, number_format: str) -> Evaluation:
        self.model.eval()
        size = self.cell.trainer.eval_batch_size
        return evaluate(self._logits, split, size, number_format)

    def _logits(self, x_bchw: Tensor) -> Tensor:
        """Logits (b, classes) of uint8 images."""
        x_bchw = self._scaled(x_bchw).contiguous(memory_format=torch.channels_last)
        return self.forward(x_bchw)  # type: ignore[no-any-return]

    def _scaled(self, x_bchw: Tensor) -> Tensor:
        """Float32 images, scaled as the cell says."""
        data = self.data
        return augment.scale(x_bchw, self.cell.data.scaling, data.mean, data.std)


def _norm(tensors: list[Tensor]) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(tensors)))
    return norm
