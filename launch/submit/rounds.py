"""The rounds of a sweep's searches: what the results say, what to send next, and searches.json.

What to send follows from the frozen searches and the runs table alone (launch/sweep/adaptive.py),
so a round that was never sent, or whose job was lost, is the same round for whoever asks next.

    logs/NAME/searches.json    how the searches stand; rewritten by every command that may send
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from launch.plan import Plan, Search, files
from launch.plan.outcome import FINAL, State
from launch.status import failures, other_results
from launch.status.sweep_state import SweepState
from launch.submit.outcomes import check_columns, outcomes, unknown_columns
from launch.sweep.adaptive import SearchKey, SearchState, newest_searches, replay, search_key
from launch.sweep.request import Cell, Request

VERSION = 1
FILE = "searches.json"

LOST: tuple[State, ...] = ("interrupted", "missing")
"""States of a cell whose job ended without a result and without an error."""

SENT_AT_MOST = 3
"""A lost cell is sent again without the user at most until it is in this many plans."""


def searches_of(plans: Sequence[Plan]) -> list[Search]:
    """Every search of these plans (oldest first), with the newest settings."""
    return newest_searches([plan.searches for plan in plans])


def search_states(searches: Sequence[Search], runs: pd.DataFrame) -> list[SearchState]:
    """The state of each search after the results in a runs table.

    A condition that names no column of the table gives no outcome.
    """
    outcomes_by_text: dict[str, dict[str, bool]] = {}
    for text in dict.fromkeys(search.success for search in searches):
        outcomes_by_text[text] = {} if unknown_columns(text, runs) else outcomes(text, runs)
    return [replay(search, outcomes_by_text[search.success]) for search in searches]


def search_states_of_present_data(
    searches: Sequence[Search], runs: pd.DataFrame
) -> list[SearchState]:
    """The state of each search after the results from the data of the present: a search that took
    those of two data sets would find the threshold of neither.

    Trainings on other data count as open. `submit --again` sends them.
    """
    states = search_states(searches, runs)
    flats = {}
    for state in states:
        for training in state.trials:
            flats[training.cell.id] = training.cell.flat
    of_other_data = other_results.compare_data(runs, flats).other
    if not of_other_data:
        return states
    return search_states(searches, runs[~runs["cell"].astype(str).isin(of_other_data)])


def without_corrected(searches: Sequence[Search], runs: pd.DataFrame) -> list[Search]:
    """The searches without those whose condition names no column and was corrected since.

    It was corrected if another search has the same axis and point, and a condition of columns.
    """
    texts = {search.success for search in searches}
    uncomputable = {text for text in texts if unknown_columns(text, runs)}
    answered = {_place(search) for search in searches if search.success not in uncomputable}
    kept = []
    for search in searches:
        if search.success not in uncomputable or _place(search) not in answered:
            kept.append(search)
    return kept


def _place(search: Search) -> tuple[str, str]:
    """The axis and the point of a search: what it finds a threshold of."""
    key = search_key(search)
    return key.axis, key.point


def _check_conditions(searches: Sequence[Search], runs: pd.DataFrame) -> None:
    """Raise UserError if no condition can be computed; one that was corrected since is left."""
    texts = dict.fromkeys(search.success for search in searches)
    if all(unknown_columns(text, runs) for text in texts):
        for text in texts:
            check_columns(text, runs)


def with_open_rounds(request: Request, state: SweepState) -> tuple[Request, Sequence[SearchState]]:
    """The request with the cells of its searches' open rounds, and the state of each search.

    Raises UserError if the conditions of the searches name no column of the runs table.
    """
    if not request.searches:
        return request, ()
    _check_conditions(request.searches, state.runs)
    states = search_states_of_present_data(request.searches, state.runs)
    advancing = keys_in_live_tasks(state)
    cells = {cell.id: cell for cell in request.cells}
    for search_state in states:
        has_live_task = search_key(search_state.search) in advancing
        for training in search_state.open:
            is_planned = training.cell.id in state.cells
            if is_planned or not has_live_task:
                cells[training.cell.id] = training.cell
    return replace(request, cells=list(cells.values())), states


def keys_in_live_tasks(state: SweepState) -> set[SearchKey]:
    """The searches whose next round a task trains that may still run."""
    keys = set()
    for plan in state.plans:
        if not plan.task_searches:
            continue
        for number in state.open_tasks(plan):
            for index in plan.task_searches[number]:
                keys.add(search_key(plan.searches[index]))
    return keys


def open_cells(states: Sequence[SearchState]) -> list[Cell]:
    """The cells of all open rounds, each once."""
    cells = {}
    for state in states:
        for training in state.open:
            cells[training.cell.id] = training.cell
    return list(cells.values())


def without_held(request: Request, state: SweepState) -> Request:
    """The request without cells that only the user may send again.

    These are cells that failed, that the user cancelled, or that were lost SENT_AT_MOST times; and
    all cells if failures with one error hold the sweep back. Failed cells that the user cancelled
    hold nothing back.
    """
    ids = [cell.id for cell in request.cells if not _is_cancelled(cell.id, state)]
    if failures.held_back(ids, state, request.code).cells:
        return replace(request, cells=())
    counts = Counter(cell.id for plan in state.plans for cell in plan.cells)
    cells = []
    for cell in request.cells:
        cell_state = state.cells.get(cell.id)
        is_new = cell_state is None
        is_lost = (
            cell_state is not None
            and cell_state.state in LOST
            and not _is_cancelled(cell.id, state)
            and counts[cell.id] < SENT_AT_MOST
        )
        if is_new or is_lost:
            cells.append(cell)
    return replace(request, cells=cells)


def _is_cancelled(cell: str, state: SweepState) -> bool:
    return cell in state.cells and state.cells[cell].placement.cancelled


def held_cells(search: SearchState, state: SweepState) -> list[str]:
    """The open cells of a search that no job will finish: they hold it until they run again.

    These are cells that failed or were lost, and cells whose result lacks a value that the
    condition needs.
    """
    cells = [training.cell.id for training in search.open]
    return [cell for cell in cells if _state_of(cell, state) in ("failed", *LOST, *FINAL)]


def _state_of(cell: str, state: SweepState) -> State | None:
    """The state of a cell; None if it was never planned and has no result."""
    if cell in state.cells:
        return state.cells[cell].state
    record = state.records.get(cell)
    return "done" if record is not None and record.status in FINAL else None


def unsent_cells(search: SearchState, state: SweepState) -> list[str]:
    """The open cells of a search that are in no plan yet."""
    cells = [training.cell.id for training in search.open]
    return [cell for cell in cells if _state_of(cell, state) is None]


def write(
    state: SweepState, states: Sequence[SearchState] = (), sent: Collection[str] = ()
) -> None:
    """Write searches.json for all searches of a sweep's plans and of a request.

    `states` are those of the request's searches. `sent` are the ids of cells that are being sent:
    they hold nothing.
    """
    of_request = [search_state.search for search_state in states]
    searches = newest_searches([searches_of(state.plans), of_request])
    searches = without_corrected(searches, state.runs)
    if not searches:
        return
    keys = {search_key(search) for search in of_request}
    of_plans_alone = [search for search in searches if search_key(search) not in keys]
    by_key = {}
    of_plans = search_states_of_present_data(of_plans_alone, state.runs)
    for search_state in [*states, *of_plans]:
        by_key[search_key(search_state.search)] = search_state
    entries = []
    for search in searches:
        search_state = by_key[search_key(search)]
        held = [cell for cell in held_cells(search_state, state) if cell not in sent]
        entries.append(_entry(search_state, held))
    files.write_json(state.folder / FILE, {"version": VERSION, "searches": entries})


def _entry(state: SearchState, held: Sequence[str]) -> dict[str, Any]:
    search = state.search
    trials = []
    for training in state.trials:
        trials.append({
            "cell": training.cell.id,
            "round": training.round,
            "level": training.trial.level,
            "value": training.trial.value,
            "number": training.trial.number,
            "success": training.success,
        })  # fmt: skip
    return {
        "axis": search.axis,
        "success": search.success,
        "settings": dict(search.settings),
        "seeds": list(search.seeds),
        "budget": list(search.budget),
        "point": dict(search.point),
        "finished": state.finished,
        "rounds": state.rounds,
        "held": list(held),
        "trials": trials,
    }


@dataclass(frozen=True)
class Standing:
    """A search beside what its cells do now."""

    state: SearchState
    held: Sequence[str]
    """Ids of the open cells that hold it, as `held_cells` finds them."""
    unsent: Sequence[str]
    """Ids of the open cells that were never sent."""
    unknown: Sequence[str] = ()
    """Names in its condition that are no columns of the runs table."""
    valueless: Sequence[str] = ()
    """Those of `held` whose result lacks a value that the condition needs."""

    @property
    def search(self) -> Search:
        """The search itself: its axis, condition and settings."""
        return self.state.search


def standings(state: SweepState) -> list[Standing]:
    """The standing of every search of a sweep; empty for a grid."""
    result = []
    searches = without_corrected(searches_of(state.plans), state.runs)
    for search_state in search_states_of_present_data(searches, state.runs):
        held = held_cells(search_state, state)
        unsent = unsent_cells(search_state, state)
        unknown = unknown_columns(search_state.search.success, state.runs)
        valueless = [cell for cell in held if _state_of(cell, state) in FINAL]
        result.append(Standing(search_state, held, unsent, unknown, valueless))
    return result
