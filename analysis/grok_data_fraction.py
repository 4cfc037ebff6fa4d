"""Figure 1 (centre) of Power et al. (2022): steps to 99 % over the train fraction, and their fit.

    python analysis/grok_data_fraction.py logs/NAME [--out figures] [--fit 25 30] [--percent 99]

The fit says what a percent of data costs in steps. Runs that ended without getting there are arrows
at their last step, with their number. Writes STEM.png, STEM.pdf, STEM.csv (medians, quartiles,
counts), STEM_runs.csv and STEM.json (with the fit).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figure import output, query, style
from analysis.figure.arguments import finite
from analysis.figure.table_text import table_text
from analysis.grokking import data_cost, plot, step_curves
from analysis.grokking import runs as grok
from analysis.grokking.data_cost import Cost

SIZE = (7.6, 4.8)  # inches
SPLITS = ("test", "train")
MEDIAN = (
    "the first step by which half of the finished runs had got there (runs that never did count as "
    "later than all; runs that trainer.stop_at ended before are left out); quartiles likewise; "
    "hollow: some runs are running, missing or stopped before, so that it can change"
)
PUBLISHED = "published (Power et al. 2022, S5 products): times {} to {} for each point less"
RANGES = {
    "chosen": "the percents chosen",
    "published_range": "25 to 30 %",
    "all": "all fractions",
}


def times(runs: pd.DataFrame, percent: int) -> pd.DataFrame:
    """One row for each run and split: train_percent, seed, cell, status, last_step, split,
    steps, stopped.

    steps are inf for a run that never got there, NaN for one that has not yet or was stopped
    before.
    """
    columns = {
        "train_percent": (100 * runs[grok.FRACTION]).round(6),
        "seed": runs["seed"],
        "cell": runs["cell"].astype(str),
        "status": runs["status"],
        "last_step": query.numbers(runs, "steps"),
    }
    parts = []
    for split in SPLITS:
        steps = grok.steps_to(runs, split, percent)
        stopped = grok.stopped_before(runs, split, percent)
        values = {**columns, "split": split, "steps": steps, "stopped": stopped}
        parts.append(pd.DataFrame(values))
    return pd.concat(parts, ignore_index=True)


def medians(runs: pd.DataFrame) -> pd.DataFrame:
    """One row for each split and train_percent of `times`: quartiles, median, counts and budget.

    n: runs that got there or used all of their steps. reached, censored: of these. stopped: runs
    that trainer.stop_at ended before. budget: median last step of the censored and the stopped.
    open: runs that are planned and neither finished nor there. The medians are NaN where n is 0,
    inf where most never got there.
    """
    rows = []
    for (split, percent), group in runs.groupby(["split", "train_percent"]):
        steps = group["steps"]
        censored, stopped = np.isinf(steps), group["stopped"]
        rows.append(
            {
                "split": split,
                "train_percent": percent,
                "quartile_1": grok.reached_by(steps, 0.25),
                "median": grok.reached_by(steps),
                "quartile_3": grok.reached_by(steps, 0.75),
                "n": int(steps.notna().sum()),
                "reached": int(np.isfinite(steps).sum()),
                "censored": int(censored.sum()),
                "stopped": int(stopped.sum()),
                "budget": group["last_step"][censored | stopped].median(),
                "open": int((steps.isna() & ~stopped).sum()),
            }
        )
    return pd.DataFrame(rows)


def fits(runs: pd.DataFrame, limits: tuple[float, float] | None) -> dict[str, Cost | None]:
    """The cost on test rows within `limits` ("chosen"), if any, within the published range, and
    over all fractions. The first one that exists is drawn.

    A fraction with unfinished or stopped runs is left out: those that got there already are its
    fast ones.
    """
    running = runs["steps"].isna() & runs["last_step"].notna()
    left_out = set(runs.loc[running & (runs["split"] == "test"), "train_percent"])
    rows = runs[(runs["split"] == "test") & ~runs["train_percent"].isin(left_out)]
    steps: dict[float, dict[str, float]] = {}
    for percent, group in rows.groupby("train_percent"):
        seeds = group["seed"].astype(str)
        steps[float(str(percent))] = dict(zip(seeds, group["steps"], strict=True))
    ranges = {"chosen": limits, "published_range": data_cost.PUBLISHED_RANGE, "all": (0.0, 100.0)}
    return {name: data_cost.fit(steps, within) for name, within in ranges.items() if within}


def draw(runs: pd.DataFrame, table: pd.DataFrame, cost: Cost | None, percent: int) -> Figure:
    """Steps over the train fraction, both splits."""
    with style.themed():
        figure = Figure(figsize=SIZE, layout="constrained")
        axes = figure.subplots()
        axes.set_yscale("log")
        draw_runs(axes, runs)
        for split in SPLITS:
            draw_medians(axes, table[table["split"] == split], split)
            draw_censored(axes, table[table["split"] == split], split)
        if cost is not None:
            draw_fit(axes, cost)
        ended = table[table["split"] == "test"].set_index("train_percent")
        counts = ended["n"] + ended["stopped"]
        plot.hatch_missing(axes, {float(str(p)): bool(count) for p, count in counts.items()})
        axes.set_xlabel("training data (% of the table)")
        axes.set_ylabel(f"optimiser steps to {percent} %")
        axes.margins(y=0.12)
        axes.legend(loc="best", framealpha=0.9)
    return figure


def draw_runs(axes: Axes, runs: pd.DataFrame) -> None:
    """A dot for each run that got there."""
    reached = runs[np.isfinite(runs["steps"])]
    if reached.empty:
        return
    sns.scatterplot(
        reached,
        x="train_percent",
        y="steps",
        hue="split",
        palette=step_curves.COLOURS,
        s=16,
        alpha=0.45,
        linewidth=0,
        legend=False,
        ax=axes,
    )


def draw_medians(axes: Axes, table: pd.DataFrame, split: str) -> None:
    """Line and bars for medians and quartiles of one split.

    These are computed before: seaborn's intervals know no run that never got there.
    """
    finite = table.replace([np.inf, -np.inf], np.nan)
    x, median = table["train_percent"].to_numpy(), finite["median"].to_numpy()
    look: dict[str, Any] = {"color": step_curves.COLOURS[split], "ms": 5}
    axes.plot(x, median, "o-", lw=1.6, label=f"{split} rows: median, quartiles", **look)
    incomplete = (table["open"] + table["stopped"] > 0).to_numpy()
    axes.plot(x[incomplete], median[incomplete], "o", mfc="white", **look)
    top = finite["quartile_3"].fillna(table["budget"])
    axes.vlines(x, finite["quartile_1"], top, color=look["color"], lw=1.2)


def draw_censored(axes: Axes, table: pd.DataFrame, split: str) -> None:
    """Arrows with numbers for the runs of one split that ended without getting there."""
    short, ended = table["censored"] + table["stopped"], table["n"] + table["stopped"]
    counts = table.assign(short=short, ended=ended)
    censored, colour = counts[counts["short"] > 0], step_curves.COLOURS[split]
    if censored.empty:
        return
    label = f"{split} rows: ended without getting there (runs)"
    x, y = censored["train_percent"], censored["budget"]
    axes.plot(x, y, "^", color=colour, mfc="white", ms=6, ls="", label=label)
    for row in censored.itertuples():
        axes.annotate(
            f"{row.short}/{row.ended}",
            (row.train_percent, row.budget),
            (0, 6),
            textcoords="offset points",
            ha="center",
            va="bottom",
            rotation=90,
            fontsize=7,
            color=colour,
        )


def draw_fit(axes: Axes, cost: Cost) -> None:
    """The fitted line over its fractions."""
    percents = np.linspace(cost.percents[0], cost.percents[-1], 50)
    label = f"fit: ×{cost.factor:.2f} for each point less of data"
    axes.plot(percents, cost.steps(percents), color="0.25", lw=1.2, ls=(0, (5, 3)), label=label)


def make(options: argparse.Namespace) -> None:
    """Query, reduce, draw, write."""
    selection = grok.select_runs(options, grok.FRACTION)
    runs = times(selection.runs, options.percent)
    table = medians(runs)
    if not (table["n"] + table["stopped"]).any():
        grok.require_finished(selection)
    costs = fits(runs, tuple(options.fit) if options.fit else None)
    published = PUBLISHED.format(*data_cost.PUBLISHED) + " in 25 to 30 %"
    facts = {
        "median": MEDIAN,
        "cost_method": data_cost.METHOD,
        "published": published,
        "cost": {name: cost and asdict(cost) for name, cost in costs.items()},
        "budget": grok.budget(selection.runs),
    }
    lines = [table_text(table, number="{:.0f}")]
    lines += [data_cost.text(cost, RANGES[name]) for name, cost in costs.items()]
    lines += [published, *grok.stopped_notes(selection.runs, options.percent)]
    lines += selection.messages(options.folder)
    first_cost = next((cost for cost in costs.values() if cost is not None), None)
    figure = draw(runs, table, first_cost, options.percent)
    tables, record = {"": table, "_runs": runs}, selection.record(options, facts)
    output.write(options, figure, tables, record, lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = grok.parser(__doc__, "grok_data_fraction")
    add = parser.add_argument
    help_percent = "accuracy to reach, in %% (default: 99)"
    add("--percent", type=int, choices=grok.THRESHOLDS, default=99, help=help_percent)
    add(
        "--fit",
        type=finite,
        nargs=2,
        metavar=("LOW", "HIGH"),
        help="train fractions of the fit drawn, in %% (default: 25 30 as published, else all)",
    )
    return output.run(make, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
