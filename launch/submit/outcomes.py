"""Which cells succeeded, by the condition of a search on the runs table. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from launch.errors import UserError
from launch.plan.outcome import FINAL
from launch.sweep.condition import Condition, UnknownKey, condition, names


def outcomes(success: str, runs: pd.DataFrame) -> dict[str, bool]:
    """Whether each cell with a result succeeded, by cell id.

    A nonfinite cell failed. A cell has no outcome if the condition needs a value that its row
    lacks. Raises UserError for a condition that names no column of the table.
    """
    if runs.empty:
        return {}
    final = runs[runs["status"].isin(FINAL)]
    if final.empty:
        return {}
    keys = names(success)
    check_columns(success, runs)
    meets = condition(success)
    columns = list(dict.fromkeys(["cell", "status", *keys]))
    by_cell = {}
    for row in final[columns].to_dict("records"):
        outcome = _outcome(meets, {str(key): value for key, value in row.items()})
        if outcome is not None:
            by_cell[str(row["cell"])] = outcome
    return by_cell


def _outcome(meets: Condition, row: Mapping[str, Any]) -> bool | None:
    """Whether the cell of a row succeeded; None if the row lacks a value that decides it."""
    if row["status"] == "nonfinite":
        return False
    values = {key: value for key, value in row.items() if not _is_null(value)}
    try:
        return bool(meets(values))
    except UnknownKey:
        return None


def _is_null(value: Any) -> bool:
    return bool(pd.api.types.is_scalar(value) and pd.isna(value))


def unknown_columns(success: str, runs: pd.DataFrame) -> list[str]:
    """The names in a condition that are no columns of the runs table; none before any result."""
    if runs.empty or not runs["status"].isin(FINAL).any():
        return []
    return [key for key in names(success) if key not in runs]


def check_columns(success: str, runs: pd.DataFrame) -> None:
    """Raise UserError for a condition with a name that is no column of the runs table."""
    unknown = unknown_columns(success, runs)
    if unknown:
        columns = [str(name) for name in runs if "." not in str(name)]
        raise UserError(
            f"search.success {success!r}: the runs table has no column {unknown[0]!r}; expected a "
            f"configuration key or one of {', '.join(columns)}. Correct it and submit again: "
            "the trainings so far count"
        )
