"""Where success changes along the axis of a search, over another axis of the sweep.

    python analysis/search_threshold.py logs/NAME [--over COLUMN] [--out figures] [--where ...]

For searches of any study: the smallest width that interpolates, the smallest train fraction that
groks, the largest stable learning rate. The threshold is the value at which half of the trainings
succeed, apart from lapses: the median of its posterior with a 90 % interval, an arrow where the
range of the search may not hold it. A line for each setting of the other axes; at the right, the
probability of success over the searched axis. Writes STEM.png, STEM.pdf, STEM.csv (the reduced
table), STEM_trainings.csv and STEM.json. Capacities have figures of their own (emc.py).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis import store
from analysis.capacity import lines, plot, selection
from analysis.capacity.selection import Selection
from analysis.figure import names, output, query, style
from analysis.store.searches import read

SIZE = (10.2, 4.6)  # inches
INTERVAL = (
    "median and 90 % interval of the posterior of the value at which half of the trainings succeed "
    "(apart from lapses)"
)
DECADES = 5.0  # ratio of the ends of an axis from which it is logarithmic
COLUMNS = (
    "n50", "n50_low", "n50_high", "n50_bound", "status", "n_largest", "n_first_failure", "slope",
    "lapse", "hole", "island", "trainings", "rounds",
)  # fmt: skip


def select(options: argparse.Namespace) -> tuple[Selection, str]:
    """The searches with a line for each, and the axis to draw them over."""
    table = store.searches(options.folder)
    if table.empty:
        raise query.FigureError(
            f"{options.folder}: found no search; expected a sweep with `search`"
        )
    table = query.where(table, options.where)
    axes = sorted(set(table["axis"]))
    if len(axes) != 1:
        raise query.FigureError(
            f"{options.folder}: searches over {', '.join(axes)}, expected one axis; choose with "
            f"--where axis={axes[0]}"
        )
    over = options.over or _only_numeric_axis(table)
    table, notes = query.with_number(table, over, "search", "searches")
    line_axes = [name for name in query.axes(table) if name != over]
    line_names = [_name(table.loc[index], line_axes) for index in table.index]
    table = table.assign(line=line_names).sort_values(["line", over], kind="stable")
    settings = {number: search.settings for number, search in enumerate(read(options.folder))}
    trainings = store.outcomes(options.folder)
    searches = Selection(table, trainings, settings, 0.0, (options.folder,)).only(table)
    return searches.noted(*notes, *selection.newer_results(searches, options.folder)), over


def _only_numeric_axis(table: pd.DataFrame) -> str:
    """The axis with numbers that differ among the searches; FigureError unless there is one."""
    varying = query.axes(table)
    numeric = []
    for name in varying:
        if pd.to_numeric(table[name], errors="coerce").notna().all():
            numeric.append(name)
    if not numeric:
        raise query.FigureError(
            "no key with numbers differs among the searches, and this figure draws the threshold "
            "over one; choose a sweep with an axis of numbers, or read the values with "
            f"`redescent status`; the keys that differ are\n{query.listing(varying)}"
        )
    if len(numeric) != 1:
        raise query.FigureError(
            f"{len(numeric)} axes of the sweep have numbers, expected one or --over COLUMN; the "
            f"axes are\n{query.listing(varying)}"
        )
    return numeric[0]


def _name(row: pd.Series, columns: Sequence[str]) -> str:
    """The values of a search in these columns: "optim.lr 0.1, model.name mlp"."""
    texts = query.as_text(row[list(columns)])
    return ", ".join(f"{name} {text}" for name, text in texts.items())


def draw(searches: Selection, over: str) -> Figure:
    """The threshold over an axis at the left; probability of success at the right."""
    table = searches.table
    axis = str(table["axis"].iloc[0])
    look_of = plot.looks(list(dict.fromkeys(table["line"])))
    with style.themed():
        figure = Figure(figsize=SIZE, layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(1.3, 1))
        for name, look in look_of.items():
            plot.capacity_line(left, table[table["line"] == name], over, look)
        scale(left, table[over])
        if table["step"].isna().all():
            left.set_yscale("log")
            plot.room_for_arrows(left, table)
            plot.plain_ticks(left, "y")
            right.set_xscale("log")
        by_search = lines.by_search(table, "line", look_of)
        for search, look in by_search.items():
            if searches.results(search):
                plot.fit_curve(right, searches, search, look)
        if table["step"].isna().all():
            plot.plain_ticks(right, "x", dense=200)
        left.set(xlabel=names.name(over), ylabel=f"threshold of {names.name(axis)}")
        right.set(xlabel=names.name(axis), ylabel="probability of success", ylim=(-0.05, 1.05))
        if len(look_of) > 1:
            plot.legend(left, look_of, table)
        plot.foot(figure, lines.shades(table, names.name(over)) + caption(searches))
    return figure


def scale(axes: Axes, values: pd.Series) -> None:
    """Make the x axis logarithmic where the values are positive and span a large ratio; else put
    ticks at integers where all values are.
    """
    if values.min() > 0 and values.max() / values.min() > DECADES:
        axes.set_xscale("log")
        plot.plain_ticks(axes, "x")
    elif (values % 1 == 0).all():
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def caption(searches: Selection) -> str:
    """One line for the foot of the figure."""
    conditions = ", ".join(sorted(set(searches.table["success"])))
    return f"success: {conditions}; 90 % intervals; {searches.counts}"


def make(options: argparse.Namespace) -> None:
    """Query, reduce, draw, write."""
    searches, over = select(options)
    table = searches.table[["line", over, "axis", *COLUMNS]]
    foot = caption(searches)
    facts = {"fit": foot, "caption": foot, "interval": INTERVAL, "over": over}
    record = searches.record_of_searches(options, facts)
    text = [selection.listing(table), *searches.messages()]
    tables = {"": table, "_trainings": searches.trainings}
    output.write(options, draw(searches, over), tables, record, text)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = selection.search_parser(__doc__, "search_threshold")
    parser.add_argument("--over", metavar="COLUMN", help="axis to draw the thresholds over")
    return output.run(make, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
