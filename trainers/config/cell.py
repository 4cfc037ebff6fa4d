"""The configuration of a cell as frozen dataclasses: one per kind of model, data, optimiser and
trainer.

The YAML files in configs/ hold every default. Nothing here has one, so a missing or unknown key, or
a value of the wrong type, is an error before anything is submitted. Imports neither torch nor
hydra: login nodes read configurations too.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from trainers.config import reader
from trainers.config.data import CIFAR10, SVHN, Arithmetic, Digits, Rings, Spirals, SwissRoll
from trainers.config.measure import (
    MEASURES,
    Boundary,
    Curvature,
    Line,
    Path,
    Radius,
    Sharpness,
    Surface,
    Volume,
)
from trainers.config.model import (
    CNN5,
    MLP,
    VGG13,
    ConvNet,
    FullyConnected,
    Quadratic,
    ResNet18,
    ResNet20,
    Transformer,
    ViT,
)
from trainers.config.optim import (
    ASGD,
    SGD,
    SOAP,
    Adadelta,
    Adagrad,
    Adam,
    AdamLike,
    Nesterov,
    RMSprop,
    Shampoo,
)
from trainers.config.reader import ConfigError
from trainers.config.trainer import Algorithmic, Minima, NoOp, RunSettings, Vision


@dataclass(frozen=True)
class Absent:
    """Used for the model, data or optimiser of a cell without one."""

    name: Literal["none"]


@dataclass(frozen=True)
class VisionCell:
    """One training of a grid on images, fully resolved."""

    seed: int
    model: ResNet18 | CNN5 | MLP | ConvNet | ViT
    data: CIFAR10 | Digits
    optim: SGD | Adam | Shampoo | SOAP
    trainer: Vision
    run: RunSettings


@dataclass(frozen=True)
class AlgorithmicCell:
    """One training of a grid on an operation's table, fully resolved."""

    seed: int
    model: Transformer
    data: Arithmetic
    optim: SGD | Adam
    trainer: Algorithmic
    run: RunSettings


Network = ResNet18 | CNN5 | MLP | ConvNet | ViT | FullyConnected | ResNet20 | VGG13 | Quadratic
"""The networks of trainer `minima`, and of measures."""


@dataclass(frozen=True)
class MinimaCell:
    """One training to a good or a poisoned minimum, fully resolved."""

    seed: int
    model: Network
    data: CIFAR10 | Digits | SVHN | SwissRoll | Spirals | Rings
    optim: SGD | Adam | Shampoo | SOAP | Nesterov | RMSprop | AdamLike | Adagrad | Adadelta | ASGD
    trainer: Minima
    run: RunSettings


@dataclass(frozen=True)
class MeasureCell:
    """One measurement of the saved weights of a trained cell, whose seed, model and data it has."""

    seed: int
    model: Network | Transformer
    data: CIFAR10 | Digits | SVHN | SwissRoll | Spirals | Rings | Arithmetic
    optim: Absent
    trainer: Radius | Volume | Surface | Line | Path | Curvature | Sharpness | Boundary
    run: RunSettings


@dataclass(frozen=True)
class NoOpCell:
    """A cell that computes nothing."""

    seed: int
    model: Absent
    data: Absent
    optim: Absent
    trainer: NoOp
    run: RunSettings


Cell = VisionCell | AlgorithmicCell | MinimaCell | MeasureCell | NoOpCell
_CELLS: Mapping[str, type[Cell]] = {
    "vision": VisionCell,
    "algorithmic": AlgorithmicCell,
    "minima": MinimaCell,
    **dict.fromkeys(MEASURES, MeasureCell),
    "noop": NoOpCell,
}


def parse(flat: Mapping[str, Any]) -> Cell:
    """The typed form of a flat configuration. Raises `ConfigError` with key and value."""
    name = str(flat.get("trainer.name", "vision"))
    if name not in _CELLS:
        raise ConfigError(f"trainer.name: found {name!r}, expected one of {', '.join(_CELLS)}")
    cell: Cell = reader.read(_CELLS[name], flat)
    return cell


def resolve_section(trainer: str, section: str, flat: Mapping[str, Any]) -> dict[str, Any]:
    """One section of a flat configuration, such as the keys of `model`, as `flatten` returns it.

    The sections of a cell do not depend on one another, except that the trainer says which kinds
    they may have. Raises `ConfigError` with key and value.
    """
    return reader.read_section(_CELLS[trainer], section, flat)


def flatten(cell: Cell) -> dict[str, Any]:
    """The flat configuration of `cell`; every value has its declared type."""
    return reader.flatten(cell)


@functools.cache
def columns() -> dict[str, type]:
    """Every key that a flat configuration may hold, with its plain type (int, float, bool, str, or
    a list of one).

    This is the union over all kinds of model, data, optimiser and trainer, so that the tables of
    different cells have the same columns.
    """
    return dict(column for kind in _CELLS.values() for column in reader.columns(kind))
