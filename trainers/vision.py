"""Image classification: train a network on CIFAR-10 or digits, with label noise, epoch by epoch.

    python -m launch.train model=cnn model.width=16 data=digits trainer.epochs=50

The data set is one uint8 tensor on the training device; batches are drawn by index, augmented and
scaled there. All randomness is a function of (seed, purpose, epoch), so that the state to save is
the weights, the optimiser's moments, and the position. Shape suffixes: n samples of the set, b of a
batch, c channels, h and w pixels.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

from trainers import models, optim, precision
from trainers.config import VisionCell
from trainers.data import augment, images, label_noise
from trainers.run import Outcome, Run, log_spaced
from trainers.schema import Metric
from trainers.seeding import stream_seed, torch_stream


def _count_metrics(
    name: str,
    wrong: str,
    examples: str | None = None,
    against: str = "",
    best: Literal["min"] | None = None,
) -> tuple[Metric, Metric, Metric]:
    """Wrong answers, the number of samples behind them, and their rate."""
    behind = examples or f"samples behind {name}_wrong"
    rate = f"{name}_wrong / {name}_examples{against}"
    return (
        Metric(f"{name}_wrong", "int32", "samples", wrong),
        Metric(f"{name}_examples", "int32", "samples", behind),
        Metric(f"{name}_error", "float32", "1", rate, best),
    )


METRICS = (
    Metric(
        "train_loss",
        "float32",
        "nats",
        "cross-entropy as seen in training: train mode, augmented, noisy labels",
    ),
    *_count_metrics("train", "wrong answers as seen in training"),
    Metric(
        "train_eval_loss",
        "float32",
        "nats",
        "cross-entropy on the training set in evaluation mode, noisy labels",
    ),
    *_count_metrics(
        "train_eval", "wrong answers on the training set in evaluation mode", best="min"
    ),
    *_count_metrics(
        "clean",
        "the part of train_eval_wrong on samples that kept their label",
        examples="samples that kept their label",
    ),
    *_count_metrics(
        "noisy",
        "the part of train_eval_wrong on samples whose label was changed",
        examples="samples whose label was changed",
        against=", against the changed label",
    ),
    Metric("test_loss", "float32", "nats", "cross-entropy on the clean test set", "min"),
    *_count_metrics("test", "wrong answers on the clean test set", best="min"),
    Metric("lr", "float32", "1", "learning rate of the epoch's last step"),
    Metric(
        "grad_norm", "float32", "1", "L2 norm of the loss gradient, mean over the epoch's steps"
    ),
    Metric("weight_norm", "float32", "1", "L2 norm of all parameters at the epoch's end"),
    Metric(
        "examples_per_second",
        "float32",
        "samples/s",
        "training speed of the epoch, evaluation left out",
    ),
)


@dataclass(frozen=True)
class Split:
    """Samples on the device: images_nchw uint8, labels_n int64, changed_n bool (label noise)."""

    images: Tensor
    labels: Tensor
    is_changed: Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Data:
    """Both splits on the device, the training images' channel statistics, and facts of the run."""

    train: Split
    test: Split
    mean: Tensor
    std: Tensor
    classes: int
    facts: dict[str, Any]


def load_data(cell: VisionCell, device: torch.device) -> Data:
    """The data set of `cell` with its label noise, on `device`."""
    subset = images.select(images.load(cell.data), cell.data, cell.seed)
    noise = cell.data.label_noise
    noisy = label_noise.apply(subset.train_labels, noise, subset.classes, cell.seed)
    clean = torch.zeros(len(subset.test_labels), dtype=torch.bool)
    mean, std = augment.channel_statistics(subset.train_images)
    facts = {
        "noise_rate": noisy.rate,
        "noise_chosen": int(noisy.is_chosen.sum()),
        "noise_mask_hash": noisy.mask_hash,
        "data_hash": subset.content_hash,
    }
    train = (subset.train_images, noisy.labels, noisy.is_changed)
    test = (subset.test_images, subset.test_labels, clean)
    return Data(
        Split(*(tensor.to(device) for tensor in train)),
        Split(*(tensor.to(device) for tensor in test)),
        mean.to(device),
        std.to(device),
        subset.classes,
        facts,
    )


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

    Returns "done", "stopped" (a checkpoint was written at a step boundary because
    `run.should_stop()`), or "nonfinite" (the training loss of an epoch is NaN or infinite; the rows
    so far stay as the result).
    """
    training = Training(cell, run)
    training.restore()
    return training.to_the_end()


class Training:
    """The state of one training and the loop over its epochs."""

    def __init__(self, cell: VisionCell, run: Run) -> None:
        self.cell, self.run = cell, run
        precision.set_numerics(cell.trainer.deterministic, cell.run.threads)
        self.device = precision.device(cell.run.device)
        self.precision = precision.resolve(cell.trainer.precision, self.device)
        precision.warn_if_slow(self.precision, self.device)
        self.data = load_data(cell, self.device)
        self._build_model()
        self._record_facts()
        self.log_epochs = log_spaced(cell.trainer.epochs, cell.trainer.evals_per_decade)
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
        self.optimiser = optim.build(cell.optim, self.model.parameters())
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == "float16")
        torch.manual_seed(stream_seed(cell.seed, "dropout"))

    def _record_facts(self) -> None:
        on_gpu = self.device.type == "cuda"
        self.run.add_facts(
            **self.data.facts,
            precision=self.precision,
            gpu=torch.cuda.get_device_name(self.device) if on_gpu else None,
            parameters=sum(p.numel() for p in self.model.parameters()),
        )

    @property
    def samples(self) -> int:
        return len(self.data.train)

    @property
    def batches(self) -> int:
        return math.ceil(self.samples / self.cell.trainer.batch_size)

    def restore(self) -> None:
        """Load the newest checkpoint; without one, log epoch 0."""
        expect = {"data_hash": self.data.facts["data_hash"], "precision": self.precision}
        state = self.run.restore(expect)
        if state is None:
            self._log_row({})
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

    def state(self) -> dict[str, Any]:
        """All state that the next step depends on."""
        position = self.position
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
        }

    def to_the_end(self) -> Outcome:
        """Run the remaining epochs, and checkpoint when due."""
        while self.position.epoch < self.cell.trainer.epochs:
            if not self._train_epoch():
                self._checkpoint()
                return "stopped"
            loss = self._finish_epoch()
            if not math.isfinite(loss):
                return "nonfinite"
            if self.run.checkpoint_due():
                self._checkpoint()
        return "done"

    def _checkpoint(self) -> None:
        self.run.checkpoint(self.state(), self.position.step)

    def _train_epoch(self) -> bool:
        """Train the remaining batches of the epoch; False if the run should stop before its end."""
        began = time.monotonic()
        before = self.position.epoch_seconds
        is_complete = self._train_batches()
        seconds = before + time.monotonic() - began
        self.position = replace(self.position, epoch_seconds=seconds)
        return is_complete

    def _train_batches(self) -> bool:
        cell, train, number = self.cell, self.data.train, self.position.epoch + 1
        size = cell.trainer.batch_size
        order_n = torch.randperm(self.samples, generator=torch_stream(cell.seed, "order", number))
        order_n = order_n.to(self.device)
        if cell.data.augment:
            offsets_n2, flips_n = augment.draw(self.samples, cell.seed, number)
            offsets_n2, flips_n = offsets_n2.to(self.device), flips_n.to(self.device)
        self.model.train()
        for index in range(self.position.batch, self.batches):
            if self.run.should_stop():
                return False
            batch = slice(index * size, (index + 1) * size)
            x_bchw = train.images[order_n[batch]]
            if cell.data.augment:
                x_bchw = augment.crop_and_flip(x_bchw, offsets_n2[batch], flips_n[batch])
            self._train_step(x_bchw, train.labels[order_n[batch]])
            self.position = replace(self.position, batch=index + 1, step=self.position.step + 1)
        return True

    def _train_step(self, x_bchw: Tensor, y_b: Tensor) -> None:
        """One optimiser step; sums stay on the device, so the CPU does not wait."""
        lr = self._lr()
        for group in self.optimiser.param_groups:
            group["lr"] = lr
        with precision.autocast(self.precision, self.device):
            logits = self._logits(x_bchw)
            loss = functional.cross_entropy(logits, y_b)
        self.optimiser.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.unscale_(self.optimiser)
        norm = _norm([p.grad for p in self.model.parameters() if p.grad is not None])
        self.scaler.step(self.optimiser)
        self.scaler.update()
        wrong = (logits.argmax(1) != y_b).sum()
        loss_sum = loss.detach().double() * len(y_b)
        self.position.sums.add_(torch.stack([loss_sum, wrong.double(), norm.double()]))

    def _lr(self) -> float:
        settings, steps = self.cell.optim, self.batches * self.cell.trainer.epochs
        return optim.learning_rate(settings.lr, settings.schedule, self.position.step, steps)

    def _finish_epoch(self) -> float:
        """Evaluate and log the epoch that just ended; returns its summed training loss in nats."""
        loss, wrong, norm = self.position.sums.tolist()
        row = {
            "train_loss": loss / self.samples,
            "train_wrong": int(wrong),
            "train_examples": self.samples,
            "train_error": wrong / self.samples,
            "lr": self.optimiser.param_groups[0]["lr"],
            "grad_norm": norm / self.batches,
            "examples_per_second": self.samples / self.position.epoch_seconds,
        }
        self.position = self.position.next_epoch()
        self._log_row(row)
        return float(loss)

    def _log_row(self, row: dict[str, Any]) -> None:
        settings, epoch = self.cell.trainer, self.position.epoch
        logs = epoch in self.log_epochs
        if settings.eval_test == "every" or logs:
            row |= self._test_columns()
        if settings.eval_train == "every" or (settings.eval_train == "log" and logs):
            row |= self._train_columns()
        row["weight_norm"] = float(_norm([p.detach() for p in self.model.parameters()]))
        self.run.log(epoch=epoch, step=self.position.step, examples=epoch * self.samples, **row)

    def _test_columns(self) -> dict[str, float | None]:
        result = self._evaluate(self.data.test)
        return {"test_loss": result.loss} | _counts("test", result.wrong, len(self.data.test))

    def _train_columns(self) -> dict[str, float | None]:
        result = self._evaluate(self.data.train)
        changed_count = int(self.data.train.is_changed.sum())
        clean_wrong = result.wrong - result.changed_wrong
        return {
            "train_eval_loss": result.loss,
            **_counts("train_eval", result.wrong, self.samples),
            **_counts("clean", clean_wrong, self.samples - changed_count),
            **_counts("noisy", result.changed_wrong, changed_count),
        }

    def _evaluate(self, split: Split) -> Evaluation:
        self.model.eval()
        size = self.cell.trainer.eval_batch_size
        return evaluate(self._logits, split, size, self.precision)

    def _logits(self, x_bchw: Tensor) -> Tensor:
        """Logits (b, classes) of uint8 images."""
        scaling, data = self.cell.data.scaling, self.data
        scaled = augment.scale(x_bchw, scaling, data.mean, data.std)
        return self.forward(scaled.contiguous(memory_format=torch.channels_last))  # type: ignore[no-any-return]


def _counts(name: str, wrong: int, examples: int) -> dict[str, float | None]:
    """Count, number of examples and rate; without examples the rate is absent."""
    rate = wrong / examples if examples else None
    return {f"{name}_wrong": wrong, f"{name}_examples": examples, f"{name}_error": rate}


def _norm(tensors: list[Tensor]) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(tensors)))
    return norm
