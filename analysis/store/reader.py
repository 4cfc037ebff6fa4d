"""The logs of a sweep: `runs(folder)` and `curves(folder)` as DataFrames, `records` of one cell.

Reads parts, the compacted store and the plans, in whatever state the sweep is, also while jobs
write and a compaction runs. Never writes. Which rows are the newest is decided in `merge`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from analysis.store.merge import ATTEMPTS_SEEN, concatenate, newest_curves, newest_runs
from analysis.store.parts import KEYS, NothingLogged, StoreError, read_all, retrying

Folder = str | os.PathLike[str]


def runs(folder: Folder) -> pd.DataFrame:
    """One row per cell of the sweep, sorted by cell, with a default index.

    Columns are those of the run records (newest record of each cell) plus `attempts`. Cells that
    were planned but have no record yet come from the plans: their configuration, status "missing",
    attempts 0, all else empty. Raises StoreError if the folder is absent or holds neither records
    nor plans, or if a file is damaged.
    """
    root = log_folder(folder)
    recorded = retrying(lambda: read_runs(root))
    planned_cells = _planned_cells(root)
    if recorded is None and planned_cells.empty:
        files = "runs/*.parquet, store/manifest.json or submissions/*/plan.json"
        raise _empty(root, "run records or plans", files)
    if recorded is None:
        return planned_cells.sort_values("cell", ignore_index=True)
    frame: pd.DataFrame = recorded.drop_columns([ATTEMPTS_SEEN]).to_pandas()
    frame["cell"] = frame["cell"].astype("str")
    return _with_missing(frame, planned_cells)


def _with_missing(recorded: pd.DataFrame, planned_cells: pd.DataFrame) -> pd.DataFrame:
    """The runs table with a row for every planned cell without a record."""
    if planned_cells.empty:
        return recorded
    missing = planned_cells[~planned_cells["cell"].isin(recorded["cell"])]
    if missing.empty:
        return recorded
    recorded["attempt"] = recorded["attempt"].astype("Int16")  # nullable: a missing cell has none
    rows: pd.DataFrame = pd.concat([recorded, missing], ignore_index=True)
    return rows.sort_values("cell", ignore_index=True)


def records(folder: Folder, cell: str) -> list[dict[str, Any]]:
    """The newest record of each attempt at a cell, oldest attempt first; empty without any.

    Keys are the columns of the run records. An attempt whose record a compaction has merged into a
    newer one has none.
    """
    root = log_folder(folder)
    tables = retrying(lambda: read_all(root, "runs", cells=[cell]))
    if not tables:
        return []
    rows = concatenate(tables).to_pylist()
    rows.sort(key=lambda row: row.get("updated") or 0.0)
    newest = {row["attempt"]: row for row in rows}
    return [newest[attempt] for attempt in sorted(newest)]


def curves(
    folder: Folder, columns: Sequence[str] | None = None, cells: Sequence[str] | None = None
) -> pd.DataFrame:
    """One row per cell, logged epoch and step, in that order, of the newest attempt.

    The index is the default one. Always has `cell` (categorical, categories sorted), `attempt` and
    `epoch`; `columns` names what else to read (default: everything) and `cells` limits the rows. An
    integer metric that some rows lack becomes float64 with NaN. Raises StoreError if nothing is
    logged yet or a file is damaged, ValueError if no file has one of `columns`.
    """
    root = log_folder(folder)
    table = retrying(lambda: read_curves(root, columns, cells))
    if table is None:
        raise _empty(root, "logged epochs", "curves/*.parquet or store/manifest.json")
    frame: pd.DataFrame = table.to_pandas()
    # sorted, so that equal rows are equal frames whatever files they came from
    categories = frame["cell"].cat.remove_unused_categories().cat.categories
    frame["cell"] = frame["cell"].cat.set_categories(sorted(categories))
    return frame


def read_runs(folder: Path) -> pa.Table | None:
    """Newest record of every cell as an Arrow table with `attempts`; None without any record.

    May raise FileVanished.
    """
    tables = read_all(folder, "runs")
    return newest_runs(concatenate(tables)) if tables else None


def read_curves(
    folder: Path, columns: Sequence[str] | None, cells: Sequence[str] | None
) -> pa.Table | None:
    """Newest curve rows as an Arrow table; None where the sweep has no curve file.

    May raise FileVanished.
    """
    if columns is None:
        tables = read_all(folder, "curves", None, cells)
        return newest_curves(concatenate(tables)) if tables else None
    names = list(dict.fromkeys([*KEYS, *columns]))
    tables = read_all(folder, "curves", [*names, "step"], cells)
    if not tables:
        return None
    table = newest_curves(concatenate(tables))
    absent = sorted(set(names) - set(table.schema.names))
    if absent:
        logged = ", ".join(_logged_columns(folder))
        raise ValueError(f"{folder}: no curve column {', '.join(absent)}; there are {logged}")
    return table.select(names)


def _logged_columns(folder: Path) -> list[str]:
    """The columns of all curve files."""
    names: set[str] = set()
    for table in read_all(folder, "curves", cells=[]):
        names.update(table.schema.names)
    return sorted(names)


def log_folder(folder: Folder) -> Path:
    """The folder as a Path; StoreError if it does not exist."""
    root = Path(folder)
    if root.is_dir():
        return root
    what = "a file" if root.exists() else "nothing"
    raise StoreError(
        f"{root}: found {what}, expected the log folder of a sweep, logs/NAME{_neighbours(root)}"
    )


def _neighbours(root: Path) -> str:
    """The folders beside an absent one, for a message; empty without any."""
    if not root.parent.is_dir():
        return ""
    names = sorted(path.name for path in root.parent.iterdir() if path.is_dir())
    return f"; in {root.parent} there are: {', '.join(names[:20])}" if names else ""


def _empty(root: Path, what: str, expected: str) -> StoreError:
    """The error for a folder without the files that are needed."""
    names = ", ".join(sorted(path.name for path in root.iterdir())[:12])
    return NothingLogged(
        f"{root}: no {what}; found {names or 'an empty folder'}; expected {expected}. Run "
        f"`redescent submit {root.name}`, or wait for the first epochs if jobs are queued "
        "(`redescent status`)"
    )


def _planned_cells(folder: Path) -> pd.DataFrame:
    """Cells of all plans, one row each, as missing runs: cell, status, attempts, configuration."""
    rows: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.glob("submissions/*/plan.json")):
        if not path.parent.name.startswith((".", "tmp")):
            rows.update((row["cell"], row) for row in _plan_rows(path))
    return pd.DataFrame(list(rows.values()))


def _plan_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The cells of one plan; StoreError if it is not a plan."""
    try:
        plan = json.loads(path.read_text())
        later_rounds = sorted(path.parent.glob("inside/*.json"))  # cells that tasks added
        added = [cell for file in later_rounds for cell in json.loads(file.read_text())]
        for cell in [*plan["cells"], *added]:
            config = {**plan["bases"][cell["base"]], **cell["values"]}
            yield {"cell": cell["id"], "status": "missing", "attempts": 0, **config}
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise StoreError(
            f"{path}: not a plan ({type(error).__name__}: {error}); expected JSON with 'bases' and "
            "'cells'. Remove the submission's folder if it was interrupted, and submit again"
        ) from error
