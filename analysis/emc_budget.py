"""Capacity over the training budget, from the steps at which trainings fitted (Figure E10).

    python analysis/emc_budget.py logs/NAME [--out figures] [--where model.name=mlp]

At a constant learning rate a run is a prefix of a longer one, so the searches of Figure E1 tell n50
at every smaller budget, with no further training. A panel for each architecture and kind of labels,
a line for each number of parameters, with 90 % intervals; values that the range of the search
censors are arrows and enter no line. Dashed, the regression of the time to fit (log T = a + b log n
+ noise), never beyond the budget trained. Writes STEM.png, STEM.pdf, STEM.csv, STEM_trainings.csv
and STEM.json.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.capacity import estimate, labels, plot, selection, shares
from analysis.capacity.selection import Selection
from analysis.figure import output, query, style
from analysis.figure.looks import Look

FREE = ("model.", "data.", "trainer.least_steps", "trainer.epochs")
PANEL = (4.6, 4.4)  # inches
ROW = 3  # panels in a row
LEGEND = 1.6  # inches beside the panels
SPREAD = 2  # powers of the usual shift: budgets are far apart


def select(options: argparse.Namespace) -> Selection:
    """The searches with a panel and a line for each; FigureError unless the rate is constant."""
    searches = selection.select(options, FREE)
    searches.check_outcomes()
    table = searches.table
    schedules = set(table.get("optim.schedule.name", pd.Series("constant", table.index)))
    if schedules != {"constant"}:
        raise query.FigureError(
            f"optim.schedule.name is {', '.join(sorted(schedules))}, expected constant: with a "
            "schedule a run is no prefix of a longer one; choose with "
            "--where optim.schedule.name=constant"
        )
    if options.eps:
        raise query.FigureError(
            f"--eps {options.eps:g}: the step is logged of the first check without a wrong answer "
            "alone; leave the option out"
        )
    panel = labels.texts(table, [labels.model, labels.data, labels.task])
    table = table.assign(panel=panel).sort_values(["panel", "parameters"], kind="stable")
    placed = table[table["parameters"].notna()]
    selection.check_unique(placed, ["panel", "parameters"])
    return selection.with_place(searches, placed, "parameters")


def reduce(searches: Selection) -> pd.DataFrame:
    """A row for each search and budget: panel, parameters, and those of `estimate.by_budget`."""
    parts = []
    for index, row in searches.table.iterrows():
        search = int(str(index))
        curve = estimate.by_budget(searches.settings[search], searches.of(search))
        places = {"panel": row["panel"], "parameters": row["parameters"], "search": search}
        parts.append(curve.assign(**places))
    table = pd.concat(parts, ignore_index=True)
    if table.empty:
        raise query.FigureError(
            "no search has a training with a budget yet; expected runs with trainer.epochs and "
            "a check of the fit (`redescent status`)"
        )
    first = ["panel", "parameters", "budget"]
    return table[[*first, *(column for column in table.columns if column not in first)]]


def draw(table: pd.DataFrame, searches: Selection) -> Figure:
    """n50 over the budget, log-log, a panel for each kind of setting."""
    panels = list(dict.fromkeys(table["panel"]))
    columns = 2 if len(panels) == 4 else min(len(panels), ROW)
    rows = math.ceil(len(panels) / columns)
    sizes = sorted(table["parameters"].unique())
    with style.themed():
        look_of = plot.looks([_size_label(size) for size in sizes], ordered=True)
        size = (PANEL[0] * columns + LEGEND, PANEL[1] * rows)
        figure = Figure(figsize=size, layout="constrained")
        grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
        table = table.assign(status=_marks(table, searches))
        for axes, panel in zip(grid.flat, panels, strict=False):
            draw_panel(axes, table[table["panel"] == panel], look_of)
            axes.set_title(panel, fontsize=10)
        plot.room_for_arrows(grid[0, 0], table)
        for axes in grid.flat[len(panels) :]:
            axes.remove()
        for axes in grid.flat[: len(panels)]:
            plot.plain_ticks(axes, "x", dense=40)
            plot.plain_ticks(axes, "y")
            axes.tick_params(labelbottom=True)
        for axes in grid[:, 0]:
            axes.set_ylabel("samples fitted, n50")
        handles = plot.legend_handles(look_of, table)
        figure.legend(handles=handles, loc="outside right upper", fontsize=8.5)
        plot.foot(figure, f"dashed: regression of the time to fit; {searches.caption()}")
    return figure


def _size_label(parameters: float) -> str:
    """What the legend calls the networks of one size."""
    return f"P = {parameters:,.0f}"


def draw_panel(axes: Axes, rows: pd.DataFrame, look_of: Mapping[str, Look]) -> None:
    """The lines of one panel, side by side at each budget; censored budgets are arrows."""
    sizes = sorted(rows["parameters"].unique())
    axes.set_xscale("log")
    axes.set_yscale("log")
    for number, size in enumerate(sizes):
        look = look_of[_size_label(size)]
        curve = rows[rows["parameters"] == size].sort_values("budget")
        axes.plot(curve["budget"], curve["n50_line"], "--", color=look.colour, lw=1.1)
        moved = curve["budget"] * plot.shift(number, len(sizes)) ** SPREAD
        plot.capacity_line(axes, curve.assign(budget=moved), "budget", look)
    axes.set_xlabel("budget (optimiser steps)")


def _marks(table: pd.DataFrame, searches: Selection) -> pd.Series:
    """The status of each row's search; "ok" if it is censored at its largest budget alone."""
    status = table["search"].map(searches.table["status"])
    return status.mask(status.isin(shares.CENSORED), "ok")


def make(options: argparse.Namespace) -> None:
    """Query, reduce, draw, write."""
    searches = select(options)
    table = reduce(searches)
    facts = {
        "budgets": "half octaves from an eighth of the first budget, then its doublings; failures "
        "that no doubling trained again count as failures",
        "line": "censored regression log T = a + b log n + noise, never extrapolated",
    }
    lines = [selection.listing(table), *searches.messages()]
    record = searches.record(options, facts)
    tables = {"": table, "_trainings": searches.trainings}
    output.write(options, draw(table, searches), tables, record, lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    return output.run(make, selection.parser(__doc__, "emc_budget").parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
