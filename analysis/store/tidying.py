"""One frame for pandas and seaborn: a metric over time beside what varies between the runs."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.store.reader import Folder, curves, runs

PLACES = ("run.", "data.root", "data.cache", "data.download", "trainer.of_folder")
"""Beginnings of the keys that say where a run was done and never what it is."""
TIMES = ("epoch", "step", "examples")


def tidy(sweep: Folder, metric: str) -> pd.DataFrame:
    """One row per cell and logged time: what varies between the runs, and the metric.

    sweep: the folder of a sweep, or its name in logs/ ($REDESCENT_LOGS where that is set). Columns,
    in this order: those of the configuration that take more than one value ("seed" and names with a
    dot, such as "optim.weight_decay"), "cell" (text), the times that were logged and vary ("epoch",
    "step", "examples"; epoch 0 is before training), and the metric, a number. Rows without the
    metric are left out; the newest attempt counts. A key that some runs lack is empty there. All
    files are read by name, so trainers with different columns can share a folder.

    Raises StoreError without logs, and ValueError if no file has the metric, with those there are.
    """
    folder = _folder(sweep)
    all_runs = runs(folder)
    rows = _rows(folder, metric)
    rows = rows[rows[metric].notna()].assign(cell=rows["cell"].astype(str))
    present = all_runs[all_runs["cell"].astype(str).isin(rows["cell"])]
    names = varying(present)
    settings = present[["cell", *names]].assign(cell=present["cell"].astype(str))
    times = [name for name in TIMES if name in rows and rows[name].nunique() > 1]
    values = rows[["cell", *times, metric]]
    frame = values.merge(settings, on="cell", how="left", validate="many_to_one")
    return frame[[*names, "cell", *times, metric]]


def settings_of(all_runs: pd.DataFrame) -> list[str]:
    """The columns of the configuration that say what a run is."""
    names = [name for name in all_runs.columns if name == "seed" or "." in name]
    return [name for name in names if not name.startswith(PLACES)]


def varying(all_runs: pd.DataFrame) -> list[str]:
    """The columns of the configuration with more than one value among the runs."""
    names = settings_of(all_runs)
    return [name for name in names if _number_of_values(all_runs[name]) > 1]


def _folder(sweep: Folder) -> Folder:
    """The folder of a sweep that may be given by its name."""
    if isinstance(sweep, str) and Path(sweep).name == sweep and not Path(sweep).exists():
        return Path(os.environ.get("REDESCENT_LOGS") or "logs") / sweep
    return sweep


def _rows(folder: Folder, metric: str) -> pd.DataFrame:
    """The rows of the metric with every time that the files have."""
    times: Sequence[str] = TIMES
    try:
        return curves(folder, [*times, metric])
    except ValueError:
        logged = set(curves(folder, None, []).columns)
        times = [name for name in TIMES if name in logged]
        return curves(folder, [*times, metric])


def _number_of_values(values: pd.Series) -> int:
    """How many different values there are; equal numbers are one, and so are all absent ones."""
    return len({_comparable(value) for value in values})


def _comparable(value: Any) -> Any:
    """A value that can be compared and hashed: lists as JSON, an absent one as None."""
    if isinstance(value, list | tuple | np.ndarray):
        return json.dumps(np.asarray(value).tolist())
    return None if pd.isna(value) else value
