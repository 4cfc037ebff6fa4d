"""`redescent status`: cells by state, hours, the expected end, and failures."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from launch.cli import layout, machine, tables
from launch.cli.console import console, styled
from launch.cli.exits import leave_on_interrupt
from launch.cli.searches import search_table
from launch.errors import quantity
from launch.plan.identity import cell_arguments
from launch.plan.plan import name_of
from launch.report import notes
from launch.report.headline import Headline, headline_columns, headline_of
from launch.report.notes import Note, Severity
from launch.report.overview import Overview, is_live, load_overview
from launch.report.running import running_tasks, running_text
from launch.status import answers, summary, sweep_files, sweep_state
from launch.status.summary import Failure

LEAST_SECONDS = 5.0
"""The shortest period that `--watch` accepts."""

MOST_SECONDS = 86400.0
"""The longest period that `--watch` accepts."""

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
        layout.print_paragraph(note_line(note))


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
    parts += [layout.paragraph(note_line(note)) for note in notes.next_steps(overview)]
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


def note_line(note: Note) -> Text:
    """A note with its headline in the colour of its severity."""
    return styled((note.headline, _COLOURS[note.severity]), note.text)
