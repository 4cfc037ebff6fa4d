"""`redescent status` and `--wait`: cells by state, hours, the expected end, and failures."""

from __future__ import annotations

import contextlib
import itertools
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import pandas as pd
from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from launch.cli import layout, machine, progress, tables
from launch.cli.console import console, styled
from launch.cli.searches import search_table
from launch.errors import INTERRUPTED, quantity
from launch.plan import load_all, markers
from launch.plan.identity import cell_arguments
from launch.plan.outcome import FINAL, LIVE
from launch.plan.plan import name_of
from launch.report import notes
from launch.report.headline import Headline, headline_columns, headline_of
from launch.report.notes import Note, Severity
from launch.report.overview import Overview, is_live, load_overview
from launch.report.running import running_tasks, running_text
from launch.status import answers, summary, sweep_files, sweep_state
from launch.status.summary import Failure
from launch.status.sweep_state import SweepState, trained_again
from launch.submit import rounds, submission
from launch.submit.advance import advance

POLL_SECONDS = answers.ASK_SECONDS
"""Seconds between queries of the scheduler while a command waits or follows."""

LEAST_SECONDS = 5.0
"""The shortest period that `--watch` accepts."""

MOST_SECONDS = 86400.0
"""The longest period that `--watch` accepts."""

LOOK_SECONDS = 0.5
"""Seconds between checks of the log folder between two queries; they read no file."""

READ_SHARE = 0.003
"""Parts are read again, and the scheduler queried again, only so often that each of the two takes
at most this share of a core. So a sweep of many cells is looked at less often.
"""

MOST_ERROR_CHARACTERS = 300
"""Of the error of failed cells, which may have the values of a whole array in it."""

_COLOURS: Mapping[Severity, str] = {"bad": "red", "warning": "yellow", "plain": ""}


def print_status(folder: Path, metric: str | None = None) -> None:
    """Show the current status with a metric, by default the most telling one.

    Raises UserError for a metric that no cell has.
    """
    state = sweep_state.load_sweep_state(folder, more_columns=headline_columns(metric))
    console.print(view(load_overview(state), headline_of(state, metric)))


def write_status(folder: Path, metric: str | None = None, *, cells: bool) -> None:
    """Write the current status as JSON; with `cells`, also every cell."""
    state = sweep_state.load_sweep_state(folder, more_columns=headline_columns(metric))
    overview = load_overview(state)
    document = machine.status(overview, headline_of(state, metric))
    if cells:
        document["list"] = tables.cell_rows(overview.state)
    machine.write("status", document)


def write_failures(folder: Path) -> None:
    """Write every kind of failure as JSON, with the ids of its cells."""
    failures = summary.failures(sweep_state.load_sweep_state(folder))
    machine.write("status", {"name": name_of(folder), "folder": folder, "failures": failures})


def watch(folder: Path, seconds: float, metric: str | None = None) -> None:
    """Refresh the status every `seconds` until no cell runs or waits, or until Ctrl-C.

    The scheduler is asked every ASK_SECONDS at most; between, progress comes from the parts.
    """
    with leave_on_interrupt(name_of(folder)), _display() as show:
        recent = answers.RecentAnswer()
        while True:
            files = sweep_files.read_files(folder, more_columns=headline_columns(metric))
            state = sweep_state.state_of(files, recent.about(files))
            shown = view(load_overview(state), headline_of(state, metric))
            footer = f"{time.strftime('%T')}, every {seconds:.0f} s; Ctrl-C leaves the jobs running"
            show(Group(shown, Text(footer, "dim")))
            if not is_live(state):
                return
            time.sleep(seconds)


@contextlib.contextmanager
def _display() -> Iterator[Callable[[Group], None]]:
    """Shows a status over the one before it; in a file or a pipe after it."""
    if not console.is_terminal:
        yield console.print
        return
    with Live(console=console, auto_refresh=False) as live:
        yield lambda shown: live.update(shown, refresh=True)


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


def print_failures(folder: Path) -> None:
    """Show every kind of failure: how many cells, one of them, and the command that shows more."""
    overview = load_overview(sweep_state.load_sweep_state(folder))
    kinds, name = overview.summary.failures, overview.name
    without_result = notes.without_new_result(overview)
    if not kinds and not without_result:
        console.print(f"{name}: no cell failed")
    if kinds:
        _print_kinds(kinds, name)
    for note in without_result:
        layout.print_paragraph(_line(note))


def _print_kinds(kinds: Sequence[Failure], name: str) -> None:
    rows: list[list[layout.Cell]] = []
    for failure in kinds:
        example = f"`redescent why {cell_arguments(failure.cells[0], name)}`"
        rows.append([str(len(failure.cells)), failure.kind, f"{_shown_error(failure)}; {example}"])
    layout.print_table(("cells", "class", "last line"), rows, right="r")


def _shown_error(failure: Failure) -> str:
    """The last line of a traceback, or its beginning; `redescent why` shows all of it."""
    if len(failure.error) <= MOST_ERROR_CHARACTERS:
        return failure.error
    return f"{failure.error[:MOST_ERROR_CHARACTERS].rstrip()}..."


def view(overview: Overview, headline: Headline | None = None) -> RenderableType:
    """Render the whole status; computes nothing."""
    parts: list[RenderableType] = [_table(overview)]
    if overview.searches:
        parts.append(search_table(overview.searches, live=overview.is_live))
    if headline is not None:
        parts.append(layout.paragraph(headline.sentence))
    running = running_text(running_tasks(overview.state))
    if running:
        parts.append(layout.paragraph(f"running: {running}"))
    parts += [layout.paragraph(line) for line in notes.hours(overview)]
    parts += [layout.paragraph(line) for line in _failures(overview)]
    parts += [layout.paragraph(_line(note)) for note in notes.next_steps(overview)]
    return Group(*parts)


def _table(overview: Overview) -> Text:
    cells = quantity(len(overview.state.cells), "cell")
    title = Text(f"{overview.name}: {cells}, {overview.percent} % of the training done", "bold")
    rows: list[list[layout.Cell]] = []
    for state, group in itertools.groupby(overview.summary.lines, key=lambda line: line.state):
        lines = list(group)
        total = str(sum(line.cells for line in lines))
        rows.append([state, total, notes.meaning_of(state)])
        for line in lines:
            if line.detail:
                rows.append(["", Text(str(line.cells), "dim"), Text(line.detail, "dim")])
    return Text("\n").join([title, layout.table(("state", "cells", ""), rows, right=" r")])


def _failures(overview: Overview) -> Sequence[layout.Cell]:
    lines: list[layout.Cell] = []
    for failure in overview.summary.failures[: notes.SHOWN_FAILURES]:
        count = (f"{len(failure.cells)} failed", "red")
        hint = f"see `redescent why {cell_arguments(failure.cells[0], overview.name)}`"
        lines.append(styled(count, f" ({failure.kind}): {_shown_error(failure)}; {hint}"))
    more = len(overview.summary.failures) - notes.SHOWN_FAILURES
    if more > 0:
        errors = quantity(more, "other error")
        lines.append(f"and {errors}: `redescent status {overview.name} --failed`")
    return lines


def waiting_lines(state: SweepState) -> list[Text]:
    """What progress does not show: cells that will not start or end by themselves, and those that
    train again.
    """
    shown = [*notes.waiting(state), *notes.training_again(trained_again(state))]
    return [_line(note) for note in shown]


def _line(note: Note) -> Text:
    """A note with its headline in the colour of its severity."""
    return styled((note.headline, _COLOURS[note.severity]), note.text)


@contextlib.contextmanager
def leave_on_interrupt(name: str) -> Iterator[None]:
    """End the command on Ctrl-C, and leave the jobs running."""
    try:
        yield
    except KeyboardInterrupt:
        layout.print_paragraph(
            f"stopped watching; the jobs continue: `redescent status {name}`, "
            f"`redescent cancel {name}`"
        )
        sys.exit(INTERRUPTED)
