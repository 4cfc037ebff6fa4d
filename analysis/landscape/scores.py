"""Training and test accuracy of a few kinds of trainings, with intervals over seeds."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from scipy import stats

from analysis import store
from analysis.figure import names, provenance, query
from analysis.landscape import minima
from analysis.store.parts import FINAL

INTERVAL = "95 % t interval of the mean over seeds; none for one seed"

Name = Callable[[Mapping[Any, Any]], str]
"""From a row of the runs table to the name of its kind."""


@dataclass(frozen=True)
class Scores:
    """The finished trainings of a sweep, and a row for each kind.

    table: name, seeds, parameters, and for test and train the mean, sd, low and high of the
    accuracy over seeds (0 to 1), best test accuracy first. notes: on what is missing.
    """

    runs: pd.DataFrame
    table: pd.DataFrame
    notes: tuple[str, ...]

    def sentences(self) -> list[str]:
        """A line for each kind."""
        lines = []
        for row in self.table.to_dict("records"):
            low, high = 100 * row["test_low"], 100 * row["test_high"]
            interval = f" [{low:.1f}, {high:.1f}]" if np.isfinite(low) else ""
            lines.append(
                f"{row['name']}: test {100 * row['test_mean']:.1f} %{interval}, train "
                f"{100 * row['train_mean']:.1f} %, {row['parameters']:,} parameters, "
                f"{names.quantity(row['seeds'], 'seed')}"
            )
        return lines

    def record(self, options: argparse.Namespace) -> dict[str, Any]:
        """The record beside the figure."""
        source = provenance.Source(self.runs, options.folder, self.notes)
        cells = {}
        for name, group in self.runs.groupby("kind"):
            cells[name] = sorted(group["cell"].astype(str))
        return {**provenance.origin(source, options), "interval": INTERVAL, "cells": cells}


def load(options: argparse.Namespace, name: Name, axes: Sequence[str]) -> Scores:
    """The accuracies of the finished trainings in a log folder.

    axes: columns, or beginnings of columns, in which the kinds may differ; seeds always may. Raises
    StoreError without logs, and FigureError if trainings differ in anything else, if those of one
    kind do, or if none is done.
    """
    runs = query.where(store.runs(options.folder), options.where)
    _check_axes(runs, axes)
    done = runs[runs["status"] == "done"]
    done = done[minima.test_accuracy(done).notna()]
    diverged = len(provenance.diverged_cells(runs))
    unfinished = int((~runs["status"].isin(FINAL)).sum())
    if done.empty:
        none = names.none_of(len(runs), "chosen training")
        reasons = [f"{none} is done and has a test accuracy"]
        reasons += [provenance.diverged_text(diverged)] if diverged else []
        reasons += [provenance.fill(options.folder)] if unfinished else []
        raise query.FigureError("; ".join(reasons))
    done = done.assign(kind=[name(row) for row in done.to_dict("records")])
    for kind, group in done.groupby("kind"):
        _check_one_setting(str(kind), group)
    notes = []
    if unfinished:
        notes.append(provenance.unfinished_text(unfinished, len(runs)))
    if diverged:
        notes.append(f"not drawn: {provenance.diverged_text(diverged)}")
    rows = [_row(str(kind), group) for kind, group in done.groupby("kind")]
    table = pd.DataFrame(rows).sort_values("test_mean", ascending=False, ignore_index=True)
    return Scores(done, table, tuple(notes))


def _check_axes(runs: pd.DataFrame, axes: Sequence[str]) -> None:
    """Raise FigureError if trainings differ in more than seed and these axes."""
    varying = {}
    for column, values in query.axes(runs).items():
        if column != "seed" and not column.startswith(tuple(axes)):
            varying[column] = values
    if varying:
        drawn = [f"the keys of {axis[:-1]}" if axis.endswith(".") else axis for axis in axes]
        raise _choice(f"the trainings differ in more than {', '.join(drawn)}", varying)


def _check_one_setting(kind: str, runs: pd.DataFrame) -> None:
    """Raise FigureError if trainings of one kind, which are averaged, differ in more than seed."""
    varying = {column: values for column, values in query.axes(runs).items() if column != "seed"}
    if varying:
        raise _choice(f"the trainings of {kind} differ in more than seed", varying)


def _choice(problem: str, varying: dict[str, list[str]]) -> query.FigureError:
    """The error about columns of which one value has to be chosen."""
    column, values = next(iter(varying.items()))
    return query.FigureError(
        f"{problem}:\n{query.listing(varying)}\n"
        f"choose one value of each, for example --where {query.equality(column, values[0])}"
    )


def _row(name: str, runs: pd.DataFrame) -> dict[str, Any]:
    test = minima.test_accuracy(runs).to_numpy()
    train = 1 - query.numbers(runs, "final_train_eval_error").to_numpy()
    return {
        "name": name,
        "seeds": len(runs),
        "parameters": int(runs["parameters"].iloc[0]),
        **_mean("test", test),
        **_mean("train", train),
    }


def _mean(name: str, values: np.ndarray[Any, np.dtype[np.float64]]) -> dict[str, float]:
    """Mean, sd and interval of some accuracies; NaN where one seed gives none."""
    count, mean = len(values), float(values.mean())
    sd = float(values.std(ddof=1)) if count > 1 else float("nan")
    half = float(stats.t.ppf(0.975, count - 1)) * sd / count**0.5 if count > 1 else float("nan")
    return {
        f"{name}_mean": mean,
        f"{name}_sd": sd,
        f"{name}_low": mean - half,
        f"{name}_high": mean + half,
    }


def points(axes: Axes, table: pd.DataFrame, name: str, look: Mapping[str, Any]) -> None:
    """A row of the axes for each kind, best at the top: the mean accuracy and its interval.

    name: test or train.
    """
    places = np.arange(len(table))
    mean = 100 * table[f"{name}_mean"].to_numpy()
    half = np.nan_to_num(100 * table[f"{name}_high"].to_numpy() - mean)
    axes.errorbar(mean, places, xerr=half, fmt="o", lw=1.2, capsize=3, ms=6, label=name, **look)
    axes.set_yticks(places, table["name"])
    axes.set_ylim(len(table) - 0.5, -0.5)
