"""Readable names of optimiser settings, operations and label noise, for legends.

Pure functions of the runs table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from analysis.figure import query
from analysis.figure.names import quantity

Row = Mapping[Any, Any]
_ALONE = ("optim.name", "optim.weight_decay", "optim.decay_towards")  # the first words of a name
_ALGORITHMS = {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW"}
_TRAINER = (
    "trainer.batch_size",
    "trainer.at_most_half",
    "trainer.replacement",
    "trainer.weight_noise",
    "trainer.precision",
    "trainer.loss_precision",
)
_WRITTEN = {
    "x/y_if_y_odd_else_x-y": "x/y if y odd, else x−y",
    "x/y_or_0": "x/y, 0 if y = 0",
    "x*y": "x·y",
}
_NAMED: dict[str, Callable[[float], str]] = {
    "optim.lr": lambda v: f"lr {short(v)}",
    "trainer.batch_size": lambda v: _batch(v),
    "optim.update_noise": lambda v: _unless_zero("update noise", v),
    "model.dropout_attention": lambda v: _unless_zero("attention dropout", v),
    "model.dropout_residual": lambda v: _unless_zero("residual dropout", v),
    "model.dropout_hidden": lambda v: _unless_zero("hidden dropout", v),
    "trainer.weight_noise": lambda v: _unless_zero("weight noise", v),
}


def _batch(size: float) -> str:
    return "full batch" if pd.isna(size) else f"batch {short(size)}"


def _unless_zero(name: str, value: float) -> str:
    return f"{name} {short(value)}" if value else ""


def short(value: float) -> str:
    """A number as 0.01, 512 or 3e-4."""
    if value == 0 or abs(value) >= 0.01:
        return f"{value:g}"
    mantissa, exponent = f"{value:.2e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def setting_columns(runs: pd.DataFrame) -> list[str]:
    """The columns of an optimiser's setting that vary among the runs."""
    columns = []
    for name in query.axes(runs):
        if name.startswith(("optim.", "model.dropout_")) or name in _TRAINER:
            columns.append(name)
    return columns


def settings(runs: pd.DataFrame) -> pd.Series:
    """The name of each run's optimiser setting, such as "Adam, full batch, update noise 1".

    Adam or AdamW comes first, with the decay (weight decay 0 makes AdamW Adam). Of the columns that
    vary, a value is named where it is not that of most settings; noise and dropout of 0 never are.
    """
    columns = setting_columns(runs)
    key = query.points(runs, columns)
    different = runs.assign(key=key).drop_duplicates("key").set_index("key")
    texts = different[columns].apply(query.as_text)
    usual = {column: _majority_value(texts[column]) for column in columns}
    names: dict[str, str] = {}
    for k, row in different.to_dict("index").items():
        unusual = {c: row[c] for c in columns if texts.loc[str(k), c] != usual[c]}
        names[str(k)] = _setting(row, unusual)
    twice = pd.Series(names).duplicated(keep=False)
    for k in twice[twice].index:  # settings that differ in what their names leave out
        names[k] += " (" + ", ".join(f"{c}={different.loc[k, c]}" for c in columns) + ")"
    return key.map(names)


def _majority_value(texts: pd.Series) -> str | None:
    """The value that more than half have, None without one."""
    counts = texts.value_counts()
    return str(counts.index[0]) if counts.iloc[0] * 2 > counts.sum() else None


def _setting(row: Row, unusual: Row) -> str:
    """The name of one setting; `unusual`: the varying columns that are not as in most settings."""
    words = [_algorithm(row)]
    words += [name(unusual[column]) for column, name in _NAMED.items() if column in unusual]
    for column in [c for c in unusual if c not in (*_NAMED, *_ALONE)]:
        value = unusual[column]
        text = short(value) if isinstance(value, float) else str(value)
        words.append(f"{column.rpartition('.')[2].replace('_', ' ')} {text}")
    return ", ".join(word for word in words if word)


def _algorithm(row: Row) -> str:
    """The optimiser and its decay."""
    decay = row.get("optim.weight_decay") or 0.0
    optimiser = str(row.get("optim.name", "adamw"))
    name = _ALGORITHMS.get(optimiser, optimiser.rpartition(".")[2])  # it may be an import path
    if not decay:
        return "Adam" if optimiser == "adamw" else name
    kind = "L2" if optimiser in ("sgd", "adam") else "weight decay"
    towards = " towards init" if row.get("optim.decay_towards") == "init" else ""
    return f"{name}, {kind} {short(decay)}{towards}"


def operation(row: Row) -> str:
    """An operation as it is written, such as "x²+xy+y² mod 97" or "x·y·x⁻¹ in S5"."""
    name = str(row["data.operation"])
    if "." in name:
        return name.replace("**-1", "⁻¹").replace(".", "·") + f" in S{row['data.degree']:.0f}"
    powers = name.replace("**2", "²").replace("**3", "³").replace("*", "").replace("-", "−")
    return f"{_WRITTEN.get(name, powers)} mod {row['data.modulus']:.0f}"


def noise(row: Row) -> str:
    """The noise on the training labels, in words."""
    outliers, rate = row["data.outliers"], row["data.outlier_size"]
    words = [quantity(round(outliers), "outlier")] if outliers else []
    words += [f"{100 * rate:g} % redrawn labels"] if rate else []
    return " and ".join(words) or "no label noise"
