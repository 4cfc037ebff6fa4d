"""Keys added to a kind of model, data set, optimiser or trainer after results of it existed.

Each key has one value that means "as before". While the key has that value, it is not part of a
cell's id. If a plan or record lacks the key, the reader fills in that value, so results stay valid
across versions. Keys are listed by kind, not by flat name: the activation of a transformer has
always been part of its id. Standard library only: launch/plan reads this inside jobs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LATER_KEYS: Mapping[tuple[str, str], Any] = {
    ("mlp", "activation"): "relu",
    ("transformer", "final_norm"): "auto",
    ("transformer", "attention_init"): "auto",
    ("cifar10", "inputs"): "real",
    ("cifar10", "sample_seed"): None,
    ("cifar10", "label_noise.classes"): None,
    ("cifar10", "label_noise.count"): "floor",
    ("digits", "inputs"): "real",
    ("digits", "sample_seed"): None,
    ("digits", "label_noise.classes"): None,
    ("digits", "label_noise.count"): "floor",
    ("vision", "least_steps"): 1,
    ("vision", "rows"): "every",
    ("vision", "stop_at_fit"): False,
    ("vision", "fit_trigger"): 0.02,
    ("vision", "abandon"): None,
    ("vision", "minimum_check"): False,
    ("vision", "weights_at"): None,
    ("vision", "step_rows_per_decade"): None,
    ("vision", "recalibrate"): None,
    ("algorithmic", "weights_at"): None,
}
"""(kind, key below the kind's section) -> the value that means "as before". An entry is never
changed and never removed.
"""

SECTIONS = ("model", "data", "optim", "trainer")


def as_before(flat: Mapping[str, Any]) -> dict[str, Any]:
    """The later keys of the kinds that a flat configuration names, by flat key."""
    values = {}
    for section in SECTIONS:
        kind = flat.get(f"{section}.name")
        if kind is None:  # a grid of 300,000 cells comes here with one section at a time
            continue
        for (owner, key), value in LATER_KEYS.items():
            if owner == kind:
                values[f"{section}.{key}"] = value
    return values


def fill_in(flat: Mapping[str, Any]) -> dict[str, Any]:
    """`flat` with missing later keys set to the values that mean "as before"."""
    return {**as_before(flat), **flat}


def leave_out(flat: Mapping[str, Any]) -> dict[str, Any]:
    """`flat` without the later keys whose value means "as before"."""
    before = as_before(flat)
    kept = {}
    for key, value in flat.items():
        if key not in before or not same(value, before[key]):
            kept[key] = value
    return kept


def same(value: Any, other: Any) -> bool:
    """Equal and of one type: 1, 1.0 and True are equal in Python, and give different ids."""
    return type(value) is type(other) and bool(value == other)
