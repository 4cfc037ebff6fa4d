"""The record beside a figure, what is missing from its logs, and the verdict in one line."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis import store
from analysis.figure import names, query
from analysis.stats import verdict
from analysis.stats.seed_curves import SeedCurves
from analysis.store.parts import FINAL

BAND = "one standard error of the mean, population std / sqrt(n - 1)"
EPOCHS = "1-based everywhere: epoch 1 is the first, in the heat map and in the curves alike"


def end_text(last: int) -> str:
    """What a value at the end of training is, with `last` the number of its epochs."""
    return "value at the last logged epoch" if last == 1 else f"mean of the last {last} epochs"


def end_label(last: int) -> str:
    """A value at the end of training in a legend or a title: "at the end", or the mean it is."""
    return "at the end" if last == 1 else end_text(last)


def interval_text(curve: str = "curve") -> str:
    """What the intervals of features are; `curve` names what the features are of."""
    return (
        f"95 % bootstrap percentile interval over seeds of the feature of the mean {curve}, 1000 "
        "resamples, seed 0; none for one seed or for rows that are aggregates already"
    )


def criterion_text(points: str = "epochs") -> str:
    """When double descent can be seen; `points` names what the curves run over."""
    return (
        f"rise and second descent both above max({verdict.FLOOR}, {verdict.FACTOR:g} standard "
        f"errors over seeds), each seed measured at the {points} that the others choose; one seed "
        "or an aggregate at its own, which flatters it"
    )


@dataclass(frozen=True)
class Source:
    """The runs of a figure, the folder that they were read from, and notes on their choice."""

    runs: pd.DataFrame
    folder: str | os.PathLike[str]
    notes: Sequence[str]


@dataclass(frozen=True)
class Completeness:
    """How much of what was planned is in the logs.

    planned_epochs: last planned epoch. missing: cells without rows. unfinished: cells with rows
    that have not reached their planned epochs and have no result yet. uneven: columns with fewer
    seeds than the others have. diverged: cells that ended because their loss was not finite.
    """

    planned_epochs: int
    missing: tuple[str, ...]
    unfinished: tuple[str, ...]
    uneven: int
    diverged: tuple[str, ...] = ()

    @property
    def without_end(self) -> tuple[str, ...]:
        """Cells with no value at the end of training: unfinished or diverged."""
        return (*self.unfinished, *self.diverged)

    def messages(self, folder: str | None, points: str = "") -> list[str]:
        """Lines for the terminal; the last one is the command that completes the sweep, if any.

        points: what the axis of lines has, such as "widths"; empty for a map over time.
        """
        lines = []
        without_run = f"{points} without a finished run are hatched"
        if self.missing:
            where = without_run if points else "hatched where a column has none at all"
            have = names.quantity(len(self.missing), "planned cell has", "planned cells have")
            lines.append(f"{have} no rows ({where})")
        if self.unfinished:
            where = without_run if points else f"hatched up to {self.planned_epochs}"
            have = names.quantity(len(self.unfinished), "cell has", "cells have")
            lines.append(f"{have} not reached the last epoch ({where})")
        if self.uneven:
            noun = "point" if points else "column"
            are = names.quantity(self.uneven, f"{noun} is", f"{noun}s are")
            lines.append(f"{are} drawn with fewer seeds than planned")
        if lines and folder:
            lines.append(fill(folder))
        if self.diverged:
            lines.append(diverged_text(len(self.diverged)))
        return lines


def unfinished_text(count: int, total: int) -> str:
    """The line about trainings that are not done."""
    are = "is" if count == 1 else "are"
    return f"{count} of {names.quantity(total, 'training')} {are} not done"


def diverged_text(count: int) -> str:
    """The line about cells that diverged; a resume would not train them again."""
    cells = names.quantity(count, "cell")
    return f"{cells} diverged: the training loss is not finite (a result, which resume leaves)"


def diverged_cells(runs: pd.DataFrame) -> tuple[str, ...]:
    """The cells that ended because their loss was not finite, sorted."""
    if "status" not in runs.columns:
        return ()
    return tuple(sorted(runs.loc[runs["status"] == "nonfinite", "cell"].astype(str)))


def measured_rows(runs: pd.DataFrame, curves: pd.DataFrame, time: str = "epoch") -> pd.DataFrame:
    """The curves without the last row of each diverged cell; `time` is the column of its place.

    Its weights are not finite, so its error is that of always naming the first class: no
    measurement.
    """
    cells = curves["cell"].astype(str)
    last = curves[time].groupby(cells).transform("max")
    return curves[~(cells.isin(diverged_cells(runs)) & (curves[time] == last))]


def curves_of(
    runs: pd.DataFrame, folder: str | os.PathLike[str], columns: Sequence[str], time: str = "epoch"
) -> pd.DataFrame:
    """The measured rows of the runs: `columns` of `store.curves`, by epoch or by `time`.

    Raises FigureError if the folder has no row because every run diverged.
    """
    try:
        curves = store.curves(folder, columns, runs["cell"].tolist())
    except store.NothingLogged:
        if len(diverged_cells(runs)) == len(runs):
            raise query.FigureError(nothing_logged(runs, columns[0])) from None
        raise
    return measured_rows(runs, curves, time)


def nothing_logged(runs: pd.DataFrame, metric: str) -> str:
    """Why a figure of these runs has nothing to draw, as one line."""
    diverged = len(diverged_cells(runs))
    if diverged == len(runs):
        return f"{diverged_text(diverged)} before an epoch was measured; lower optim.lr"
    also_diverged = f", and {diverged_text(diverged)}" if diverged else ""
    return (
        f"{names.none_of(len(runs), 'chosen run')} has logged {metric} yet; wait for its first "
        f"epochs{also_diverged}"
    )


def fill(folder: str | os.PathLike[str]) -> str:
    """The line that names the command which completes a sweep."""
    return f"to fill them: redescent resume {Path(folder).resolve().name}"


def completeness(runs: pd.DataFrame, data: Sequence[SeedCurves]) -> Completeness:
    """Compare the logs with the configured `trainer.epochs`, or with the last logged epoch."""
    reached: dict[str, int] = {}
    for curves in data:
        for cell, values in zip(curves.cells, curves.values, strict=True):
            reached[cell] = int(curves.x[np.isfinite(values)].max())
    last = max(reached.values(), default=1)
    planned = planned_epochs(runs, last)
    diverged, ended = diverged_cells(runs), _ended_cells(runs)
    missing = [set(curves.missing) - set(diverged) for curves in data]
    early = {cell for cell, epoch in reached.items() if epoch < planned[cell]}
    uneven = [curves for curves, cells in zip(data, missing, strict=True) if curves.cells and cells]
    return Completeness(
        planned_epochs=max([last, *planned.values()]),
        missing=tuple(sorted(set().union(*missing))),
        unfinished=tuple(sorted(early - ended)),
        uneven=len(uneven),
        diverged=diverged,
    )


def check_last(last: int, state: Completeness) -> None:
    """Raise FigureError where the end of training would be a mean of more epochs than it has."""
    if last > state.planned_epochs:
        epochs = names.quantity(state.planned_epochs, "epoch")
        raise query.FigureError(f"--last {last}: found trainings of {epochs}, expected no more")


def _ended_cells(runs: pd.DataFrame) -> set[str]:
    """The cells with a result, some of which ended before their last epoch (stop_at_fit)."""
    if "status" not in runs.columns:
        return set()
    return set(runs.loc[runs["status"].isin(FINAL), "cell"].astype(str))


def planned_epochs(runs: pd.DataFrame, default: int) -> dict[str, int]:
    """The configured epochs of each cell, `default` where none are configured."""
    epochs = pd.Series(default, index=runs.index)
    if "trainer.epochs" in runs.columns:
        configured = pd.to_numeric(runs["trainer.epochs"], errors="coerce")
        epochs = configured.fillna(default).astype(int)
    return dict(zip(runs["cell"].astype(str), epochs, strict=True))


def record(
    source: Source,
    data: Sequence[SeedCurves],
    state: Completeness,
    options: argparse.Namespace,
    metric: str,
) -> dict[str, Any]:
    """What every figure of curves records, as JSON; `columns` names the cells of each column.

    `options` has name, column, where and last, the epochs that the end of training is a mean of.
    """
    runs, attempts = source.runs, dict[str, Any]()
    if "attempts" in runs.columns:
        attempts = dict(zip(runs["cell"].astype(str), runs["attempts"], strict=True))
    return {
        **origin(source, options),
        "metric": metric,
        "axis": options.column,
        "final_value": end_text(options.last),
        "std": "population standard deviation (ddof 0) over seeds",
        "epochs": EPOCHS,
        "planned_epochs": state.planned_epochs,
        "unfinished": list(state.unfinished),
        "diverged": list(state.diverged),
        "columns": [_column(curves, attempts) for curves in data],
    }


def origin(source: Source, options: argparse.Namespace) -> dict[str, Any]:
    """What every record begins with: the figure, its runs, how they were chosen, their code and
    data.
    """
    return {
        "figure": options.name,
        "source": str(source.folder),
        "where": list(options.where),
        "notes": list(source.notes),
        "code": sorted({*_distinct(source.runs, "code"), *_earlier_code(source.runs)}),
        "data": data_hashes(source.runs),
        "environment": _distinct(source.runs, "environment"),
        "diverged": list(diverged_cells(source.runs)),
    }


def data_hashes(runs: pd.DataFrame) -> dict[str, list[str]]:
    """For each place of data, the hashes of its files when the cells were trained: several if they
    changed in between.
    """
    if "source_hash" not in runs.columns:
        return {}
    names = [name for name in ("data.root", "data.name") if name in runs.columns]
    place = runs[names].bfill(axis=1).iloc[:, 0].fillna("data") if names else "data"
    hashes = runs.assign(place=place).dropna(subset="source_hash")
    return {str(key): _distinct(group, "source_hash") for key, group in hashes.groupby("place")}


def feature_record(window: int, points: str = "epochs") -> dict[str, Any]:
    """How the features of curves over time were taken; `window` in logged epochs, or in rows at
    other `points`.
    """
    return {
        f"smoothing_window_logged_{points}": window,
        "interval": interval_text(),
        "band": BAND,
        "double_descent_criterion": criterion_text(points),
    }


def _distinct(runs: pd.DataFrame, column: str) -> list[str]:
    """The distinct values of a column of the records, sorted."""
    return sorted(set(runs[column].dropna().astype(str))) if column in runs.columns else []


def _earlier_code(runs: pd.DataFrame) -> set[str]:
    """The code of attempts whose checkpoints others continued."""
    texts = _distinct(runs, "earlier_code")
    return {code for text in texts for code in text.split()}


def _column(curves: SeedCurves, attempts: dict[str, Any]) -> dict[str, Any]:
    """Cells, seeds and attempts of one column."""
    aggregate = f"{curves.seeds_per_row} (aggregated at the source)"
    return {
        "value": curves.value,
        "cells": list(curves.cells),
        "seeds": list(curves.seeds) if curves.seeds_per_row == 1 else aggregate,
        "attempts": sum(int(attempts.get(cell, 1)) for cell in curves.cells),
        "missing": list(curves.missing),
    }


def summary(features: pd.DataFrame, name: str = "lambda", points: str = "epochs") -> str:
    """One sentence: in which columns double descent can be seen, or that it cannot.

    name: of the columns. points: what the curves run over.
    """
    rows = features[features["n_seeds"] > 0].reset_index(drop=True)
    shows = rows["double_descent"].astype(bool).to_numpy()
    if shows.any():
        spans = ", ".join(_spans(rows[name].to_numpy(), shows))
        count = f"{shows.sum()} of {names.quantity(len(rows), 'column')} ({name} {spans})"
        return f"double descent can be seen in {count}: {criterion_text(points)}"
    parts = rows[["rise", "second_descent"]]
    nearest_first = np.lexsort([-parts.max(axis=1), -parts.min(axis=1)])
    closest = rows.iloc[int(nearest_first[0])]
    return (
        f"no column of {len(rows)} shows double descent; "
        f"closest at {name} {closest[name]:.3g}: {closest['reason']}"
    )


def _spans(values: NDArray[Any], shows: NDArray[Any]) -> list[str]:
    """The stretches of neighbouring columns that show it: "low to high", or a single value."""
    changes = np.flatnonzero(np.diff(np.concatenate([[0], shows.astype(int), [0]])))
    spans = []
    for start, stop in changes.reshape(-1, 2):
        low, high = f"{values[start]:.3g}", f"{values[stop - 1]:.3g}"
        spans.append(low if stop - start == 1 else f"{low} to {high}")
    return spans
