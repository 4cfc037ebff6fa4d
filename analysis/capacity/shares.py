"""Searches at another share of wrong answers than the one that they searched with."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from analysis.figure import names
from analysis.stats import threshold
from analysis.stats.threshold import Estimate, Settings
from analysis.store.searches import SHARES, at_share, estimate_columns, results_of

UNFINISHED = ("open", "held")
CENSORED = ("above", "below")
UNKNOWN = dict.fromkeys(("n50", "n50_low", "n50_high", "n50_bound"), math.nan)
"""The estimate of a search that left out the trainings that would show it."""


def searches_at(
    table: pd.DataFrame, trainings: pd.DataFrame, settings: Mapping[int, Settings], share: float
) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """The table and the trainings at a share of wrong answers, and notes on what it leaves out.

    table, trainings, settings: as in `selection.Selection`. Whether a search is finished does not
    depend on the share. A search that leaves out abandoned trainings, most of which would have
    failed, cannot show that n50 is beyond its range.
    """
    table, trainings = table.copy(), at_share(trainings, share)
    left_out = trainings[(trainings["abandoned"] == 1) & trainings["success"].isna()]
    without_n50 = 0
    for index in table.index:
        results = results_of(trainings[trainings["search"] == index])
        estimate = threshold.estimate(settings[index], results)
        values = estimate_columns(estimate)
        values["status"] = _status(str(table.loc[index, "status"]), estimate)
        if estimate.n50 is None and (left_out["search"] == index).any():
            values |= _without_n50(values)
            without_n50 += 1
        for column, value in values.items():
            table.loc[index, column] = value
    table["n50_per_parameter"] = table["n50"] / table["parameters"]
    return table, trainings, _left_out_text(share, len(left_out), without_n50)


def _status(before: str, estimate: Estimate) -> str:
    """The status of a search at another share, with `before` at its own."""
    if before in UNFINISHED:
        return before
    if estimate.bound is not None:
        return "above" if estimate.high is None else "below"
    if estimate.n50 is None:
        return "exhausted"  # no training has an outcome at this share
    return "ok" if before in CENSORED else before


def _without_n50(values: Mapping[str, Any]) -> dict[str, Any]:
    """What changes for a search whose n50 the abandoned trainings hide."""
    status = values["status"]
    return UNKNOWN | {"status": status if status in UNFINISHED else "exhausted"}


def _left_out_text(share: float, trainings: int, searches: int) -> list[str]:
    """A note on the abandoned trainings that have no outcome, and on the searches without n50."""
    if not trainings:
        return []
    abandoned = names.quantity(trainings, "abandoned training")
    text = (
        f"ε = {share:g} leaves {abandoned} out, whose error at the end of the budget is not known; "
        "most would have failed, so n50 is biased up"
    )
    if searches:
        hidden = names.quantity(searches, "search", "searches")
        text += f", and that of {hidden} is not known"
    return [f"{text}; train without `trainer.abandon` to know it"]


def columns_note(table: pd.DataFrame, trainings: pd.DataFrame) -> list[str]:
    """A note on the abandoned trainings that the columns of other shares leave out, if any do."""
    columns = [f"n50_{name}" for name in SHARES if f"n50_{name}" in table]
    columns = [column for column in columns if table[column].notna().any()]
    left_out = int(((trainings["abandoned"] == 1) & (trainings["fitted"] != 1)).sum())
    if not columns or not left_out:
        return []
    abandoned = names.quantity(left_out, "abandoned training")
    return [
        f"{', '.join(columns)}: without {abandoned}, whose error at the end of the budget is not "
        "known; most would have failed, so it is biased up; train without `trainer.abandon` to "
        "know it"
    ]
