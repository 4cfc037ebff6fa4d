"""The searches of a sweep as the table of `status`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich import box
from rich.table import Column, Table

from launch.errors import quantity
from launch.report.searches import (
    estimate_text,
    search_kind,
    short_names,
    state_text,
    varying_keys,
)
from launch.submit.rounds import Standing

SHOWN_SEARCHES = 20
"""Up to this many searches have a row each; more are counted by state."""


def search_table(standings: Sequence[Standing], *, live: bool) -> Table:
    """The searches of a sweep; `live` says whether any of its cells runs or waits."""
    searches = [standing.search for standing in standings]
    rules = dict.fromkeys((search.axis, search.success) for search in searches)
    thresholds = "; ".join(f"{axis} where {success} changes" for axis, success in rules)
    title = f"{quantity(len(standings), 'search', 'searches')} for {thresholds}"
    if len(standings) > SHOWN_SEARCHES:
        return _counts(standings, title, live=live)
    keys = varying_keys([search.point for search in searches])
    columns = [Column(name, no_wrap=True) for name in short_names(keys)]
    if len(rules) > 1:
        columns.append(Column("success"))
    columns.append(Column("state"))
    for name in ("round", "trainings", "value, 90 % interval"):
        columns.append(Column(name, no_wrap=True))
    # without lines between the columns, eight of them fit into a terminal of 80 characters
    table = Table(
        *columns,
        title=title,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    for standing in standings:
        search, state = standing.search, standing.state
        values = [str(search.point.get(key, "")) for key in keys]
        if len(rules) > 1:
            values.append(search.success)
        numbers = [str(state.rounds), str(state.trained), estimate_text(state.estimate)]
        table.add_row(*values, state_text(standing, live=live), *numbers)
    return table


def _counts(standings: Sequence[Standing], title: str, *, live: bool) -> Table:
    table = Table("state", "searches", "trainings", title=title, title_justify="left")
    searches: Counter[str] = Counter()
    trainings: Counter[str] = Counter()
    for standing in standings:
        kind = search_kind(standing, live=live)
        searches[kind] += 1
        trainings[kind] += standing.state.trained
    for kind, count in searches.most_common():
        table.add_row(kind, str(count), str(trainings[kind]))
    return table
