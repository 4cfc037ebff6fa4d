"""The logs of a sweep as DataFrames: `runs(folder)` and `curves(folder)`.

Reads parts, the compacted store and the plans, in whatever state the sweep is, also while jobs
write and a compaction runs. Never writes. How rows are chosen is in `analysis.fold`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from analysis.store.merge import SEEN, join, newest_curves, newest_runs
from analysis.store.parts import KEYS, StoreError, read_all, retrying

__all__ = ["StoreError", "curves", "runs"]

Folder = str | os.PathLike[str]


def runs(folder: Folder) -> pd.DataFrame:
    """One row per cell of the sweep, sorted by cell, with a default index.

    Columns are those of the run records (newest record of each cell) plus `attempts`. Cells that
    were planned but have no record yet come from the plans: their configuration, status "missing",
    attempts 0, all else empty. Raises StoreError if the folder is absent or holds neither records
    nor plans, or if a file is damaged.
    """
    root = existing(folder)
    recorded = retrying(lambda: read_runs(root))
    planned = _planned(root)
    if recorded is None and planned.empty:
        raise _empty(
            root,
            "run records or plans",
            "runs/*.parquet, store/manifest.json or submissions/*/plan.json",
        )
    if recorded is None:
        return planned.sort_values("cell", ignore_index=True)
    frame: pd.DataFrame = recorded.drop_columns([SEEN]).to_pandas()
    frame["cell"] = frame["cell"].astype("str")
    missing = planned[~planned["cell"].isin(frame["cell"])] if not planned.empty else planned
    if missing.empty:
        return frame
    frame["attempt"] = frame["attempt"].astype("Int16")  # nullable, since a missing cell has none
    both: pd.DataFrame = pd.concat([frame, missing], ignore_index=True)
    return both.sort_values("cell", ignore_index=True)


def curves(
    folder: Folder, columns: Sequence[str] | None = None, cells: Sequence[str] | None = None
) -> pd.DataFrame:
    """One row per cell and logged epoch and step, newest attempt, in that order, with a default
    index.

    Always has `cell` (categorical, categories sorted), `attempt` and `epoch`; `columns` names what
    else to read (default: everything) and `cells` limits the rows. An integer metric that some rows
    lack becomes float64 with NaN. Raises StoreError if nothing is logged yet or a file is damaged,
    ValueError if no file has one of `columns`.
    """
    root = existing(folder)
    table = retrying(lambda: read_curves(root, columns, cells))
    if table is None:
        raise _empty(root, "logged epochs", "curves/*.parquet or store/manifest.json")
    frame: pd.DataFrame = table.to_pandas()
    # sorted, so that equal rows are equal frames whatever files they came from
    frame["cell"] = frame["cell"].cat.set_categories(
        sorted(frame["cell"].cat.remove_unused_categories().cat.categories)
    )
    return frame


def read_runs(folder: Path) -> pa.Table | None:
    """Newest run record of every cell as an Arrow table with `attempts`; None without any record.
    May raise Moved.
    """
    tables = read_all(folder, "runs")
    return newest_runs(join(tables)) if tables else None


def read_curves(
    folder: Path, columns: Sequence[str] | None, cells: Sequence[str] | None
) -> pa.Table | None:
    """Newest curve rows as an Arrow table; None where the sweep has no curve file. May raise
    Moved.
    """
    wanted = None if columns is None else [*KEYS, *(c for c in columns if c not in KEYS)]
    tables = read_all(folder, "curves", None if wanted is None else [*wanted, "step"], cells)
    if not tables:
        return None
    table = newest_curves(join(tables))
    absent = sorted(set(wanted or ()) - set(table.schema.names))
    if absent:
        known = sorted(
            {name for part in read_all(folder, "curves", cells=[]) for name in part.schema.names}
        )
        raise ValueError(
            f"{folder}: no curve column {', '.join(absent)}; there are {', '.join(known)}"
        )
    return table if wanted is None else table.select(wanted)


def existing(folder: Folder) -> Path:
    """The folder as a Path; StoreError if it is not there."""
    root = Path(folder)
    if root.is_dir():
        return root
    found = "a file" if root.exists() else "nothing"
    siblings = (
        sorted(p.name for p in root.parent.iterdir() if p.is_dir()) if root.parent.is_dir() else []
    )
    there = f"; in {root.parent} there are: {', '.join(siblings[:20])}" if siblings else ""
    raise StoreError(f"{root}: found {found}, expected the log folder of a sweep, logs/NAME{there}")


def _empty(root: Path, what: str, expected: str) -> StoreError:
    """The error for a folder without the wanted files."""
    found = ", ".join(sorted(p.name for p in root.iterdir())[:12]) or "an empty folder"
    return StoreError(
        f"{root}: no {what}; found {found}; expected {expected}. Run `redescent submit "
        f"{root.name}`, or wait for the "
        "first epochs if jobs are queued (`redescent status`)"
    )


def _planned(folder: Path) -> pd.DataFrame:
    """Cells of all plans, one row each, as missing runs: cell, status, attempts and their
    configuration.
    """
    rows: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.glob("submissions/*/plan.json")):
        if not path.parent.name.startswith((".", "tmp")):
            rows.update((row["cell"], row) for row in _plan_rows(path))
    return pd.DataFrame(list(rows.values()))


def _plan_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The cells of one plan; StoreError if it is not a plan."""
    try:
        plan = json.loads(path.read_text())
        for cell in plan["cells"]:
            config = {**plan["bases"][cell["base"]], **cell["values"]}
            yield {"cell": cell["id"], "status": "missing", "attempts": 0, **config}
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise StoreError(
            f"{path}: not a plan ({type(error).__name__}: {error}); expected JSON with 'bases' and "
            "'cells'. "
            "Remove the submission's folder if it was interrupted, and submit again"
        ) from error
