"""Keys that records of earlier versions lack, with the value that they had then.

A key that was added to a kind of model, data set or trainer after results of it existed has one
value that means "as before". Results of both versions are one experiment, so the tables show that
value in the rows of the earlier one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

AS_BEFORE: Mapping[tuple[str, str], Mapping[str, Any]] = {
    ("model", "mlp"): {"activation": "relu"},
    ("model", "transformer"): {"final_norm": "auto", "attention_init": "auto"},
    ("data", "cifar10"): {"inputs": "real", "label_noise.count": "floor"},
    ("data", "digits"): {"inputs": "real", "label_noise.count": "floor"},
    ("trainer", "vision"): {
        "least_steps": 1,
        "rows": "every",
        "stop_at_fit": False,
        "fit_trigger": 0.02,
        "minimum_check": False,
    },
}
"""(section, kind) -> {key below the section: value}. Keys whose value was null need no entry."""


def fill_in(flat: Mapping[str, Any]) -> dict[str, Any]:
    """A flat configuration with the keys that it lacks."""
    values = {}
    for (section, kind), keys in AS_BEFORE.items():
        if flat.get(f"{section}.name") == kind:
            for key, value in keys.items():
                values[f"{section}.{key}"] = value
    return {**values, **flat}


def fill_in_table(rows: pd.DataFrame) -> pd.DataFrame:
    """A table of configurations, one in a row, with the values that its rows lack."""
    filled: dict[str, pd.Series] = {}
    for (section, kind), keys in AS_BEFORE.items():
        name = f"{section}.name"
        if name not in rows:
            continue
        is_kind = (rows[name] == kind).to_numpy(bool, na_value=False)
        for key, value in keys.items():
            column = f"{section}.{key}"
            values = filled.get(column, rows.get(column))
            if values is None:
                values = pd.Series(None, index=rows.index, dtype=object)
            lacks = is_kind & values.isna().to_numpy()
            if lacks.any():
                filled[column] = values.astype(object).mask(lacks, value).infer_objects()
    return rows.assign(**filled) if filled else rows
