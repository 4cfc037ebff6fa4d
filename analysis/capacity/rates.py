"""The learning rate of each point of a figure: that with the largest n50 of the searches that
differ in it alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from analysis import store
from analysis.figure import names, query

RATE = "optim.lr"


def choose_rates(
    table: pd.DataFrame, chooser: pd.DataFrame | None = None, folder: str = ""
) -> tuple[pd.DataFrame, list[str]]:
    """Of searches that differ in the learning rate alone the one with the largest n50.

    chooser: the searches that choose, of other seeds, from the log folder `folder`; None for those
    of the table. Adds `tuned_lr`. Returns the rows kept, and notes.
    """
    if RATE not in table.columns:
        return table.assign(tuned_lr=math.nan), []
    chosen_by = table if chooser is None else chooser
    settings = {*store.settings_of(table), *store.settings_of(chosen_by)} - {RATE}
    best = _best_rates(chosen_by, sorted(settings))
    keys = _points(table, sorted(settings))
    if chooser is not None:
        missing = set(keys) - set(best)
        _check_chooser(folder, len(missing), len(_cells(table) & _cells(chooser)))
    rates = query.as_text(table[RATE])
    kept = table[rates == keys.map(best)]
    kept = kept.assign(tuned_lr=kept[RATE])
    if len(kept) == len(table):
        return kept, []
    if chooser is not None:
        return kept, [f"learning rate of each point: the one with the largest n50 in {folder}"]
    return kept, [
        "learning rate of each point: the one with the largest n50, chosen on the trainings that "
        "measure it, which biases n50 up; search again with other seeds and choose with "
        "--rates-from"
    ]


def _check_chooser(folder: str, missing: int, shared: int) -> None:
    """FigureError if searches that choose lack some points, or share trainings with the figure."""
    if missing:
        raise query.FigureError(
            f"--rates-from {folder}: {names.quantity(missing, 'point')} without a search there; "
            "expected the same points, with other seeds"
        )
    if shared:
        raise query.FigureError(
            f"--rates-from {folder}: found {names.quantity(shared, 'training')} that this figure "
            "measures too, expected others, with other seeds"
        )


def _best_rates(table: pd.DataFrame, settings: Sequence[str]) -> dict[str, str]:
    """For each point of these settings, the learning rate with the largest n50, as text."""
    size = table["n50"].fillna(table["n50_bound"]).fillna(-1.0)
    size = size.mask(table["status"] == "above", np.inf)
    order = table.assign(point=_points(table, settings), size=size)
    best = order.sort_values("size", kind="stable").drop_duplicates("point", keep="last")
    return dict(zip(best["point"], query.as_text(best[RATE]), strict=True))


def _points(table: pd.DataFrame, settings: Sequence[str]) -> pd.Series:
    """These settings as one text a row; one that the table lacks is null."""
    return query.points(table.reindex(columns=list(settings)), settings)


def _cells(table: pd.DataFrame) -> set[str]:
    """The cells of all searches."""
    return {cell for cells in table["cells"] for cell in cells}
