"""What the terminal says below a figure of searches: what is censored, missing or irregular, and
the commands that complete it.

Pure functions of the tables of a selection. has_marks: whether the figure has arrows and hollow
marks, which the lines then name.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from analysis.capacity.shares import UNFINISHED
from analysis.figure.names import quantity
from analysis.figure.provenance import diverged_text, fill


def lines(
    table: pd.DataFrame, trainings: pd.DataFrame, folders: Sequence[str], has_marks: bool
) -> list[str]:
    """All lines on the searches of `table` and their trainings, from these log folders."""
    result = [*_censored(table, has_marks), *_wide(table, has_marks), *_irregular(table)]
    diverged = int((trainings["status"] == "nonfinite").sum())
    if diverged:
        result.append(f"{diverged_text(diverged)}; a search counts them as trainings that fail")
    unfinished = table["status"].isin(UNFINISHED)
    if unfinished.any():
        hollow = _hollow(table[unfinished], has_marks)
        are = "is" if unfinished.sum() == 1 else "are"
        result.append(f"{unfinished.sum()} of {_all(table)} {are} not finished{hollow}")
        result += [fill(folder) for folder in folders]
    return result


def _censored(table: pd.DataFrame, has_marks: bool) -> list[str]:
    """Lines on the searches whose n50 may lie beyond their range."""
    arrows = " (arrows)" if has_marks else ""
    result = []
    for side, words in (("above", "larger than"), ("below", "smaller than")):
        count = int((table["status"] == side).sum())
        if count:
            result.append(
                f"{count} of {len(table)} n50 may be {words} the range of the search{arrows}: they "
                "enter no line and no mean"
            )
    return result


def _wide(table: pd.DataFrame, has_marks: bool) -> list[str]:
    """Lines on the searches that ended with a wide interval."""
    wide = table[table["status"].isin(["most", "exhausted"]) & table["n50"].notna()]
    result = []
    if len(wide):
        result.append(
            f"{len(wide)} of {_all(table)} ended before their interval was narrow"
            f"{_hollow(wide, has_marks)}: raise `most` or the number of seeds, and submit again"
        )
    doubled = int((wide["doublings"] > 0).sum())
    if doubled:
        result.append(
            f"{doubled} of these trained failures again with a doubled budget, which tries no new "
            "values: search anew with that budget (budget_steps in the CSV)"
        )
    return result


def _irregular(table: pd.DataFrame) -> list[str]:
    """Lines on the searches with a hole or an island."""
    result = []
    for flag, words in (("hole", "a hole"), ("island", "an island")):
        count = int(table[flag].sum())
        if count:
            result.append(
                f"{count} of {_all(table)} with {words}: success does not change steadily "
                "along the axis, and the interval holds less than 90 %"
            )
    return result


def _all(table: pd.DataFrame) -> str:
    return quantity(len(table), "search", "searches")


def _hollow(searches: pd.DataFrame, has_marks: bool) -> str:
    """ " (hollow)" if one of these searches has an n50, which is drawn hollow."""
    return " (hollow)" if has_marks and searches["n50"].notna().any() else ""
