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
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from analysis import store
from analysis.capacity import generalisation, labels, plot, selection
from analysis.capacity.generalisation import Model
from analysis.capacity.selection import CENSORED, Selection
from analysis.figure import output, query, style
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
        table, rate_notes = selection.choose_rates(loaded.table, options.rates_from)
        loaded = loaded.only(table)
        first = len(settings)
        names = {int(str(old)): first + i for i, old in enumerate(loaded.table.index)}
        tables.append(loaded.table.rename(index=names))
        trainings.append(loaded.trainings.assign(search=loaded.trainings["search"].map(names)))
        settings.update({names[old]: loaded.settings[old] for old in names})
        notes += [note for note in rate_notes if note not in notes]
    table = pd.concat(tables)
    twice = query.points(table, query.configuration(table)).duplicated()
    if twice.any():
        notes.append(f"{twice.sum()} searches are in several folders; the first is taken")
    runs = pd.concat(trainings, ignore_index=True)
    searches = Selection(table, runs, settings, options.eps, tuple(options.folders))
    searches = searches.only(table[~twice]).noted(*notes)
    return searches.noted(*selection.check_axes(table, FREE))


def models(searches: Selection, options: argparse.Namespace) -> tuple[list[Model], int, list[str]]:
    """The points of the figure, the n of their gap, and notes on what is left out."""
    table = searches.table.assign(kind=labels.each(searches.table, labels.label_kind))
    table["model"] = _models(table)
    selection.check_unique(table, ["model", "kind"])
    fitted, names = fitted_trainings(searches, table, options.gap_from)
    samples = options.samples or generalisation.common_samples(fitted, names)
    fitted, names = fitted[fitted["n"] == samples], names[fitted["n"] == samples]
    points, notes = [], []
    for name, rows in table.groupby("model", sort=False):
        kinds = {str(row["kind"]): int(str(index)) for index, row in rows.iterrows()}
        problem = _problem(rows, kinds, int((names == name).sum()), samples)
        if problem:
            notes.append(f"{name} is left out: {problem}")
            continue
        points.append(
            Model(
                str(name),
                labels.each(rows, labels.model).iloc[0],
                searches.belief(kinds[labels.CORRECT]),
                searches.belief(kinds[labels.RANDOM]),
                fitted.loc[names == name, "test_error"].to_numpy(np.float64),
            )
        )
    return points, samples, notes


def _models(table: pd.DataFrame) -> pd.Series:
    """The name of each row's model: "MLP, P = 2,040"."""
    names = labels.each(table, labels.model)
    sizes = table["parameters"].map(lambda p: f"P = {p:,.0f}" if p == p else "P not known yet")
    return names + ", " + sizes


def _problem(rows: pd.DataFrame, kinds: dict[str, int], trainings: int, samples: int) -> str:
    """Why a model has no point; empty if it has one."""
    absent = [kind for kind in (labels.CORRECT, labels.RANDOM) if kind not in kinds]
    if absent:
        return f"no search with {' and '.join(absent)}"
    unknown = rows[rows["n50"].isna()]
    if len(unknown):
        state = "censored" if unknown["status"].isin(CENSORED).any() else "not known yet"
        return f"its n50 is {state} ({', '.join(sorted(set(unknown['kind'])))})"
    return "" if trainings else f"no training that fitted {samples} correct labels"


def fitted_trainings(
    searches: Selection, table: pd.DataFrame, folder: str | None
) -> tuple[pd.DataFrame, pd.Series]:
    """Fitted trainings with correct labels, columns n and test_error, and the model of each."""
    if folder is None:
        correct = table.index[table["kind"] == labels.CORRECT]
        runs = searches.trainings[searches.trainings["search"].isin(correct)]
        names = runs["search"].map(table["model"])
    else:
        runs = store.runs(folder)
        runs = runs.rename(columns={"data.train_samples": "n", "final_test_error": "test_error"})
        runs = runs[labels.each(runs, labels.label_kind) == labels.CORRECT]
        names = _models(runs)
    for column in ("fitted", "test_error"):
        if column not in runs.columns:
            raise query.FigureError(
                f"{folder}: no column {column} in the runs; expected trainings with a check of the "
                "fit (trainer.stop_at_fit=true) and a test error"
            )
    usable = (pd.to_numeric(runs["fitted"]) == 1) & runs["test_error"].notna()
    return runs[usable], names[usable]


def draw(points: pd.DataFrame, correlations: pd.DataFrame, samples: int, caption: str) -> Figure:
    """Gap over increase with both intervals, a colour for each architecture."""
    names = list(dict.fromkeys(points["architecture"]))
    look_of = plot.looks(names)
    with style.themed():
        figure = Figure(figsize=SIZE, layout="constrained")
        axes = figure.subplots()
        for name, rows in points.groupby("architecture", sort=False):
            spans = rows[["increase_low", "increase_high"]].to_numpy().T
            wide = np.abs(spans - rows["increase"].to_numpy())
            axes.errorbar(
                rows["increase"],
                rows["gap"],
                xerr=wide,
                yerr=rows["gap_se"],
                fmt="none",
                color=look_of[str(name)].colour,
                lw=1.1,
                capsize=2.5,
                alpha=0.8,
            )
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
        for number, row in enumerate(points.sort_values("gap").to_dict("records")):
            size = str(row["point"]).partition(", ")[2]
            beside = (6, 5) if number % 2 else (6, -11)
            place = (row["increase"], row["gap"])
            axes.annotate(size, place, xytext=beside, textcoords="offset points", fontsize=7.5)
        axes.set_xlabel("(n50 correct − n50 random) / n50 random")
        axes.set_ylabel(f"generalisation gap at n = {samples:,}")
        axes.set_title("\n".join(sentences(correlations)), fontsize=9, loc="left")
        if legend := axes.get_legend():  # seaborn's, inside the axes
            legend.remove()
        figure.legend(*axes.get_legend_handles_labels(), loc="outside right center", fontsize=8.5)
        plot.foot(figure, f"{caption}; gap ± one standard error over trainings")
    return figure


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
    points, samples, notes = models(searches, options)
    searches = searches.noted(*notes)
    single = sum(len(point.gaps) == 1 for point in points)
    if single:
        searches = searches.noted(
            f"the gap of {single} of {len(points)} models is that of one training; train several "
            "seeds of each at one n in a sweep of its own, and name it with --gap-from"
        )
    if not points:
        raise query.FigureError("no model has a point:\n" + "\n".join(notes))
    table = generalisation.table(points).assign(samples=samples)
    correlations = generalisation.correlations(points)
    facts: dict[str, Any] = {
        "gap": GAP,
        "samples": samples,
        "gap_from": options.gap_from or "the trainings of the searches",
        "correlations": "intervals: 90 %, 2,000 draws of both posteriors and of the trainings of "
        "the gap",
    }
    record = searches.record(options, facts) | {"source": list(options.folders)}
    lines = [selection.listing(table), *sentences(correlations)]
    lines += searches.messages()
    figure = draw(table, correlations, samples, searches.caption())
    output.write(options, figure, {"": table, "_correlations": correlations}, record, lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = selection.parser(__doc__, "emc_gap", several=True)
    parser.add_argument("--gap-from", metavar="FOLDER", help="log folder of trainings for the gap")
    parser.add_argument("--samples", type=int, metavar="N", help="training samples of the gap")
    return output.run(make, parser.parse_intermixed_args(argv))


if __name__ == "__main__":
    sys.exit(main())
