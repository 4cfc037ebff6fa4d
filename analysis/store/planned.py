"""The cells of a sweep's plans as a table, built column by column.

A plan stores a few configurations and what differs from them in each cell, so the columns of a
large sweep cost one value a cell only where its cells differ.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.store.errors import StoreError

Columns = dict[str, list[Any]]
PlanCell = Mapping[str, Any]


def planned_cells(folder: Path) -> pd.DataFrame:
    """One row per cell of all plans, with `cell` and its configuration; the newest plan wins.

    A key that the configuration of a cell lacks is NaN. Raises StoreError for a damaged plan.
    """
    columns: Columns = {"cell": []}
    for path in sorted(folder.glob("submissions/*/plan.json")):
        if not path.parent.name.startswith((".", "tmp")):
            _add_plan(columns, path)
    cells = pd.DataFrame(columns)
    return cells[~cells["cell"].duplicated(keep="last")]


def _add_plan(columns: Columns, path: Path) -> None:
    """Extend the columns by the cells of one plan; StoreError if it is not a plan."""
    try:
        plan = json.loads(path.read_text(encoding="utf-8"))
        later_rounds = sorted(path.parent.glob("inside/*.json"))  # cells that tasks added
        cells = plan["cells"]
        for file in later_rounds:
            cells += json.loads(file.read_text(encoding="utf-8"))
        _extend(columns, _columns_of(plan["bases"], cells))
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise StoreError(
            f"{path}: not a plan ({type(error).__name__}: {error}); expected JSON with 'bases' and "
            "'cells'. Remove the submission's folder if it was interrupted, and submit again"
        ) from error


def _columns_of(bases: Sequence[Mapping[str, Any]], cells: Sequence[PlanCell]) -> Columns:
    """Ids and configurations of one plan's cells."""
    base_of_cell = [cell["base"] for cell in cells]
    columns: Columns = {"cell": [cell["id"] for cell in cells]}
    for key in dict.fromkeys(key for base in bases for key in base):
        by_base = [base.get(key, np.nan) for base in bases]
        columns[key] = [by_base[base] for base in base_of_cell]
    for row, cell in enumerate(cells):
        for key, value in cell["values"].items():
            if key not in columns:
                columns[key] = [np.nan] * len(cells)
            columns[key][row] = value
    return columns


def _extend(columns: Columns, more: Columns) -> None:
    """Append the rows of `more`; NaN where either lacks a column."""
    rows, added = len(columns["cell"]), len(more["cell"])
    for key in dict.fromkeys([*columns, *more]):
        column = columns.setdefault(key, [np.nan] * rows)
        column += more.get(key, [np.nan] * added)
