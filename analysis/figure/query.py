"""Choosing the runs of a figure: `--where` filters, and a check that no other axis hides behind the
one drawn.

Pure functions of the runs table of `analysis.store`. Configuration columns are "seed" and all names
with a dot.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pandas as pd

# these say where a run was done and never what it is; two cells may differ in them and still be one
# point of a figure
PLACES = ("run.", "data.root", "data.cache", "data.download")


class FigureError(ValueError):
    """A figure that cannot be drawn from what was asked; the message says what there is and what to
    ask.
    """


def configuration(runs: pd.DataFrame) -> list[str]:
    """Names of the configuration columns that say what a run is."""
    return [c for c in runs.columns if c == "seed" or ("." in c and not c.startswith(PLACES))]


def as_text(values: pd.Series) -> pd.Series:
    """Values in a form that can be compared and counted: numbers of one value become one text,
    lists become text.
    """
    try:
        codes, different = pd.factorize(values, use_na_sentinel=False)
    except TypeError:  # lists are not hashable
        return values.map(_text)
    texts = np.array([_text(value) for value in different], dtype=object)
    return pd.Series(texts[codes], index=values.index)


def _text(value: object) -> str:
    """One value as text; 64, 64.0 and "64" are the same, so are None and NaN, and a list and an
    array of its items.
    """
    if isinstance(value, list | tuple | np.ndarray):
        return f"[{', '.join(_text(item) for item in value)}]"
    if isinstance(value, bool | np.bool_):
        return str(value).lower()
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return str(value) if value is not None and value is not pd.NA else "null"
    return "null" if number != number else f"{number:.15g}"


def axes(runs: pd.DataFrame) -> dict[str, list[str]]:
    """Configuration columns with more than one value among the runs, and their values as text, in
    order.
    """
    found = {c: sorted(set(as_text(runs[c])), key=_numerically) for c in configuration(runs)}
    return {name: values for name, values in found.items() if len(values) > 1}


def _numerically(text: str) -> tuple[float, str]:
    """Sort key: numbers by value, before words."""
    try:
        return float(text), text
    except ValueError:
        return float("inf"), text


def listing(found: dict[str, list[str]]) -> str:
    """Axes and their values as lines for a message; long lists are cut."""
    lines = [
        f"  {name}: {', '.join(v[:12])}{f', ... ({len(v)} values)' if len(v) > 12 else ''}"
        for name, v in found.items()
    ]
    return "\n".join(lines) or "  (none)"


def where(runs: pd.DataFrame, conditions: Sequence[str]) -> pd.DataFrame:
    """The runs that meet all conditions, each "column=value" ("column=a,b" for either).

    Raises FigureError for a column that is not there or a choice that leaves no run, with the
    values that there are.
    """
    for condition in conditions:
        name, equals, wanted = condition.partition("=")
        if not equals or name not in runs.columns:
            fault = f"no column {name!r} in the runs" if equals else "expected COLUMN=VALUE"
            raise FigureError(
                f"--where {condition}: {fault}; the sweep's axes are\n{listing(axes(runs))}"
            )
        options = {_text(_parsed(w)) for w in wanted.split(",")}
        chosen = runs[as_text(runs[name]).isin(options)]
        if chosen.empty:
            values = {name: sorted(set(as_text(runs[name])), key=_numerically)}
            raise FigureError(f"--where {condition}: no run left; there are\n{listing(values)}")
        runs = chosen
    return runs


def _parsed(text: str) -> object:
    """The value that a condition names, read as JSON where it is JSON."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def numeric(runs: pd.DataFrame, column: str) -> pd.DataFrame:
    """The runs that have a non-negative number in `column`, which becomes float64; FigureError if
    there is none.
    """
    if column not in runs.columns:
        raise FigureError(
            f"no column {column!r} in the runs; the sweep's axes are\n{listing(axes(runs))}"
        )
    values = pd.to_numeric(runs[column], errors="coerce").astype("float64")
    if not (values >= 0).any():
        raise FigureError(
            f"{column}: no number >= 0 in {len(runs)} runs; found "
            f"{', '.join(sorted(set(as_text(runs[column]))))}"
        )
    return runs.assign(**{column: values})[values >= 0]


def check_axes(runs: pd.DataFrame, *columns: str) -> list[str]:
    """Notes on axes that change together with `columns`; FigureError if an axis beside these and
    seed varies at one point of them.

    Averaging over such an axis would draw something that is no run's mean over seeds.
    """
    varying = {
        name: values for name, values in axes(runs).items() if name not in (*columns, "seed")
    }
    groups = points(runs, columns)
    crossed = {
        n: v for n, v in varying.items() if as_text(runs[n]).groupby(groups).nunique().max() > 1
    }
    drawn = " and ".join([*columns, "seed"])
    if crossed:
        name, values = next(iter(crossed.items()))
        raise FigureError(
            f"the runs vary in more than {drawn}:\n{listing(crossed)}\nchoose one value of each, "
            "for example "
            f"--where {name}={values[0]}"
        )
    seeds = as_text(runs["seed"]) if "seed" in runs.columns else pd.Series("none", index=runs.index)
    twice = pd.DataFrame({"group": groups, "seed": seeds}).duplicated(keep=False)
    if "seed" in runs.columns and twice.any():
        ids = ", ".join(runs.loc[twice, "cell"].astype(str).head(4))
        raise FigureError(
            f"{int(twice.sum())} cells share their {drawn} ({ids}, ...) and differ in nothing that "
            "their "
            "records show; they come from different schemes or code: keep one kind in the folder"
        )
    together = " and ".join(columns)
    return [
        f"{name} changes together with {together}: {', '.join(values)}"
        for name, values in varying.items()
    ]


def points(runs: pd.DataFrame, columns: Sequence[str]) -> pd.Series:
    """The values of several columns as one text for each run, which can be compared and grouped
    by.
    """
    texts = [as_text(runs[column]).astype(str) for column in columns]
    return pd.Series(
        [json.dumps(values) for values in zip(*texts, strict=True)] if texts else "",
        index=runs.index,
    )
