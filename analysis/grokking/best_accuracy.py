"""Best test accuracy over the train fraction: what three figures of grokking share."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figure import output, query, style
from analysis.figure.looks import Look
from analysis.grokking import plot
from analysis.grokking import runs as grok

PERCENT = "train_percent"
BEST = "the highest of the logged test accuracies of a run, which flatters it by what it fluctuates"


def rows_by_run(
    runs: pd.DataFrame, labels: pd.Series, values: pd.Series, column: str
) -> pd.DataFrame:
    """Columns label, train_percent and value of each run, NaN for a run without one; column: as in
    `grok.finished_values`.
    """
    percents = (100 * runs[grok.FRACTION]).round(6)
    final_values = grok.finished_values(runs, values, column)
    return pd.DataFrame({"label": labels, PERCENT: percents, "value": final_values})


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """The columns of `grok.over_seeds` for each label and train fraction."""
    return grok.over_seeds(rows, ["label", PERCENT])


def ranked(means: pd.DataFrame) -> list[str]:
    """The labels, the highest mean over the fractions first; those without values last."""
    by_label = means.groupby("label")["mean"].mean().sort_values(ascending=False)
    return [str(label) for label in by_label.index]


def panel(axes: Axes, rows: pd.DataFrame, looks: Mapping[str, Look], title: str) -> None:
    """The curves in %, from 0 to 100."""
    plot.curves(axes, rows.assign(value=100 * rows["value"]), PERCENT, looks)
    plot.hatch_without_value(axes, rows, PERCENT)
    axes.set_xlabel("training data (% of the table)")
    axes.set_ylim(-2, 102)
    axes.set_ylabel(title)


def figure(rows: pd.DataFrame, labels: Sequence[str], title: str, budget: str) -> Figure:
    """One panel with the legend at its right."""
    with style.themed():
        figure = Figure(figsize=(9.4, 4.4), layout="constrained")
        axes = figure.subplots()
        panel(axes, rows, plot.looks(labels), f"best test accuracy within\n{budget} (%)")
        if legend := axes.get_legend():  # seaborn's, inside the axes
            legend.remove()
        figure.legend(
            *axes.get_legend_handles_labels(),
            loc="outside right center",
            title=title,
            frameon=False,
            alignment="left",
        )
    return figure


def facts(**more: Any) -> dict[str, Any]:
    """What the record of these figures says."""
    return {"best": BEST, "spread": plot.SPREAD, "unfinished": "left out", **more}


def report(means: pd.DataFrame, labels: list[str]) -> str:
    """The means as a table, labels down and fractions across, in %."""
    wide = (100 * means.pivot(index="label", columns=PERCENT, values="mean")).reindex(labels)
    return str(wide.to_string(float_format="{:.1f}".format, na_rep="-"))


def make(
    options: argparse.Namespace, selection: grok.SelectedRuns, labels: pd.Series, title: str
) -> None:
    """Reduce, draw and write the figure of one panel."""
    runs = grok.require_finished(selection).runs
    column = "best_test_accuracy"
    rows = rows_by_run(runs, labels, query.numbers(runs, column), column)
    means = table(rows)
    order = ranked(means)
    record = selection.record(options, facts(metric=column))
    lines = [report(means, order), *selection.messages(options.folder)]
    output.write(options, figure(rows, order, title, grok.budget(runs)), {"": means}, record, lines)
