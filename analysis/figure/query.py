"""Choosing the runs of a figure: `--where` filters, and a check that no other axis varies.

Pure functions of the runs table of `analysis.store`. Configuration columns are "seed" and all names
with a dot.
"""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis import store
from analysis.figure.names import quantity
from analysis.stats import condition as grammar

_SCRIPTS = "Another script may suit these runs: the page 'Figures' of the documentation lists them"


class FigureError(ValueError):
    """A figure that cannot be drawn; the message says what was found and what to choose."""


def one_line(error: FigureError) -> str:
    """The lines of an error in one, for a note."""
    lines = [line.strip() for line in str(error).splitlines()]
    text = lines[0]
    for line in lines[1:]:
        text += f" {line}" if text.endswith(":") else f"; {line}"
    return text


def as_text(values: pd.Series) -> pd.Series:
    """Values as texts that can be compared and counted: equal numbers are one text."""
    try:
        codes, distinct = pd.factorize(values, use_na_sentinel=False)
    except TypeError:  # lists are not hashable
        return values.map(_text)
    texts = np.array([_text(value) for value in distinct], dtype=object)
    return pd.Series(texts[codes], index=values.index)


def _text(value: object) -> str:
    """One value as text; 64, 64.0 and "64" are the same, None and NaN, a list and an array too."""
    if isinstance(value, list | tuple | np.ndarray):
        return f"[{', '.join(_text(item) for item in value)}]"
    if value is None or value is pd.NA:
        return "null"
    if isinstance(value, bool | np.bool_):
        return str(value).lower()
    if isinstance(value, int | np.integer):
        return str(int(value))
    if isinstance(value, str) and "_" in value:  # Python would read 1_0 as 10
        return value
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return str(value)
    if isinstance(value, str) and not math.isfinite(number):  # a name, such as nan or inf
        return value
    if number.is_integer() and abs(number) < 2**53:
        return str(int(number))
    return "null" if math.isnan(number) else f"{number:.15g}"


def axes(runs: pd.DataFrame) -> dict[str, list[str]]:
    """Configuration columns with more than one value among the runs, and their sorted values."""
    columns = {name: sorted_values(runs, name) for name in store.settings_of(runs)}
    return {name: values for name, values in columns.items() if len(values) > 1}


def sorted_values(runs: pd.DataFrame, column: str) -> list[str]:
    """The distinct values of a column as text, numbers by value."""
    return sorted(set(as_text(runs[column])), key=_numerically)


def sort(runs: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """The runs in the order of these columns, with a new index: numbers by value, before words and
    lists.
    """
    places = {}
    for column in columns:
        place = {text: number for number, text in enumerate(sorted_values(runs, column))}
        places[column] = as_text(runs[column]).map(place)
    order = pd.DataFrame(places).sort_values(list(columns), kind="stable").index
    return runs.loc[order].reset_index(drop=True)


def _numerically(text: str) -> tuple[float, str]:
    """Sort key: numbers by value, before words."""
    try:
        number = float(text)
    except ValueError:
        number = math.inf
    return (math.inf if math.isnan(number) else number), text


def listing(columns: dict[str, list[str]]) -> str:
    """Axes and their values as lines for a message; long lists are cut."""
    lines = []
    for name, values in columns.items():
        rest = f", ... ({len(values)} values)" if len(values) > 12 else ""
        lines.append(f"  {name}: {', '.join(values[:12])}{rest}")
    return "\n".join(lines) or "  (none)"


def where(runs: pd.DataFrame, conditions: Sequence[str]) -> pd.DataFrame:
    """The runs that meet all conditions (`store.where`), such as "column=value".

    Raises FigureError for a condition that is not understood, an unknown column, or a choice that
    leaves no run, with the known values.
    """
    for condition in conditions:
        try:
            selected = store.where(runs, condition)
        except grammar.UnknownKey:
            unknown = [name for name in grammar.names(condition) if name not in runs.columns]
            raise FigureError(
                f"--where {condition}: no column {unknown[0]!r} in the runs; the sweep's axes are\n"
                f"{listing(axes(runs))}"
            ) from None
        except grammar.ConditionError as error:
            raise FigureError(
                f"--where {condition}: {error}; the sweep's axes are\n{listing(axes(runs))}"
            ) from None
        if selected.empty:
            values = {name: sorted_values(runs, name) for name in grammar.names(condition)}
            raise FigureError(f"--where {condition}: no run left; there are\n{listing(values)}")
        runs = selected
    return runs


def equality(column: str, text: str) -> str:
    """The condition that a column has a value, given as `as_text` has it, for a shell."""
    condition = f"{column}={text}"
    value = {column: store.plain(text)}
    try:
        is_understood = grammar.condition(condition)(value)
    except grammar.ConditionError:
        is_understood = False
    return shlex.quote(condition if is_understood else f"{column} == {json.dumps(text)}")


def numbers(runs: pd.DataFrame, column: str) -> pd.Series:
    """A column as float64; NaN throughout where no record has it yet."""
    if column not in runs.columns:
        return pd.Series(np.nan, index=runs.index)
    return pd.to_numeric(runs[column], errors="coerce").astype("float64")


def numeric(runs: pd.DataFrame, column: str) -> pd.DataFrame:
    """The runs with a non-negative number in `column`, as float64; FigureError without any."""
    if column not in runs.columns:
        raise FigureError(
            f"no column {column!r} in the runs; the sweep's axes are\n{listing(axes(runs))}"
        )
    values = pd.to_numeric(runs[column], errors="coerce").astype("float64")
    if not (values >= 0).any():
        raise FigureError(
            f"{column}: no number >= 0 in {quantity(len(runs), 'run')}; "
            f"found {', '.join(sorted_values(runs, column))}. {_SCRIPTS}"
        )
    return runs.assign(**{column: values})[values >= 0]


def with_number(
    runs: pd.DataFrame, column: str, noun: str = "run", plural: str | None = None
) -> tuple[pd.DataFrame, list[str]]:
    """The runs of `numeric`, and a note on those that it leaves out; noun: what a row is."""
    chosen = numeric(runs, column)
    left_out = len(runs) - len(chosen)
    if not left_out:
        return chosen, []
    count, verb = quantity(left_out, noun, plural), "is" if left_out == 1 else "are"
    return chosen, [f"{count} without a number >= 0 in {column} {verb} left out"]


def check_axes(runs: pd.DataFrame, *columns: str) -> list[str]:
    """Notes on axes that change together with `columns`; FigureError if another axis varies.

    Averaging over an axis beside these and seed that varies at one point of them would draw
    something that is no run's mean over seeds.
    """
    crossed, together = split_axes(runs, columns, ignored=("seed",))
    axis_names = " and ".join([*columns, "seed"])
    if crossed:
        name, values = next(iter(crossed.items()))
        texts = as_text(runs[name]).tolist()
        value = max(values, key=texts.count)
        raise FigureError(
            f"the runs vary in more than {axis_names}:\n{listing(crossed)}\n"
            f"choose one value of each, for example --where {equality(name, value)}"
            f"{_other_script(runs, columns)}"
        )
    _check_seeds(runs, points(runs, columns), axis_names)
    names = " and ".join(columns)
    return [
        f"{name} changes together with {names}: {', '.join(values)}"
        for name, values in together.items()
    ]


def split_axes(
    table: pd.DataFrame, drawn: Sequence[str], ignored: Sequence[str] = ()
) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """The axes beside the drawn and the ignored ones, with their values: those that vary at one
    point of the drawn ones, and those that change together with them.
    """
    groups = points(table, drawn)
    crossed: dict[str, list[str]] = {}
    together: dict[str, list[str]] = {}
    for name, values in axes(table).items():
        if name in (*drawn, *ignored):
            continue
        if as_text(table[name]).groupby(groups).nunique().max() > 1:
            crossed[name] = values
        else:
            together[name] = values
    return crossed, together


def _other_script(runs: pd.DataFrame, columns: Sequence[str]) -> str:
    """A line for a sweep that varies none of the columns that a script draws over; else empty."""
    if not columns or any(column in axes(runs) for column in columns):
        return ""
    names = " and ".join(columns)
    return f"\nnothing varies in {names} here, over which this script draws. {_SCRIPTS}"


def _check_seeds(runs: pd.DataFrame, groups: pd.Series, axis_names: str) -> None:
    """FigureError if a seed occurs twice at one point."""
    if "seed" not in runs.columns:
        return
    rows = pd.DataFrame({"group": groups, "seed": as_text(runs["seed"])})
    twice = rows.duplicated(keep=False)
    if twice.any():
        ids = ", ".join(runs.loc[twice, "cell"].astype(str).head(4))
        raise FigureError(
            f"{int(twice.sum())} cells share their {axis_names} ({ids}, ...) and "
            "differ in nothing that their records show; they come from different schemes or "
            "code: keep one kind in the folder"
        )


def points(runs: pd.DataFrame, columns: Sequence[str]) -> pd.Series:
    """The values of several columns as one text for each run, to compare and group by."""
    texts = [as_text(runs[column]).astype(str) for column in columns]
    keys: list[str] | str = ""
    if texts:
        keys = [json.dumps(values) for values in zip(*texts, strict=True)]
    return pd.Series(keys, index=runs.index)
