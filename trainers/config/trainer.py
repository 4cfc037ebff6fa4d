"""The settings of each trainer, and those of where it runs."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

from trainers.config.reader import ConfigError, at_least, between


@dataclass(frozen=True)
class Vision:
    """Settings of the image trainer; see configs/trainer/vision.yaml for units."""

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
    precision: Literal["auto", "float32", "bfloat16", "float16"]
    deterministic: bool

    def __post_init__(self) -> None:
        for key in ("epochs", "least_steps", "eval_batch_size", "evals_per_decade"):
            at_least(f"trainer.{key}", getattr(self, key), 1)
        if self.batch_size is not None:
            at_least("trainer.batch_size", self.batch_size, 1)
        between("trainer.fit_trigger", self.fit_trigger, 0.0, 1.0)
        _check_abandon(self.abandon or ())

    @property
    def checks_fit(self) -> bool:
        """Whether the training looks for the first step at which it fits all its samples."""
        asks = self.stop_at_fit or self.minimum_check or self.abandon is not None
        return asks or self.rows == "checks"

    def budget(self, samples: int) -> int:
        """Optimiser steps of a whole training on `samples` samples: `epochs` passes over them, or
        `least_steps` if that is more.
        """
        batches = math.ceil(samples / (self.batch_size or samples))
        return max(self.least_steps, self.epochs * batches)


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


@dataclass(frozen=True)
class Algorithmic:
    """Settings of the trainer on operation tables; see configs/trainer/algorithmic.yaml."""

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
    deterministic: bool

    def __post_init__(self) -> None:
        for key in ("steps", "eval_batch_size", "evals_per_decade"):
            at_least(f"trainer.{key}", getattr(self, key), 1)
        if self.batch_size is not None:
            at_least("trainer.batch_size", self.batch_size, 1)
        if self.stop_at is not None:
            between("trainer.stop_at", self.stop_at, 0.0, 1.0)
        at_least("trainer.weight_noise", self.weight_noise, 0)


@dataclass(frozen=True)
class NoOp:
    """Settings of the trainer that computes nothing; see configs/trainer/noop.yaml for units."""

    name: Literal["noop"]
    epochs: int
    seconds: float
    fail: Literal["none", "error", "memory", "crowded", "killed", "nonfinite"]

    def __post_init__(self) -> None:
        at_least("trainer.epochs", self.epochs, 1)
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
        at_least("run.threads", self.threads, 1)
        at_least("run.checkpoint_seconds", self.checkpoint_seconds, 0)
