"""Curves over an axis of a sweep, such as the width of a model, for each value of a second axis.

Reads the logs through analysis.store; the rest are pure functions. A cell counts only once it has
reached its planned epoch: the last rows of an unfinished training say nothing about its end.
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
from analysis.figure import names, output, query
from analysis.figure import options as figure_options
from analysis.figure.provenance import (
    Completeness,
    Source,
    check_last,
    completeness,
    curves_of,
    nothing_logged,
    record,
)
from analysis.stats import features, seed_curves
from analysis.stats.seed_curves import Array, SeedCurves

TEST = "test_error"  # the default of --metric
WIDTH = "model.width"
UNITS = {WIDTH: "width", "data.train_samples": "samples"}
"""What an axis counts, where that is not the end of its key."""


@dataclass(frozen=True)
class Choice:
    """What a figure shows of a sweep.

    column, by: both axes. where: conditions on the runs. metric: of the test samples. last: how
    many last epochs a value at the end of training is the mean of. training_metric: of the training
    samples; "" for the one that belongs to `metric`.
    """

    column: str
    by: str
    where: Sequence[str] = ()
    metric: str = TEST
    last: int = features.LAST
    training_metric: str = ""

    @property
    def training(self) -> str:
        """The metric of the training samples."""
        if self.training_metric:
            return self.training_metric
        return "train_loss" if self.metric.endswith("_loss") else "train_error"

    @property
    def unit(self) -> str:
        """What the first axis counts, for the names of features: "width", "samples", "depth"."""
        return UNITS.get(self.column, self.column.rpartition(".")[2])

    @property
    def points(self) -> str:
        """The places of the first axis in a sentence: "widths", "values of depth"."""
        if self.column == WIDTH:
            return "widths"
        return f"values of {self.unit.replace('_', ' ')}"


@dataclass(frozen=True)
class SweepGroup:
    """The runs at one value of the second axis: curves at every value of the first, in order."""

    value: float
    test: list[SeedCurves]
    training: list[SeedCurves]


@dataclass(frozen=True)
class AxisSweep:
    """What a figure over an axis is drawn from: runs, their groups in order, how complete they are,
    and notes.
    """

    choice: Choice
    runs: pd.DataFrame
    groups: list[SweepGroup]
    state: Completeness
    notes: list[str]

    def diverged(self) -> pd.DataFrame:
        """The values of both axes of each run that diverged."""
        is_diverged = self.runs["cell"].astype(str).isin(self.state.diverged)
        columns = [self.choice.column, self.choice.by]
        return self.runs.loc[is_diverged, columns].drop_duplicates()

    def provenance(self, options: argparse.Namespace) -> dict[str, Any]:
        """The record beside the figure; each of its `columns` has its value of the second axis."""
        test: list[SeedCurves] = []
        values: list[float] = []
        for group in self.groups:
            test += group.test
            values += [group.value] * len(group.test)
        source = Source(self.runs, options.folder, self.notes)
        behind = record(source, test, self.state, options, self.choice.metric)
        behind["by"] = self.choice.by
        for entry, value in zip(behind["columns"], values, strict=True):
            entry[self.choice.by] = value
        return behind


def parser(
    doc: str | None, name: str, column: str = WIDTH, by: str = "data.label_noise.rate"
) -> argparse.ArgumentParser:
    """The options that figures over an axis have. column, by: the default axes."""
    options = figure_options.parser(doc)
    add = options.add_argument
    add("--column", default=column, help=f"axis from left to right (default: {column})")
    add("--by", default=by, help=f"second axis (default: {by})")
    add("--metric", default=TEST, help=f"column to draw (default: {TEST})")
    figure_options.add(options, name)
    output.last_option(options)
    return options


def choice_of(options: argparse.Namespace) -> Choice:
    """The choice that the options make."""
    return Choice(options.column, options.by, options.where, options.metric, options.last)


def load(folder: str | Path, choice: Choice) -> AxisSweep:
    """Runs and curves of a sweep over the axes of `choice`.

    Raises FigureError where a further axis varies, StoreError or ValueError where the logs do not
    hold what is needed.
    """
    column, by = choice.column, choice.by
    matching = query.where(store.runs(folder), choice.where)
    with_column, notes = query.with_number(matching, column)
    runs, notes_on_by = query.with_number(with_column, by)
    notes += notes_on_by
    _check_values(runs[column], column)
    notes += query.check_axes(runs, column, by)
    curves = curves_of(runs, folder, [choice.metric, choice.training])
    groups = [_group(float(str(value)), part, curves, choice) for value, part in runs.groupby(by)]
    test = [seeds for group in groups for seeds in group.test]
    if not any(seeds.cells for seeds in test):
        raise query.FigureError(nothing_logged(runs, choice.metric))
    state = completeness(runs, test)
    check_last(choice.last, state)
    return AxisSweep(choice, runs, groups, state, notes)


def _check_values(values: pd.Series, column: str) -> None:
    """FigureError unless the values of the first axis are positive whole numbers."""
    if (values <= 0).any():
        raise query.FigureError(
            f"{column}: found {values.min():g}, expected numbers above 0 for a logarithmic axis"
        )
    fractions = values[values % 1 != 0]
    if len(fractions):
        raise query.FigureError(
            f"{column}: found {fractions.iloc[0]:g}, expected whole numbers, such as widths; "
            f"fig2_ab.py --column {column} draws other values"
        )


def _group(value: float, runs: pd.DataFrame, curves: pd.DataFrame, choice: Choice) -> SweepGroup:
    """The curves of the runs at one value of the second axis."""
    return SweepGroup(
        value,
        seed_curves.seed_curves(runs, curves, choice.column, choice.metric),
        seed_curves.seed_curves(runs, curves, choice.column, choice.training),
    )


def over_time(sweep: AxisSweep, group: SweepGroup, folder: str | Path, time: str) -> SweepGroup:
    """`group` with its test curves over the column `time`: "epoch", "step" or "examples"."""
    if time == "epoch":
        return group
    choice = sweep.choice
    runs = sweep.runs[np.isclose(sweep.runs[choice.by], group.value, atol=0)]
    curves = curves_of(runs, folder, [choice.metric, time], time)
    test = seed_curves.seed_curves(runs, curves, choice.column, choice.metric, time)
    return replace(group, test=test)


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


def end_table(sweep: AxisSweep, below: float) -> pd.DataFrame:
    """One row per value of both axes, over the finished seeds.

    Columns: both axes; n_seeds; mean and population std (`_std`) of test_end, test_best (at each
    seed's best epoch) and train_end; best_epoch, the median; interpolates, whether train_end is
    below `below`. "test" is the metric of the choice.
    """
    by, axis, last = sweep.choice.by, sweep.choice.column, sweep.choice.last
    rows = []
    for group in sweep.groups:
        for test, training in zip(group.test, group.training, strict=True):
            finished_test = finished_only(test, sweep.state.without_end)
            finished_training = finished_only(training, sweep.state.without_end)
            ends = _ends(finished_test, finished_training, last)
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
    seen: set[str] = set()
    missing: list[str] = []
    for curves in curves_by_width:
        seen.update(curves.seeds)
        missing += curves.missing
    seeds = tuple(sorted(seen))
    errors = np.full((len(seeds), len(curves_by_width)), np.nan)
    for position, curves in enumerate(curves_by_width):
        rows = [seeds.index(seed) for seed in curves.seeds]
        errors[rows, position] = final_errors(curves, sweep.choice.last)
    has_values = np.isfinite(errors).any(axis=0)
    x = np.array([curves.value for curves in curves_by_width])[has_values].astype(np.int64)
    values = errors[:, has_values]
    return SeedCurves(
        value=group.value,
        cells=seeds,
        seeds=seeds,
        missing=tuple(missing),
        x=x,
        values=values,
        x_name=sweep.choice.unit,
    )


def with_verdict_notes(sweep: AxisSweep) -> AxisSweep:
    """The sweep with notes on the seeds and places that are drawn and that no verdict takes."""
    values: dict[str, list[str]] = {}
    for curves in as_seed_curves(sweep):
        for text in _outside_verdict(curves, sweep.choice):
            values.setdefault(text, []).append(f"{curves.value:g}")
    by = names.name(sweep.choice.by)
    notes = [f"the verdict of {by} {', '.join(at)} {text}" for text, at in values.items()]
    return replace(sweep, notes=[*sweep.notes, *notes])


def _outside_verdict(curves: SeedCurves, choice: Choice) -> list[str]:
    """What the verdict on one group leaves out, in words: its seeds, its places."""
    if not curves.cells:
        return []
    seeds, places = seed_curves.outside_block(curves)
    texts = []
    if seeds:
        noun, verb = ("seed", "does") if len(seeds) == 1 else ("seeds", "do")
        listed = ", ".join(seeds)
        lacks = f"which {verb} not have all of its {choice.points}"
        texts.append(f"leaves out {noun} {listed}, {lacks}")
    if places:
        listed = ", ".join(str(place) for place in places)
        unit = choice.unit.replace("_", " ")
        texts.append(f"leaves out {unit} {listed}, which not all of its seeds have")
    return texts


def peak_table(sweep: AxisSweep) -> pd.DataFrame:
    """One row per value of the second axis: features of the final test error over the first, and
    verdict.
    """
    return seed_curves.feature_table(as_seed_curves(sweep), 1, sweep.choice.by, last=1)
