"""Names of trained cells, axes and settings as figures show them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from analysis.figure import names, query

NAMES: Mapping[str, str] = {
    "trainer.poison.samples": "poison samples",
    "trainer.poison.share": "share of poison",
    "trainer.poison.kind": "poison",
    "trainer.poison.weight": "weight of the poison",
    "trainer.epochs": "epochs",
    "trainer.batch_size": "batch size",
    "optim.weight_decay": "weight decay",
    "optim.name": "optimiser",
    "optim.lr": "learning rate",
    "optim.schedule.at": "milestones",
    "model.width": "width",
    "model.name": "model",
    "data.train_samples": "training samples",
    "data.inner": "inner points",
    "data.gap": "gap",
}
ONLY = "trained cell"
"""The name of cells that differ in nothing but the seed."""

WITHOUT_BATCH_NORM = ("fully_connected", "mlp", "quadratic", "transformer", "vit")
POISON = ("trainer.poison.samples", "trainer.poison.share")
KINDS = {"not_label": "", "wrong_label": ", wrong labels", "label": ", true labels"}


def axis(column: str) -> str:
    """The name of an axis of the trained sweep."""
    return NAMES.get(column) or names.name(column)


def telling(cells: pd.DataFrame, axes: Sequence[str]) -> tuple[str, ...]:
    """The axes that tell the cells apart, without those whose value the other ones decide, as a
    preset decides many. Of two that decide each other, poison is kept, or else the earlier column.
    """
    texts = pd.DataFrame({axis: query.as_text(cells[axis]) for axis in axes})
    kept = sorted(axes, key=lambda axis: axis not in POISON)
    count = len(texts.drop_duplicates())
    for axis in reversed(tuple(kept)):
        other_axes = [other for other in kept if other != axis]
        if other_axes and len(texts[other_axes].drop_duplicates()) == count:
            kept = other_axes
    return tuple(axis for axis in axes if axis in kept)


def point(row: Mapping[Any, Any], axes: Sequence[str]) -> str:
    """What tells a trained cell from the others: the values of these columns, in words."""
    texts = []
    for column in axes:
        value = plain(row.get(column))
        if column in POISON:
            texts.append(_poison(row, column, value))
        elif column != "trainer.poison.kind" or not set(POISON) & set(axes):
            texts.append(f"{axis(column)} {text(value)}")
    return ", ".join(texts) or ONLY


def title(label: str, second: str, between: str = "\n") -> str:
    """The two parts of a panel's title; the second alone if nothing tells the cells apart."""
    return second if label == ONLY else f"{label}{between}{second}"


def _poison(row: Mapping[Any, Any], column: str, value: Any) -> str:
    """A level of poison: "natural" without any."""
    if not value:
        return "natural"
    kind = KINDS.get(str(row.get("trainer.poison.kind")), "")
    if column == POISON[0]:
        return f"{text(value)} poison{kind}"
    return f"{100 * float(value):g} % poison{kind}"


def text(value: Any) -> str:
    """A value for a label; null for none."""
    if value is None:
        return "null"
    if isinstance(value, list):
        return f"[{', '.join(text(item) for item in value)}]"
    if isinstance(value, float) and not isinstance(value, bool):
        return f"{value:g}"
    return str(value)


def has_batch_norm(row: Mapping[Any, Any]) -> bool:
    """Whether the model of a trained cell has batch norm; true for models of your own."""
    if row.get("model.name") == "convnet":
        return row.get("model.norm") == "batch"
    return row.get("model.name") not in WITHOUT_BATCH_NORM


def plain(value: Any) -> Any:
    """A value of a table as JSON has it; whole numbers of float columns are integers."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, np.ndarray):
        return value.tolist()
    if value is None or value is pd.NA or value != value:
        return None
    return int(value) if isinstance(value, float) and value.is_integer() else value


def test_accuracy(share: float) -> str:
    """A test accuracy from 0 to 1 in words; data such as rings have none."""
    return f"test accuracy {100 * share:.1f} %" if pd.notna(share) else "no test set"
