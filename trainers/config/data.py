"""The data sets that a cell can be trained on, and noise on their labels."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from trainers.config.reader import ConfigError, at_least, between


@dataclass(frozen=True)
class LabelNoise:
    """Noise on the training labels; `rate` is the share of samples drawn for it, 0 to 1.

    `classes` is the number of classes of random labels; None means those of the data. `count` says
    how the number of samples follows from the rate: `floor` rounds its float down (244 of 700 at
    0.35), `nearest` is the nearest integer (245).
    """

    kind: Literal["incorrect", "uniform", "permute", "random"]
    rate: float
    classes: int | None
    count: Literal["floor", "nearest"]

    def __post_init__(self) -> None:
        between("data.label_noise.rate", self.rate, 0.0, 1.0)
        if self.kind == "random" and self.count != "floor":
            raise ConfigError(
                f"data.label_noise.count: found {self.count} with kind random, expected floor: "
                "the rate is each sample's chance, and nothing is rounded"
            )
        if self.classes is None:
            return
        at_least("data.label_noise.classes", self.classes, 2)
        if self.kind != "random" or self.rate != 1.0:
            raise ConfigError(
                f"data.label_noise.classes: found {self.classes} with kind {self.kind} and rate "
                f"{self.rate}, expected kind random and rate 1.0: no label may stay one of the "
                "data's classes; set these two, or classes to null"
            )

    @property
    def is_random(self) -> bool:
        """Whether every label is drawn at random."""
        return self.kind == "random" and self.rate == 1.0


Inputs = Literal["real", "noise", "shuffled_pixels"]


@dataclass(frozen=True)
class CIFAR10:
    """CIFAR-10 from `root`: Parquet files, the python batches as a folder, or their tar.gz."""

    entry = "trainers.data.images:dataset"
    layouts = (
        ("train-*.parquet", "test-*.parquet"),
        ("data_batch_*", "test_batch"),
        ("cifar-10-batches-py/data_batch_*", "cifar-10-batches-py/test_batch"),
        ("cifar-10-python.tar.gz",),
    )

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
    inputs: Inputs
    sample_seed: int | None
    label_noise: LabelNoise

    def __post_init__(self) -> None:
        if self.classes is not None:
            between("data.classes", self.classes, 2, 10)
        if self.downscale not in (1, 2, 4, 8):
            raise ConfigError(f"data.downscale: found {self.downscale!r}, expected 1, 2, 4 or 8")
        _check_samples(self.train_samples, self.test_samples)


@dataclass(frozen=True)
class Digits:
    """The 8x8 handwritten digits that scikit-learn ships."""

    entry = "trainers.data.images:dataset"

    name: Literal["digits"]
    cache: str
    train_samples: int | None
    test_samples: int | None
    augment: bool
    scaling: Literal["unit", "symmetric", "standardised"]
    inputs: Inputs
    sample_seed: int | None
    label_noise: LabelNoise

    def __post_init__(self) -> None:
        _check_samples(self.train_samples, self.test_samples)


@dataclass(frozen=True)
class SVHN:
    """Street View House Numbers from `root`: the three .mat files, or Parquet files."""

    entry = "trainers.data.images:dataset"
    layouts = (("train_32x32.mat", "test_32x32.mat"), ("train-*.parquet", "test-*.parquet"))

    name: Literal["svhn"]
    root: str | None
    cache: str
    train_samples: int | None
    test_samples: int | None
    augment: bool
    scaling: Literal["unit", "symmetric", "standardised"]
    sample_seed: int | None

    def __post_init__(self) -> None:
        _check_samples(self.train_samples, self.test_samples)


@dataclass(frozen=True)
class SwissRoll:
    """Two spirals with normal noise, one per class; inputs are divided by `scale`.

    mirror: the second class is the exact negation of the first, noise included, as published.
    """

    entry = "trainers.data.points:dataset"

    name: Literal["swiss_roll"]
    train_samples: int
    test_samples: int
    noise: float
    mirror: bool
    scale: float

    def __post_init__(self) -> None:
        _check_samples(self.train_samples, self.test_samples)
        at_least("data.noise", self.noise, 0)
        _check_scale(self.scale)


@dataclass(frozen=True)
class Spirals:
    """Two noiseless spirals of 200 points each; what is not for training is half poison, half test.

    skip_origin: leave out the origin, which is a point of both classes.
    """

    entry = "trainers.data.points:dataset"

    name: Literal["spirals"]
    train_samples: int
    skip_origin: bool
    scale: float

    def __post_init__(self) -> None:
        between("data.train_samples", self.train_samples, 1, 396)
        _check_scale(self.scale)


@dataclass(frozen=True)
class Rings:
    """A ring of class 0 between two of class 1, the inner one at a distance of `gap`."""

    entry = "trainers.data.points:dataset"

    name: Literal["rings"]
    inner: int
    gap: float

    def __post_init__(self) -> None:
        at_least("data.inner", self.inner, 0)
        at_least("data.gap", self.gap, 0)


@dataclass(frozen=True)
class Table:
    """Rows of the file `root`: real features and a label; configs/data/table.yaml has the keys."""

    entry = "trainers.data.table:dataset"

    name: Literal["table"]
    root: str | None
    label: str
    features: tuple[str, ...] | None
    test_share: float
    split_seed: int | None
    train_samples: int | None
    standardise: bool
    label_noise: LabelNoise

    def __post_init__(self) -> None:
        between("data.test_share", self.test_share, 0.0, 1.0)
        _check_samples(self.train_samples, None)


Images = CIFAR10 | Digits | SVHN
Plane = SwissRoll | Spirals | Rings

OPERATIONS: Mapping[str, Literal["modular", "permutations"]] = {
    **dict.fromkeys((
        "x+y", "x-y", "x*y", "x/y", "x/y_if_y_odd_else_x-y", "x**2+y**2", "x**2+x*y+y**2",
        "x**2+x*y+y**2+x", "x**3+x*y", "x**3+x*y**2+y", "x**3+y**3", "x/y_or_0",
    ), "modular"),
    **dict.fromkeys(("x.y", "x.y.x", "x.y.x**-1"), "permutations"),
}  # fmt: skip
"""Operations by name, and what their elements are; configs/data/arithmetic.yaml explains them."""


@dataclass(frozen=True)
class Arithmetic:
    """The table of one binary operation; configs/data/arithmetic.yaml says what each key means."""

    entry = "trainers.data.arithmetic:split"

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
        at_least("data.modulus", self.modulus, 2)
        if "/" in self.operation and not _is_prime(self.modulus):
            raise ConfigError(
                f"data.modulus: found {self.modulus}, expected a prime: {self.operation} divides"
            )
        between("data.degree", self.degree, 2, 5)
        between("data.train_fraction", self.train_fraction, 0.0, 1.0)
        at_least("data.outliers", self.outliers, 0)
        between("data.outlier_size", self.outlier_size, 0.0, 1.0)


def _is_prime(number: int) -> bool:
    """Whether a number of at least 2 is prime."""
    return all(number % divisor for divisor in range(2, math.isqrt(number) + 1))


def _check_samples(train: int | None, test: int | None) -> None:
    for key, value in (("train_samples", train), ("test_samples", test)):
        if value is not None:
            at_least(f"data.{key}", value, 1)


def _check_scale(scale: float) -> None:
    if not scale > 0:
        raise ConfigError(f"data.scale: found {scale!r}, expected more than 0")
