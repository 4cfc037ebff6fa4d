"""`redescent status` and `--wait`: cells by state, hours, the expected end, and failures."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pandas as pd
from rich.console import Group, RenderableType
from rich.live import Live
from rich.progress import (
    BarColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from launch.cli import machine, tables
from launch.cli.console import console, styled
from launch.cli.searches import search_table
from launch.cli.tables import leave_on_interrupt
from launch.errors import quantity
from launch.plan import files, markers
from launch.plan.outcome import FINAL
from launch.plan.plan import name_of
from launch.report import notes
from launch.report.notes import Note, Severity
from launch.report.overview import Overview, is_live, load_overview
from launch.status import summary, sweep_state
from launch.status.summary import share_done
from launch.status.sweep_state import SweepState
from launch.submit import rounds, submission
from launch.submit.advance import advance

POLL_SECONDS = 10.0
"""Seconds between queries of the scheduler, which serves other users too."""

LEAST_SECONDS = 5.0
"""The shortest period that `--watch` accepts."""

MOST_SECONDS = 86400.0
"""The longest period that `--watch` accepts."""

LOOK_SECONDS = 0.5
"""Seconds between checks of the log folder between two queries; they read no file."""

READ_SHARE = 0.005
"""Parts are read again, and the scheduler queried again, only so often that each of the two takes
at most this share of a core. So a sweep of many cells is looked at less often.
"""

DRAWS_PER_SECOND = 1.0
"""How often the progress bar is drawn; rich's own 10 times a second takes a percent of a core."""

_COLOURS: Mapping[Severity, str] = {"bad": "red", "warning": "yellow", "plain": ""}


def print_status(folder: Path) -> None:
    """Show the current status."""
    console.print(view(load_overview(sweep_state.load_sweep_state(folder))))


def write_status(folder: Path, *, cells: bool) -> None:
    """Write the current status as JSON; with `cells`, also every cell."""
    overview = load_overview(sweep_state.load_sweep_state(folder))
    document = machine.status(overview)
    if cells:
        document["list"] = tables.cell_rows(overview.state)
    machine.write("status", document)


def watch(folder: Path, seconds: float) -> None:
    """Refresh the status every `seconds` until no cell runs or waits, or until Ctrl-C."""
    with leave_on_interrupt(name_of(folder)), Live(console=console, auto_refresh=False) as live:
        while True:
            state = sweep_state.load_sweep_state(folder)
            footer = f"{time.strftime('%T')}, every {seconds:.0f} s; Ctrl-C leaves the jobs running"
            live.update(Group(view(load_overview(state)), Text(footer, "dim")), refresh=True)
            if not is_live(state):
                return
            time.sleep(seconds)


def wait_until_end(folder: Path, sid: str | None = None) -> bool:
    """Show a progress bar until no cell runs or waits; returns whether all cells have a result.

    With `sid`, also waits for the tasks of that submission whose cells have an earlier result.
    """
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    name = name_of(folder)
    with (
        leave_on_interrupt(name),
        Progress(*columns, console=console, refresh_per_second=DRAWS_PER_SECOND) as progress,
    ):
        bar = progress.add_task(name, total=1.0)
        printed: set[str] = set()

        def show(runs: pd.DataFrame) -> None:
            text = f"{_count_ended(runs)}/{len(runs)} cells"
            progress.update(bar, completed=share_done(runs), description=text)

        while True:
            start = time.process_time()
            state = sweep_state.load_sweep_state(folder)
            show(state.runs)
            for line in waiting_lines(state):
                if line.plain not in printed:
                    printed.add(line.plain)
                    progress.console.print(line)
            if not is_live(state, sid):
                break
            _follow_parts(state, show, seconds_between_queries(time.process_time() - start))
    return all(cell.state in FINAL for cell in state.cells.values())


def wait_until_finished(folder: Path, sid: str | None = None) -> bool:
    """Wait until no cell runs or waits, and send the rounds of searches that follow by themselves.

    With `sid`, also waits for the tasks of that submission whose cells have an earlier result.

    Returns whether all cells have a result and all these searches are finished. Writes
    searches.json at the end, so that a figure drawn next has the last round.
    """
    complete = _wait_for_rounds(folder, sid)
    submission.write_searches(folder)
    return complete


def _wait_for_rounds(folder: Path, sid: str | None) -> bool:
    while True:
        complete = wait_until_end(folder, sid)
        state = sweep_state.load_sweep_state(folder)
        searches = [one.search for one in rounds.standings(state)]
        open_searches = [
            one for one in searches if one.search.advance == "auto" and one.finished is None
        ]
        if not open_searches:
            return complete
        sent = advance(folder)
        was_sent = sent is not None and sent.plan is not None
        if not was_sent and not is_live(sweep_state.load_sweep_state(folder)):
            return False


def seconds_between_queries(cost: float) -> float:
    """How long not to query the scheduler after a query and its display took `cost` CPU seconds."""
    return max(POLL_SECONDS, cost / READ_SHARE)


def _follow_parts(state: SweepState, show: Callable[[pd.DataFrame], None], seconds: float) -> None:
    """Show progress from the parts only, until it is time to query the scheduler again.

    That is after `seconds`, or as soon as every cell or a local worker has ended.
    """
    deadline = time.monotonic() + seconds
    next_read = time.monotonic()
    modified, workers = _modified(state.folder), _workers_alive(state)
    while time.monotonic() < deadline:
        time.sleep(LOOK_SECONDS)
        if _workers_alive(state) != workers:
            return
        if _modified(state.folder) == modified or time.monotonic() < next_read:
            continue
        modified, start = _modified(state.folder), time.process_time()
        runs = sweep_state.runs_of(state.folder, sweep_state.RECORD_COLUMNS)
        show(runs)
        if _count_ended(runs) == len(runs):
            return
        next_read = time.monotonic() + (time.process_time() - start) / READ_SHARE


def _count_ended(runs: pd.DataFrame) -> int:
    return int(runs["status"].isin([*FINAL, "failed"]).sum())


def _modified(folder: Path) -> list[int]:
    """When a file was last added or replaced in the folders of the parts and the store."""
    folders = [folder / name for name in ("curves", "runs", "store")]
    return [path.stat().st_mtime_ns for path in folders if path.exists()]


def _workers_alive(state: SweepState) -> list[bool | None]:
    here = [plan for plan in state.plans if plan.backend != "slurm"]
    workers = [markers.local_worker(plan.folder(state.folder)) for plan in here]
    return [files.alive(worker) for worker in workers if worker is not None]


def print_failures(folder: Path) -> None:
    """Show every kind of failure: how many cells, one of them, and the command that shows more."""
    kinds = summary.failures(sweep_state.load_sweep_state(folder))
    if not kinds:
        console.print(f"{name_of(folder)}: no cell failed")
        return
    table = Table("cells", "class", "last line", "example", show_lines=True)
    for failure in kinds:
        command = f"redescent why {failure.cells[0][:11]}"
        table.add_row(str(len(failure.cells)), failure.kind, failure.error, command)
    console.print(table)


def view(overview: Overview) -> RenderableType:
    """Render the whole status; computes nothing."""
    lines: list[RenderableType] = [*notes.hours(overview), *_failures(overview)]
    lines += [_line(note) for note in notes.next_steps(overview)]
    tables = [_table(overview)]
    if overview.searches:
        tables.append(search_table(overview.searches, live=overview.is_live))
    return Group(*tables, *lines)


def _table(overview: Overview) -> Table:
    title = f"{overview.name}: {quantity(len(overview.state.cells), 'cell')}"
    table = Table("state", "cells", "", title=title, title_justify="left")
    for state, group in itertools.groupby(overview.summary.lines, key=lambda line: line.state):
        lines = list(group)
        table.add_row(state, str(sum(line.cells for line in lines)), notes.meaning_of(state))
        for line in lines:
            if line.detail:
                table.add_row("", Text(str(line.cells), "dim"), Text(line.detail, "dim"))
    return table


def _failures(overview: Overview) -> Sequence[RenderableType]:
    lines: list[RenderableType] = []
    for failure in overview.summary.failures[: notes.SHOWN_FAILURES]:
        count = (f"{len(failure.cells)} failed", "red")
        hint = f"see `redescent why {failure.cells[0][:11]}`"
        lines.append(styled(count, f" ({failure.kind}): {failure.error}; {hint}"))
    more = len(overview.summary.failures) - notes.SHOWN_FAILURES
    if more > 0:
        lines.append(f"and {more} other errors: `redescent status {overview.name} --failed`")
    return lines


def waiting_lines(state: SweepState) -> list[Text]:
    """What the user must know about cells that will not start or end by themselves."""
    return [_line(note) for note in notes.waiting(state)]


def _line(note: Note) -> Text:
    """A note with its headline in the colour of its severity."""
    return styled((note.headline, _COLOURS[note.severity]), note.text)
