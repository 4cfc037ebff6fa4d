"""The configuration of a cell as typed, frozen dataclasses: one for each kind of model, data,
optimiser and trainer.

The YAML files in configs/ hold every default; nothing here has one, so that a key which is missing,
unknown or of the wrong type is an error before anything is submitted. Imports neither torch nor
hydra: login nodes read configurations too.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from trainers.config import reader
from trainers.config.reader import ConfigError

__all__ = ["Cell", "ConfigError", "columns", "flatten", "parse"]


@dataclass(frozen=True)
class ResNet18:
    """ResNet-18 of width k for small images: stages of k, 2k, 4k, 8k channels."""

    name: Literal["resnet18"]
    variant: Literal["preactivation", "postactivation"]
    width: int

    def __post_init__(self) -> None:
        _at_least("model.width", self.width, 1)


@dataclass(frozen=True)
class CNN5:
    """Five-layer CNN of width k: convolutions of k, 2k, 4k, 8k channels and a linear head (Nakkiran
    et al. 2019).
    """

    name: Literal["cnn5"]
    width: int

    def __post_init__(self) -> None:
        _at_least("model.width", self.width, 1)


@dataclass(frozen=True)
class MLP:
    """Fully connected ReLU network with `depth` hidden layers of `width` units."""

    name: Literal["mlp"]
    width: int
    depth: int

    def __post_init__(self) -> None:
        _at_least("model.width", self.width, 1)
        _at_least("model.depth", self.depth, 1)


@dataclass(frozen=True)
class Transformer:
    """Decoder-only transformer of `depth` blocks; configs/model/transformer.yaml says what each key
    means.
    """

    name: Literal["transformer"]
    width: int
    depth: int
    heads: int
    feedforward: int
    norm: Literal["pre", "post", "none"]
    activation: Literal["relu", "gelu"]
    positions: Literal["learned", "sinusoidal", "none"]
    biases: Literal["none", "feedforward", "all"]
    tied: bool
    init: Literal["torch", "normal"]
    dropout_attention: float
    dropout_residual: float
    dropout_hidden: float

    def __post_init__(self) -> None:
        for key in ("width", "depth", "heads", "feedforward"):
            _at_least(f"model.{key}", getattr(self, key), 1)
        if self.width % self.heads:
            raise ConfigError(
                f"model.width: found {self.width}, expected a multiple of model.heads, {self.heads}"
            )
        for key in ("dropout_attention", "dropout_residual", "dropout_hidden"):
            _between(f"model.{key}", getattr(self, key), 0.0, 1.0)

    @property
    def drops(self) -> bool:
        """Whether training draws dropout masks."""
        return max(self.dropout_attention, self.dropout_residual, self.dropout_hidden) > 0


@dataclass(frozen=True)
class LabelNoise:
    """Noise on the training labels; `rate` is the share of training samples chosen for it, 0 to
    1.
    """

    kind: Literal["incorrect", "uniform", "permute"]
    rate: float

    def __post_init__(self) -> None:
        _between("data.label_noise.rate", self.rate, 0.0, 1.0)


@dataclass(frozen=True)
class CIFAR10:
    """CIFAR-10 from `root`: Parquet files, the python batches as a folder, or their tar.gz."""

    name: Literal["cifar10"]
    root: str | None
    download: bool
    cache: str
    source_rows: tuple[int, int]
    classes: int | None
    train_samples: int | None
    test_samples: int | None
    downscale: int
    augment: bool
    scaling: Literal["unit", "symmetric", "standardised"]
    label_noise: LabelNoise

    def __post_init__(self) -> None:
        if self.classes is not None:
            _between("data.classes", self.classes, 2, 10)
        if self.downscale not in (1, 2, 4, 8):
            raise ConfigError(f"data.downscale: found {self.downscale!r}, expected 1, 2, 4 or 8")
        _check_samples(self.train_samples, self.test_samples)


@dataclass(frozen=True)
class Digits:
    """The 8x8 handwritten digits that scikit-learn ships."""

    name: Literal["digits"]
    cache: str
    train_samples: int | None
    test_samples: int | None
    augment: bool
    scaling: Literal["unit", "symmetric", "standardised"]
    label_noise: LabelNoise

    def __post_init__(self) -> None:
        _check_samples(self.train_samples, self.test_samples)


OPERATIONS: Mapping[str, Literal["modular", "permutations"]] = {
    **dict.fromkeys((
        "x+y", "x-y", "x*y", "x/y", "x/y_if_y_odd_else_x-y", "x**2+y**2", "x**2+x*y+y**2", "x**2+x*y+y**2+x",
        "x**3+x*y", "x**3+x*y**2+y", "x**3+y**3", "x/y_or_0",
    ), "modular"),
    **dict.fromkeys(("x.y", "x.y.x", "x.y.x**-1"), "permutations"),
}  # fmt: skip
"""Operations by name, and what their elements are; configs/data/arithmetic.yaml explains them."""


@dataclass(frozen=True)
class Arithmetic:
    """The table of one binary operation; configs/data/arithmetic.yaml says what each key means."""

    name: Literal["arithmetic"]
    operation: str
    modulus: int
    degree: int
    train_fraction: float
    split_seed: int | None
    outliers: int
    outlier_size: float
    sequence: Literal["a b =", "a o b =", "eos a o b ="]
    vocabulary: int | None

    def __post_init__(self) -> None:
        if self.operation not in OPERATIONS:
            raise ConfigError(
                f"data.operation: found {self.operation!r}, expected one of {', '.join(OPERATIONS)}"
            )
        _at_least("data.modulus", self.modulus, 2)
        if "/" in self.operation and any(
            self.modulus % d == 0 for d in range(2, math.isqrt(self.modulus) + 1)
        ):
            raise ConfigError(
                f"data.modulus: found {self.modulus}, expected a prime: {self.operation} divides"
            )
        _between("data.degree", self.degree, 2, 5)
        _between("data.train_fraction", self.train_fraction, 0.0, 1.0)
        _at_least("data.outliers", self.outliers, 0)
        _between("data.outlier_size", self.outlier_size, 0.0, 1.0)


@dataclass(frozen=True)
class Schedule:
    """Learning-rate schedule; `learning_rate` in trainers/optim.py says what each does with its
    numbers.
    """

    name: Literal["constant", "cosine", "step", "inverse_sqrt"]
    period: int
    factor: float
    warmup: int

    def __post_init__(self) -> None:
        _at_least("optim.schedule.period", self.period, 1)
        _at_least("optim.schedule.warmup", self.warmup, 0)


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent; `weight_decay` is the coupled L2 coefficient."""

    name: Literal["sgd"]
    lr: float
    momentum: float
    weight_decay: float
    schedule: Schedule

    def __post_init__(self) -> None:
        _check_rates(self.lr, self.weight_decay)
        _between("optim.momentum", self.momentum, 0.0, 1.0)


@dataclass(frozen=True)
class Adam:
    """Adam with coupled L2 (`weight_decay` times the weights is added to the gradient, as the
    published runs did), or AdamW with decoupled weight decay (Loshchilov & Hutter 2019)."""

    name: Literal["adam", "adamw"]
    lr: float
    beta1: float
    beta2: float
    eps: float
    weight_decay: float
    decay_towards: Literal["zero", "init"]
    update_noise: float
    schedule: Schedule

    def __post_init__(self) -> None:
        _check_rates(self.lr, self.weight_decay)
        if self.decay_towards == "init" and self.name == "adam":
            raise ConfigError(
                "optim.decay_towards: found 'init' with adam, expected adamw, whose decay is its "
                "own step"
            )
        _at_least("optim.update_noise", self.update_noise, 0)
        _between("optim.beta1", self.beta1, 0.0, 1.0)
        _between("optim.beta2", self.beta2, 0.0, 1.0)


@dataclass(frozen=True)
class Vision:
    """Settings of the image trainer; see configs/trainer/vision.yaml for units."""

    name: Literal["vision"]
    epochs: int
    batch_size: int
    eval_batch_size: int
    eval_test: Literal["every", "log"]
    eval_train: Literal["every", "log", "never"]
    evals_per_decade: int
    precision: Literal["auto", "float32", "bfloat16", "float16"]
    deterministic: bool

    def __post_init__(self) -> None:
        for key in ("epochs", "batch_size", "eval_batch_size", "evals_per_decade"):
            _at_least(f"trainer.{key}", getattr(self, key), 1)


@dataclass(frozen=True)
class Algorithmic:
    """Settings of the trainer on operation tables; see configs/trainer/algorithmic.yaml for
    units.
    """

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
            _at_least(f"trainer.{key}", getattr(self, key), 1)
        if self.batch_size is not None:
            _at_least("trainer.batch_size", self.batch_size, 1)
        if self.stop_at is not None:
            _between("trainer.stop_at", self.stop_at, 0.0, 1.0)
        _at_least("trainer.weight_noise", self.weight_noise, 0)


@dataclass(frozen=True)
class Nothing:
    """The model, data or optimiser of a cell that has none."""

    name: Literal["none"]


@dataclass(frozen=True)
class NoOp:
    """Settings of the trainer that computes nothing; see configs/trainer/noop.yaml for units."""

    name: Literal["noop"]
    epochs: int
    seconds: float
    fail: Literal["none", "error", "memory", "crowded", "killed", "nonfinite"]

    def __post_init__(self) -> None:
        _at_least("trainer.epochs", self.epochs, 1)
        _at_least("trainer.seconds", self.seconds, 0)


@dataclass(frozen=True)
class Where:
    """Where and how often, never what: nothing in this section changes a cell's id."""

    device: str
    threads: int
    compile: bool
    checkpoint_seconds: float

    def __post_init__(self) -> None:
        if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", self.device):
            raise ConfigError(
                f"run.device: found {self.device!r}, expected auto, cpu, cuda or cuda:N"
            )
        _at_least("run.threads", self.threads, 1)
        _at_least("run.checkpoint_seconds", self.checkpoint_seconds, 0)


@dataclass(frozen=True)
class VisionCell:
    """One training of a grid on images, fully resolved."""

    seed: int
    model: ResNet18 | CNN5 | MLP
    data: CIFAR10 | Digits
    optim: SGD | Adam
    trainer: Vision
    run: Where


@dataclass(frozen=True)
class AlgorithmicCell:
    """One training of a grid on an operation's table, fully resolved."""

    seed: int
    model: Transformer
    data: Arithmetic
    optim: SGD | Adam
    trainer: Algorithmic
    run: Where


@dataclass(frozen=True)
class NoOpCell:
    """A cell that computes nothing."""

    seed: int
    model: Nothing
    data: Nothing
    optim: Nothing
    trainer: NoOp
    run: Where


Cell = VisionCell | AlgorithmicCell | NoOpCell
_CELLS: Mapping[str, type[Cell]] = {
    "vision": VisionCell,
    "algorithmic": AlgorithmicCell,
    "noop": NoOpCell,
}


def parse(flat: Mapping[str, Any]) -> Cell:
    """The typed form of a flat configuration. Raises `ConfigError` with key, value and what was
    expected.
    """
    name = str(flat.get("trainer.name", "vision"))
    if name not in _CELLS:
        raise ConfigError(f"trainer.name: found {name!r}, expected one of {', '.join(_CELLS)}")
    cell: Cell = reader.read(_CELLS[name], flat)
    return cell


def flatten(cell: Cell) -> dict[str, Any]:
    """The flat configuration of `cell`, with every value in its declared type (`0` becomes `0.0` in
    a float field).
    """
    return reader.flatten(cell)


@functools.cache
def columns() -> dict[str, type]:
    """Every key that a flat configuration may hold, with its plain type (int, float, bool, str, or
    list).

    It is the union over all kinds of model, data, optimiser and trainer, so that tables of
    different cells have the same columns.
    """
    return dict(column for kind in _CELLS.values() for column in reader.columns(kind))


def _at_least(key: str, value: float, bound: float) -> None:
    if value < bound:
        raise ConfigError(f"{key}: found {value!r}, expected at least {bound}")


def _between(key: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ConfigError(f"{key}: found {value!r}, expected {low} to {high}")


def _check_rates(lr: float, weight_decay: float) -> None:
    _at_least("optim.lr", lr, 0)
    _at_least("optim.weight_decay", weight_decay, 0)


def _check_samples(train: int | None, test: int | None) -> None:
    for key, value in (("train_samples", train), ("test_samples", test)):
        if value is not None:
            _at_least(f"data.{key}", value, 1)
