"""What the figures of grokking share: options, the choice of runs, tables over seeds, and the files
written.

Steps and accuracies come from the runs table (`final_test_steps_99`, `best_test_accuracy`, ...). A
run is finished when its status says so: it may have ended before `trainer.steps` because of
`trainer.stop_at`.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from analysis import store
from analysis.figure import query
from analysis.figure.provenance import fill, origin, write_json
from analysis.figure.style import save

FRACTION = "data.train_fraction"
FINAL = ("done", "nonfinite")  # statuses of a run that is finished
THRESHOLDS = (50, 90, 95, 99)  # %, accuracies whose first step the logs hold


@dataclass(frozen=True)
class SelectedRuns:
    """The runs of a figure, planned ones included, the columns that tell its points apart, and
    notes on the choice.
    """

    runs: pd.DataFrame
    columns: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def finished(self) -> pd.DataFrame:
        """The runs with a final result."""
        return self.runs[self.runs["status"].isin(FINAL)]

    def messages(self, folder: str) -> list[str]:
        """What is missing, and the command that fills it."""
        begun = numeric_column(self.runs, "steps").notna()
        missing, unfinished = (
            int((~begun).sum()),
            int((begun & ~self.runs["status"].isin(FINAL)).sum()),
        )
        lines = [f"{missing} of {len(self.runs)} planned cells have no rows"] if missing else []
        lines += [f"{unfinished} cells are not finished"] if unfinished else []
        return [*lines, fill(folder)] if lines else []


def parser(doc: str | None, name: str) -> argparse.ArgumentParser:
    """The options that every figure has: folder, --where, --out, --name."""
    found = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = found.add_argument
    add("folder", help="log folder of a sweep, logs/NAME")
    add("--where", action="append", default=[], metavar="COLUMN=VALUE", help="take only these runs")
    add("--out", default="figures", help="folder for the files written (default: figures)")
    add("--name", default=name, metavar="STEM", help=f"name of the files written (default: {name})")
    return found


def select_runs(options: argparse.Namespace, *columns: str) -> SelectedRuns:
    """The runs that the options choose, which may differ in `columns` and seed.

    Raises StoreError without logs, FigureError where the runs are no transformers on operation
    tables or differ in something else.
    """
    runs = store.runs(options.folder)
    if FRACTION not in runs.columns or runs[FRACTION].isna().all():
        found = (
            ", ".join(sorted(set(runs.get("trainer.name", pd.Series(dtype=str)).dropna())))
            or "none"
        )
        raise query.FigureError(
            f"{options.folder}: trainer.name is {found}, expected runs of trainer=algorithmic"
        )
    runs = query.where(runs, options.where).reset_index(drop=True)
    return SelectedRuns(runs, columns, tuple(query.check_axes(runs, *columns)))


def numeric_column(runs: pd.DataFrame, column: str) -> pd.Series:
    """A column as float64; NaN throughout where no record has it yet."""
    if column not in runs.columns:
        return pd.Series(np.nan, index=runs.index)
    return pd.to_numeric(runs[column], errors="coerce").astype("float64")


def budget(runs: pd.DataFrame) -> str:
    """The planned steps, in words."""
    planned = sorted(set(numeric_column(runs, "trainer.steps").dropna()))
    return f"{planned[0]:,.0f} steps" if len(planned) == 1 else "the planned steps"


def over_seeds(runs: pd.DataFrame, values: pd.Series, by: Sequence[str]) -> pd.DataFrame:
    """One row for each point of `by`: mean, std (population), min and max over its finished runs,
    `n` of these and how many were planned. NaN where none has a value. `values` has the index of
    the runs; NaN and infinities are left out.
    """
    frame = runs[list(by)].assign(value=values.where(np.isfinite(values)))
    frame.loc[~runs["status"].isin(FINAL), "value"] = np.nan
    grouped = frame.groupby(list(by), dropna=False, sort=True)["value"]
    table = grouped.agg(
        mean="mean", std=lambda v: v.std(ddof=0), min="min", max="max", n="count", planned="size"
    )
    return table.reset_index()


def steps_to(runs: pd.DataFrame, split: str, percent: int) -> pd.Series:
    """First step of each run with `percent` % right on the "train" or "test" rows.

    inf for a finished run that never got there; NaN for one that has not yet.
    """
    steps = numeric_column(runs, f"final_{split}_steps_{percent}")
    return steps.mask(steps.isna() & runs["status"].isin(FINAL), np.inf)


def reached_by(steps: ArrayLike, share: float = 0.5) -> float:
    """The first step by which at least `share` of the runs had got there; inf if so many never did,
    NaN without runs.

    steps: one of each run, inf for never, NaN is left out. With share 1/2 it is the median of times
    some of which are censored (the lower one of two middle values).
    """
    known = np.sort(np.asarray(steps, np.float64))
    known = known[~np.isnan(known)]
    return (
        float(known[max(int(np.ceil(share * len(known) - 1e-9)), 1) - 1])
        if len(known)
        else float("nan")
    )


def require_finished(selection: SelectedRuns) -> SelectedRuns:
    """The same choice; FigureError if no run is finished."""
    if selection.finished.empty:
        raise query.FigureError(
            f"none of the {len(selection.runs)} chosen runs is finished yet (statuses: "
            f"{', '.join(sorted(set(selection.runs['status'])))}); wait, or `redescent resume`"
        )
    return chosen


def cells_by_point(selection: SelectedRuns) -> list[dict[str, Any]]:
    """The cells behind each point of the figure: values of its columns, cells, seeds, attempts,
    what is missing.
    """
    runs = selection.runs
    begun, final = numeric_column(runs, "steps").notna(), runs["status"].isin(FINAL)
    found = []
    for _, rows in runs.groupby(query.points(runs, selection.columns), sort=False):
        ids, done, had = rows["cell"].astype(str), final[rows.index], begun[rows.index]
        values = {column: to_json(rows[column].iloc[0]) for column in selection.columns}
        found.append({
            **values, "cells": ids[done].tolist(), "seeds": [to_json(seed) for seed in rows.loc[done, "seed"]],
            "attempts": int(numeric_column(rows[done], "attempts").fillna(1).sum()),
            "unfinished": ids[had & ~done].tolist(), "missing": ids[~had].tolist(),
        })  # fmt: skip
    return found


def to_json(value: Any) -> Any:
    """A value of a table as JSON has it."""
    value = value.item() if isinstance(value, np.generic) else value
    return None if value is None or value is pd.NA or value != value else value


def write(
    options: argparse.Namespace,
    figure: Figure,
    tables: Mapping[str, pd.DataFrame],
    selection: SelectedRuns,
    facts: Mapping[str, Any],
    lines: Sequence[str],
) -> None:
    """Writes STEM.png, STEM.pdf, STEM<ending>.csv of each table, and STEM.json; prints `lines`,
    notes, what is missing.

    facts: what the record says beside the cells: the meaning of bands, medians, fits and their
    results.
    """
    files = [*save(figure, options.out, options.name)]
    out = Path(options.out)
    for ending, table in tables.items():
        files.append(out / f"{options.name}{ending}.csv")
        table.to_csv(files[-1], index=False)
    record = {
        **origin(selection.runs, selection.notes, options, options.folder),
        **facts,
        "groups": cells_by_point(selection),
    }
    files.append(write_json(out / f"{options.name}.json", record))
    for line in [
        *lines,
        *(f"note: {note}" for note in selection.notes),
        *selection.messages(options.folder),
    ]:
        print(line)
    print("wrote " + ", ".join(str(file) for file in files))
