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
"""The plain status shows so many searches one by one; more are counted by state."""


def search_table(standings: Sequence[Standing], *, live: bool) -> Table:
    """The searches of a sweep; `live` says whether any of its cells runs or waits."""
    rules = dict.fromkeys((one.search.search.axis, one.search.search.success) for one in standings)
    what = "; ".join(f"{axis} where {success} changes" for axis, success in rules)
    title = f"{quantity(len(standings), 'search', 'searches')} for {what}"
    if len(standings) > SHOWN_SEARCHES:
        return _counts(standings, title, live=live)
    keys = varying_keys([one.search.search.point for one in standings])
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
    for one in standings:
        search = one.search
        values = [str(search.search.point.get(key, "")) for key in keys]
        if len(rules) > 1:
            values.append(search.search.success)
        numbers = [str(search.rounds), str(search.trained), estimate_text(search.estimate)]
        table.add_row(*values, state_text(one, live=live), *numbers)
    return table


def _counts(standings: Sequence[Standing], title: str, *, live: bool) -> Table:
    table = Table("state", "searches", "trainings", title=title, title_justify="left")
    states = [search_kind(one, live=live) for one in standings]
    for state, count in Counter(states).most_common():
        trained = 0
        for one, other in zip(standings, states, strict=True):
            trained += one.search.trained if other == state else 0
        table.add_row(state, str(count), str(trained))
    return table
