"""The searches of a sweep as the table of `status`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.text import Text

from launch.cli import layout
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


def search_table(standings: Sequence[Standing], *, live: bool) -> Text:
    """The searches of a sweep; `live` says whether any of its cells runs or waits."""
    rules = dict.fromkeys((one.search.search.axis, one.search.search.success) for one in standings)
    what = "; ".join(f"{axis} where {success} changes" for axis, success in rules)
    title = f"{quantity(len(standings), 'search', 'searches')} for {what}"
    if len(standings) > SHOWN_SEARCHES:
        table = _counts(standings, live=live)
    else:
        table = _rows(standings, live=live, with_success=len(rules) > 1)
    return Text("\n").join([layout.paragraph(title), table])


def _rows(standings: Sequence[Standing], *, live: bool, with_success: bool) -> Text:
    """A row for each search; its state, which may be a sentence, is last."""
    keys = varying_keys([one.search.search.point for one in standings])
    success = ["success"] if with_success else []
    head = [*short_names(keys), *success, "round", "trainings", "value, 90 % interval", "state"]
    rows = []
    for one in standings:
        search = one.search
        values = [str(search.search.point.get(key, "")) for key in keys]
        if with_success:
            values.append(search.search.success)
        numbers = [str(search.rounds), str(search.trained), estimate_text(search.estimate)]
        rows.append([*values, *numbers, state_text(one, live=live)])
    return layout.table(head, rows)


def _counts(standings: Sequence[Standing], *, live: bool) -> Text:
    states = [search_kind(one, live=live) for one in standings]
    rows = []
    for state, count in Counter(states).most_common():
        trained = 0
        for one, other in zip(standings, states, strict=True):
            trained += one.search.trained if other == state else 0
        rows.append([state, str(count), str(trained)])
    return layout.table(["state", "searches", "trainings"], rows)
