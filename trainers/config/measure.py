"""The settings of the trainers that measure the saved weights of another cell.

Each measure is a trainer of its own, so `trainer.name` is the measure's name. Work is cut into
blocks of fixed size: more directions or rows are more cells, and none is measured twice.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from trainers.config.reader import ConfigError, at_least, between, quantity

DIRECTIONS_PER_BLOCK = 50
"""Directions of a block of radii, or proposals of a block of volumes."""

ROWS_PER_BLOCK = 3
"""Rows of the grid in a block of a surface."""

MOST_POINTS = 10_001
"""Most points on a line, along a side of a grid, or frames: more are a mistake of typing."""

Directions = Literal["filter", "scaled", "gaussian"]
"""How random directions are drawn; trainers/measures/directions.py has the formulas."""


@dataclass(frozen=True)
class SavedWeights:
    """The cell that a measure reads, and how.

    of: id of the trained cell. of_folder: the folder of its sweep in logs/. weights: "final", or
    the epoch of a snapshot. images: size of a fixed subset of the clean training set, None for the
    whole. bn: running statistics as trained, or computed anew after every move of the weights.
    """

    entry = "trainers.landscape:train"

    of: str
    of_folder: str | None
    weights: Literal["final"] | int
    images: int | None
    bn: Literal["kept", "recalibrated"]
    batch: int

    def __post_init__(self) -> None:
        if self.images is not None:
            at_least("trainer.images", self.images, 1)
        at_least("trainer.batch", self.batch, 1)
        if isinstance(self.weights, int):
            at_least("trainer.weights", self.weights, 0)

    @property
    def units(self) -> int:
        """Units of work of the cell, each with rows of its own."""
        return 1


@dataclass(frozen=True)
class Radius(SavedWeights):
    """How far the weights can move along random directions before the loss is above `kappa`."""

    measure = "trainers.cell_measures.radius:Radius"
    metrics = "trainers.measures.columns:RADIUS"

    name: Literal["radius"]
    block: int
    directions: Directions
    direction_seed: int
    kappa: float
    above_base: bool
    c_max: float
    audit_every: int

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least("trainer.block", self.block, 0)
        _positive("trainer.kappa", self.kappa)
        _positive("trainer.c_max", self.c_max)
        at_least("trainer.audit_every", self.audit_every, 1)

    @property
    def units(self) -> int:
        """The directions of the block."""
        return DIRECTIONS_PER_BLOCK


@dataclass(frozen=True)
class Volume(SavedWeights):
    """A lower bound of the volume around the weights in which the loss is at most `kappa`."""

    measure = "trainers.cell_measures.volume:Volume"
    metrics = "trainers.measures.columns:VOLUME"

    name: Literal["volume"]
    block: int
    preconditioner: Literal["none", "filter", "jacobian"]
    damping: float
    direction_seed: int
    kappa: float
    c_max: float

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least("trainer.block", self.block, 0)
        _positive("trainer.kappa", self.kappa)
        _positive("trainer.c_max", self.c_max)
        _positive("trainer.damping", self.damping)

    @property
    def units(self) -> int:
        """The proposals of the block."""
        return DIRECTIONS_PER_BLOCK


@dataclass(frozen=True)
class Surface(SavedWeights):
    """Loss on a square grid of `points` x `points` over [-span, span]^2 around the weights."""

    measure = "trainers.cell_measures.surface:Surface"
    metrics = "trainers.measures.columns:SURFACE"

    name: Literal["surface"]
    block: int
    plane: Literal["filter", "gaussian", "pca", "eigenvector"]
    direction_seed: int
    points: int
    span: float
    spacing: Literal["linear", "square", "quintic"]
    cap: float | None

    def __post_init__(self) -> None:
        super().__post_init__()
        _odd("trainer.points", self.points)
        between("trainer.points", self.points, 1, MOST_POINTS)
        _positive("trainer.span", self.span)
        if self.cap is not None:
            _positive("trainer.cap", self.cap)
        at_least("trainer.block", self.block, 0)
        if self.block >= self.blocks:
            raise ConfigError(
                f"trainer.block: found {self.block}, expected less than {self.blocks}: a grid of "
                f"{quantity(self.points, 'row')} has {quantity(self.blocks, 'block')} of "
                f"{ROWS_PER_BLOCK}"
            )

    @property
    def blocks(self) -> int:
        """Blocks of the whole grid."""
        return math.ceil(self.points / ROWS_PER_BLOCK)

    @property
    def units(self) -> int:
        """The rows of the block; the last block can have fewer."""
        return min(ROWS_PER_BLOCK, self.points - self.block * ROWS_PER_BLOCK)


@dataclass(frozen=True)
class Line(SavedWeights):
    """Loss on the straight line from the weights (t = 0) to those of the cell `to` (t = 1)."""

    measure = "trainers.cell_measures.line:Line"
    metrics = "trainers.measures.columns:LINE"

    name: Literal["line"]
    to: str
    points: int
    low: float
    high: float

    def __post_init__(self) -> None:
        super().__post_init__()
        between("trainer.points", self.points, 2, MOST_POINTS)
        _finite("trainer.low", self.low)
        _finite("trainer.high", self.high)
        if not (self.low <= 0.0 and self.high >= 1.0):
            raise ConfigError(
                f"trainer.low, trainer.high: found {self.low} and {self.high}, expected a range "
                "with 0 and 1 in it, the two cells"
            )

    @property
    def units(self) -> int:
        """The points of the line; 0 and 1 are added where the steps miss them."""
        return self.points


@dataclass(frozen=True)
class Path(SavedWeights):
    """The snapshots of a training in the plane of their two first principal components."""

    measure = "trainers.cell_measures.path:Path"
    metrics = "trainers.measures.columns:PATH"

    name: Literal["path"]


@dataclass(frozen=True)
class Curvature(SavedWeights):
    """Eigenvalues of the Hessian (`ends`), its trace (`probe`) or its density (`density`).

    Block b is probe b, or Lanczos start b; `ends` has one block.
    """

    measure = "trainers.cell_measures.curvature:Curvature"
    metrics = "trainers.measures.columns:CURVATURE"

    name: Literal["curvature"]
    part: Literal["ends", "probe", "density"]
    block: int
    direction_seed: int
    tolerance: float
    iterations: int
    points: int

    def __post_init__(self) -> None:
        super().__post_init__()
        _kept_statistics(self.bn, "the Hessian is")
        at_least("trainer.block", self.block, 0)
        _positive("trainer.tolerance", self.tolerance)
        at_least("trainer.iterations", self.iterations, 2)
        at_least("trainer.points", self.points, 2)
        if self.part == "ends" and self.block > 0:
            raise ConfigError(f"trainer.block: found {self.block}, expected 0 with part=ends")


@dataclass(frozen=True)
class Sharpness(SavedWeights):
    """The largest rise of the loss within a distance `rho`, and Keskar's sharpness."""

    measure = "trainers.cell_measures.sharpness:Sharpness"
    metrics = "trainers.measures.columns:SHARPNESS"

    name: Literal["sharpness"]
    rho: float
    steps: int
    direction_seed: int

    def __post_init__(self) -> None:
        super().__post_init__()
        _kept_statistics(self.bn, "the gradient is")
        _positive("trainer.rho", self.rho)
        at_least("trainer.steps", self.steps, 1)


@dataclass(frozen=True)
class Boundary(SavedWeights):
    """Logit differences on a grid of inputs, for weights moved along one direction.

    extent: the grid covers [-extent, extent]^2 of the inputs, before the division by `data.scale`
    where the data have one. Frame k has the coordinate
    amplitude * linspace(-1, 1, frames)[k]^5 along the direction; one frame is the weights
    themselves.
    """

    measure = "trainers.cell_measures.boundary:Boundary"
    metrics = "trainers.measures.columns:BOUNDARY"

    name: Literal["boundary"]
    points: int
    extent: float
    frames: int
    amplitude: float
    direction_seed: int

    def __post_init__(self) -> None:
        super().__post_init__()
        between("trainer.points", self.points, 2, MOST_POINTS)
        _positive("trainer.extent", self.extent)
        _odd("trainer.frames", self.frames)
        between("trainer.frames", self.frames, 1, MOST_POINTS)
        at_least("trainer.amplitude", self.amplitude, 0)

    @property
    def units(self) -> int:
        """The frames."""
        return self.frames


@dataclass(frozen=True)
class Progress(SavedWeights):
    """Progress measures of modular addition over the snapshots of a training (Nanda et al. 2023).

    key_share: frequencies with at least this share of the power of the waves are the key ones.
    """

    measure = "trainers.cell_measures.fourier:Fourier"
    metrics = "trainers.measures.columns:FOURIER"

    name: Literal["progress"]
    key_share: float

    def __post_init__(self) -> None:
        super().__post_init__()
        between("trainer.key_share", self.key_share, 0.0, 1.0)


Measure = Radius | Volume | Surface | Line | Path | Curvature | Sharpness | Boundary | Progress

MEASURES = (
    "radius",
    "volume",
    "surface",
    "line",
    "path",
    "curvature",
    "sharpness",
    "boundary",
    "progress",
)
"""Names of the measuring trainers."""


def _kept_statistics(bn: str, what: str) -> None:
    """Raise ConfigError for recalibrated statistics, which would not change such a measure."""
    if bn != "kept":
        raise ConfigError(
            f"trainer.bn: found {bn}, expected kept: {what} that of the statistics as trained"
        )


def _positive(key: str, value: float) -> None:
    if not value > 0:  # NaN is not
        raise ConfigError(f"{key}: found {value!r}, expected more than 0")
    _finite(key, value)


def _finite(key: str, value: float) -> None:
    if not math.isfinite(value):
        raise ConfigError(f"{key}: found {value!r}, expected a finite number")


def _odd(key: str, value: int) -> None:
    if value < 1 or value % 2 == 0:
        raise ConfigError(f"{key}: found {value!r}, expected an odd number: the centre is a point")
