"""`--wait`: show progress until the cells end, and send the rounds of searches that follow."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd
from rich.text import Text

from launch.cli import progress
from launch.cli.exits import leave_on_interrupt
from launch.cli.status import note_line
from launch.plan import load_all, markers
from launch.plan.outcome import FINAL, LIVE
from launch.plan.plan import name_of
from launch.report import notes
from launch.report.overview import is_live
from launch.status import answers, sweep_files, sweep_state
from launch.status.sweep_state import SweepState, trained_again
from launch.submit import rounds, submission
from launch.submit.advance import advance

POLL_SECONDS = answers.ASK_SECONDS
"""Seconds between queries of the scheduler while a command waits or follows."""

LOOK_SECONDS = 0.5
"""Seconds between checks of the log folder between two queries; they read no file."""

READ_SHARE = 0.003
"""Parts are read again, and the scheduler queried again, only so often that each of the two takes
at most this share of a core. So a sweep of many cells is looked at less often.
"""


def wait_until_end(folder: Path, sid: str | None = None) -> bool:
    """Show progress until no cell runs or waits; returns whether all cells have a result.

    With `sid`, cells that train again for other submissions are not waited for. Cells without a
    result that no job trains, such as those of an earlier sweep file, are no part of the progress.
    """
    with leave_on_interrupt(name_of(folder)), progress.display() as shown:
        state = _show_until_end(folder, sid, shown)
    return all(cell.state in FINAL for cell in state.cells.values())


def _show_until_end(folder: Path, sid: str | None, shown: progress.Display) -> SweepState:
    """Show progress until no cell runs or waits; returns the last state."""
    printed: set[str] = set()
    while True:
        start = time.process_time()
        state = sweep_state.load_sweep_state(folder)
        cells, search_round = _progressing(state, sid), _newest_round(state)
        shown.show(_of_cells(state.runs, cells), search_round)
        for line in waiting_lines(state):
            if line.plain not in printed:
                printed.add(line.plain)
                shown.say(line)
        if not is_live(state, sid):
            return state
        seconds = seconds_between_queries(time.process_time() - start)
        show = partial(shown.show, search_round=search_round)
        _follow_parts(state, cells, show, seconds)


def _newest_round(state: SweepState) -> int | None:
    """The last round of the sweep's searches that was sent; None for a grid."""
    sent = []
    for standing in rounds.standings(state):
        sent += [trial.round for trial in standing.state.trials if trial.cell.id in state.cells]
    return max(sent, default=None)


def _progressing(state: SweepState, sid: str | None) -> set[str]:
    """The cells that have a result, may get one, or belong to submission `sid`."""
    with_result_or_live = {cell.id for cell in state.cells.values() if cell.state in FINAL + LIVE}
    of_plan = {cell.id for plan in state.plans if plan.sid == sid for cell in plan.cells}
    return with_result_or_live | of_plan


def _of_cells(runs: pd.DataFrame, cells: set[str]) -> pd.DataFrame:
    """The runs of these cells; all runs where there is none of them."""
    chosen = runs[runs["cell"].isin(cells)]
    return runs if chosen.empty else chosen


def wait_until_finished(folder: Path, sid: str | None = None) -> bool:
    """Wait until no cell runs or waits, and send the rounds of searches that follow by themselves.

    Returns whether all cells have a result, from submission `sid` if it trains them again, and all
    these searches are finished; cells that were cancelled before do not count. Writes searches.json
    at the end, so that a figure drawn next has the last round.
    """
    with leave_on_interrupt(name_of(folder)), progress.display() as shown:
        complete = _wait_for_rounds(folder, sid, shown)
    submission.write_searches(folder)
    return complete


def _wait_for_rounds(folder: Path, sid: str | None, shown: progress.Display) -> bool:
    cancelled_before = _cancelled_cells(folder, sid)
    while True:
        state = _show_until_end(folder, sid, shown)
        if not _search_goes_on(state):
            are_new = sid is None or not trained_again(state, sid).without_result
            open_cells = {cell.id for cell in state.cells.values() if cell.state not in FINAL}
            return are_new and open_cells <= cancelled_before
        with progress.output_above(shown):
            sent = advance(folder)
        if sent is None or sent.plan is None:
            now = sweep_state.load_sweep_state(folder)
            if not is_live(now) and _search_goes_on(now) and _results(now) == _results(state):
                return False


def _cancelled_cells(folder: Path, sid: str | None) -> set[str]:
    """The cells that the user cancelled and that were not sent again; those of `sid` are none."""
    cancelled: set[str] = set()
    for plan in load_all(folder):
        cancelled -= {cell.id for cell in plan.cells}
        if plan.sid != sid:
            cancelled |= markers.cancelled_cells(plan.folder(folder))
    return cancelled


def _results(state: SweepState) -> tuple[int, int]:
    """How many plans a sweep has, and how many cells with a result: both only grow, also by what
    another command sent while this one waited for the lock.
    """
    return len(state.plans), sum(cell.state in FINAL for cell in state.cells.values())


def _search_goes_on(state: SweepState) -> bool:
    return any(_goes_on(standing) for standing in rounds.standings(state))


def _goes_on(standing: rounds.Standing) -> bool:
    """Whether further rounds of a search are sent without the user."""
    return standing.search.advance == "auto" and standing.state.finished is None


def seconds_between_queries(cost: float) -> float:
    """How long not to query the scheduler after a query and its display took `cost` CPU seconds."""
    return max(POLL_SECONDS, cost / READ_SHARE)


def _follow_parts(
    state: SweepState, cells: set[str], show: Callable[[pd.DataFrame], None], seconds: float
) -> None:
    """Show progress from the parts only, until it is time to query the scheduler again.

    That is after `seconds`, or without SLURM as soon as all of `cells` or a local worker have
    ended.
    """
    is_here = all(plan.backend != "slurm" for plan in state.plans)
    deadline = time.monotonic() + seconds
    next_read = time.monotonic()
    modified, workers = sweep_files.modified(state.folder), _workers_alive(state)
    while time.monotonic() < deadline:
        time.sleep(LOOK_SECONDS)
        if _workers_alive(state) != workers:
            return
        if sweep_files.modified(state.folder) == modified or time.monotonic() < next_read:
            continue
        modified, start = sweep_files.modified(state.folder), time.process_time()
        runs = _of_cells(sweep_files.runs_of(state.folder, sweep_files.RECORD_COLUMNS), cells)
        show(runs)
        if is_here and progress.count_ended(runs) == len(runs):
            return
        next_read = time.monotonic() + (time.process_time() - start) / READ_SHARE


def _workers_alive(state: SweepState) -> list[bool | None]:
    here = [plan for plan in state.plans if plan.backend != "slurm"]
    workers = [markers.local_worker(plan.folder(state.folder)) for plan in here]
    return [worker.alive() for worker in workers if worker is not None]


def waiting_lines(state: SweepState) -> list[Text]:
    """What progress does not show: cells that will not start or end by themselves, and those that
    train again.
    """
    shown = [*notes.waiting(state), *notes.training_again(trained_again(state))]
    return [note_line(note) for note in shown]
