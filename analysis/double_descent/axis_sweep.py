"""Curves over the width of a model, for each value of a second axis: what model_wise.py and
width_noise.py share.

Reads the logs through analysis.store; the rest are pure functions. A cell counts at its width only
once it has reached its planned epoch, the end of an unfinished training being no end.
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
from analysis.figure import query
from analysis.figure.provenance import Progress, progress, record
from analysis.stats import features, seed_curves
from analysis.stats.seed_curves import Array, SeedCurves

TEST, TRAINING = "test_error", "train_error"


@dataclass(frozen=True)
class Group:
    """The runs at one value of the second axis: a SeedCurves of test and of training error for every
    width, in order.
    """

    value: float
    test: list[SeedCurves]
    training: list[SeedCurves]


@dataclass(frozen=True)
class Widths:
    """What a figure over widths is drawn from: the chosen runs, their groups in order, progress and
    notes.
    """

    runs: pd.DataFrame
    groups: list[Group]
    state: Progress
    notes: list[str]

    def provenance(self, options: argparse.Namespace) -> dict[str, Any]:
        """The record beside the figure; every entry of `columns` says which value of the second
        axis it is of.
        """
        test = [column for group in self.groups for column in group.test]
        behind = record(self.runs, test, self.state, self.notes, options, options.folder, TEST) | {
            "by": options.by
        }
        values = [group.value for group in self.groups for _ in group.test]
        for entry, value in zip(behind["columns"], values, strict=True):
            entry[options.by] = value
        return behind


def arguments(parser: argparse.ArgumentParser, name: str) -> None:
    """The options that both figures have."""
    parser.add_argument("folder", help="log folder of a sweep, logs/NAME")
    parser.add_argument(
        "--out", default="figures", help="folder for the files written (default: figures)"
    )
    parser.add_argument(
        "--column", default="model.width", help="axis from left to right (default: model.width)"
    )
    parser.add_argument(
        "--by", default="data.label_noise.rate", help="second axis (default: data.label_noise.rate)"
    )
    parser.add_argument(
        "--where", action="append", default=[], metavar="COLUMN=VALUE", help="take only these runs"
    )
    parser.add_argument(
        "--name", default=name, metavar="STEM", help=f"name of the files written (default: {name})"
    )


def load(folder: str | Path, column: str, by: str, conditions: Sequence[str]) -> Widths:
    """Runs and curves of a sweep over `column` and `by`.

    Raises FigureError where a further axis varies, StoreError or ValueError where the logs do not
    hold what is needed.
    """
    runs = query.numeric(query.numeric(query.where(store.runs(folder), conditions), column), by)
    if (runs[column] <= 0).any():
        raise query.FigureError(
            f"{column}: found {runs[column].min():g}, expected numbers above 0 for a logarithmic "
            "axis"
        )
    notes = query.check_axes(runs, column, by)
    parts = [(float(str(value)), part) for value, part in runs.groupby(by)]
    curves = store.curves(folder, [TEST, TRAINING], runs["cell"].tolist())
    groups = [
        Group(
            value,
            seed_curves.seed_curves(part, curves, column, TEST),
            seed_curves.seed_curves(part, curves, column, TRAINING),
        )
        for value, part in parts
    ]
    state = progress(runs, [c for group in groups for c in group.test])
    if not any(c.cells for group in groups for c in group.test):
        raise query.FigureError(
            f"none of the {len(runs)} chosen runs has logged {TEST} yet; wait for its first epochs"
        )
    return Widths(runs, groups, state, notes)


def ended(column: SeedCurves, unfinished: Sequence[str]) -> SeedCurves:
    """The SeedCurves without the cells that have not reached their planned epoch; these count as
    missing.
    """
    keep = [i for i, cell in enumerate(column.cells) if cell not in set(unfinished)]
    cells, seeds = tuple(column.cells[i] for i in keep), tuple(column.seeds[i] for i in keep)
    left = tuple(sorted({*column.missing, *column.cells} - set(cells)))
    return replace(column, cells=cells, seeds=seeds, missing=left, values=column.values[keep])


def ends(column: SeedCurves) -> Array:
    """(cells,) mean of each cell's error over the last epochs (`stats.final`, of those that it
    logged).
    """
    return np.array([_final(row, column.x) for row in column.values])


def _final(row: Array, epochs: Any) -> float:
    there = np.isfinite(row)
    return float(features.final(row[there], epochs[there]))


def end_table(data: Widths, by: str, axis: str, below: float) -> pd.DataFrame:
    """One row per value of `by` and of `axis`: number of seeds, mean and population std over seeds
    of the test error at the end and at each seed's best epoch, of the training error at the end,
    and whether its mean is below `below`.
    """
    rows = []
    for group in data.groups:
        for test, training in zip(group.test, group.training, strict=True):
            done, trained = (
                ended(test, data.state.unfinished),
                ended(training, data.state.unfinished),
            )
            row: dict[str, Any] = {by: group.value, axis: test.value, "n_seeds": len(done.cells)}
            best = np.array([np.nanmin(values) for values in done.values])
            for name, values in (
                ("test_end", ends(done)),
                ("test_best", best),
                ("train_end", ends(trained)),
            ):
                row |= {
                    name: _mean(values),
                    f"{name}_std": float(values.std()) if len(values) > 1 else np.nan,
                }
            when = [test.x[int(np.nanargmin(values))] for values in done.values]
            row["best_epoch"] = float(np.median(when)) if when else np.nan
            rows.append(row | {"interpolates": bool(row["train_end"] < below)})
    return pd.DataFrame(rows)


def _mean(values: Array) -> float:
    return float(values.mean()) if len(values) else float("nan")


def over_widths(data: Widths) -> list[SeedCurves]:
    """One SeedCurves per group whose "epochs" are the widths and whose values are each seed's test
    error at the end.

    It gives `reduce.feature_table` the peak over widths in the place of that over time. Seeds
    without a finished cell at some width have NaN there.
    """
    found = []
    for group in data.groups:
        widths = np.array([c.value for c in group.test])
        finished = [ended(column, data.state.unfinished) for column in group.test]
        seeds = tuple(sorted({seed for column in finished for seed in column.seeds}))
        values = np.full((len(seeds), len(widths)), np.nan)
        for position, column in enumerate(finished):
            for seed, end in zip(column.seeds, ends(column), strict=True):
                values[seeds.index(seed), position] = end
        there = np.isfinite(values).any(axis=0)
        missing = tuple(cell for column in finished for cell in column.missing)
        found.append(
            SeedCurves(
                group.value, seeds, seeds, missing, widths[there].astype(np.int64), values[:, there]
            )
        )
    return found


def peak_table(data: Widths, by: str) -> pd.DataFrame:
    """One row per value of `by`: features of the test error at the end over width, and whether
    double descent shows.
    """
    table = seed_curves.feature_table(over_widths(data), 1, by, last=1)
    return table.rename(
        columns=lambda name: name.replace("_epoch", "_width").replace("epochs_used", "widths_used")
    )
