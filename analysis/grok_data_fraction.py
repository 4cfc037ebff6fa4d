"""Figure 1 (centre) of Power et al. (2022): steps to 99 % over the train fraction, and what a
percent of data costs.

    python analysis/grok_data_fraction.py logs/NAME [--out figures] [--fit 25 30] [--percent 99]

Runs that ended without getting there are arrows at their last step, with their number. Writes
STEM.png, STEM.pdf, STEM.csv (medians, quartiles, counts), STEM_runs.csv and STEM.json (with the
fit).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figure import output, style
from analysis.grokking import data_cost, plot, step_curves
from analysis.grokking import runs as grok

SIZE = (7.6, 4.8)  # inches
SPLITS = ("test", "train")
MEDIAN = (
    "the first step by which half of the finished runs had got there (runs that never did count as "
    "later than all); "
    "quartiles likewise; hollow: runs are under way or missing, so that it can still change"
)


def times(runs: pd.DataFrame, percent: int) -> pd.DataFrame:
    """One row for each run and split: train_percent, seed, cell, status, last_step, steps (inf
    never, NaN not yet).
    """
    columns = {
        "train_percent": (100 * runs[grok.FRACTION]).round(6), "seed": runs["seed"], "cell": runs["cell"].astype(str),
        "status": runs["status"], "last_step": grok.numeric_column(runs, "steps"),
    }  # fmt: skip
    parts = [
        pd.DataFrame({**columns, "split": s, "steps": grok.steps_to(runs, s, percent)})
        for s in SPLITS
    ]
    return pd.concat(parts, ignore_index=True)


def medians(found: pd.DataFrame) -> pd.DataFrame:
    """One row for each split and train_percent of `times`: quartiles and median, counts, and the
    budget.

    n: runs that got there or are finished. reached, censored: of these. budget: median last step of
    the censored. open: runs that are planned and neither finished nor there. The medians are NaN
    where n is 0, inf where most never got there.
    """
    rows = []
    for (split, percent), group in found.groupby(["split", "train_percent"]):
        steps = group["steps"]
        censored = np.isinf(steps)
        low, middle, high = (grok.reached_by(steps, share) for share in (0.25, 0.5, 0.75))
        rows.append({
            "split": split, "train_percent": percent, "quartile_1": low, "median": middle, "quartile_3": high,
            "n": int(steps.notna().sum()), "reached": int(np.isfinite(steps).sum()), "censored": int(censored.sum()),
            "budget": group["last_step"][censored].median(), "open": int(steps.isna().sum()),
        })  # fmt: skip
    return pd.DataFrame(rows)


def fits(
    found: pd.DataFrame, chosen: tuple[float, float] | None
) -> dict[str, data_cost.Cost | None]:
    """The cost on test rows within the percents "chosen", if any, those of the published number,
    and all. The first that is there is drawn.

    A fraction with runs under way is left out: those that got there already are its fast ones.
    """
    under_way = found["steps"].isna() & found["last_step"].notna()
    left_out = set(found.loc[under_way & (found["split"] == "test"), "train_percent"])
    rows = found[(found["split"] == "test") & ~found["train_percent"].isin(left_out)]
    steps = {
        float(str(p)): dict(zip(group["seed"].astype(str), group["steps"], strict=True))
        for p, group in rows.groupby("train_percent")
    }
    ranges = {"chosen": chosen, "published_range": data_cost.PUBLISHED_RANGE, "all": (0.0, 100.0)}
    return {name: data_cost.fit(steps, limits) for name, limits in ranges.items() if limits}


def draw(
    found: pd.DataFrame, table: pd.DataFrame, cost: data_cost.Cost | None, percent: int
) -> Figure:
    """Steps over the train fraction, both splits."""
    with style.styled():
        figure = Figure(figsize=SIZE, layout="constrained")
        axes = figure.subplots()
        axes.set_yscale("log")
        for split in SPLITS:
            draw_split(
                axes, found[found["split"] == split], table[table["split"] == split], split, percent
            )
        if cost is not None:
            place = np.linspace(cost.percents[0], cost.percents[-1], 50)
            label = f"fit: ×{cost.factor:.2f} for each point less of data"
            axes.plot(place, cost.steps(place), color="0.25", lw=1.2, ls=(0, (5, 3)), label=label)
        there = table[table["split"] == "test"].set_index("train_percent")["n"] > 0
        plot.hatch_missing(axes, {float(str(p)): bool(value) for p, value in there.items()})
        axes.set_xlabel("Training data (% of the table)")
        axes.set_ylabel(f"Optimiser steps to {percent} %")
        axes.grid(alpha=0.25, lw=0.5)
        axes.margins(y=0.12)
        axes.legend(loc="best", framealpha=0.9)
    return figure


def draw_split(
    axes: Axes, runs: pd.DataFrame, table: pd.DataFrame, split: str, percent: int
) -> None:
    """Dots for runs, line and bars for medians and quartiles, arrows for runs that never got
    there.
    """
    colour = step_curves.COLOURS[split]
    axes.plot(
        runs["train_percent"],
        runs["steps"].where(np.isfinite(runs["steps"])),
        ".",
        color=colour,
        alpha=0.45,
        ms=5,
    )
    middle = table["median"].where(np.isfinite(table["median"])).to_numpy()
    place, opened = table["train_percent"].to_numpy(), (table["open"] > 0).to_numpy()
    axes.plot(
        place, middle, "o-", color=colour, lw=1.6, ms=5, label=f"{split} rows: median, quartiles"
    )
    axes.plot(place[opened], middle[opened], "o", color=colour, mfc="white", ms=5)
    top = np.where(np.isfinite(table["quartile_3"]), table["quartile_3"], table["budget"])
    axes.vlines(
        place,
        table["quartile_1"].where(np.isfinite(table["quartile_1"])),
        top,
        color=colour,
        lw=1.2,
    )
    never = table[table["censored"] > 0]
    if len(never):
        axes.plot(
            never["train_percent"], never["budget"], "^", color=colour, mfc="white", ms=6, ls="",
            label=f"{split} rows: ended without getting there (runs)",
        )  # fmt: skip
    for row in never.itertuples():
        axes.annotate(
            f"{row.censored}/{row.n}", (row.train_percent, row.budget), (0, 6), textcoords="offset points",
            ha="center", va="bottom", rotation=90, fontsize=7, color=colour,
        )  # fmt: skip


def make(options: argparse.Namespace) -> None:
    """Query, reduce, draw, save."""
    chosen = grok.select_runs(options, grok.FRACTION)
    found = times(chosen.runs, options.percent)
    table = medians(found)
    if not table["n"].any():
        grok.require_finished(chosen)
    costs = fits(found, tuple(options.fit) if options.fit else None)
    low, high = data_cost.PUBLISHED
    published = f"published (Power et al. 2022, S5 products): times {low} to {high} for each point less in 25 to 30 %"
    names = {
        "chosen": "the percents chosen",
        "published_range": "25 to 30 %",
        "all": "all fractions",
    }
    lines = [
        table.to_string(index=False, float_format="{:.0f}".format),
        *(data_cost.text(cost, names[name]) for name, cost in costs.items()), published,
    ]  # fmt: skip
    facts: dict[str, Any] = {
        "median": MEDIAN, "cost_method": data_cost.METHOD, "published": published,
        "cost": {name: cost and {k: grok.to_json(v) for k, v in vars(cost).items()} for name, cost in costs.items()},
        "budget": grok.budget(chosen.runs),
    }  # fmt: skip
    drawn = next((cost for cost in costs.values() if cost is not None), None)
    figure = draw(found, table, drawn, options.percent)
    grok.write(options, figure, {"": table, "_runs": found}, chosen, facts, lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = grok.parser(__doc__, "grok_data_fraction")
    add = parser.add_argument
    add(
        "--percent",
        type=int,
        choices=grok.THRESHOLDS,
        default=99,
        help="accuracy to reach, in %% (default: 99)",
    )
    add("--fit", type=float, nargs=2, metavar=("LOW", "HIGH"),
        help="train fractions of the fit drawn, in %% (default: 25 30 as published, else all)")  # fmt: skip
    return output.run(make, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
