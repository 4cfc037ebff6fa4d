"""Capacity on correct over random labels against the generalisation gap (Figure E4).

    python analysis/emc_gap.py logs/NAME [logs/OTHER ...] [--gap-from logs/TRAININGS] [--samples N]

The searches need correct and random labels of each model. The gap is the test error of trainings
that fitted N correct labels (their training error is 0), the same N for all models: those of the
searches, or of a plain sweep over models and seeds that --gap-from names. Without --samples, N is
the largest at which most models have such a training. Models whose n50 is censored are left out and
named. Writes STEM.png, STEM.pdf, STEM.csv (the points), STEM_correlations.csv and
STEM.json.

The figure follows Shwartz-Ziv et al. (2024), "Just How Flexible are Neural Networks in Practice?"
(arXiv 2406.11463).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import store
from analysis.capacity import generalisation, labels, plot, selection
from analysis.capacity.generalisation import Model
from analysis.capacity.selection import Selection
from analysis.capacity.shares import CENSORED
from analysis.figure import output, query, style
from analysis.figure.names import quantity
from analysis.stats.threshold import Settings

SIZE = (6.6, 5.2)  # inches
FREE = ("model.", "data.label_noise.", "trainer.least_steps", "trainer.epochs")
GAP = "test error of trainings that fitted n correct labels, minus their training error, which is 0"


def select(options: argparse.Namespace) -> Selection:
    """The searches of all folders, whose indices count on from one folder to the next."""
    tables, trainings, notes = [], [], list[str]()
    settings: dict[int, Settings] = {}
    for folder in options.folders:
        loaded = selection.load(folder, options.where, options.eps)
        loaded = selection.at_best_rates(loaded, options.rates_from)
        first = len(settings)
        numbers = {int(str(old)): first + i for i, old in enumerate(loaded.table.index)}
        tables.append(loaded.table.rename(index=numbers))
        trainings.append(loaded.trainings.assign(search=loaded.trainings["search"].map(numbers)))
        settings.update({numbers[old]: loaded.settings[old] for old in numbers})
        notes += [note for note in loaded.notes if note not in notes]
    table = pd.concat(tables)
    twice = query.points(table, store.settings_of(table)).duplicated()
    if twice.any():
        found = quantity(int(twice.sum()), "search is", "searches are")
        notes.append(f"{found} in several folders; the first is taken")
    runs = pd.concat(trainings, ignore_index=True)
    searches = Selection(table, runs, settings, options.eps, tuple(options.folders))
    searches = searches.only(table[~twice]).noted(*notes)
    return searches.noted(*selection.check_axes(table, FREE))


@dataclass(frozen=True)
class Points:
    """The models of the figure.

    samples: training samples of their gap. notes: the models that are left out, and why.
    """

    models: Sequence[Model]
    samples: int
    notes: Sequence[str]


def points_of(searches: Selection, options: argparse.Namespace) -> Points:
    """A point for each model with n50 of both kinds of labels and a training for its gap."""
    table = searches.table.assign(kind=labels.each(searches.table, labels.label_kind))
    table["model"] = _models(table)
    selection.check_unique(table, ["model", "kind"])
    trainings = fitted_trainings(searches, table, options.gap_from)
    samples = options.samples
    if not samples:
        samples = generalisation.common_samples(trainings, trainings["model"])
    trainings = trainings[trainings["n"] == samples]
    models, notes = [], []
    for name, rows in table.groupby("model", sort=False):
        by_kind = {str(row["kind"]): int(str(index)) for index, row in rows.iterrows()}
        gaps = trainings.loc[trainings["model"] == name, "test_error"].to_numpy(np.float64)
        problem = _problem(rows, by_kind, len(gaps), samples)
        if problem:
            notes.append(f"{name} is left out: {problem}")
            continue
        architecture = labels.each(rows, labels.model).iloc[0]
        correct = searches.belief(by_kind[labels.CORRECT])
        random = searches.belief(by_kind[labels.RANDOM])
        models.append(Model(str(name), architecture, correct, random, gaps))
    return Points(models, samples, notes)


def _models(table: pd.DataFrame) -> pd.Series:
    """The name of each row's model: "MLP, P = 2,040"."""
    names = labels.each(table, labels.model)
    sizes = table["parameters"].map(lambda p: f"P = {p:,.0f}" if pd.notna(p) else "P not known yet")
    return names + ", " + sizes


def _problem(rows: pd.DataFrame, kinds: dict[str, int], trainings: int, samples: int) -> str:
    """Why a model has no point; empty if it has one."""
    absent = [kind for kind in (labels.CORRECT, labels.RANDOM) if kind not in kinds]
    if absent:
        return f"no search with {' and '.join(absent)}"
    unknown = rows[rows["n50"].isna()]
    if len(unknown):
        state = "beyond the range" if unknown["status"].isin(CENSORED).any() else "not known yet"
        return f"its n50 is {state} ({', '.join(sorted(set(unknown['kind'])))})"
    return "" if trainings else f"no training that fitted {samples} correct labels"


def fitted_trainings(searches: Selection, table: pd.DataFrame, folder: str | None) -> pd.DataFrame:
    """The trainings that fitted correct labels, with columns model, n and test_error.

    They are those of the searches, whose rows `table` has, or of the log folder.
    """
    if folder is None:
        correct = table.index[table["kind"] == labels.CORRECT]
        runs = searches.trainings[searches.trainings["search"].isin(correct)]
        runs = runs.assign(model=runs["search"].map(table["model"]))
    else:
        runs = store.runs(folder)
        runs = runs.rename(columns={"data.train_samples": "n", "final_test_error": "test_error"})
        runs = runs[labels.each(runs, labels.label_kind) == labels.CORRECT]
        runs = runs.assign(model=_models(runs))
    for column in ("fitted", "test_error"):
        if column not in runs.columns:
            raise query.FigureError(
                f"{folder}: no column {column} in the runs; expected trainings with a check of the "
                "fit (trainer.stop_at_fit=true) and a test error"
            )
    usable = (pd.to_numeric(runs["fitted"]) == 1) & runs["test_error"].notna()
    return runs[usable & (runs["status"] == "done")]  # one that diverged later has no test error


def draw(points: pd.DataFrame, correlations: pd.DataFrame, samples: int, caption: str) -> Figure:
    """Gap over increase with both intervals, a colour for each architecture."""
    names = list(dict.fromkeys(points["architecture"]))
    look_of = plot.looks(names)
    with style.themed():
        figure = Figure(figsize=SIZE, layout="constrained")
        axes = figure.subplots()
        for name, rows in points.groupby("architecture", sort=False):
            _draw_intervals(axes, rows, look_of[str(name)].colour)
        sns.scatterplot(
            points,
            x="increase",
            y="gap",
            hue="architecture",
            style="architecture",
            palette=[look.colour for look in look_of.values()],
            markers=[look.marker for look in look_of.values()],
            s=55,
            ax=axes,
        )
        _write_sizes(axes, points)
        axes.set_xlabel("(n50 correct − n50 random) / n50 random")
        axes.set_ylabel(f"generalisation gap at n = {samples:,}")
        axes.set_title("\n".join(sentences(correlations)), fontsize=9, loc="left")
        if legend := axes.get_legend():  # seaborn's, inside the axes
            legend.remove()
        figure.legend(*axes.get_legend_handles_labels(), loc="outside right center", fontsize=8.5)
        plot.foot(figure, f"{caption}; gap ± one standard error over trainings")
    return figure


def _draw_intervals(axes: Axes, rows: pd.DataFrame, colour: tuple[float, float, float]) -> None:
    """90 % intervals of the increase, and one standard error of the gap."""
    ends = rows[["increase_low", "increase_high"]].to_numpy().T
    axes.errorbar(
        rows["increase"],
        rows["gap"],
        xerr=np.abs(ends - rows["increase"].to_numpy()),
        yerr=rows["gap_se"],
        fmt="none",
        color=colour,
        lw=1.1,
        capsize=2.5,
        alpha=0.8,
    )


def _write_sizes(axes: Axes, points: pd.DataFrame) -> None:
    """The number of parameters beside each point, in turn above and below it."""
    for number, row in enumerate(points.sort_values("gap").to_dict("records")):
        size = str(row["point"]).partition(", ")[2]
        offset = (6, 5) if number % 2 else (6, -11)
        place = (row["increase"], row["gap"])
        axes.annotate(size, place, xytext=offset, textcoords="offset points", fontsize=7.5)


def sentences(correlations: pd.DataFrame) -> list[str]:
    """The correlations in words."""
    lines = []
    for row in correlations.itertuples():
        lines.append(
            f"{row.models} ({row.points} points): Pearson {row.pearson:+.2f} "
            f"[{row.pearson_low:+.2f}, {row.pearson_high:+.2f}], Kendall {row.kendall:+.2f} "
            f"[{row.kendall_low:+.2f}, {row.kendall_high:+.2f}]"
        )
    return lines or ["fewer than three points: no correlation"]


def make(options: argparse.Namespace) -> None:
    """Query, reduce, draw, write."""
    searches = select(options)
    points = points_of(searches, options)
    models, samples = points.models, points.samples
    searches = searches.noted(*points.notes)
    single = sum(len(model.gaps) == 1 for model in models)
    if single:
        searches = searches.noted(
            f"the gap of {single} of {quantity(len(models), 'model')} is that of one "
            "training; train several seeds of each at one n in a sweep of its own, and name it "
            "with --gap-from"
        )
    if not models:
        raise query.FigureError("no model has a point:\n" + "\n".join(points.notes))
    table = generalisation.table(models).assign(samples=samples)
    correlations = generalisation.correlations(models)
    facts: dict[str, Any] = {
        "gap": GAP,
        "samples": samples,
        "gap_from": options.gap_from or "the trainings of the searches",
        "correlations": "intervals: 90 %, 2,000 draws of both posteriors and of the trainings of "
        "the gap",
    }
    record = searches.record(options, facts) | {"source": list(options.folders)}
    lines = [selection.listing(table), *sentences(correlations)]
    lines += searches.messages(has_marks=False)
    figure = draw(table, correlations, samples, searches.caption())
    output.write(options, figure, {"": table, "_correlations": correlations}, record, lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = selection.parser(__doc__, "emc_gap", many=True)
    parser.add_argument("--gap-from", metavar="FOLDER", help="log folder of trainings for the gap")
    parser.add_argument("--samples", type=int, metavar="N", help="training samples of the gap")
    return output.run(make, parser.parse_intermixed_args(argv))


if __name__ == "__main__":
    sys.exit(main())
