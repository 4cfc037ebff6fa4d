"""The configuration of a cell as frozen dataclasses: one per kind of model, data, optimiser and
trainer.

The YAML files in configs/ hold every default. Nothing here has one, so a missing or unknown key, or
a value of the wrong type, is an error before anything is submitted. Imports neither torch nor
hydra: login nodes read configurations too.

The name of a section says which dataclass it is (kinds.py). A trainer of ours takes the short names
that its cell lists, and any class of the user's.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol

from trainers.config import kinds, reader
from trainers.config.data import Arithmetic
from trainers.config.kinds import SHORT_NAMES, Kind, OneOf
from trainers.config.measure import MEASURES, Measure, SavedWeights
from trainers.config.model import Transformer
from trainers.config.optim import Milestones, Schedule
from trainers.config.reader import ConfigError
from trainers.config.trainer import Algorithmic, Minima, NoOp, RunSettings, Vision

IMAGE_MODELS = ("resnet18", "cnn5", "mlp", "convnet", "vit")
"""The models that the vision trainer takes."""

_MODELS = (*IMAGE_MODELS, "fully_connected", "resnet20", "vgg13", "quadratic")
_DATA = ("cifar10", "digits", "svhn", "swiss_roll", "spirals", "rings", "table")
_OPTIMISERS = ("sgd", "adam", "adamw", "shampoo", "soap")
_ALL_OPTIMISERS = (
    *_OPTIMISERS, "nesterov", "rmsprop", "amsgrad", "adamax", "adagrad", "adadelta", "asgd",
)  # fmt: skip


class Rated(Kind, Protocol):
    """The settings of an optimiser, whose rate the trainer sets before each step."""

    @property
    def lr(self) -> float:
        """The learning rate that the schedule starts from."""

    @property
    def schedule(self) -> Schedule | Milestones:
        """How the rate changes."""


@dataclass(frozen=True)
class Absent:
    """Used for the model, data or optimiser of a cell without one."""

    entry = ""

    name: Literal["none"]


@dataclass(frozen=True)
class VisionCell:
    """One training of a grid on labelled samples, fully resolved."""

    seed: int
    model: Annotated[Kind, OneOf("model", IMAGE_MODELS)]
    data: Annotated[Kind, OneOf("data", ("cifar10", "digits", "table"))]
    optim: Annotated[Rated, OneOf("optim", _OPTIMISERS)]
    trainer: Annotated[Vision, OneOf("trainer", ("vision",))]
    run: RunSettings


@dataclass(frozen=True)
class AlgorithmicCell:
    """One training of a grid on an operation's table, fully resolved."""

    seed: int
    model: Annotated[Transformer, OneOf("model", ("transformer",))]
    data: Annotated[Arithmetic, OneOf("data", ("arithmetic",))]
    optim: Annotated[Rated, OneOf("optim", ("sgd", "adam", "adamw"))]
    trainer: Annotated[Algorithmic, OneOf("trainer", ("algorithmic",))]
    run: RunSettings


@dataclass(frozen=True)
class MinimaCell:
    """One training to a good or a poisoned minimum, fully resolved."""

    seed: int
    model: Annotated[Kind, OneOf("model", _MODELS)]
    data: Annotated[Kind, OneOf("data", _DATA)]
    optim: Annotated[Rated, OneOf("optim", _ALL_OPTIMISERS)]
    trainer: Annotated[Minima, OneOf("trainer", ("minima",))]
    run: RunSettings

    def __post_init__(self) -> None:
        decays_to_init = getattr(self.optim, "decay_towards", "zero") == "init"
        if self.trainer.l2_weights_only and decays_to_init:
            raise ConfigError(
                "trainer.l2_weights_only: found true with optim.decay_towards=init, which moves "
                "biases and norms too; expected false"
            )


@dataclass(frozen=True)
class MeasureCell:
    """One measurement of the saved weights of a trained cell, whose seed, model and data it has."""

    seed: int
    model: Annotated[Kind, OneOf("model", (*_MODELS, "transformer"))]
    data: Annotated[Kind, OneOf("data", (*_DATA, "arithmetic"))]
    optim: Absent
    trainer: Annotated[Measure, OneOf("trainer", MEASURES)]
    run: RunSettings


@dataclass(frozen=True)
class NoOpCell:
    """A cell that computes nothing."""

    seed: int
    model: Absent
    data: Absent
    optim: Absent
    trainer: Annotated[NoOp, OneOf("trainer", ("noop",))]
    run: RunSettings


@dataclass(frozen=True)
class OwnCell:
    """A cell of a trainer of the user's, which takes what it can use."""

    seed: int
    model: Annotated[Kind, OneOf("model", tuple(SHORT_NAMES["model"]))]
    data: Annotated[Kind, OneOf("data", tuple(SHORT_NAMES["data"]))]
    optim: Annotated[Kind, OneOf("optim", tuple(SHORT_NAMES["optim"]))]
    trainer: Annotated[Kind, OneOf("trainer", ())]
    run: RunSettings


Cell = VisionCell | AlgorithmicCell | MinimaCell | MeasureCell | NoOpCell | OwnCell
_CELLS: Mapping[type, type[Cell]] = {
    Vision: VisionCell,
    Algorithmic: AlgorithmicCell,
    Minima: MinimaCell,
    SavedWeights: MeasureCell,
    NoOp: NoOpCell,
    object: OwnCell,
}
"""The kind of cell of a trainer, by the class of its settings or a base of it."""


def _cell_kind(trainer: str) -> type[Cell]:
    """The kind of cell of a trainer with this name. Raises `ConfigError` for an unknown one."""
    settings = kinds.resolve("trainer", trainer)
    return next(_CELLS[base] for base in settings.__mro__ if base in _CELLS)


def parse(flat: Mapping[str, Any]) -> Cell:
    """The typed form of a flat configuration. Raises `ConfigError` with key and value."""
    kind = _cell_kind(str(flat.get("trainer.name", "vision")))
    cell: Cell = reader.read(kind, flat)
    return cell


def resolve_section(trainer: str, section: str, flat: Mapping[str, Any]) -> dict[str, Any]:
    """One section of a flat configuration, such as the keys of `model`, as `flatten` returns it.

    The sections of a cell do not depend on one another, except that the trainer says which kinds
    they may have. Raises `ConfigError` with key and value.
    """
    return reader.read_section(_cell_kind(trainer), section, flat)


def flatten(cell: Cell) -> dict[str, Any]:
    """The flat configuration of `cell`; every value has its declared type."""
    return reader.flatten(cell)


def columns(flat: Mapping[str, Any] | None = None) -> dict[str, type]:
    """Every key that a flat configuration may hold, with its plain type (int, float, bool, str, or
    a list of one).

    This is the union over all of our kinds of model, data, optimiser and trainer, so that the
    tables of different cells have the same columns; after them come the keys of the user's classes
    that `flat` names. A column of texts holds values of any type. Raises `ConfigError` if such a
    key does not fit into the column of ours that has its name.
    """
    whole = dict(_our_columns())
    for section, name in kinds.own_names(flat or {}):
        kind = kinds.resolve(section, name)
        for key, value in reader.columns(kind, f"{section}."):
            if not _fits(value, whole.setdefault(key, value)):
                raise ConfigError(
                    f"{key}: a field of {name} with values of type {_type_name(value)}, and the "
                    f"runs table has a column of that name with {_type_name(whole[key])}; give the "
                    "field another name, or that type"
                )
    return whole


@functools.cache
def _our_columns() -> Mapping[str, type]:
    cells = list(_CELLS.values())
    return dict(column for kind in cells for column in reader.columns(kind))


def _fits(value: Any, column: Any) -> bool:
    """Whether a column holds values of a plain type."""
    return column in (value, str) or (value is int and column is float)


def _type_name(value: Any) -> str:
    is_plain = value in (int, float, bool, str)
    return value.__name__ if is_plain else str(value)


def fill_in_own(flat: Mapping[str, Any]) -> dict[str, Any]:
    """`flat` with the missing later keys of the user's classes that it names."""
    values: dict[str, Any] = {}
    for section, name in kinds.own_names(flat):
        later = reader.own_later_keys(kinds.resolve(section, name))
        values |= {f"{section}.{key}": reader.as_lists(value) for key, value in later.items()}
    return {**values, **flat}
