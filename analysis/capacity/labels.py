"""Readable names of models, labels, inputs, optimisers and budgets, for legends and axes.

Pure functions of a row of the table of searches.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.figure.names import quantity

Row = Mapping[str, Any]
Label = Callable[[Row], str]

MODELS = {
    "mlp": "MLP",
    "convnet": "CNN",
    "cnn5": "CNN, 5 layers",
    "vit": "ViT",
    "resnet18": "ResNet-18",
}
DATA = {"cifar10": "CIFAR-10", "digits": "digits"}
CLASSES = {"cifar10": 10, "digits": 10}
INPUTS = {"real": "", "noise": "random inputs", "shuffled_pixels": "shuffled pixels"}
OPTIMISERS = {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW", "shampoo": "Shampoo", "soap": "SOAP"}
ACTIVATIONS = {
    "relu": "ReLU",
    "leaky_relu": "leaky ReLU",
    "tanh": "tanh",
    "sigmoid": "sigmoid",
    "gelu": "GELU",
    "silu": "SiLU",
    "identity": "identity",
}
SCALED = {
    "width": ("model.width",),
    "depth": ("model.blocks", "model.depth"),
    "resolution": ("data.downscale",),
}
"""What a model can have more of, and the keys that say how much it has."""

BASE = "base"
"""Name of the model that the others have grown from."""

RANDOM = "random labels"
CORRECT = "correct labels"


def value(row: Row, key: str, default: Any = None) -> Any:
    """The value of a key, the default where the row lacks it or it is null."""
    item = row.get(key)
    is_nan = isinstance(item, float) and math.isnan(item)
    return default if item is None or is_nan else item


def model(row: Row) -> str:
    """The architecture: "MLP"."""
    name = str(value(row, "model.name", "model"))
    return MODELS.get(name, name)


def data(row: Row) -> str:
    """The data set: "CIFAR-10", or the name of a table's file."""
    name = str(value(row, "data.name", "data"))
    if name == "table":
        return Path(str(value(row, "data.root", name))).stem
    return DATA.get(name, name)


def label_kind(row: Row) -> str:
    """ "random labels", "correct labels", or the share of wrong ones."""
    rate = float(value(row, "data.label_noise.rate", 0.0))
    kind = value(row, "data.label_noise.kind")
    if rate == 0:
        return CORRECT
    if rate == 1 and kind in ("random", "uniform"):
        return RANDOM
    return f"{100 * rate:g} % noisy labels"


def inputs(row: Row) -> str:
    """ "random inputs", "shuffled pixels", or nothing for the real ones."""
    return INPUTS[str(value(row, "data.inputs", "real"))]


def task(row: Row) -> str:
    """Labels and inputs: "random labels", "random inputs, random labels"."""
    parts = [part for part in (inputs(row), label_kind(row)) if part]
    return ", ".join(parts)


def optimiser(row: Row) -> str:
    """The optimiser, with "full batch" where a step takes all samples: "Adam", "full-batch GD"."""
    name = str(value(row, "optim.name", "optimiser"))
    if "trainer.batch_size" in row and value(row, "trainer.batch_size") is None:
        return "full-batch GD" if name == "sgd" else f"full-batch {OPTIMISERS.get(name, name)}"
    return OPTIMISERS.get(name, name)


def activation(row: Row) -> str:
    """The activation: "ReLU", also where a model has no such key."""
    name = str(value(row, "model.activation", "relu"))
    return ACTIVATIONS.get(name, name)


def budget(row: Row) -> str:
    """The budget of a training: "3,000 steps", "300 epochs, at least 20,000 steps"."""
    steps = value(row, "trainer.steps")
    if steps is not None:
        return quantity(round(steps), "step")
    epochs, least = value(row, "trainer.epochs", 0), value(row, "trainer.least_steps", 1)
    if epochs <= 1:
        return quantity(round(least), "step")
    shown = quantity(round(epochs), "epoch")
    return shown + (f", at least {least:,.0f} steps" if least > 1 else "")


def classes(row: Row) -> float:
    """Number of classes: of the random labels, else of the data; NaN where neither is known."""
    random = value(row, "data.label_noise.classes")
    whole = CLASSES.get(str(row.get("data.name")), float("nan"))
    return float(random if random is not None else value(row, "data.classes", whole))


def texts(table: pd.DataFrame, parts: Sequence[Label]) -> pd.Series:
    """A text for each row of the parts that differ among the rows; of the first if none does."""
    rows: list[dict[str, Any]] = table.to_dict("records")  # type: ignore[assignment]
    columns = []
    for part in parts:
        columns.append([part(row) for row in rows])
    different = [column for column in columns if len(set(column)) > 1] or columns[:1]
    joined = [", ".join(filter(None, values)) for values in zip(*different, strict=True)]
    return pd.Series(joined, index=table.index, dtype=object)


def depth(row: Row) -> str:
    """The hidden layers of an MLP in words, nothing for other models."""
    layers = value(row, "model.depth")
    if layers is None or row.get("model.name") != "mlp":
        return ""
    return quantity(round(layers), "hidden layer")


def each(table: pd.DataFrame, label: Label) -> pd.Series:
    """The label of each row."""
    rows: list[dict[str, Any]] = table.to_dict("records")  # type: ignore[assignment]
    return pd.Series([label(row) for row in rows], index=table.index, dtype=object)


def class_counts(table: pd.DataFrame) -> pd.Series:
    """`classes` of each row."""
    rows: list[dict[str, Any]] = table.to_dict("records")  # type: ignore[assignment]
    return pd.Series([classes(row) for row in rows], index=table.index, dtype="float64")


def scaled(table: pd.DataFrame) -> pd.Series:
    """What each model has more of than the smallest one: "width", "depth", "resolution", "all".

    The smallest is the "base". Two of the three are named together. Labels follow where they vary.
    """
    rows: list[dict[str, Any]] = table.to_dict("records")  # type: ignore[assignment]
    base = min(rows, key=lambda row: float(value(row, "parameters", float("inf"))))
    tasks = texts(table, [task])
    several = tasks.nunique() > 1
    names = []
    for row, labels in zip(rows, tasks, strict=True):
        grown = [name for name, keys in SCALED.items() if _differs(row, base, keys)]
        name = "all" if len(grown) == len(SCALED) else " and ".join(grown) or BASE
        names.append(f"{name}, {labels}" if several else name)
    return pd.Series(names, index=table.index, dtype=object)


def task_of_scaled(name: str) -> str:
    """The labels in a name of `scaled`; empty where they do not vary."""
    return name.partition(", ")[2]


def is_base(names: pd.Series) -> pd.Series:
    """Which names of `scaled` are those of the base."""
    return names.map(lambda name: name.partition(", ")[0] == BASE).astype(bool)


def _differs(row: Row, base: Row, keys: Sequence[str]) -> bool:
    """Whether one of the keys has another value than in the base."""
    return any(value(row, key) != value(base, key) for key in keys)
