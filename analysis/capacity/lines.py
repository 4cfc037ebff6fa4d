"""Figures of capacity over a quantity: a line for each kind of setting, with the fits beside it."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.capacity import estimate, labels, plot, selection
from analysis.capacity.labels import Label, is_base, texts
from analysis.capacity.selection import COLUMNS, Selection
from analysis.figure import output, query, style
from analysis.figure.looks import Look
from analysis.figure.names import none_of

SIZE = (10.6, 5.4)  # inches
NEAR = 1.03  # searches whose P differs by less are compared


@dataclass(frozen=True)
class LineFigure:
    """What a figure draws.

    free: prefixes of the columns that may differ. lines: parts of a line's name. x: column of the
    table with the places. label: of the x axis. place: gives x where it is no column. name: gives
    the names of lines where `lines` do not. diagonal: whether n50 = x is drawn too. from_base:
    whether models have grown from the line "base", to which a dotted line leads. along: whether
    neighbours on a line are compared too.
    """

    free: tuple[str, ...]
    lines: tuple[Label, ...]
    x: str = "parameters"
    label: str = "parameters P"
    place: Callable[[pd.DataFrame], pd.Series] | None = None
    name: Callable[[pd.DataFrame], pd.Series] | None = None
    diagonal: bool = False
    from_base: bool = False
    along: bool = False


def make(options: argparse.Namespace, kind: LineFigure) -> None:
    """Query, reduce, draw, write."""
    searches = placed(selection.select(options, kind.free), kind)
    searches.check_outcomes()
    table = searches.table[["line", kind.x, *_columns(searches.table, kind.x)]]
    pairs = compare(searches, kind)
    compared = f"whose {kind.x} differ by less than 3 %"
    if _grew_once(table, kind):
        compared = "that grew from one base"
    if kind.along:
        compared += ", and of neighbours on a line"
    facts = {
        "x": kind.label,
        "line": "joins neighbouring values that are not censored; fits nothing",
        "comparisons": f"posteriors of searches {compared}",
    }
    lines = [selection.listing(table[["line", kind.x, *selection.SHOWN]])]
    lines += [*estimate.sentences(one_side(pairs)), *searches.messages()]
    tables = {
        "": table,
        "_comparisons": pairs,
        "_searches": searches.table,
        "_trainings": searches.trainings,
    }
    output.write(options, draw(searches, kind), tables, searches.record(options, facts), lines)


def placed(searches: Selection, kind: LineFigure) -> Selection:
    """The searches with columns `line` and x; FigureError where two share their place."""
    table = searches.table
    if kind.from_base:
        _check_one_model(table)
    names = kind.name(table) if kind.name else texts(table, kind.lines)
    table = table.assign(line=names)
    if kind.place:
        table = table.assign(**{kind.x: kind.place(table)})
    unplaced = table[kind.x].isna() if kind.x in table.columns else pd.Series(True, table.index)
    if unplaced.all():
        raise query.FigureError(
            f"{none_of(len(table), 'search', 'searches')} has {kind.x} yet; wait for the "
            "first trainings (`redescent status`)"
        )
    table = table[~unplaced]
    selection.check_unique(table, ["line", kind.x])
    ordered = table.sort_values(["line", kind.x], kind="stable")
    return selection.with_place(searches, ordered, kind.x)


def _check_one_model(table: pd.DataFrame) -> None:
    """FigureError if the searches are of several architectures: none grew from another."""
    names = query.sorted_values(table, "model.name")
    if len(names) > 1:
        raise query.FigureError(
            f"found model.name {', '.join(names)}, expected one: this figure draws models that "
            f"grew from the smallest; choose with --where model.name={names[0]}, or draw all with "
            "analysis/emc.py"
        )


def _columns(table: pd.DataFrame, *drawn: str) -> list[str]:
    """The columns of the reduced table beside line and place."""
    candidates = ["tuned_lr", *COLUMNS]
    return [column for column in candidates if column in table.columns and column not in drawn]


def compare(searches: Selection, kind: LineFigure) -> pd.DataFrame:
    """Comparisons of the lines at every place that several share, P within 3 %; of all models that
    grew from one base, if each did once; and along the lines if the figure asks for it, without a
    place.
    """
    table = searches.table.sort_values(kind.x)
    names = [f"{line} at {x:,.0f}" for line, x in zip(table["line"], table[kind.x], strict=True)]
    table = table.assign(name=names)
    places = near(table[kind.x])
    if _grew_once(table, kind):
        places = table[kind.x].where(is_base(table["line"]), table[kind.x].iloc[-1])
    parts = []
    for place, group in table.groupby(places):
        lines = group.drop_duplicates("line", keep="last")  # of each line the largest
        if len(lines) > 1:
            parts.append(searches.comparisons(lines["name"]).assign(place=place))
    if kind.along:
        for _, line in table.groupby("line", sort=False):
            for start in range(len(line) - 1):
                pair = searches.comparisons(line["name"].iloc[start : start + 2])
                parts.append(pair.assign(place=float("nan")))
    filled = [part for part in parts if len(part)]
    if not filled:
        return estimate.comparisons({}).assign(place=[])
    return pd.concat(filled, ignore_index=True)


def _grew_once(table: pd.DataFrame, kind: LineFigure) -> bool:
    """Whether each way to grow has one model, so that all of them are compared."""
    ways = table.loc[~is_base(table["line"]), "line"]
    return kind.from_base and ways.is_unique


def one_side(pairs: pd.DataFrame) -> pd.DataFrame:
    """The comparisons with each line on one side of all ratios, in the order of their names."""
    if pairs.empty:
        return pairs
    first, second = (pairs[name].str.rpartition(" at ")[0] for name in ("first", "second"))
    return estimate.inverted(pairs, first > second)


def near(values: pd.Series) -> pd.Series:
    """For each of the increasing values the first of its group, whose members differ by < 3 %."""
    firsts: list[float] = []
    for value in values:
        if not firsts or value > firsts[-1] * NEAR:
            firsts.append(float(value))
        else:
            firsts.append(firsts[-1])
    return pd.Series(firsts, index=values.index)


def draw(searches: Selection, kind: LineFigure) -> Figure:
    """n50 over x at the left; training error and fit curves over n at the right."""
    table = searches.table
    names = list(dict.fromkeys(table["line"]))
    look_of = plot.looks(names)
    with style.themed():
        figure = Figure(figsize=SIZE, layout="constrained")
        grid = figure.add_gridspec(2, 2, width_ratios=(1.5, 1))
        axes = figure.add_subplot(grid[:, 0])
        lower = figure.add_subplot(grid[1, 1])
        upper = figure.add_subplot(grid[0, 1], sharex=lower)
        moved = table.assign(**{kind.x: table[kind.x] * _shifts(table, names)})
        for name in names:
            plot.capacity_line(axes, moved[moved["line"] == name], kind.x, look_of[name])
        if kind.from_base:
            _lines_from_base(axes, moved, kind.x, look_of)
        plot.log_axes(axes, table[kind.x].tolist())
        if kind.diagonal:
            plot.diagonal(axes)
        plot.room_for_arrows(axes, table)
        plot.plain_ticks(axes, "y")
        axes.set_xlabel(kind.label)
        axes.set_ylabel("samples fitted, n50")
        plot.legend(axes, look_of, table)
        plot.fits_over_n(upper, lower, searches, by_search(table, "line", look_of))
        upper.tick_params(labelbottom=False)
        plot.foot(figure, shades(table, kind.label) + searches.caption())
    return figure


def shades(table: pd.DataFrame, label: str) -> str:
    """What `by_search` shows by pale and strong colours; empty if every line has one search."""
    if not table["line"].duplicated().any():
        return ""
    return f"panels over n: {label} from pale to strong; "


def _shifts(table: pd.DataFrame, names: Sequence[str]) -> pd.Series:
    """Factors of x that keep lines with equal values apart."""
    factors = {name: plot.shift(number, len(names)) for number, name in enumerate(names)}
    return table["line"].map(factors)


def _lines_from_base(axes: Axes, table: pd.DataFrame, x: str, look_of: Mapping[str, Look]) -> None:
    """A dotted line from the base to each model that grew from it, for each kind of labels."""
    with_n50 = table[table["n50"].notna()]
    tasks = with_n50["line"].map(labels.task_of_scaled)
    from_base = is_base(with_n50["line"])
    for task, base in with_n50[from_base].groupby(tasks[from_base]):
        start = base.iloc[0]
        for end in with_n50[(tasks == task) & ~from_base].to_dict("records"):
            colour = look_of[end["line"]].colour
            xs, ys = [start[x], end[x]], [start["n50"], end["n50"]]
            axes.plot(xs, ys, ":", color=colour, lw=1.0, zorder=1)


def by_search(table: pd.DataFrame, column: str, look_of: Mapping[str, Look]) -> dict[int, Look]:
    """The look of each search, by index: that of its line, lighter for the first searches of it.

    The rows of a line are in the order of its places.
    """
    result = {}
    for name, rows in table.groupby(column, sort=False):
        for number, index in enumerate(rows.index):
            share = (number + 1) / len(rows)
            result[int(str(index))] = plot.lighter(look_of[str(name)], share)
    return result


def command(doc: str | None, name: str, kind: LineFigure, argv: Sequence[str] | None) -> int:
    """The command line of a script; returns its exit status."""
    options = selection.parser(doc, name).parse_args(argv)
    return output.run(partial(make, kind=kind), options)
