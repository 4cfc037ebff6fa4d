"""The logs of a sweep: `runs(folder)` and `curves(folder)` as DataFrames, `records` of one cell.

Reads parts, the compacted store and the plans, in whatever state the sweep is, also while jobs
write and a compaction runs. Never writes. Which rows are the newest is decided in `merge`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from analysis.store.errors import NothingLogged, StoreError
from analysis.store.frame import newest_frame, returned_memory
from analysis.store.later import fill_in_table
from analysis.store.merge import (
    ATTEMPTS_SEEN,
    FIRST_ATTEMPT,
    OTHER_ATTEMPTS,
    concatenate,
    newest_runs,
    of_attempts,
    of_results,
    result_attempts,
)
from analysis.store.parts import KEYS, read_all, retrying
from analysis.store.planned import planned_cells

Folder = str | os.PathLike[str]

RECORD_KEYS = (
    "cell", "status", "attempt", FIRST_ATTEMPT, "updated", "epochs", "attempts", ATTEMPTS_SEEN,
)  # fmt: skip
"""Columns that decide which record of a cell is the newest, and whether its rows were lost."""


def runs(folder: Folder, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """One row per cell of the sweep, sorted by cell, with a default index.

    Columns are those of the run records (newest record of each cell) plus `attempts`. Cells that
    were planned but have no record yet come from the plans: their configuration, status "missing",
    attempts 0, all else empty. A key that records of an earlier version lack has the value that it
    had then. `columns` limits what is read of the records, beside `status` and
    `attempt`; the configurations then come from the plans, which is faster where there are many
    parts. Raises StoreError if the folder is absent or holds neither records nor plans, or if a
    file is damaged.
    """
    root = log_folder(folder)
    names = None if columns is None else [*RECORD_KEYS, *columns]
    recorded = retrying(lambda: read_runs(root, names))
    planned = planned_cells(root)
    if recorded is None and planned.empty:
        files = "runs/*.parquet, store/manifest.json or submissions/*/plan.json"
        raise _empty(root, "run records or plans", files)
    if recorded is None:
        return fill_in_table(_missing(planned).sort_values("cell", ignore_index=True))
    of_store = [name for name in (ATTEMPTS_SEEN, OTHER_ATTEMPTS) if name in recorded.schema.names]
    frame: pd.DataFrame = recorded.drop_columns(of_store).to_pandas()
    frame["cell"] = frame["cell"].astype("str")
    if columns is None:
        return fill_in_table(_with_missing(frame, planned))
    if not _is_in(frame["cell"], planned["cell"]).all():
        return runs(folder)  # a cell's configuration is in its record alone
    rows = _with_missing(frame, planned[["cell"]])
    configuration = ["cell", *(name for name in planned if name not in rows)]
    return fill_in_table(rows.merge(planned[configuration], on="cell", how="left"))


def _missing(planned: pd.DataFrame) -> pd.DataFrame:
    """Planned cells as rows of a runs table without a record."""
    rows = planned[["cell"]].assign(status="missing", attempts=0)
    return pd.concat([rows, planned.drop(columns="cell")], axis=1)


def _is_in(cells: pd.Series[str], others: pd.Series[str]) -> NDArray[np.bool_]:
    """(rows,) whether each cell is among the others; `isin` of a column of texts is slow."""
    ids = set(others.tolist())
    return np.array([cell in ids for cell in cells.tolist()], bool)


def _with_missing(recorded: pd.DataFrame, planned: pd.DataFrame) -> pd.DataFrame:
    """The runs table with a row for every planned cell without a record."""
    if planned.empty:
        return recorded
    missing = _missing(planned[~_is_in(planned["cell"], recorded["cell"])])
    if missing.empty:
        return recorded
    recorded["attempt"] = recorded["attempt"].astype("Int16")  # nullable: a missing cell has none
    rows: pd.DataFrame = pd.concat([recorded, missing], ignore_index=True)
    return rows.sort_values("cell", ignore_index=True)


def records(folder: Folder, cell: str) -> list[dict[str, Any]]:
    """The newest record of each attempt at a cell, oldest attempt first; empty without any.

    As in `runs`, a final result beats a later record of the same attempt.
    Keys are the columns of the run records; of attempts before the last compaction only those of
    how and where they ended.
    """
    root = log_folder(folder)
    tables = retrying(lambda: read_all(root, "runs", cells=[cell]))
    if not tables:
        return []
    return of_attempts(concatenate(tables).to_pylist())


def curves(
    folder: Folder, columns: Sequence[str] | None = None, cells: Sequence[str] | None = None
) -> pd.DataFrame:
    """One row per cell, logged epoch and step, in that order, of the newest attempt; a cell that is
    trained once more has the rows of its result until the new attempt has one, and then none of
    the earlier training.

    The index is the default one. Always has `cell` (categorical, categories sorted), `attempt` and
    `epoch`; `columns` names what else to read (default: everything) and `cells` limits the rows. An
    integer metric that some rows lack becomes float64 with NaN. Raises StoreError if nothing is
    logged yet or a file is damaged, ValueError if no file has one of `columns`.
    """
    root = log_folder(folder)
    names = None if columns is None else list(dict.fromkeys([*KEYS, *columns]))
    needed = None if names is None else [*names, "step"]
    with returned_memory():
        tables = retrying(lambda: _read_curves(root, needed, cells))
        if not tables:
            raise _empty(root, "logged epochs", "curves/*.parquet or store/manifest.json")
        _check_columns(root, names or (), tables)
        return newest_frame(tables, names)


def _read_curves(
    folder: Path, columns: Sequence[str] | None, cells: Sequence[str] | None
) -> list[pa.Table]:
    """The curve rows of all files; the records are read first, so that they are no newer."""
    runs = read_runs(folder, RECORD_KEYS)
    attempts = {} if runs is None else result_attempts(runs)
    return [of_results(table, attempts) for table in read_all(folder, "curves", columns, cells)]


def read_runs(folder: Path, columns: Sequence[str] | None = None) -> pa.Table | None:
    """Newest record of every cell as an Arrow table with `attempts`; None without any record.

    May raise FileVanished.
    """
    tables = read_all(folder, "runs", columns)
    return newest_runs(concatenate(tables)) if tables else None


def _check_columns(folder: Path, names: Sequence[str], tables: Sequence[pa.Table]) -> None:
    """Raise ValueError if no table has one of the columns `names`."""
    present = set().union(*(schema.names for schema in {table.schema for table in tables}))
    absent = sorted(set(names) - present)
    if absent:
        logged = ", ".join(_logged_columns(folder))
        raise ValueError(f"{folder}: no curve column {', '.join(absent)}; there are {logged}")


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
        f"{_elsewhere(root)}"
    )


def _elsewhere(root: Path) -> str:
    """The folder of that name in REDESCENT_LOGS, for a message; empty without one."""
    logs = os.environ.get("REDESCENT_LOGS")
    if not logs or not _has_logs(Path(logs, root.name)):
        return ""
    return f"; REDESCENT_LOGS has it: {Path(logs, root.name)}"


def _neighbours(root: Path) -> str:
    """The logs beside an absent folder, for a message; empty without any."""
    if not root.parent.is_dir():
        return ""
    names = sorted(path.name for path in root.parent.iterdir() if _has_logs(path))
    return f"; in {root.parent} there are: {', '.join(names[:20])}" if names else ""


def _has_logs(folder: Path) -> bool:
    """Whether a folder looks like that of a sweep: with plans, records or a store."""
    return any((folder / name).is_dir() for name in ("submissions", "runs", "store"))


def _empty(root: Path, what: str, expected: str) -> StoreError:
    """The error for a folder without the files that are needed."""
    names = ", ".join(sorted(path.name for path in root.iterdir())[:12])
    return NothingLogged(
        f"{root}: no {what}; found {names or 'an empty folder'}; expected {expected}. Run "
        f"`redescent submit {root.name}`, or wait for the first epochs if jobs are queued "
        "(`redescent status`)"
    )
