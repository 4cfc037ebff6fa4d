"""Best test accuracy over the train fraction, a curve for each group of runs: what three figures of
grokking share.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figure import style
from analysis.grokking import plot
from analysis.grokking import runs as grok

PERCENT = "train_percent"
BEST = "the highest of the logged test accuracies of a run, which flatters it by what it fluctuates"


def table(selection: grok.SelectedRuns, labels: pd.Series, values: pd.Series) -> pd.DataFrame:
    """Columns label, train_percent and those of `grok.over_seeds`; one row for each label and train
    fraction.
    """
    runs = selection.runs.assign(
        **{"label": labels, PERCENT: (100 * selection.runs[grok.FRACTION]).round(6)}
    )
    return grok.over_seeds(runs, values, ["label", PERCENT])


def ranked(found: pd.DataFrame) -> list[str]:
    """The labels, the highest mean over the fractions first; those without values last."""
    return [
        str(label)
        for label in found.groupby("label")["mean"].mean().sort_values(ascending=False).index
    ]


def panel(
    axes: Axes, found: pd.DataFrame, labels: Sequence[str], palette: Sequence[str], title: str
) -> None:
    """The curves in %, of 0 to 100."""
    plot.curves(axes, found, PERCENT, labels, palette, 100)
    plot.fraction_axis(axes, found, PERCENT)
    axes.set_ylim(-2, 102)
    axes.set_ylabel(title)


def figure(found: pd.DataFrame, labels: Sequence[str], title: str, budget: str) -> Figure:
    """One panel with the legend at its right."""
    with style.styled():
        drawn = Figure(figsize=(9.4, 4.4), layout="constrained")
        axes = drawn.subplots()
        panel(
            axes,
            found,
            labels,
            plot.colours(len(labels)),
            f"Best test accuracy within\n{budget} (%)",
        )
        axes.legend(
            title=title,
            loc="center left",
            bbox_to_anchor=(1.01, 0.5),
            frameon=False,
            alignment="left",
        )
    return drawn


def facts(**more: Any) -> dict[str, Any]:
    """What the record of these figures says."""
    return {"best": BEST, "spread": plot.SPREAD, "unfinished": "left out", **more}


def report(found: pd.DataFrame, labels: list[str]) -> list[str]:
    """The means as a table, labels down and fractions across, in %."""
    wide = (100 * found.pivot(index="label", columns=PERCENT, values="mean")).reindex(labels)
    return [wide.to_string(float_format="{:.1f}".format, na_rep="-")]


def make(
    options: argparse.Namespace, selection: grok.SelectedRuns, labels: pd.Series, title: str
) -> None:
    """Reduce, draw and save the figure of one panel."""
    runs = grok.require_finished(selection).runs
    found = table(selection, labels, grok.numeric_column(runs, "best_test_accuracy"))
    order = ranked(found)
    drawn = figure(found, order, title, grok.budget(runs))
    grok.write(
        options,
        drawn,
        {"": found},
        selection,
        facts(metric="best_test_accuracy"),
        report(found, order),
    )
