"""The configuration of a cell as typed, frozen dataclasses, and the strict reading of it from a flat mapping.

The YAML files in configs/ hold every default; nothing here has one, so that a key which is missing, unknown or of the
wrong type is an error before anything is submitted. A flat configuration maps dotted paths to plain values
(`{"model.width": 16, ...}`). Imports neither torch nor hydra: login nodes read configurations too.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal


class ConfigError(ValueError):
    """A configuration that no trainer accepts; the message names the key, what was found and what was expected."""


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
    """Five-layer CNN of width k: convolutions of k, 2k, 4k, 8k channels and a linear head (Nakkiran et al. 2019)."""

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
class LabelNoise:
    """Noise on the training labels; `rate` is the share of training samples chosen for it, 0 to 1."""

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
    train_samples: int | None
    test_samples: int | None
    augment: bool
    scaling: Literal["unit", "symmetric", "standardised"]
    label_noise: LabelNoise

    def __post_init__(self) -> None:
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


@dataclass(frozen=True)
class Schedule:
    """Learning-rate schedule; `learning_rate` in trainers/optim.py says what each does with its numbers."""

    name: Literal["constant", "cosine", "step", "inverse_sqrt"]
    period: int
    factor: float

    def __post_init__(self) -> None:
        _at_least("optim.schedule.period", self.period, 1)


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent; `weight_decay` is the coupled L2 coefficient."""

    name: Literal["sgd"]
    lr: float
    momentum: float
    weight_decay: float
    schedule: Schedule


@dataclass(frozen=True)
class Adam:
    """Adam with coupled L2: `weight_decay` times the weights is added to the gradient, as the published runs did."""

    name: Literal["adam"]
    lr: float
    beta1: float
    beta2: float
    eps: float
    weight_decay: float
    schedule: Schedule


@dataclass(frozen=True)
class AdamW:
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019)."""

    name: Literal["adamw"]
    lr: float
    beta1: float
    beta2: float
    eps: float
    weight_decay: float
    schedule: Schedule


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
class Where:
    """Where and how often, never what: nothing in this section changes a cell's id."""

    device: str
    threads: int
    compile: bool
    checkpoint_seconds: float

    def __post_init__(self) -> None:
        _at_least("run.threads", self.threads, 1)


@dataclass(frozen=True)
class Cell:
    """One training of a grid, fully resolved."""

    seed: int
    model: ResNet18 | CNN5 | MLP
    data: CIFAR10 | Digits
    optim: SGD | Adam | AdamW
    trainer: Vision
    run: Where


def parse(flat: Mapping[str, Any]) -> Cell:
    """The typed form of a flat configuration.

    Raises `ConfigError` for a key that is unknown, missing, of the wrong type or out of range; the message gives the
    key, the value found and what was expected.
    """
    items = ((key, tuple(value) if isinstance(value, list) else value) for key, value in sorted(flat.items()))
    cell: Cell = _section(Cell, "", tuple((key, value, _kinds(value)) for key, value in items))
    return cell


def flatten(cell: Cell) -> dict[str, Any]:
    """The flat configuration of `cell`, with every value in its declared type (`0` becomes `0.0` in a float field)."""

    def walk(node: Any, path: str) -> typing.Iterator[tuple[str, Any]]:
        for field in dataclasses.fields(node):
            value = getattr(node, field.name)
            if dataclasses.is_dataclass(value):
                yield from walk(value, f"{path}{field.name}.")
            else:
                yield path + field.name, list(value) if isinstance(value, tuple) else value

    return dict(walk(cell, ""))


@functools.cache
def columns() -> dict[str, type]:
    """Every key that a flat configuration may hold, with its plain type (int, float, bool, str, or list).

    It is the union over all kinds of model, data, optimiser and trainer, so that tables of different cells have the
    same columns.
    """
    found: dict[str, type] = {}

    def walk(kind: Any, path: str) -> None:
        for field, hint in _fields(kind).items():
            options = _options(hint)
            if dataclasses.is_dataclass(options[0]):
                for option in options:
                    walk(option, f"{path}{field}.")
            else:
                found.setdefault(path + field, _plain(options))

    walk(Cell, "")
    return found


def _at_least(key: str, value: float, bound: float) -> None:
    if value < bound:
        raise ConfigError(f"{key}: found {value!r}, expected at least {bound}")


def _between(key: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ConfigError(f"{key}: found {value!r}, expected {low} to {high}")


def _check_samples(train: int | None, test: int | None) -> None:
    for key, value in (("train_samples", train), ("test_samples", test)):
        if value is not None:
            _at_least(f"data.{key}", value, 1)


@functools.cache
def _fields(kind: Any) -> dict[str, Any]:
    return typing.get_type_hints(kind)


@functools.cache
def _options(hint: Any) -> tuple[Any, ...]:
    return typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)


def _plain(options: tuple[Any, ...]) -> type:
    first = options[0]
    if typing.get_origin(first) is Literal:
        return str
    return list if typing.get_origin(first) is tuple else typing.cast(type, first)


_Item = tuple[str, Any, Any]


def _kinds(value: Any) -> Any:
    """The type of a value, and of what a list holds: without it the cache below would take 1, 1.0 and True for one."""
    return (tuple, *map(type, value)) if isinstance(value, tuple) else type(value)


@functools.lru_cache(maxsize=65536)
def _section(kind: Any, path: str, items: tuple[_Item, ...]) -> Any:
    """Build the dataclass `kind` from sorted (path below this section, value, type of value) triples.

    Cached, because the cells of a grid share almost all of their sections: it is what lets 10,000 cells be checked in
    about a second.
    """
    fields = _fields(kind)
    groups: dict[str, list[_Item]] = {}
    for key, value, value_kind in items:
        head, _, rest = key.partition(".")
        if head not in fields:
            raise ConfigError(_unknown(path + key, [path + f for f in fields]))
        groups.setdefault(head, []).append((rest, value, value_kind))
    missing = [f for f in fields if f not in groups]
    if missing:
        raise ConfigError(f"{path}{missing[0]}: missing; a {kind.__name__} needs {', '.join(fields)}")
    return kind(**{head: _value(fields[head], path + head, group) for head, group in groups.items()})


def _value(hint: Any, path: str, group: list[_Item]) -> Any:
    options = _options(hint)
    if dataclasses.is_dataclass(options[0]):
        inner = {key: value for key, value, _ in group}
        if list(inner) == [""]:
            raise ConfigError(f"{path}: found {inner['']!r}, expected a section with keys of its own")
        return _section(_choose(options, path, inner.get("name")), path + ".", tuple(group))
    if group[0][0]:
        raise ConfigError(_unknown(f"{path}.{group[0][0]}", [path]))
    value = group[0][1]
    for option in options:
        fits, converted = _convert(option, value)
        if fits:
            return converted
    raise ConfigError(
        f"{path}: found {value!r} ({type(value).__name__}), expected {' or '.join(map(_describe, options))}"
    )


def _choose(options: tuple[Any, ...], path: str, name: Any) -> Any:
    if len(options) == 1:
        return options[0]
    by_name = {typing.get_args(_fields(option)["name"])[0]: option for option in options}
    if name not in by_name:
        raise ConfigError(f"{path}.name: found {name!r}, expected one of {', '.join(by_name)}")
    return by_name[name]


def _convert(option: Any, value: Any) -> tuple[bool, Any]:
    if option is type(None):
        return value is None, None
    origin = typing.get_origin(option)
    if origin is Literal:
        return value in typing.get_args(option), value
    if origin is tuple:
        kinds = typing.get_args(option)
        fits = isinstance(value, tuple) and len(value) == len(kinds)
        return fits and all(_convert(k, v)[0] for k, v in zip(kinds, value, strict=True)), value
    if option is float and isinstance(value, int) and not isinstance(value, bool):
        return True, float(value)
    return type(value) is option, value


def _describe(option: Any) -> str:
    if option is type(None):
        return "null"
    if typing.get_origin(option) is Literal:
        return "one of " + ", ".join(map(str, typing.get_args(option)))
    if typing.get_origin(option) is tuple:
        return f"a list of {len(typing.get_args(option))} {typing.get_args(option)[0].__name__}"
    return {int: "an integer", float: "a number", bool: "true or false", str: "a text"}[option]


def _unknown(key: str, known: list[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known here: {', '.join(known)}"
    return f"{key}: unknown key; {hint}"
