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
"""Up to this many searches have a row each; more are counted by state."""


def search_table(standings: Sequence[Standing], *, live: bool) -> Text:
    """The searches of a sweep; `live` says whether any of its cells runs or waits."""
    searches = [standing.search for standing in standings]
    rules = dict.fromkeys((search.axis, search.success) for search in searches)
    thresholds = "; ".join(f"{axis} where {success} changes" for axis, success in rules)
    title = f"{quantity(len(standings), 'search', 'searches')} for {thresholds}"
    if len(standings) > SHOWN_SEARCHES:
        table = _counts(standings, live=live)
    else:
        table = _rows(standings, live=live, with_success=len(rules) > 1)
    return Text("\n").join([layout.paragraph(title), table])


def _rows(standings: Sequence[Standing], *, live: bool, with_success: bool) -> Text:
    """A row for each search; its state, which may be a sentence, is last."""
    keys = varying_keys([standing.search.point for standing in standings])
    success = ["success"] if with_success else []
    head = [*short_names(keys), *success, "round", "trainings", "value, 90 % interval", "state"]
    rows = []
    for standing in standings:
        search, state = standing.search, standing.state
        values = [str(search.point.get(key, "")) for key in keys]
        if with_success:
            values.append(search.success)
        numbers = [str(state.rounds), str(state.trained), estimate_text(state.estimate)]
        rows.append([*values, *numbers, state_text(standing, live=live)])
    return layout.table(head, rows)


def _counts(standings: Sequence[Standing], *, live: bool) -> Text:
    searches: Counter[str] = Counter()
    trainings: Counter[str] = Counter()
    for standing in standings:
        kind = search_kind(standing, live=live)
        searches[kind] += 1
        trainings[kind] += standing.state.trained
    rows = [[kind, str(count), str(trainings[kind])] for kind, count in searches.most_common()]
    return layout.table(["state", "searches", "trainings"], rows)
