"""What the figures of grokking share: options, the selection of runs, and tables over seeds.

Steps and accuracies come from the runs table (`final_test_steps_99`, `best_test_accuracy`, ...). A
run is finished when its status says so: it may have ended before `trainer.steps` because of
`trainer.stop_at`.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from analysis import store
from analysis.figure import options as figure_options
from analysis.figure import query
from analysis.figure.names import none_of, quantity
from analysis.figure.provenance import Source, diverged_cells, diverged_text, fill, origin
from analysis.store.parts import FINAL

FRACTION = "data.train_fraction"
THRESHOLDS = (50, 90, 95, 99)  # %, accuracies whose first step the logs hold


@dataclass(frozen=True)
class SelectedRuns:
    """The runs of a figure, planned ones included.

    columns: those that tell the figure's points apart. notes: on the selection.
    """

    runs: pd.DataFrame
    columns: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def finished(self) -> pd.DataFrame:
        """The runs with a final result."""
        return self.runs[self.runs["status"].isin(FINAL)]

    def messages(self, folder: str) -> list[str]:
        """The notes, what is missing, and the command that completes it."""
        begun, final = query.numbers(self.runs, "steps").notna(), self.runs["status"].isin(FINAL)
        missing, unfinished = int((~begun).sum()), int((begun & ~final).sum())
        lines = []
        if missing:
            have = "has" if missing == 1 else "have"
            planned = quantity(len(self.runs), "planned cell")
            lines.append(f"{missing} of {planned} {have} no rows")
        if unfinished:
            lines.append(f"{quantity(unfinished, 'cell is', 'cells are')} not finished")
        if lines:
            lines.append(fill(folder))
        diverged = len(diverged_cells(self.runs))
        if diverged:
            lines.append(diverged_text(diverged))
        return [*(f"note: {note}" for note in self.notes), *lines]

    def record(self, options: argparse.Namespace, facts: Mapping[str, Any]) -> dict[str, Any]:
        """The record beside the figure; `facts` says what its bands, medians and fits mean."""
        source = Source(self.runs, options.folder, self.notes)
        return {**origin(source, options), **facts, "groups": cells_by_point(self)}


def parser(doc: str | None, name: str) -> argparse.ArgumentParser:
    """The options that every figure has: folder, --where, --out, --name."""
    options = figure_options.parser(doc)
    figure_options.add(options, name)
    return options


def select_runs(options: argparse.Namespace, *columns: str) -> SelectedRuns:
    """The runs that the options choose, which may differ in `columns` and seed.

    Raises StoreError without logs, FigureError if the runs are no transformers on operation tables
    or differ in something else.
    """
    runs = store.runs(options.folder)
    if FRACTION not in runs.columns or runs[FRACTION].isna().all():
        trainers = sorted(set(runs.get("trainer.name", pd.Series(dtype=str)).dropna()))
        raise query.FigureError(
            f"{options.folder}: trainer.name is {', '.join(trainers) or 'none'}, "
            "expected runs of trainer=algorithmic"
        )
    runs = query.where(runs, options.where).reset_index(drop=True)
    return SelectedRuns(runs, columns, tuple(query.check_axes(runs, *columns)))


def budget(runs: pd.DataFrame) -> str:
    """The planned steps, in words."""
    step_counts = sorted(set(query.numbers(runs, "trainer.steps").dropna()))
    return f"{step_counts[0]:,.0f} steps" if len(step_counts) == 1 else "the planned steps"


def finished_values(runs: pd.DataFrame, values: pd.Series, column: str) -> pd.Series:
    """The finite values of finished runs, NaN elsewhere; `values` has the index of the runs.

    column: of the runs table, what they were made of. A diverged run has no value at its end
    ("final_..."), and its best one counts if it is from before its last epoch.
    """
    is_measured = runs["status"] == "done"
    if column.startswith("best_"):
        best_epoch = query.numbers(runs, column.replace("best_", "best_epoch_", 1))
        is_before = best_epoch < query.numbers(runs, "epochs")
        is_measured |= (runs["status"] == "nonfinite") & is_before
    return values.where(np.isfinite(values) & is_measured)


def over_seeds(rows: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """One row for each point of `columns`: mean, std (population), min and max of "value", counts.

    rows: one a run, NaN where it has no value. n: runs with a value. planned: all runs.
    """
    grouped = rows.groupby(list(columns), dropna=False, sort=True)["value"]
    table = grouped.agg(
        mean="mean", std=lambda v: v.std(ddof=0), min="min", max="max", n="count", planned="size"
    )
    return table.reset_index()


def steps_to(runs: pd.DataFrame, split: str, percent: int) -> pd.Series:
    """First step of each run with `percent` % right on the "train" or "test" rows.

    inf for a finished run that never reached it; NaN for a run that has not yet, or that was
    stopped before.
    """
    steps = query.numbers(runs, f"final_{split}_steps_{percent}")
    never = steps.isna() & runs["status"].isin(FINAL) & ~stopped_before(runs, split, percent)
    return steps.mask(never, np.inf)


def stopped_before(runs: pd.DataFrame, split: str, percent: int) -> pd.Series:
    """Whether each run ended by `trainer.stop_at` before it had `percent` % of the rows right.

    Its time is censored at its last step: with all of its steps it may have got there.
    """
    reached = query.numbers(runs, f"final_{split}_steps_{percent}").notna()
    has_limit = query.numbers(runs, "trainer.stop_at").notna()
    is_short = query.numbers(runs, "steps") < query.numbers(runs, "trainer.steps")
    return (runs["status"] == "done") & has_limit & is_short & ~reached


def stopped_notes(runs: pd.DataFrame, percent: int) -> list[str]:
    """One note for each split on the runs that were stopped before they got there."""
    notes = []
    for split in ("train", "test"):
        number = int(stopped_before(runs, split, percent).sum())
        if number:
            notes.append(
                f"note: {number} of {quantity(len(runs), 'run')} ended by trainer.stop_at "
                f"before {percent} % of {split} rows: censored at the last step, and not in "
                "the median"
            )
    return notes


def reached_by(steps: ArrayLike, share: float = 0.5) -> float:
    """The first step by which at least `share` of the runs had reached the accuracy.

    steps: one of each run, inf for never, NaN is left out. The result is inf if more than
    1 - `share` never did, NaN without runs. With share 1/2 it is the median of times some of which
    are censored (the lower one of two middle values).
    """
    times = np.sort(np.asarray(steps, np.float64))
    times = times[~np.isnan(times)]
    if not len(times):
        return float("nan")
    rank = max(int(np.ceil(share * len(times) - 1e-9)), 1)
    return float(times[rank - 1])


def of_diverged(runs: pd.DataFrame) -> str:
    """The end of a message about runs that lack what a figure draws; empty if none diverged."""
    diverged = len(diverged_cells(runs))
    return f"; {diverged_text(diverged)}" if diverged else ""


def require_finished(selection: SelectedRuns) -> SelectedRuns:
    """The same selection; FigureError if no run is finished."""
    if selection.finished.empty:
        statuses = ", ".join(sorted(set(selection.runs["status"])))
        raise query.FigureError(
            f"{none_of(len(selection.runs), 'chosen run')} is finished yet "
            f"(statuses: {statuses}); wait, or `redescent resume`"
        )
    return selection


def cells_by_point(selection: SelectedRuns) -> list[dict[str, Any]]:
    """For each point of the figure the values of its columns, its cells, and what is missing."""
    runs = selection.runs
    begun, final = query.numbers(runs, "steps").notna(), runs["status"].isin(FINAL)
    points = []
    for _, rows in runs.groupby(query.points(runs, selection.columns), sort=False):
        ids, is_final, has_begun = rows["cell"].astype(str), final[rows.index], begun[rows.index]
        values = {column: rows[column].iloc[0] for column in selection.columns}
        points.append(
            {
                **values,
                "cells": ids[is_final].tolist(),
                "seeds": rows.loc[is_final, "seed"].tolist(),
                "attempts": int(query.numbers(rows[is_final], "attempts").fillna(1).sum()),
                "unfinished": ids[has_begun & ~is_final].tolist(),
                "missing": ids[~has_begun].tolist(),
            }
        )
    return points
