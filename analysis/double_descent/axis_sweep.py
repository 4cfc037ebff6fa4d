"""Curves over an axis of a sweep, such as the width of a model, for each value of a second axis.

Reads the logs through analysis.store; the rest are pure functions. A cell counts only once it has
reached its planned epoch: where an unfinished training stands says nothing about its end.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis import store
from analysis.figure import options as figure_options
from analysis.figure import output, query
from analysis.figure.provenance import (
    Progress,
    Source,
    curves_of,
    nothing_logged,
    progress,
    record,
)
from analysis.stats import features, seed_curves
from analysis.stats.seed_curves import Array, SeedCurves

TEST, TRAINING = "test_error", "train_error"


@dataclass(frozen=True)
class SweepGroup:
    """The runs at one value of the second axis: curves at every value of the first, in order."""

    value: float
    test: list[SeedCurves]
    training: list[SeedCurves]


@dataclass(frozen=True)
class AxisSweep:
    """What a figure over an axis is drawn from: runs, their groups in order, progress and notes.

    last: epochs that a value at the end of training is the mean of.
    """

    runs: pd.DataFrame
    groups: list[SweepGroup]
    state: Progress
    notes: list[str]
    last: int = features.LAST

    def diverged(self, column: str, by: str) -> pd.DataFrame:
        """The axis value (`column`) and the value of `by` of each run that diverged."""
        is_diverged = self.runs["cell"].astype(str).isin(self.state.diverged)
        return self.runs.loc[is_diverged, [column, by]].drop_duplicates()

    def provenance(self, options: argparse.Namespace) -> dict[str, Any]:
        """The record beside the figure; each of its `columns` has its value of the second axis."""
        test: list[SeedCurves] = []
        values: list[float] = []
        for group in self.groups:
            test += group.test
            values += [group.value] * len(group.test)
        source = Source(self.runs, options.folder, self.notes)
        behind = record(source, test, self.state, options, TEST)
        behind["by"] = options.by
        for entry, value in zip(behind["columns"], values, strict=True):
            entry[options.by] = value
        return behind


def arguments(parser: argparse.ArgumentParser, name: str) -> None:
    """The options that both figures have."""
    parser.add_argument("folder", help="log folder of a sweep, logs/NAME")
    parser.add_argument(
        "--column", default="model.width", help="axis from left to right (default: model.width)"
    )
    parser.add_argument(
        "--by", default="data.label_noise.rate", help="second axis (default: data.label_noise.rate)"
    )
    parser.add_argument(
        "--where", action="append", default=[], metavar="COLUMN=VALUE", help="take only these runs"
    )
    figure_options.add(parser, name)
    output.last_option(parser)


def load(
    folder: str | Path, column: str, by: str, conditions: Sequence[str], last: int = features.LAST
) -> AxisSweep:
    """Runs and curves of a sweep over `column` and `by`; the end is the mean of `last` epochs.

    Raises FigureError where a further axis varies, StoreError or ValueError where the logs do not
    hold what is needed.
    """
    matching = query.where(store.runs(folder), conditions)
    runs = query.numeric(query.numeric(matching, column), by)
    if (runs[column] <= 0).any():
        raise query.FigureError(
            f"{column}: found {runs[column].min():g}, expected numbers above 0 for a logarithmic "
            "axis"
        )
    notes = query.check_axes(runs, column, by)
    curves = curves_of(runs, folder, [TEST, TRAINING])
    groups = [_group(float(str(value)), part, curves, column) for value, part in runs.groupby(by)]
    test = [seeds for group in groups for seeds in group.test]
    if not any(seeds.cells for seeds in test):
        raise query.FigureError(nothing_logged(runs, TEST))
    return AxisSweep(runs, groups, progress(runs, test), notes, last)


def _group(value: float, runs: pd.DataFrame, curves: pd.DataFrame, column: str) -> SweepGroup:
    """The curves of the runs at one value of the second axis."""
    return SweepGroup(
        value,
        seed_curves.seed_curves(runs, curves, column, TEST),
        seed_curves.seed_curves(runs, curves, column, TRAINING),
    )


def finished_only(curves: SeedCurves, unfinished: Sequence[str]) -> SeedCurves:
    """The curves without unfinished cells, which then count as missing."""
    indices = [i for i, cell in enumerate(curves.cells) if cell not in set(unfinished)]
    cells = tuple(curves.cells[i] for i in indices)
    seeds = tuple(curves.seeds[i] for i in indices)
    missing = tuple(sorted({*curves.missing, *curves.cells} - set(cells)))
    values = curves.values[indices]
    return replace(curves, cells=cells, seeds=seeds, missing=missing, values=values)


def final_errors(curves: SeedCurves, last: int = features.LAST) -> Array:
    """(cells,) mean of each cell's error over its `last` last epochs (`features.final`)."""
    errors = []
    for values in curves.values:
        logged = np.isfinite(values)
        errors.append(float(features.final(values[logged], curves.x[logged], last)))
    return np.array(errors)


def end_table(sweep: AxisSweep, by: str, axis: str, below: float) -> pd.DataFrame:
    """One row per value of `by` and of `axis`, over the finished seeds.

    Columns: n_seeds; mean and population std (`_std`) of test_end, test_best (at each seed's best
    epoch) and train_end; best_epoch, the median; interpolates, whether train_end is below `below`.
    """
    rows = []
    for group in sweep.groups:
        for test, training in zip(group.test, group.training, strict=True):
            finished_test = finished_only(test, sweep.state.without_end)
            finished_training = finished_only(training, sweep.state.without_end)
            ends = _ends(finished_test, finished_training, sweep.last)
            interpolates = bool(ends["train_end"] < below)
            rows.append({by: group.value, axis: test.value, **ends, "interpolates": interpolates})
    return pd.DataFrame(rows)


def _ends(test: SeedCurves, training: SeedCurves, last: int) -> dict[str, float]:
    """The numbers of one row of `end_table`, from finished cells."""
    best = np.array([np.nanmin(values) for values in test.values])
    best_epochs = np.array([test.x[np.nanargmin(values)] for values in test.values])
    return {
        "n_seeds": len(test.cells),
        **_mean_and_std("test_end", final_errors(test, last)),
        **_mean_and_std("test_best", best),
        **_mean_and_std("train_end", final_errors(training, last)),
        "best_epoch": float(np.median(best_epochs)) if len(best_epochs) else np.nan,
    }


def _mean_and_std(name: str, values: Array) -> dict[str, float]:
    """Mean over seeds, NaN without any, and population std, NaN with fewer than two."""
    mean = float(values.mean()) if len(values) else np.nan
    std = float(values.std()) if len(values) > 1 else np.nan
    return {name: mean, f"{name}_std": std}


def as_seed_curves(sweep: AxisSweep) -> list[SeedCurves]:
    """SeedCurves of each group over the axis: every seed's test error at the end of training.

    `seed_curves.feature_table` then finds the peak over the axis instead of over time. Seeds
    without a finished cell at some value have NaN there.
    """
    return [_over_axis(group, sweep) for group in sweep.groups]


def _over_axis(group: SweepGroup, sweep: AxisSweep) -> SeedCurves:
    """The final test errors of one group, (seeds, axis values); values without any are left out."""
    curves_by_width = [finished_only(curves, sweep.state.without_end) for curves in group.test]
    names: set[str] = set()
    missing: list[str] = []
    for curves in curves_by_width:
        names.update(curves.seeds)
        missing += curves.missing
    seeds = tuple(sorted(names))
    errors = np.full((len(seeds), len(curves_by_width)), np.nan)
    for position, curves in enumerate(curves_by_width):
        rows = [seeds.index(seed) for seed in curves.seeds]
        errors[rows, position] = final_errors(curves, sweep.last)
    has_values = np.isfinite(errors).any(axis=0)
    x = np.array([curves.value for curves in curves_by_width])[has_values].astype(np.int64)
    values = errors[:, has_values]
    return SeedCurves(group.value, seeds, seeds, tuple(missing), x, values, x_name="width")


def peak_table(sweep: AxisSweep, by: str) -> pd.DataFrame:
    """One row per value of `by`: features of the final test error over the axis, and verdict."""
    return seed_curves.feature_table(as_seed_curves(sweep), 1, by, last=1)
