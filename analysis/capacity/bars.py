"""Figures of capacity over a category: groups of bars, a panel for each size, and the fits."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter

from analysis.capacity import estimate, lines, plot, selection
from analysis.capacity.labels import Label, budget, texts
from analysis.capacity.selection import COLUMNS, Selection
from analysis.capacity.shares import CENSORED, UNFINISHED
from analysis.figure import output, query, style
from analysis.figure.looks import Look

WIDTH = 0.8  # of all bars of a category, in categories
ROWS = 5.2  # inches, height of the figure
CHARACTERS = 13  # of a line of a category's name


@dataclass(frozen=True)
class BarFigure:
    """What a figure draws.

    free: prefixes of the columns that may differ. bars: parts of a category's name. groups: parts
    of the name of a colour. panels: parts of a panel's name; by default one panel, or one for each
    number of parameters where `by_size`. order: of the categories, by name; others follow.
    """

    free: tuple[str, ...]
    bars: tuple[Label, ...]
    groups: tuple[Label, ...]
    panels: tuple[Label, ...] = ()
    by_size: bool = False
    order: tuple[str, ...] = ()


def make(options: argparse.Namespace, kind: BarFigure) -> None:
    """Query, reduce, draw, write."""
    searches = placed(selection.select(options, kind.free), kind)
    searches.check_outcomes()
    columns = [c for c in ("tuned_lr", "budget", *COLUMNS) if c in searches.table.columns]
    table = searches.table[["panel", "bar", "group", *columns]]
    pairs = compare(searches)
    facts = {
        "comparisons": "posteriors of the bars of one colour in one panel",
        "parameters": _spread(searches.table),
    }
    text = [selection.listing(table[["panel", "bar", "group", *selection.SHOWN]])]
    text += [*estimate.sentences(pairs), *searches.messages()]
    tables = {
        "": table,
        "_comparisons": pairs,
        "_searches": searches.table,
        "_trainings": searches.trainings,
    }
    output.write(options, draw(searches), tables, searches.record(options, facts), text)


def placed(searches: Selection, kind: BarFigure) -> Selection:
    """The searches with columns panel, bar, group and budget, in the order of the figure."""
    table = searches.table
    bars, groups = texts(table, kind.bars), texts(table, kind.groups)
    budgets = [texts(table.loc[[index]], [budget]).iloc[0] for index in table.index]
    table = table.assign(bar=bars, group=groups, budget=budgets)
    if kind.by_size:
        table = table.assign(panel=_sizes(table))
        _check_equal_sizes(table)
    else:
        panel = texts(table, kind.panels) if kind.panels else pd.Series("", table.index)
        table = table.assign(panel=panel if panel.nunique() > 1 else "")
    selection.check_unique(table, ["panel", "bar", "group"])
    places = {name: place for place, name in enumerate(kind.order)}
    table["place"] = [places.get(name, len(places)) for name in table["bar"]]
    table["first"] = table.groupby("panel")["parameters"].transform("min")
    table = table.sort_values(["first", "panel", "place"], kind="stable")
    return searches.only(table.drop(columns=["first", "place"]))


def _sizes(table: pd.DataFrame) -> pd.Series:
    """The panel of each row by its parameters: "P = 2,040 to 2,089" for those within 3 %."""
    ordered = table["parameters"].dropna().sort_values()
    groups = lines.near(ordered)
    names = {}
    for first, values in ordered.groupby(groups):
        low, high = values.min(), values.max()
        names[first] = f"P = {low:,.0f}" if low == high else f"P = {low:,.0f} to {high:,.0f}"
    return groups.map(names).reindex(table.index).fillna("P not known yet")


def _check_equal_sizes(table: pd.DataFrame) -> None:
    """FigureError if each of several panels has one category: there is nothing to compare."""
    counts = table.groupby("panel")["bar"].nunique()
    if len(counts) == 1 or counts.max() > 1 or table["parameters"].isna().any():
        return
    lines = []
    for bar, sizes in table.groupby("bar")["parameters"]:
        texts = [f"{size:,.0f}" for size in sorted(set(sizes))]
        lines.append(f"  {bar}: {', '.join(texts)}")
    raise query.FigureError(
        "no two architectures have equally many parameters (within 3 %); analysis/emc.py draws "
        "n50 over the parameters; found\n" + "\n".join(lines)
    )


def _spread(table: pd.DataFrame) -> dict[str, str]:
    """The parameters of each panel, lowest and highest."""
    spread = table.groupby("panel")["parameters"].agg(["min", "max"])
    return {str(p): f"{row['min']:,.0f} to {row['max']:,.0f}" for p, row in spread.iterrows()}


def compare(searches: Selection) -> pd.DataFrame:
    """Comparisons of the bars of one group in one panel."""
    parts = []
    for (panel, group), rows in searches.table.groupby(["panel", "group"], sort=False):
        if len(rows) > 1:
            pairs = searches.comparisons(rows["bar"])
            parts.append(pairs.assign(panel=str(panel), group=str(group)))
    return pd.concat(parts, ignore_index=True) if parts else estimate.comparisons({})


def draw(searches: Selection) -> Figure:
    """A panel of bars for each panel of the table; training error and fit curves at the right."""
    table = searches.table
    panels, bars = list(dict.fromkeys(table["panel"])), list(dict.fromkeys(table["bar"]))
    groups = list(dict.fromkeys(table["group"]))
    # one colour a bar where a group is all there is, so that the fits beside it can be told apart
    hue, names = ("group", groups) if len(groups) > 1 else ("bar", bars)
    look_of = plot.looks(names)
    with style.themed():
        width = max(4.2, 0.55 * len(bars) * max(len(groups), 1.4) * 0.8 + 1.6)
        figure = Figure(figsize=(width * len(panels) + 4.2, ROWS), layout="constrained")
        grid = figure.add_gridspec(2, len(panels) + 1, width_ratios=[*[width] * len(panels), 4.0])
        first = None
        for number, panel in enumerate(panels):
            axes = figure.add_subplot(grid[:, number], sharey=first)
            first = first or axes
            draw_panel(axes, table[table["panel"] == panel], hue, look_of)
            axes.set_title(panel, fontsize=10)
            axes.set_ylabel("samples fitted, n50" if axes is first else "")
        assert first is not None
        room(first, table)
        legend(first, table, look_of if hue == "group" else {})
        lower = figure.add_subplot(grid[1, -1])
        upper = figure.add_subplot(grid[0, -1], sharex=lower)
        plot.fits_over_n(upper, lower, searches, lines.by_search(table, hue, look_of))
        upper.tick_params(labelbottom=False)
        plot.foot(figure, searches.caption())
    return figure


def legend(axes: Axes, table: pd.DataFrame, look_of: Mapping[str, Look]) -> None:
    """The colours of groups, and what hollow marks are, where there are any."""
    handles: list[Artist] = []
    for name, look in look_of.items():
        handles.append(Patch(color=look.colour, label=name))
    if not table["status"].isin(["ok", *CENSORED]).all():
        handles.append(plot.hollow_handle())
    if handles:
        axes.legend(handles=handles, fontsize=8.5, loc="upper left")


def draw_panel(axes: Axes, rows: pd.DataFrame, hue: str, look_of: Mapping[str, Look]) -> None:
    """Bars with 90 % intervals; censored ones are hatched up to their bound, with an arrow.

    A search without any outcome is a hatched strip. A hollow circle marks an interval that is not
    yet narrow; bars of searches that are not finished are pale and hatched too.
    """
    bars = list(dict.fromkeys(rows["bar"]))
    is_grouped = hue == "group"
    groups = [name for name in look_of if name in set(rows["group"])] if is_grouped else [""]
    names = groups if is_grouped else bars
    height = rows.assign(height=rows["n50"].fillna(rows["n50_bound"]))
    sns.barplot(
        height,
        x="bar",
        y="height",
        order=bars,
        hue=hue,
        hue_order=names,
        palette=[look_of[name].colour for name in names],
        errorbar=None,
        width=WIDTH,
        dodge=is_grouped,
        legend=False,
        ax=axes,
        alpha=0.85,
    )
    offset = WIDTH / len(groups)
    for row in rows.to_dict("records"):
        number = groups.index(row["group"]) if is_grouped else 0
        x = bars.index(row["bar"]) - WIDTH / 2 + offset * (number + 0.5)
        mark(axes, row, x, offset)
    axes.set_xlabel("")
    axes.set_xticks(range(len(bars)), [textwrap.fill(bar, CHARACTERS) for bar in bars])
    axes.tick_params(axis="x", labelsize=9)


def mark(axes: Axes, row: Mapping[Any, Any], x: float, width: float) -> None:
    """The interval of a bar, its arrow, or the hatching of one that is missing."""
    left = x - width / 2
    if pd.notna(row["n50"]):
        errors = [[row["n50"] - row["n50_low"]], [row["n50_high"] - row["n50"]]]
        axes.errorbar(x, row["n50"], yerr=errors, fmt="none", color="0.2", lw=1.2, capsize=3)
        if row["status"] != "ok":
            axes.plot([x], [row["n50"]], "o", color="0.2", mfc="white", ms=5, zorder=4)
        if row["status"] in UNFINISHED:
            axes.bar(x, row["n50"], width * 0.97, color="white", alpha=0.6, hatch=style.HATCH)
    elif pd.notna(row["n50_bound"]):  # a bound, of a finished search or not
        side = "above" if pd.isna(row["n50_high"]) else "below"
        axes.bar(x, row["n50_bound"], width * 0.97, fill=False, hatch="....", edgecolor="0.3", lw=0)
        plot.arrow(axes, x, row["n50_bound"], side, Look((0.2, 0.2, 0.2), "_"))
    else:
        axes.axvspan(left, left + width, fill=False, hatch=style.HATCH, lw=0, zorder=0.5)


def room(axes: Axes, table: pd.DataFrame) -> None:
    """A y axis from 0 with place for intervals, arrows and the legend."""
    tops = table[["n50_high", "n50", "n50_bound"]].max(axis=1)
    top = float(np.nanmax(tops)) if tops.notna().any() else 1.0
    axes.set_ylim(0, top * 1.25)
    axes.yaxis.set_major_formatter(FuncFormatter(plot.plain))


def command(doc: str | None, name: str, kind: BarFigure, argv: Sequence[str] | None) -> int:
    """The command line of a script; returns its exit status."""
    options = selection.parser(doc, name).parse_args(argv)
    return output.run(partial(make, kind=kind), options)
