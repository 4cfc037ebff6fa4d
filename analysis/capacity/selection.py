"""The searches of a figure: options, selection, learning rates, and the record beside it."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis import store
from analysis.capacity import estimate, labels, messages, rates
from analysis.capacity.shares import CENSORED, columns_note, searches_at
from analysis.figure import names, query
from analysis.figure import options as figure_options
from analysis.figure.provenance import Source, origin
from analysis.figure.table_text import table_text
from analysis.stats import threshold
from analysis.stats.threshold import Posterior, Settings, Trial
from analysis.store.parts import FINAL
from analysis.store.searches import SAMPLES, read, results_of

INTERVAL = (
    "median and 90 % interval of the posterior of n50, the n that half of the trainings fit (apart "
    "from lapses); it holds the variance of subset, labels, initialisation and order at once, "
    "because every training draws all of them"
)
FIT = (
    "a training fits if at most eps n answers are wrong at some check in evaluation mode, on "
    "exactly the n samples it was trained on; at the end of training more may be wrong"
)
COLUMNS = (
    "parameters", "n50", "n50_low", "n50_high", "n50_bound", "status", "n_largest",
    "n_first_failure", "n50_per_parameter", "n50_eps01", "n50_eps05", "n50_eps10", "bits_max",
    "hole", "island", "trainings", "rounds", "budget_steps", "budget_epochs_at_n50",
    "budget_saturated", "n50_half_budget", "aft_exponent", "aft_noise",
)  # fmt: skip
SHOWN = (
    "n50", "n50_low", "n50_high", "n50_bound", "status", "n_largest", "n_first_failure",
    "n50_eps01", "n50_eps05", "n50_eps10", "trainings",
)  # fmt: skip


@dataclass(frozen=True)
class Selection:
    """The searches of a figure.

    table: rows of `store.searches`, n50 and its interval at `share`, with `tuned_lr`. trainings:
    rows of `store.outcomes`, whose `search` is an index of the table, with `success` at `share`.
    settings: by that index. share: of wrong answers that counts as a fit. folders: the logs. notes:
    on the selection.
    """

    table: pd.DataFrame
    trainings: pd.DataFrame
    settings: Mapping[int, Settings]
    share: float
    folders: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def of(self, search: int) -> pd.DataFrame:
        """The trainings of one search."""
        return self.trainings[self.trainings["search"] == search]

    @property
    def trained(self) -> int:
        """How many trainings have an outcome at `share`."""
        return int(self.trainings["success"].notna().sum())

    def results(self, search: int) -> list[tuple[Trial, bool]]:
        """The trainings of a search with an outcome at `share`."""
        return results_of(self.of(search))

    def belief(self, search: int) -> Posterior:
        """The posterior of a search at `share`."""
        return threshold.posterior(self.settings[search], self.results(search))

    def comparisons(self, names: pd.Series) -> pd.DataFrame:
        """`estimate.comparisons` of searches with an outcome; names: by index of the table."""
        trained = names[[bool(self.results(int(str(index)))) for index in names.index]]
        beliefs = {str(name): self.belief(int(str(i))) for i, name in trained.items()}
        status = self.table.loc[trained.index, "status"]
        pairs = zip(trained.astype(str), status, strict=True)
        censored = {name: side for name, side in pairs if side in CENSORED}
        return estimate.comparisons(beliefs, censored)

    def check_outcomes(self) -> None:
        """Raise FigureError where no training of any search has an outcome: nothing is drawn."""
        if not any(self.results(int(str(index))) for index in self.table.index):
            folders = ", ".join(self.folders)
            reasons = [f"{folders}: no search has an outcome yet", *self.notes]
            raise query.FigureError("; ".join(reasons))

    def only(self, table: pd.DataFrame) -> Selection:
        """This selection with the searches and columns of `table`."""
        trainings = self.trainings[self.trainings["search"].isin(table.index)]
        return replace(self, table=table, trainings=trainings)

    def noted(self, *notes: str) -> Selection:
        """This selection with further notes."""
        return replace(self, notes=(*self.notes, *notes))

    def messages(self, has_marks: bool = True) -> list[str]:
        """The notes, what is censored or missing, and the commands that complete it.

        has_marks: whether the figure has arrows and hollow marks, which the messages then name.
        """
        lines = [f"note: {note}" for note in self.notes]
        return lines + messages.lines(self.table, self.trainings, self.folders, has_marks)

    def caption(self) -> str:
        """One line for the foot of the figure."""
        budgets = list(dict.fromkeys(labels.texts(self.table, [labels.budget])))
        shown = budgets[0] if len(budgets) == 1 else f"budgets {', '.join(budgets)}"
        wrong = f"at most {100 * self.share:g} % wrong" if self.share else "no wrong answer"
        return (
            f"fit: {wrong} at some check (ε = {self.share:g}); "
            f"{shown}; 90 % intervals; {self.counts}"
        )

    @property
    def counts(self) -> str:
        """How many trainings and searches there are, in words."""
        trainings = names.quantity(self.trained, "training")
        return f"{trainings} in {names.quantity(len(self.table), 'search', 'searches')}"

    def record(self, options: argparse.Namespace, facts: Mapping[str, Any]) -> dict[str, Any]:
        """The record beside a figure of capacity."""
        capacity = {
            "caption": self.caption(),
            "eps": self.share,
            "fit": FIT,
            "interval": INTERVAL,
            "budgets": list(dict.fromkeys(labels.texts(self.table, [labels.budget]))),
            "minimum_check": "reported for each training that asked for it, never a filter",
        }
        return self.record_of_searches(options, capacity | dict(facts))

    def record_of_searches(
        self, options: argparse.Namespace, facts: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The record beside a figure of searches along any axis."""
        runs = pd.concat([store.runs(folder) for folder in self.folders], ignore_index=True)
        runs = runs[runs["cell"].isin(self.trainings["cell"])]
        source = Source(runs, ", ".join(self.folders), self.notes)
        searches = []
        for index, row in self.table.iterrows():
            searches.append(self._record_of(int(str(index)), row))
        counts = {"trainings": self.trained}
        return {**origin(source, options), **counts, **facts, "searches": searches}

    def _record_of(self, search: int, row: pd.Series) -> dict[str, Any]:
        """What the record says of one search, whose row this is."""
        trainings = self.of(search)
        is_open = trainings["success"].isna()
        return {
            "point": _varying(self.table, row),
            "status": row["status"],
            "cells": trainings.loc[~is_open, "cell"].tolist(),
            "missing": trainings.loc[is_open, "cell"].tolist(),
        }


def parser(doc: str | None, name: str, *, many: bool = False) -> argparse.ArgumentParser:
    """The options of every figure of capacity; `many` log folders, or one."""
    options = search_parser(doc, name, many=many)
    add = options.add_argument
    add("--eps", type=_share, default=0.0, help="share of wrong answers that is a fit (default: 0)")
    add("--rates-from", metavar="FOLDER", help="log folder whose searches choose the learning rate")
    return options


def _share(text: str) -> float:
    """The share that --eps gives; argparse.ArgumentTypeError unless it is from 0 to below 1."""
    try:
        share = float(text)
    except ValueError:
        share = math.nan
    if not 0 <= share < 1:
        raise argparse.ArgumentTypeError(
            f"found {text!r}, expected a share of wrong answers from 0 to below 1, such as 0.05"
        )
    return share


def search_parser(doc: str | None, name: str, *, many: bool = False) -> argparse.ArgumentParser:
    """The options of every figure of searches: folder, --where, and those of pictures."""
    folder = "log folder of a sweep that searches, logs/NAME"
    options = figure_options.parser(doc, folder, "take only these searches", many=many)
    figure_options.add(options, name)
    return options


def select(options: argparse.Namespace, free: Sequence[str]) -> Selection:
    """The searches that the options choose.

    free: prefixes of the configuration columns that tell the figure's points apart. Raises
    StoreError without searches, FigureError where they search another axis or differ in something
    else too.
    """
    selection = load(options.folder, options.where, options.eps)
    selection = at_best_rates(selection, options.rates_from)
    if not selection.share:  # another share has a note of its own
        selection = selection.noted(*columns_note(selection.table, selection.trainings))
    return selection.noted(*check_axes(selection.table, free))


def at_best_rates(selection: Selection, rates_from: str | None) -> Selection:
    """The searches at the learning rate that is best for each point.

    rates_from: log folder whose searches choose it, so that other seeds measure.
    """
    chooser = load(rates_from, (), selection.share).table if rates_from is not None else None
    table, notes = rates.choose_rates(selection.table, chooser, rates_from or "")
    return selection.only(table).noted(*notes)


def load(folder: str, where: Sequence[str], share: float = 0.0) -> Selection:
    """All searches over data.train_samples of a folder that meet the conditions."""
    table = store.searches(folder)
    other_axes = sorted(set(table.get("axis", pd.Series(dtype=str))) - {SAMPLES})
    if table.empty or other_axes:
        what = f"searches over {', '.join(other_axes)}" if other_axes else "no search"
        raise query.FigureError(f"{folder}: found {what}, expected searches over {SAMPLES}")
    table = query.where(table, where)
    records, trainings = read(folder), store.outcomes(folder)
    settings = {number: record.settings for number, record in enumerate(records)}
    selection = Selection(table, trainings, settings, share, (folder,)).only(table)
    selection = selection.noted(*newer_results(selection, folder))
    if not share:
        return selection
    table, trainings, left_out = searches_at(selection.table, selection.trainings, settings, share)
    return replace(selection, table=table, trainings=trainings).noted(*left_out)


def newer_results(selection: Selection, folder: str) -> list[str]:
    """A note if trainings have ended since searches.json was written: they have no outcome in it.

    Those that hold their search lack a value that its condition needs, and stay without one.
    """
    trainings = selection.trainings
    held = {cell for cells in selection.table["held"] for cell in cells}
    has_result = trainings["status"].isin(FINAL) & ~trainings["cell"].isin(held)
    newer = int((has_result & trainings["success"].isna()).sum())
    if not newer:
        return []
    name = Path(folder).resolve().name
    return [
        f"searches.json was written before {newer} of "
        f"{names.quantity(len(trainings), 'training')} ended, which "
        f"{'enters' if newer == 1 else 'enter'} no estimate yet: `redescent resume {name}` adds "
        f"{'it' if newer == 1 else 'them'}, and sends what is open"
    ]


def check_axes(table: pd.DataFrame, free: Sequence[str]) -> list[str]:
    """Notes on columns that change together with the free ones; FigureError if another varies.

    free: prefixes of column names.
    """
    drawn = [name for name in query.axes(table) if name.startswith((*free, rates.RATE))]
    crossed, together = query.split_axes(table, drawn)
    if crossed:
        name, values = next(iter(crossed.items()))
        raise query.FigureError(
            f"the searches differ in more than this figure draws:\n{query.listing(crossed)}\n"
            f"choose one value of each, for example --where {query.equality(name, values[0])}"
        )
    return [
        f"{name} changes together with what is drawn: {', '.join(values)}"
        for name, values in together.items()
    ]


def listing(table: pd.DataFrame) -> str:
    """The table for the terminal, without columns that are empty throughout."""
    columns = [c for c in table.columns if table[c].notna().any() and (table[c] != "").any()]
    return table_text(table[columns])


def with_place(searches: Selection, table: pd.DataFrame, place: str) -> Selection:
    """The searches of `table`, with a note on the others, which lack the column `place` yet."""
    without = len(searches.table) - len(table)
    result = searches.only(table)
    if not without:
        return result
    left_out = names.quantity(without, "search", "searches")
    return result.noted(f"not drawn: {left_out} without {place} yet")


def check_unique(table: pd.DataFrame, columns: Sequence[str]) -> None:
    """FigureError if two searches share their place in the figure."""
    twice = table.duplicated(list(columns), keep=False)
    if twice.any():
        first = table.loc[twice, list(columns)].iloc[0]
        place = ", ".join(_place_text(value) for value in first if value != "")
        places = query.points(table, columns)
        same = table[places == places[twice].iloc[0]]
        varying = query.axes(same) or {"success": sorted(set(same["success"]))}
        name, values = next(iter(varying.items()))
        condition = query.equality(name, values[0])
        raise query.FigureError(
            f"{len(same)} searches fall on one place of this figure ({place}); they differ in\n"
            f"{query.listing(varying)}\nchoose one value, for example --where {condition}"
        )


def _place_text(value: Any) -> str:
    """A coordinate of a figure as text: 10 for 10.0."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _varying(table: pd.DataFrame, row: pd.Series) -> dict[str, Any]:
    """The configuration of a row in the columns that differ among the searches."""
    values = {}
    for name in query.axes(table):
        value = row[name]
        value = value.item() if isinstance(value, np.generic) else value
        values[name] = None if isinstance(value, float) and math.isnan(value) else value
    return values
