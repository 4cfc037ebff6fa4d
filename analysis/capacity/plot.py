"""Drawing capacities: points with intervals, arrows for censored ones, fits over n.

Functions draw on the Axes that they are given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from analysis.capacity.selection import Selection
from analysis.capacity.shares import CENSORED
from analysis.figure.looks import MARKERS, Look, assign
from analysis.stats import threshold
from analysis.store.searches import last_budgets

ARROW = 20  # points, length of the arrow of a censored value
FOOT = {"fontsize": 8, "color": "0.35"}
CURVE_POINTS = 120
SHIFT = 1.018  # ratio of the drawn places of neighbouring lines
DENSE = 1500
MANY = 8  # ticks at most, and searches of a panel with a legend


def looks(names: Sequence[str], ordered: bool = False) -> dict[str, Look]:
    """A look for each name; of a sequential map if the names are `ordered`."""
    count = len(names) + 1  # the last of an ordered palette is too light
    colours = sns.color_palette("viridis" if ordered else "colorblind", count)
    return assign(names, colours, solid=len(MARKERS))


def lighter(look: Look, share: float) -> Look:
    """The look with a colour between nearly white (share 0) and its own (share 1)."""
    red, green, blue = (0.75 * (1 - share) + channel * share for channel in look.colour)
    return replace(look, colour=(red, green, blue))


def shift(number: int, count: int) -> float:
    """Factor that moves the number-th of `count` lines aside, so that equal places can be seen."""
    return float(SHIFT ** (number - (count - 1) / 2))


def capacity_line(axes: Axes, rows: pd.DataFrame, x: str, look: Look) -> None:
    """Points with their 90 % intervals over x, joined by a line that breaks at censored ones.

    rows: x, n50, n50_low, n50_high, n50_bound and status. Hollow markers are searches that are not
    finished, or ended before their interval was narrow.
    """
    rows = rows.sort_values(x)
    drawn = rows["n50"].notna()
    axes.plot(rows[x], rows["n50"].where(drawn), look.line, color=look.colour, lw=1.6, zorder=2)
    for row in rows[drawn].to_dict("records"):
        errors = [[row["n50"] - row["n50_low"]], [row["n50_high"] - row["n50"]]]
        axes.errorbar(
            row[x],
            row["n50"],
            yerr=errors,
            fmt=look.marker,
            color=look.colour,
            mfc=look.colour if row["status"] == "ok" else "white",
            ms=5.5,
            lw=1.2,
            capsize=2.5,
            zorder=3,
        )
    for row in bounded(rows).to_dict("records"):
        arrow(axes, row[x], row["n50_bound"], row["side"], look)


def bounded(rows: pd.DataFrame) -> pd.DataFrame:
    """The searches of which a bound of n50 is known and not n50, finished or not.

    `side` says where n50 lies: "above" or "below" the bound.
    """
    hidden = rows[rows["n50"].isna() & rows["n50_bound"].notna()]
    return hidden.assign(side=np.where(hidden["n50_high"].isna(), "above", "below"))


def arrow(axes: Axes, x: float, bound: float, side: str, look: Look) -> None:
    """An arrow from the bound of a censored value to where the value may lie."""
    axes.plot([x], [bound], look.marker, color=look.colour, mfc="white", ms=5.5, zorder=3)
    axes.annotate(
        "",
        xy=(x, bound),
        xytext=(0, ARROW if side == "above" else -ARROW),
        textcoords="offset points",
        arrowprops={"arrowstyle": "<|-", "color": look.colour, "lw": 1.4},
        zorder=3,
    )


def log_axes(axes: Axes, x_values: Sequence[float] | None = None) -> None:
    """Logarithmic axes with plain numbers; ticks at the values of x where they are few."""
    axes.set_yscale("log")
    plain_ticks(axes, "y")
    if x_values is None:
        return
    axes.set_xscale("log")
    ticks = sorted(set(x_values))
    spread = all(b / a > 1.25 for a, b in pairwise(ticks))
    if len(ticks) <= MANY and spread:
        axes.set_xticks(ticks, [f"{tick:,.0f}" for tick in ticks])
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.xaxis.set_minor_locator(LogLocator(subs=()))
    else:
        plain_ticks(axes, "x")


def plain_ticks(axes: Axes, which: str, dense: float = DENSE) -> None:
    """Numbers such as 200 and 1,000 on a logarithmic axis; 1, 2, 5 of a decade below the ratio
    `dense` of its ends.
    """
    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = axes.get_xlim() if which == "x" else axes.get_ylim()
    narrow = high / low < dense
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if narrow else (1,)))
    axis.set_major_formatter(FuncFormatter(plain))
    axis.set_minor_formatter(NullFormatter())


def plain(value: float, _: object = None) -> str:
    """A number with thousands set apart: "1,000"."""
    return f"{value:,.6g}"


def room_for_arrows(axes: Axes, rows: pd.DataFrame) -> None:
    """Widen a logarithmic y axis so that arrows stay inside."""
    low, high = axes.get_ylim()
    bounds = bounded(rows)[["side", "n50_bound"]]
    for side, bound in bounds.itertuples(index=False):
        if side == "above":
            high = max(high, bound * (high / low) ** 0.12)
        else:
            low = min(low, bound / (high / low) ** 0.12)
    axes.set_ylim(low, high)


def diagonal(axes: Axes) -> None:
    """The dashed line n = P over the drawn range."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    if left <= 0:  # nothing is drawn yet
        return
    axes.plot([1, 1e12], [1, 1e12], "--", color="0.45", lw=1, zorder=1)
    axes.set_xlim(left, right)
    axes.set_ylim(bottom, max(top, left * 1.5))
    at = np.sqrt(max(left, bottom) * min(right, axes.get_ylim()[1]))
    axes.annotate(
        "n = P",
        (at, at),
        xytext=(-4, 4),
        textcoords="offset points",
        ha="right",
        color="0.35",
        fontsize=9,
    )


def fits_over_n(
    upper: Axes, lower: Axes, selection: Selection, look_of: Mapping[int, Look]
) -> None:
    """Training error of every training over n, and below it the fit curves with the outcomes.

    look_of: of each search, by index. Error: at the best check, with the last budget; abandoned
    trainings, whose error at the end is not known, are left out.
    """
    trainings = last_budgets(selection.trainings)
    shown = trainings[trainings["success"].notna() & (trainings["abandoned"] != 1)]
    error = 100 * shown["best_wrong"].mask(shown["fitted"] == 1, 0.0) / shown["n"]
    colours = [look_of[int(search)].colour for search in shown["search"]]
    if error.notna().any():
        sns.scatterplot(x=shown["n"], y=error, ax=upper, s=14, alpha=0.7, c=colours, linewidth=0)
    for search, look in look_of.items():
        results = selection.results(search)
        if results:
            fit_curve(lower, selection, search, look)
    upper.set_xscale("log")
    upper.set_ylabel("training error (%)")
    upper.set_ylim(bottom=-0.03 * upper.get_ylim()[1])
    upper.set_xlabel("")
    lower.set_ylim(-0.05, 1.05)
    lower.set_ylabel("probability of a fit")
    lower.set_xlabel("training samples n")
    plain_ticks(lower, "x", dense=200)


def fit_curve(axes: Axes, selection: Selection, search: int, look: Look) -> None:
    """Posterior mean of the fit probability over the trained n; share of fits at each n."""
    results, settings = selection.results(search), selection.settings[search]
    outcomes = threshold.final_outcomes(results)
    values = np.array([value for value, _ in outcomes], np.float64)
    fits = np.array(list(outcomes.values()), np.float64)
    n = np.geomspace(values.min(), values.max(), CURVE_POINTS)
    axes.plot(n, threshold.fit_probability(settings, results, n), color=look.colour, lw=1.2)
    shares = pd.Series(fits).groupby(values).agg(["mean", "size"])
    axes.scatter(
        shares.index,
        shares["mean"],
        s=6 + 5 * shares["size"],
        color=look.colour,
        marker=look.marker,
        alpha=0.5,
        linewidth=0,
    )


def legend(axes: Axes, look_of: Mapping[str, Look], table: pd.DataFrame) -> None:
    """Legend of the names, with what hollow markers and arrows mean where there are any."""
    axes.legend(handles=legend_handles(look_of, table), frameon=True, fontsize=8.5)


def legend_handles(look_of: Mapping[str, Look], table: pd.DataFrame) -> list[Line2D]:
    """The entries of a legend: the names, and hollow markers and arrows where there are any."""
    handles = []
    for name, look in look_of.items():
        handle = Line2D([], [], color=look.colour, marker=look.marker, ls=look.line, ms=5.5)
        handle.set_label(name)
        handles.append(handle)
    hollow = ~table["status"].isin(["ok", *CENSORED])
    if hollow.any():
        handles.append(hollow_handle())
    if not bounded(table).empty:
        arrow_handle = Line2D([], [], color="0.4", marker=r"$\uparrow$", ls="", ms=8)
        arrow_handle.set_label("beyond the range")
        handles.append(arrow_handle)
    return handles


def hollow_handle() -> Line2D:
    """The legend's entry of hollow markers."""
    look: dict[str, Any] = {"marker": "o", "mfc": "white", "ls": "", "ms": 5.5}
    return Line2D([], [], label="interval not yet narrow", color="0.4", **look)


def foot(figure: Figure, text: str) -> None:
    """The caption's facts at the foot of the figure, broken where they are too long."""
    width = int(figure.get_size_inches()[0] * 17)
    parts, line = [], ""
    for part in text.split("; "):
        if line and len(line) + len(part) > width:
            parts.append(line)
            line = ""
        line = f"{line}; {part}" if line else part
    figure.supxlabel("\n".join([*parts, line]), **FOOT)
