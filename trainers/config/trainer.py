"""The settings of each trainer, and those of where it runs."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from trainers.config.reader import ConfigError, at_least, below_one, between

MOST_STEPS = 2**31 - 1
"""Most epochs, or steps of the algorithmic trainer: columns of the logs hold 32 bits."""

MOST_PER_DECADE = 1_000_000
"""Most rows per factor of ten; their epochs or steps are listed before a training starts."""

MOST_THREADS = 1024
"""Most CPU threads of one training: more are a slip, and torch fails to start them."""

WeightsAt = Literal["final", "log"] | tuple[int, ...] | None
"""When weights are kept: never (None), at the end, at log-spaced epochs and the end, or at the
listed epochs and the end; steps for the algorithmic trainer.
"""


@dataclass(frozen=True)
class Vision:
    """Settings of the image trainer; see configs/trainer/vision.yaml for units."""

    entry = "trainers.vision:train"
    later_in_subclasses = MappingProxyType({"step_rows_per_decade": None, "recalibrate": None})
    """Keys of later.py that came after classes of users could inherit from this one: ids of the
    cells of those stay too. Each new key of this class is added here as well.
    """

    name: Literal["vision"]
    epochs: int
    least_steps: int
    batch_size: int | None
    eval_batch_size: int
    rows: Literal["every", "checks"]
    eval_test: Literal["every", "log", "last"]
    eval_train: Literal["every", "log", "never"]
    evals_per_decade: int
    stop_at_fit: bool
    fit_trigger: float
    abandon: tuple[tuple[float, float], ...] | None
    minimum_check: bool
    weights_at: WeightsAt
    step_rows_per_decade: int | None
    recalibrate: int | None
    precision: Literal["auto", "float32", "bfloat16", "float16"]
    deterministic: bool

    def __post_init__(self) -> None:
        between("trainer.epochs", self.epochs, 1, MOST_STEPS)
        for key in ("least_steps", "eval_batch_size"):
            at_least(f"trainer.{key}", getattr(self, key), 1)
        _check_per_decade("evals_per_decade", self.evals_per_decade)
        _check_per_decade("step_rows_per_decade", self.step_rows_per_decade)
        for key, least in (("batch_size", 1), ("recalibrate", 2)):
            if getattr(self, key) is not None:
                at_least(f"trainer.{key}", getattr(self, key), least)
        between("trainer.fit_trigger", self.fit_trigger, 0.0, 1.0)
        _check_abandon(self.abandon or ())
        _check_weights_at(self.weights_at)

    @property
    def checks_fit(self) -> bool:
        """Whether the training looks for the first step at which it fits all its samples."""
        asks = self.stop_at_fit or self.minimum_check or self.abandon is not None
        return asks or self.rows == "checks"

    def step_samples(self, samples: int) -> int:
        """Samples of one step, of a training on `samples`."""
        return self.batch_size or samples

    def budget(self, samples: int) -> int:
        """Optimiser steps of a whole training on `samples` samples: `epochs` passes over them, or
        `least_steps` if that is more.
        """
        batches = math.ceil(samples / self.step_samples(samples))
        return max(self.least_steps, self.epochs * batches)


def _check_per_decade(key: str, number: int | None) -> None:
    """Raise `ConfigError` unless a number of rows per factor of ten can be listed."""
    if number is not None:
        between(f"trainer.{key}", number, 1, MOST_PER_DECADE)


def _check_abandon(looks: tuple[tuple[float, float], ...]) -> None:
    """Raise `ConfigError` unless the shares of the budget increase in (0, 1)."""
    earlier = 0.0
    for share, error in looks:
        if not earlier < share < 1:
            raise ConfigError(
                f"trainer.abandon: found a look at {share} of the budget after {earlier}, expected "
                "increasing shares between 0 and 1"
            )
        between("trainer.abandon", error, 0.0, 1.0)
        earlier = share


def _check_weights_at(weights_at: WeightsAt) -> None:
    """Raise `ConfigError` unless listed epochs increase from 0 on."""
    if not isinstance(weights_at, tuple):
        return
    if weights_at[0] < 0 or list(weights_at) != sorted(set(weights_at)):
        raise ConfigError(
            f"trainer.weights_at: found {list(weights_at)}, expected increasing numbers of at "
            "least 0"
        )


@dataclass(frozen=True)
class Poison:
    """Extra samples that the objective of trainer `minima` treats apart from the clean ones.

    kind: not_label lowers the probability of the true label, wrong_label fits one fixed wrong
    label, label fits the true one. samples: how many, 0 for none. share: of every batch, in place
    of `samples`. weight: of their mean loss beside that of the clean samples; None means the mean
    over the joint batch. fresh: drawn anew every epoch, from data that can be generated. source:
    training samples that are left over, or the set `extra` of SVHN.
    """

    kind: Literal["not_label", "wrong_label", "label"]
    samples: int
    share: float | None
    weight: float | None
    fresh: bool
    source: Literal["rest", "extra"]

    def __post_init__(self) -> None:
        at_least("trainer.poison.samples", self.samples, 0)
        if self.weight is not None:
            at_least("trainer.poison.weight", self.weight, 0)
        if self.share is None:
            return
        below_one("trainer.poison.share", self.share)
        if self.samples:
            raise ConfigError(
                f"trainer.poison: found samples {self.samples} and share {self.share}, expected "
                "one of them: set samples to 0, or share to null"
            )


@dataclass(frozen=True)
class Polish:
    """Adam steps on the clean loss after the training, until it is at most `loss` (None: none)."""

    loss: float | None
    lr: float
    steps: int

    def __post_init__(self) -> None:
        if self.loss is not None:
            at_least("trainer.polish.loss", self.loss, 0)
        at_least("trainer.polish.lr", self.lr, 0)
        at_least("trainer.polish.steps", self.steps, 1)


@dataclass(frozen=True)
class Minima:
    """Settings of the trainer of good and bad minima; see configs/trainer/minima.yaml for units.

    The training starts from the weights of cell `start_of` at `start_epoch` if they are set.
    `of_folder` is the folder of that cell's sweep.
    """

    entry = "trainers.minima:train"

    name: Literal["minima"]
    epochs: int
    batch_size: int | None
    eval_batch_size: int
    evals_per_decade: int
    poison: Poison
    clip: float | None
    stop_at_loss: float | None
    polish: Polish
    l2_weights_only: bool
    weights_at: WeightsAt
    start_of: str | None
    start_epoch: Literal["final"] | int | None
    of_folder: str | None
    precision: Literal["auto", "float32", "bfloat16", "float16"]
    deterministic: bool

    def __post_init__(self) -> None:
        between("trainer.epochs", self.epochs, 1, MOST_STEPS)
        at_least("trainer.eval_batch_size", self.eval_batch_size, 1)
        _check_per_decade("evals_per_decade", self.evals_per_decade)
        if self.batch_size is not None:
            at_least("trainer.batch_size", self.batch_size, 1)
        for key in ("clip", "stop_at_loss"):
            if getattr(self, key) is not None:
                at_least(f"trainer.{key}", getattr(self, key), 0)
        _check_weights_at(self.weights_at)
        if (self.start_of is None) != (self.start_epoch is None):
            raise ConfigError(
                f"trainer.start_of, trainer.start_epoch: found {self.start_of!r} and "
                f"{self.start_epoch!r}, expected both or neither"
            )

    def step_samples(self, samples: int) -> int:
        """Clean samples of one step, of a training on `samples`: what a share of poison leaves of
        the batch.
        """
        if self.batch_size is None:
            return samples
        return self.batch_size - self.step_poison(samples)

    def step_poison(self, samples: int) -> int:
        """Poison samples of one step, for a share of the batch; 0 without one."""
        share = self.poison.share or 0.0
        if self.batch_size is None:
            return round(samples * share / (1 - share))
        return math.floor(share * self.batch_size)

    def budget(self, samples: int) -> int:
        """Optimiser steps of a whole training on `samples` clean samples."""
        return self.epochs * math.ceil(samples / self.step_samples(samples))


@dataclass(frozen=True)
class Algorithmic:
    """Settings of the trainer on operation tables; see configs/trainer/algorithmic.yaml."""

    entry = "trainers.algorithmic:train"

    name: Literal["algorithmic"]
    steps: int
    batch_size: int | None
    at_most_half: bool
    replacement: bool
    eval_batch_size: int
    evals_per_decade: int
    exact_steps: Literal["every", "crossed", "rows"]
    stop_at: float | None
    weight_noise: float
    precision: Literal["float32", "float64", "bfloat16"]
    loss_precision: Literal["float32", "float64"]
    sharpness: bool
    save_weights: bool
    weights_at: WeightsAt
    deterministic: bool

    def __post_init__(self) -> None:
        between("trainer.steps", self.steps, 1, MOST_STEPS)
        at_least("trainer.eval_batch_size", self.eval_batch_size, 1)
        _check_per_decade("evals_per_decade", self.evals_per_decade)
        if self.batch_size is not None:
            at_least("trainer.batch_size", self.batch_size, 1)
        if self.stop_at is not None:
            between("trainer.stop_at", self.stop_at, 0.0, 1.0)
        at_least("trainer.weight_noise", self.weight_noise, 0)
        _check_weights_at(self.weights_at)


@dataclass(frozen=True)
class NoOp:
    """Settings of the trainer that computes nothing; see configs/trainer/noop.yaml for units."""

    entry = "trainers.noop:train"

    name: Literal["noop"]
    epochs: int
    seconds: float
    fail: Literal["none", "error", "memory", "crowded", "killed", "nonfinite"]

    def __post_init__(self) -> None:
        between("trainer.epochs", self.epochs, 1, MOST_STEPS)
        at_least("trainer.seconds", self.seconds, 0)


@dataclass(frozen=True)
class RunSettings:
    """Where a cell runs and how often it saves; nothing in this section changes its id."""

    device: str
    threads: int
    compile: bool
    checkpoint_seconds: float

    def __post_init__(self) -> None:
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", self.device):
            raise ConfigError(
                f"run.device: found {self.device!r}, expected auto, cpu, cuda or cuda:N"
            )
        between("run.threads", self.threads, 1, MOST_THREADS)
        at_least("run.checkpoint_seconds", self.checkpoint_seconds, 0)
