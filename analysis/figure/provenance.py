"""What stands behind a figure: the record written beside it, what is missing, and the verdict in
one line.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.stats import features as stats
from analysis.stats import verdict
from analysis.stats.seed_curves import SeedCurves

INTERVAL = (
    "95 % bootstrap percentile interval over seeds of the feature of the mean curve, 1000 "
    "resamples, seed 0; "
    "none for one seed or for rows that are aggregates already"
)
BAND = "one standard error of the mean, population std / sqrt(n - 1)"
EPOCHS = "1-based everywhere: epoch 1 is the first, in the heat map and in the curves alike"
CRITERION = (
    f"rise and second descent both above max({verdict.FLOOR}, {verdict.FACTOR:g} standard errors over "
    "seeds), each seed "
    "measured at the epochs that the others choose; one seed or an aggregate at its own, which "
    "flatters it"
)


@dataclass(frozen=True)
class Progress:
    """How much of what was planned is in the logs.

    planned: last planned epoch. missing: cells without rows. unfinished: cells with rows that have
    not reached their planned epochs. uneven: columns with fewer seeds than the others have.
    """

    planned: int
    missing: tuple[str, ...]
    unfinished: tuple[str, ...]
    uneven: int

    def messages(self, folder: str | None) -> list[str]:
        """Lines for the terminal; the last one is the command that completes the sweep, if anything
        is to be done.
        """
        lines = []
        if self.missing:
            lines.append(
                f"{len(self.missing)} planned cells have no rows (hatched where a column has none "
                "at all)"
            )
        if self.unfinished:
            lines.append(
                f"{len(self.unfinished)} cells have not reached their last epoch (hatched up to "
                f"{self.planned})"
            )
        if self.uneven:
            lines.append(
                f"{self.uneven} columns are drawn with the seeds there are, fewer than planned"
            )
        if lines and folder:
            lines.append(fill(folder))
        return lines


def fill(folder: str | os.PathLike[str]) -> str:
    """The line that names the command which completes a sweep."""
    return f"to fill them: redescent resume {Path(folder).resolve().name}"


def progress(runs: pd.DataFrame, data: Sequence[SeedCurves]) -> Progress:
    """Compares the logs with the configured `trainer.epochs` (without that column, with the last
    logged epoch).
    """
    reached = {
        cell: int(c.x[np.isfinite(c.values[i])].max()) for c in data for i, cell in enumerate(c.cells)
    }  # fmt: skip
    last = max(reached.values(), default=1)
    if "trainer.epochs" in runs.columns:
        wanted = pd.to_numeric(runs["trainer.epochs"], errors="coerce").fillna(last).astype(int)
    else:
        wanted = pd.Series(last, index=runs.index)
    goals = dict(zip(runs["cell"].astype(str), wanted, strict=True))
    missing = tuple(cell for c in data for cell in c.missing)
    unfinished = tuple(sorted(cell for cell, epoch in reached.items() if epoch < goals[cell]))
    return Progress(
        max([last, *goals.values()]),
        missing,
        unfinished,
        sum(bool(c.cells and c.missing) for c in data),
    )


def record(
    runs: pd.DataFrame,
    data: Sequence[SeedCurves],
    state: Progress,
    notes: Sequence[str],
    options: argparse.Namespace,
    source: str | os.PathLike[str],
    metric: str,
) -> dict[str, Any]:
    """What every figure records, as plain JSON values; `columns` says which cells stand behind each
    of its columns.

    `options` has name, column and where.
    """
    attempts = (
        dict(zip(runs["cell"].astype(str), runs["attempts"], strict=True))
        if "attempts" in runs.columns
        else {}
    )
    return {
        **origin(runs, notes, options, source),
        "metric": metric,
        "axis": options.column,
        "final_value": f"mean of the last {stats.LAST} epochs",
        "std": "population standard deviation (ddof 0) over seeds",
        "epochs": EPOCHS,
        "planned_epochs": state.planned,
        "unfinished": list(state.unfinished),
        "columns": [_column(c, attempts) for c in data],
    }


def origin(
    runs: pd.DataFrame,
    notes: Sequence[str],
    options: argparse.Namespace,
    source: str | os.PathLike[str],
) -> dict[str, Any]:
    """What every record begins with: the figure, where its runs come from, how they were chosen,
    their code.
    """
    return {
        "figure": options.name,
        "source": str(source),
        "where": list(options.where),
        "notes": list(notes),
        "code": _different(runs, "code"),
        "environment": _different(runs, "environment"),
    }


def feature_record(window: int) -> dict[str, Any]:
    """How the features of curves over time were taken; `window` in logged epochs."""
    return {
        "smoothing_window_logged_epochs": window,
        "interval": INTERVAL,
        "band": BAND,
        "double_descent_criterion": CRITERION,
    }


def _different(runs: pd.DataFrame, column: str) -> list[str]:
    """The different values of a column of the records, sorted."""
    return sorted(set(runs[column].dropna().astype(str))) if column in runs.columns else []


def _column(column: SeedCurves, attempts: dict[str, Any]) -> dict[str, Any]:
    """Cells, seeds and attempts behind one column."""
    return {
        "value": column.value,
        "cells": list(column.cells),
        "seeds": list(column.seeds)
        if column.seeds_per_row == 1
        else f"{column.seeds_per_row} (aggregated at the source)",
        "attempts": int(sum(int(attempts.get(cell, 1)) for cell in column.cells)),
        "missing": list(column.missing),
    }


def write_json(path: Path, record: dict[str, Any]) -> Path:
    """Writes the record and returns the path."""
    path.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    return path


def summary(features: pd.DataFrame, name: str = "lambda") -> str:
    """One sentence: in how many columns, and where, double descent can be seen, or that it
    cannot.
    """
    there = features[features["n_seeds"] > 0].reset_index(drop=True)
    found = there["double_descent"].astype(bool).to_numpy()
    if found.any():
        spans = ", ".join(_spans(there[name].to_numpy(), found))
        return f"double descent can be seen in {found.sum()} of {len(there)} columns ({name} {spans}): {CRITERION}"
    closest = there.iloc[int(there[["rise", "second_descent"]].min(axis=1).to_numpy().argmax())]
    return (
        f"double descent can NOT be seen in any of {len(there)} columns; closest at {name} "
        f"{closest[name]:.3g}: "
        f"{closest['reason']}"
    )


def _spans(values: NDArray[Any], found: NDArray[Any]) -> list[str]:
    """The stretches of neighbouring columns where `found`, as "low to high" or a single value."""
    borders = np.flatnonzero(np.diff(np.concatenate([[0], found.astype(int), [0]]))).reshape(-1, 2)
    return [
        f"{values[a]:.3g}" if b - a == 1 else f"{values[a]:.3g} to {values[b - 1]:.3g}"
        for a, b in borders
    ]
