"""Image classification: one cell's training of a network on CIFAR-10 or digits, with label noise,
epoch by epoch.

    python -m launch.train model=cnn model.width=16 data=digits trainer.epochs=50

The data set is one uint8 tensor on the training device; batches are drawn by index, augmented and
scaled there. All randomness is a function of (seed, purpose, epoch), so that the state to save is
the weights, the optimiser's moments, and the position. Shape suffixes: n samples of the set, b of a
batch, c channels, h and w pixels.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional

from trainers import models, optim, precision
from trainers.config import VisionCell
from trainers.data import augment, images, label_noise
from trainers.run import Outcome, Run, log_spaced
from trainers.schema import Metric
from trainers.seeding import stream_seed, torch_stream

METRICS = (
    Metric(
        "train_loss",
        "float32",
        "nats",
        "cross-entropy as seen in training: train mode, augmented, noisy labels",
    ),
    Metric("train_wrong", "int32", "samples", "wrong answers as seen in training"),
    Metric("train_examples", "int32", "samples", "samples behind train_wrong"),
    Metric("train_error", "float32", "1", "train_wrong / train_examples"),
    Metric(
        "train_eval_loss",
        "float32",
        "nats",
        "cross-entropy on the training set in evaluation mode, noisy labels",
    ),
    Metric(
        "train_eval_wrong",
        "int32",
        "samples",
        "wrong answers on the training set in evaluation mode",
    ),
    Metric("train_eval_examples", "int32", "samples", "samples behind train_eval_wrong"),
    Metric("train_eval_error", "float32", "1", "train_eval_wrong / train_eval_examples", "min"),
    Metric(
        "clean_wrong",
        "int32",
        "samples",
        "the part of train_eval_wrong on samples that kept their label",
    ),
    Metric("clean_examples", "int32", "samples", "samples that kept their label"),
    Metric("clean_error", "float32", "1", "clean_wrong / clean_examples"),
    Metric(
        "noisy_wrong",
        "int32",
        "samples",
        "the part of train_eval_wrong on samples whose label was changed",
    ),
    Metric("noisy_examples", "int32", "samples", "samples whose label was changed"),
    Metric(
        "noisy_error", "float32", "1", "noisy_wrong / noisy_examples, against the changed label"
    ),
    Metric("test_loss", "float32", "nats", "cross-entropy on the clean test set", "min"),
    Metric("test_wrong", "int32", "samples", "wrong answers on the clean test set"),
    Metric("test_examples", "int32", "samples", "samples behind test_wrong"),
    Metric("test_error", "float32", "1", "test_wrong / test_examples", "min"),
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
    """One set of samples on the device: images_nchw uint8, labels_n int64, changed_n bool (label
    noise).
    """

    images: torch.Tensor
    labels: torch.Tensor
    changed: torch.Tensor


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
        self._load_data()
        self._build_model()
        self.log_epochs = log_spaced(cell.trainer.epochs, cell.trainer.evals_per_decade)
        # position: epochs finished, batches done in the one under way, and what that one has summed
        # up so far
        self.epoch, self.batch, self.step = 0, 0, 0
        self.sums = torch.zeros(
            3, dtype=torch.float64, device=self.device
        )  # loss, wrong answers, gradient norm
        self.epoch_seconds = 0.0

    def _load_data(self) -> None:
        data = images.select(images.load(self.cell.data), self.cell.data, self.cell.seed)
        noisy = label_noise.apply(
            data.train_labels, self.cell.data.label_noise, data.classes, self.cell.seed
        )
        to = self.device
        self.train_set = Split(data.train_images.to(to), noisy.labels.to(to), noisy.changed.to(to))
        none_changed = torch.zeros(len(data.test_labels), dtype=torch.bool)
        self.test_set = Split(data.test_images.to(to), data.test_labels.to(to), none_changed.to(to))
        mean, std = augment.channel_statistics(data.train_images)
        self.mean, self.std = mean.to(to), std.to(to)
        self.classes = data.classes
        self.data_hash = data.content_hash
        self.run.add_facts(
            noise_rate=noisy.rate, noise_chosen=int(noisy.chosen.sum()), noise_mask_hash=noisy.mask_hash,
            data_hash=data.content_hash, precision=self.precision,
            gpu=torch.cuda.get_device_name(to) if to.type == "cuda" else None,
        )  # fmt: skip

    def _build_model(self) -> None:
        cell = self.cell
        _, channels, size, _ = self.train_set.images.shape
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream_seed(cell.seed, "init"))
            model = models.build(cell.model, channels, size, self.classes)
        self.model = model.to(self.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        # static shapes: the last batch of an epoch, and an evaluation's, get graphs of their own
        self.forward = torch.compile(self.model, dynamic=False) if cell.run.compile else self.model
        self.optimiser = optim.build(cell.optim, self.model.parameters())
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == "float16")
        torch.manual_seed(stream_seed(cell.seed, "dropout"))
        self.run.add_facts(parameters=sum(p.numel() for p in self.model.parameters()))

    @property
    def samples(self) -> int:
        return len(self.train_set.labels)

    @property
    def batches(self) -> int:
        return math.ceil(self.samples / self.cell.trainer.batch_size)

    def restore(self) -> None:
        """Take up the newest checkpoint; without one, log epoch 0.

        Raises RuntimeError where the checkpoint was made from other data or in another number
        format.
        """
        state = self.run.restore()
        if state is None:
            self._log_row({})
            return
        for key in ("data_hash", "precision"):
            if state[key] != getattr(self, key):
                raise RuntimeError(
                    f"the checkpoint of cell {self.run.cell} was made with {key} {state[key]}, and "
                    "this attempt has "
                    f"{getattr(self, key)}: going on would mix two experiments. Give it back what "
                    "it began with, or "
                    f"remove {self.run.checkpoints.folder}/{self.run.cell}.* to start this cell "
                    "again"
                )
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.scaler.load_state_dict(state["scaler"])
        self.epoch, self.batch, self.step = state["epoch"], state["batch"], state["step"]
        self.sums.copy_(state["sums"])
        self.epoch_seconds = state["epoch_seconds"]
        torch.set_rng_state(state["torch_rng"])

    def state(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        return {
            "model": self.model.state_dict(), "optimiser": self.optimiser.state_dict(),
            "scaler": self.scaler.state_dict(), "epoch": self.epoch, "batch": self.batch, "step": self.step,
            "sums": self.sums, "epoch_seconds": self.epoch_seconds, "torch_rng": torch.get_rng_state(),
            "data_hash": self.data_hash, "precision": self.precision,
        }  # fmt: skip

    def to_the_end(self) -> Outcome:
        """Run the epochs that are left; a checkpoint where one is due."""
        while self.epoch < self.cell.trainer.epochs:
            if not self._train_epoch():
                self.run.checkpoint(self.state(), self.step)
                return "stopped"
            self.epoch += 1
            loss = self._finish_epoch()
            if not math.isfinite(loss):
                return "nonfinite"
            if self.run.checkpoint_due():
                self.run.checkpoint(self.state(), self.step)
        return "done"

    def _train_epoch(self) -> bool:
        """Train the batches of the epoch that are left; False if told to stop before its end."""
        began = time.monotonic()
        size = self.cell.trainer.batch_size
        order_n = torch.randperm(
            self.samples, generator=torch_stream(self.cell.seed, "order", self.epoch + 1)
        )
        order_n = order_n.to(self.device)
        if self.cell.data.augment:
            offsets_n2, flips_n = augment.draw(self.samples, self.cell.seed, self.epoch + 1)
            offsets_n2, flips_n = offsets_n2.to(self.device), flips_n.to(self.device)
        self.model.train()
        while self.batch < self.batches:
            if self.run.should_stop():
                self.epoch_seconds += time.monotonic() - began
                return False
            here = slice(self.batch * size, (self.batch + 1) * size)
            x_bchw = self.train_set.images[order_n[here]]
            if self.cell.data.augment:
                x_bchw = augment.crop_and_flip(x_bchw, offsets_n2[here], flips_n[here])
            self._train_step(x_bchw, self.train_set.labels[order_n[here]])
            self.batch += 1
        self.epoch_seconds += time.monotonic() - began
        return True

    def _train_step(self, x_bchw: torch.Tensor, y_b: torch.Tensor) -> None:
        """One optimiser step; loss, wrong answers and gradient norm are summed on the device,
        without a sync.
        """
        lr = optim.learning_rate(
            self.cell.optim.lr,
            self.cell.optim.schedule,
            self.step,
            self.batches * self.cell.trainer.epochs,
        )
        for group in self.optimiser.param_groups:
            group["lr"] = lr
        with precision.autocast(self.precision, self.device):
            logits = self.forward(self._scaled(x_bchw))
            loss = functional.cross_entropy(logits, y_b)
        self.optimiser.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.unscale_(self.optimiser)
        norm = _norm([p.grad for p in self.model.parameters() if p.grad is not None])
        self.scaler.step(self.optimiser)
        self.scaler.update()
        wrong = (logits.argmax(1) != y_b).sum()
        self.sums += torch.stack([loss.detach().double() * len(y_b), wrong.double(), norm.double()])
        self.step += 1

    def _finish_epoch(self) -> float:
        """Evaluate and log the epoch that just ended; returns its mean training loss in nats."""
        loss, wrong, norm = self.sums.tolist()
        row = {
            "train_loss": loss / self.samples, "train_wrong": int(wrong), "train_examples": self.samples,
            "train_error": wrong / self.samples, "lr": self.optimiser.param_groups[0]["lr"],
            "grad_norm": norm / self.batches, "examples_per_second": self.samples / self.epoch_seconds,
        }  # fmt: skip
        self._log_row(row)
        self.batch, self.epoch_seconds = 0, 0.0
        self.sums.zero_()
        return float(loss)

    def _log_row(self, row: dict[str, Any]) -> None:
        settings = self.cell.trainer
        chosen = self.epoch in self.log_epochs
        if settings.eval_test == "every" or chosen:
            loss, wrong, _ = self._evaluate(self.test_set)
            row |= {"test_loss": loss} | _counts("test", wrong, len(self.test_set.labels))
        if settings.eval_train == "every" or (settings.eval_train == "log" and chosen):
            loss, wrong, noisy_wrong = self._evaluate(self.train_set)
            changed = int(self.train_set.changed.sum())
            row |= {"train_eval_loss": loss} | _counts("train_eval", wrong, self.samples)
            row |= _counts("clean", wrong - noisy_wrong, self.samples - changed)
            row |= _counts("noisy", noisy_wrong, changed)
        row["weight_norm"] = float(_norm([p.detach() for p in self.model.parameters()]))
        self.run.log(epoch=self.epoch, step=self.step, examples=self.epoch * self.samples, **row)

    @torch.inference_mode()
    def _evaluate(self, split: Split) -> tuple[float, int, int]:
        """Mean loss in nats, wrong answers, and those among the changed labels, in evaluation
        mode.
        """
        self.model.eval()
        sums = torch.zeros(3, dtype=torch.float64, device=self.device)
        for start in range(0, len(split.labels), self.cell.trainer.eval_batch_size):
            here = slice(start, start + self.cell.trainer.eval_batch_size)
            y_b = split.labels[here]
            with precision.autocast(self.precision, self.device):
                logits = self.forward(self._scaled(split.images[here]))
                loss = functional.cross_entropy(logits, y_b, reduction="sum")
            wrong_b = logits.argmax(1) != y_b
            sums += torch.stack(
                [
                    loss.double(),
                    wrong_b.sum().double(),
                    (wrong_b & split.changed[here]).sum().double(),
                ]
            )
        loss_sum, wrong, noisy_wrong = sums.tolist()
        return loss_sum / len(split.labels), int(wrong), int(noisy_wrong)

    def _scaled(self, x_bchw: torch.Tensor) -> torch.Tensor:
        scaled = augment.scale(x_bchw, self.cell.data.scaling, self.mean, self.std)
        return scaled.contiguous(memory_format=torch.channels_last)


def _counts(name: str, wrong: int, examples: int) -> dict[str, float | None]:
    """Count, number of examples and rate; the rate of nothing is not a number but absent."""
    rate = wrong / examples if examples else None
    return {f"{name}_wrong": wrong, f"{name}_examples": examples, f"{name}_error": rate}


def _norm(tensors: list[torch.Tensor]) -> torch.Tensor:
    norm: torch.Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(tensors)))
    return norm
