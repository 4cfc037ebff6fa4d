"""The grid of a sweep as a page shows it: its axes, and the points at which only seeds differ.

Pure functions of the runs table.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.figure import query
from launch.plan.identity import short_id
from launch.report.searches import short_names
from launch.status.sweep_state import SweepState

Codes = NDArray[np.intp]

SEED = "seed"
OTHER_CELLS = ("trainer.of", "trainer.to", "trainer.start_of")
"""Keys that name trained cells, of which each has a seed and settings of its own."""

LONG_TEXT = 24
"""Characters of a value that is shown whole."""

SHORT_TEXT = 11
"""Characters that are shown of a longer value, such as the id of a cell."""

SMALL, LARGE = 0.01, 1e6
"""Sizes of numbers beyond which an axis is written in powers of ten."""

_CELL_ID = re.compile(r"c\d+-[0-9a-f]{32}")


@dataclass(frozen=True)
class Axis:
    """A key that varies."""

    key: str
    name: str
    """The key, or its last part if that is enough to tell it from the others."""
    values: Sequence[str]
    """Its values in increasing order, as text."""
    labels: Sequence[str]
    """A short label for each value."""


@dataclass(frozen=True)
class Grid:
    """Axes and points. Indices are those of the lists here."""

    axes: Sequence[Axis]
    """The keys that vary, without the seed."""
    seeds: Axis
    points: Sequence[Sequence[int]]
    """For each point the index of its value on each axis."""
    point_of_cell: Sequence[int]
    """(cells,) the index of each cell's point, in the order of the runs table."""
    seed_of_cell: Sequence[int]
    """(cells,) the index of each cell's seed, in the same order."""
    follows: Sequence[str]
    """Keys that vary too, but follow from the axes."""


def varying_settings(state: SweepState) -> list[str]:
    """The settings that tell the cells of a sweep apart, with the seed last."""
    runs = state.runs[state.runs["cell"].isin(set(state.cells))]
    varying = query.axes(runs)
    return sorted(varying, key=lambda key: (key == SEED, *_rank(key)))


def setting_text(value: Any) -> str:
    """The value of a setting as users write it; an id of a cell is cut, and a column with gaps is
    float.
    """
    if value is None or value is pd.NA:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return "null" if math.isnan(value) else f"{value:.6g}"
    text = str(value)
    return short_id(text) if _CELL_ID.fullmatch(text) else text


def grid_of(runs: pd.DataFrame) -> Grid:
    """The grid that the cells of a runs table, at least one, form."""
    varying = query.axes(runs)
    codes = {name: _codes(runs[name], values) for name, values in varying.items()}
    seed_values = query.sorted_values(runs, SEED) if SEED in runs else ["none"]
    seeds = codes.get(SEED, np.zeros(len(runs), np.intp))
    keys = independent_keys(codes, seeds)
    follows = [name for name in varying if name not in (*keys, SEED)]
    point_of_cell, points = _points([codes[key] for key in keys], len(runs))
    names = short_names(keys)
    axes = [_axis(key, name, varying[key]) for key, name in zip(keys, names, strict=True)]
    seed_axis = _axis(SEED, SEED, seed_values)
    return Grid(axes, seed_axis, points, point_of_cell.tolist(), seeds.tolist(), follows)


def _axis(key: str, name: str, values: Sequence[str]) -> Axis:
    return Axis(key, name, values, labels(values))


def _codes(column: pd.Series, values: Sequence[str]) -> Codes:
    """(cells,) the index of each cell's value among the values."""
    return pd.Index(values).get_indexer(pd.Index(query.as_text(column)))


def independent_keys(codes: Mapping[str, Codes], seeds: Codes) -> list[str]:
    """The keys that tell the cells apart beside their seeds, without those that follow from others.

    Names of models, data sets and the like come first: what belongs to one of them follows from it.
    Other kinds of seeds, and keys that name trained cells, come last. They are no axes if they
    follow from the other keys and the seed of the cell. Any other key is one, even if it changes
    with the seed: a mean over seeds is over nothing else.
    """
    order = sorted((key for key in codes if key != SEED), key=_rank)
    keys: list[str] = []
    groups = np.zeros(len(seeds), np.intp)
    for key in order:
        coarse = _refined(groups, seeds) if _has_seed(key) else groups
        if _refined(coarse, codes[key]).max() > coarse.max():
            keys.append(key)
            groups = _refined(groups, codes[key])
    return keys


def _refined(groups: Codes, codes: Codes) -> Codes:
    """(cells,) the groups of the cells that are equal in both."""
    numbers: Codes = pd.factorize(groups * (codes.max() + 1) + codes)[0]
    return numbers


def _rank(key: str) -> tuple[bool, bool, str]:
    return _has_seed(key), not key.endswith(".name"), key


def _has_seed(key: str) -> bool:
    """Whether the values of a key may differ by a seed alone."""
    return key.endswith(SEED) or key in OTHER_CELLS


def _points(codes: Sequence[Codes], cells: int) -> tuple[Codes, list[list[int]]]:
    """(cells,) the number of each cell's point, and the indices of each point, sorted."""
    if not codes:
        return np.zeros(cells, np.intp), [[]]
    table = np.stack(codes, axis=1)
    points, point_of_cell = np.unique(table, axis=0, return_inverse=True)
    return point_of_cell.reshape(-1), points.tolist()


def labels(values: Sequence[str]) -> list[str]:
    """Values as short texts: numbers with three digits, long texts cut, where they stay apart."""
    numbers = [number for number in map(_number, values) if number and math.isfinite(number)]
    is_wide = any(abs(number) < SMALL or abs(number) >= LARGE for number in numbers)
    short = [_short(value, is_wide) for value in values]
    return short if len(set(short)) == len(values) else list(values)


def _number(value: str) -> float | None:
    try:
        return float(value)
    except ValueError:
        return None


def _short(value: str, is_wide: bool) -> str:
    """One value; `is_wide` writes numbers as powers of ten, so that an axis has one form."""
    number = _number(value)
    if value == "null":
        return "none"
    if number is None:
        return value if len(value) <= LONG_TEXT else value[:SHORT_TEXT]
    if not is_wide or not number or not math.isfinite(number):
        return f"{number:.6g}"
    mantissa, exponent = f"{number:.2e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}"
