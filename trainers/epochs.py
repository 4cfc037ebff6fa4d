"""The loop of the trainers on labelled samples, epoch by epoch: batches, optimiser steps, rows,
checkpoints, evaluation and kept weights. What is optimised and logged is the trainer's.

The data set is one tensor on the training device; batches are drawn by index, augmented and scaled
there. All randomness is a function of (seed, purpose, epoch), so that the state to save is the
weights, the optimiser's moments, and the position. Shape suffixes: n samples of the set, b of a
batch, c channels, h and w pixels.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from trainers import models, optim, precision
from trainers.config import ConfigError, MinimaCell, VisionCell
from trainers.cuda_graph import RecordedGradient, can_record
from trainers.data import augment, splits
from trainers.data.splits import Split
from trainers.evaluation import Evaluation, evaluate
from trainers.measures.counts import counts
from trainers.run import Outcome, Run, log_spaced
from trainers.seeding import generator_states, restore_generators, stream_seed, torch_stream
from trainers.snapshots import Snapshots
from trainers.weights import Evaluated, Owner

_SINGLE_VALUE = "Expected more than 1 value per channel"
"""What torch says of batch norm that is given one value for each channel."""


@dataclass(frozen=True)
class Position:
    """The position of a training, and the sums of the current epoch so far."""

    epoch: int
    """Epochs finished."""
    batch: int
    """Batches of the current epoch done so far."""
    step: int
    sums: Tensor
    """Loss times samples, wrong answers, gradient norm and skipped steps of these batches, float64
    (4,). They stay on the device, and nothing changes them in place.
    """
    epoch_seconds: float
    """Training time of these batches."""

    @property
    def begun(self) -> int:
        """Epochs begun: those finished, and the current one after its first step."""
        return self.epoch + 1 if self.batch else self.epoch

    def next_step(self, sums: Tensor) -> Position:
        """The position after one more step, which has these sums."""
        return replace(self, batch=self.batch + 1, step=self.step + 1, sums=self.sums + sums)

    def next_epoch(self) -> Position:
        """The start of the next epoch."""
        return Position(self.epoch + 1, 0, self.step, torch.zeros_like(self.sums), 0.0)


class EpochTraining(ABC):
    """The state of one training and the loop over its epochs.

    The last epoch is cut short where the steps of the training end inside it.
    """

    clip: float | None = None
    """The largest norm of a gradient; None leaves gradients as they are."""

    def __init__(self, cell: VisionCell | MinimaCell, run: Run) -> None:
        self.run = run
        self.seed, self.settings = cell.seed, cell.trainer
        self.optim_settings = cell.optim
        precision.set_numerics(cell.trainer.deterministic, cell.run.threads)
        self.device = precision.device(cell.run.device)
        self.precision = precision.resolve(cell.trainer.precision, self.device)
        precision.warn_if_slow(self.precision, self.device)
        self.data = splits.load(cell.data, cell.seed, self.device)
        self._build_model(cell)
        self._record_facts()
        self.batch_size = cell.trainer.step_samples(self.samples)
        self.batches = math.ceil(self.samples / self.batch_size)
        self.steps = cell.trainer.budget(self.samples)
        self.epochs = math.ceil(self.steps / self.batches)
        self.log_epochs = log_spaced(self.epochs, cell.trainer.evals_per_decade)
        self.snapshots = self._snapshots()
        self.clock_start = time.monotonic()
        sums = torch.zeros(4, dtype=torch.float64, device=self.device)
        self.position = Position(0, 0, 0, sums, 0.0)

    def _build_model(self, cell: VisionCell | MinimaCell) -> None:
        _, channels, size, _ = self.data.train.images.shape
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream_seed(cell.seed, "init"))
            model = models.build(cell.model, channels, size, self.data.classes)
        self.model = models.channels_last(model.to(self.device))
        self._load_start()  # before the optimiser, which can decay towards the first weights
        # static shapes: the last batch of an epoch, and an evaluation's, get graphs of their own
        self.forward = torch.compile(self.model, dynamic=False) if cell.run.compile else self.model
        self.parameters = list(self.model.parameters())
        self.optimiser = self._build_optimiser()
        parts = (cell.model, self.model), (cell.optim, self.optimiser), (cell.trainer, self)
        self.recorded = RecordedGradient(self.model, can_record(self.device, *parts))
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == "float16")
        torch.manual_seed(stream_seed(cell.seed, "dropout"))

    def _load_start(self) -> None:
        """Load the weights that the training starts from, where they are not random."""
        return

    def _build_optimiser(self) -> torch.optim.Optimizer:
        return optim.build(self.optim_settings, self.parameters)

    def _record_facts(self) -> None:
        self.run.add_facts(
            **self.data.facts,
            precision=self.precision,
            gpu=precision.gpu_name(self.device),
            parameters=sum(p.numel() for p in self.parameters),
        )

    def _snapshots(self) -> Snapshots | None:
        if self.settings.weights_at is None:
            return None
        data_hash, code = self.data.facts["data_hash"], self.run.facts.get("code")
        owner = Owner(self.run.cell, data_hash, code)
        at = self.log_epochs if self.settings.weights_at == "log" else self.settings.weights_at
        return Snapshots(owner, at, self.epochs, self.model)

    @property
    def samples(self) -> int:
        return len(self.data.train)

    @property
    @abstractmethod
    def has_ended(self) -> bool:
        """Whether all steps are done, or the training ended before."""

    def _more_inputs(self) -> tuple[Tensor, ...]:
        """What else `_gradient` needs in the present step."""
        return ()

    @abstractmethod
    def _gradient(self, x_bchw: Tensor, y_b: Tensor, *more: Tensor) -> tuple[Tensor, ...]:
        """Add the gradient of the objective to the parameters'; returns the mean loss on these
        samples and the wrong answers. It depends on its inputs and the network alone.
        """

    @abstractmethod
    def _log_row(self, epoch: int, examples: int, row: dict[str, Any]) -> None:
        """Log `row` for the present state; `epoch` counts the current one if it is not finished."""

    @abstractmethod
    def _finish_epoch(self) -> bool:
        """Log the epoch that just ended if it is due; False if its training loss is not finite."""

    @abstractmethod
    def _own_state(self) -> dict[str, Any]:
        """What the trainer itself adds to the state."""

    @abstractmethod
    def _load_own(self, state: dict[str, Any]) -> None:
        """Restore what `_own_state` returned."""

    @abstractmethod
    def _record_end(self) -> None:
        """Record facts of the training that has ended."""

    def _check_inside_epoch(self) -> bool:
        """Called after a step inside an epoch; returns True if the training ends there."""
        return False

    def restore(self) -> None:
        """Load the newest checkpoint; without one, log epoch 0."""
        expect = {"data_hash": self.data.facts["data_hash"], "precision": self.precision}
        state = self.run.restore(expect)
        if state is None:
            self._log_row(0, 0, {})
            self._keep_snapshot()
            return
        with self.run.loading():
            self.model.load_state_dict(state["model"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.scaler.load_state_dict(state["scaler"])
        self.position = Position(
            epoch=state["epoch"],
            batch=state["batch"],
            step=state["step"],
            sums=self._sums_of(state["sums"]),
            epoch_seconds=state["epoch_seconds"],
        )
        restore_generators(state, self.device)
        if self.snapshots is not None:
            self.snapshots.load(state["snapshots"])
        self._load_own(state)

    def _sums_of(self, saved: Tensor) -> Tensor:
        """The sums of a checkpoint; earlier versions did not count skipped steps."""
        sums = torch.zeros_like(self.position.sums)
        sums[: len(saved)] = saved
        return sums

    def state(self) -> dict[str, Any]:
        """All state that the next step depends on."""
        position = self.position
        snapshots = {} if self.snapshots is None else {"snapshots": self.snapshots.state()}
        return {
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(),
            "epoch": position.epoch,
            "batch": position.batch,
            "step": position.step,
            "sums": position.sums,
            "epoch_seconds": position.epoch_seconds,
            **generator_states(self.device),
            "data_hash": self.data.facts["data_hash"],
            "precision": self.precision,
            **self._own_state(),
            **snapshots,
        }

    def to_the_end(self) -> Outcome:
        """Run the remaining epochs, and checkpoint when due."""
        while not self.has_ended:
            if not self._train_epoch():
                self._checkpoint()
                return "stopped"
            ends_inside_epoch = self.has_ended and self.position.batch < self._batches_of_epoch()
            if ends_inside_epoch:  # its row is logged
                is_finite = self._is_finite(self._running_columns()["train_loss"])
            else:
                is_finite = self._finish_epoch()
            if not is_finite:
                self._record_end()
                return "nonfinite"
            if ends_inside_epoch:
                break
            self._keep_snapshot()
            if self.run.checkpoint_due():
                self._checkpoint()
        self._record_end()
        self._save_weights()
        return "done"

    @property
    def weight_norm(self) -> float:
        """The L2 norm of all parameters."""
        return float(l2_norm([parameter.detach() for parameter in self.parameters]))

    def _is_finite(self, train_loss: float) -> bool:
        """Whether the loss of an epoch and the weights after it are finite: the last step can leave
        weights that are not, although the loss before it was.
        """
        return math.isfinite(train_loss) and math.isfinite(self.weight_norm)

    def _keep_snapshot(self) -> None:
        """Keep the weights of the epoch that just ended, if it is one of `trainer.weights_at`."""
        if self.snapshots is not None and self.snapshots.due(self.position.epoch):
            self.snapshots.add(self.position.epoch, self._clean_result())

    def _save_weights(self) -> None:
        if self.snapshots is not None:
            folder = self.run.part.folder / "weights"
            self.snapshots.write(folder, self.position.begun, self._clean_result())

    def _clean_result(self) -> Evaluated:
        """Loss and wrong answers on the training samples as a measure finds them: in float32."""
        result = self._evaluate(self.data.train, "float32")
        return Evaluated(result.loss, result.wrong)

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
        train, number = self.data.train, self.position.epoch + 1
        size, last = self.batch_size, self._batches_of_epoch()
        order_n = torch.randperm(self.samples, generator=torch_stream(self.seed, "order", number))
        order_n = order_n.to(self.device)
        if self.data.augment:
            offsets_n2, flips_n = augment.draw(self.samples, self.seed, number)
            offsets_n2, flips_n = offsets_n2.to(self.device), flips_n.to(self.device)
        if not self.model.training:  # to set it takes a twentieth of a step
            self.model.train()
        for index in range(self.position.batch, last):
            if self.run.should_stop():
                return False
            batch = slice(index * size, (index + 1) * size)
            indices_b = order_n[batch]
            x_bchw = train.images[indices_b]
            if self.data.augment:
                x_bchw = augment.crop_and_flip(x_bchw, offsets_n2[batch], flips_n[batch])
            self._train_step(x_bchw, train.labels[indices_b])
            if index + 1 < last and self._check_inside_epoch():
                return True
        return True

    def _single_value_text(self) -> str:
        """Why batch norm had one value for each channel, and what to do."""
        key = "eval_batch_size" if self.settings.batch_size is None else "batch_size"
        size = getattr(self.settings, key)
        return (
            f"trainer.{key}: found {size} with {self.samples} training samples, which leaves 1 at "
            "the end: batch norm cannot train on one value for each channel; use a size that "
            "leaves more, or another data.train_samples"
        )

    def _batches_of_epoch(self) -> int:
        """Batches of the current epoch: fewer where the steps of the training end inside it."""
        before = self.position.step - self.position.batch
        return min(self.batches, self.steps - before)

    def _train_step(self, x_bchw: Tensor, y_b: Tensor) -> None:
        """One optimiser step; the CPU does not wait for the device."""
        lr = self._lr()
        for group in self.optimiser.param_groups:
            group["lr"] = lr
        for parameter in self.parameters:
            parameter.grad = None
        try:
            loss, wrong = self._recorded_gradient(x_bchw, y_b, *self._more_inputs())
        except ValueError as error:
            if _SINGLE_VALUE not in str(error):
                raise
            raise ConfigError(self._single_value_text()) from error
        self.scaler.unscale_(self.optimiser)
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        norm = l2_norm(gradients)
        if self.clip is not None:
            torch._foreach_mul_(gradients, (self.clip / norm.clamp(min=1e-12)).clamp(max=1.0))
        self.scaler.step(self.optimiser)
        self.scaler.update()
        loss_sum = loss.double() * len(y_b)
        counted_norm, skipped = self._counted(norm)
        sums = [loss_sum, wrong.double(), counted_norm.double(), skipped.double()]
        self.position = self.position.next_step(torch.stack(sums))

    def _recorded_gradient(self, x_bchw: Tensor, y_b: Tensor, *more: Tensor) -> tuple[Tensor, ...]:
        """`_gradient`, as a CUDA graph where a step is one block; several keep a GPU busy."""
        if self.settings.batch_size is None and len(y_b) > self.settings.eval_batch_size:
            return self._gradient(x_bchw, y_b, *more)
        return self.recorded(self._gradient, x_bchw, y_b, *more)

    def _counted(self, norm: Tensor) -> tuple[Tensor, Tensor]:
        """The norm of a gradient and 0; or 0 and 1 if the loss scaler skips the step, which it does
        where a gradient overflows in float16.
        """
        zero = torch.zeros_like(norm)
        if not self.scaler.is_enabled():
            return norm, zero
        overflows = ~torch.isfinite(norm)
        return torch.where(overflows, zero, norm), overflows

    def _lr(self) -> float:
        settings, step = self.optim_settings, self.position.step
        return optim.learning_rate(settings.lr, settings.schedule, step, self.steps, self.batches)

    def _examples(self) -> int:
        """Training samples seen so far, at most all of them in the current epoch."""
        return self.position.epoch * self.samples + self._seen_in_epoch()

    def _seen_in_epoch(self) -> int:
        return min(self.position.batch * self.batch_size, self.samples)

    def _running_columns(self) -> dict[str, Any]:
        """Means over the batches of the current epoch so far."""
        position, seen = self.position, self._seen_in_epoch()
        loss, wrong, norm, skipped = position.sums.tolist()
        steps = position.batch - skipped
        return {
            "train_loss": loss / seen,
            "train_wrong": int(wrong),
            "train_examples": seen,
            "train_error": wrong / seen,
            "lr": self.optimiser.param_groups[0]["lr"],
            "grad_norm": norm / steps if steps else None,
            "skipped_steps": int(skipped) if self.scaler.is_enabled() else None,
            "examples_per_second": seen / position.epoch_seconds,
        }

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

    def _train_blocks(self) -> Iterator[tuple[Tensor, Tensor]]:
        """All training samples in blocks: scaled images and labels."""
        train, size = self.data.train, self.settings.eval_batch_size
        blocks = zip(torch.split(train.images, size), torch.split(train.labels, size), strict=True)
        for x_bchw, y_b in blocks:
            yield self.data.scaled(x_bchw), y_b

    def _evaluate(self, split: Split, number_format: str) -> Evaluation:
        self.model.eval()
        size = self.settings.eval_batch_size
        return evaluate(self._logits, split, size, number_format)

    def _logits(self, x_bchw: Tensor) -> Tensor:
        """Logits (b, classes) of uint8 images."""
        x_bchw = self.data.scaled(x_bchw).contiguous(memory_format=torch.channels_last)
        return self.forward(x_bchw)  # type: ignore[no-any-return]


def l2_norm(tensors: list[Tensor]) -> Tensor:
    """The norm of all tensors together, on their device."""
    norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(tensors)))
    return norm
