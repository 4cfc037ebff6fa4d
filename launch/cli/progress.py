"""How far a sweep is while a command waits: a bar in a terminal, else a line a minute."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import pandas as pd
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from launch.cli import layout
from launch.cli.console import console
from launch.errors import quantity
from launch.plan.outcome import FINAL
from launch.status import sweep_files
from launch.status.pace import Pace, duration_text
from launch.status.summary import percent, share_done

DRAWS_PER_SECOND = 1.0
"""How often the bar is drawn; rich's own 10 times a second takes a percent of a core."""

LINE_SECONDS = 60.0
"""Seconds between two lines where no bar can be drawn."""

READ_SECONDS = 2.0
"""Seconds between two looks at the parts while cells train in this process."""


class Display(Protocol):
    """What shows the progress."""

    def show(self, runs: pd.DataFrame, search_round: int | None = None) -> None:
        """Show how far the cells of a runs table are. In a round of a search they are not all that
        will train, so their share and the time left are not shown.
        """

    def say(self, line: Text | str) -> None:
        """Show a sentence beside the progress."""


class Bar:
    """A bar that is drawn again and again."""

    def __init__(self, progress: Progress) -> None:
        self._progress, self._pace = progress, Pace()
        self._task = progress.add_task("", total=1.0, percent="", left="")

    def show(self, runs: pd.DataFrame, search_round: int | None = None) -> None:
        """Move the bar."""
        share, now = share_done(runs), time.monotonic()
        self._pace.add(now, share)
        is_whole = search_round is None
        self._progress.update(
            self._task,
            total=len(runs),
            completed=share * len(runs),
            description=count_text(runs, search_round),
            percent=f"{percent(share)} %" if is_whole else "",
            left=left_text(self._pace.seconds_left(now)) if is_whole else "",
        )

    def say(self, line: Text | str) -> None:
        """Print a line above the bar."""
        self._progress.console.print(layout.paragraph(line))


class Lines:
    """A line a minute, and one when all cells have ended, or those of a round."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._pace = clock, Pace()
        self._due = clock() + LINE_SECONDS
        self._ended_before = 0
        """How many cells had ended when last all had."""

    def show(self, runs: pd.DataFrame, search_round: int | None = None) -> None:
        """Print a line if it is time."""
        share, now, ended = share_done(runs), self._clock(), count_ended(runs)
        self._pace.add(now, share)
        is_over = ended == len(runs)
        if now < self._due and not (is_over and ended > self._ended_before):
            return
        self._due = now + LINE_SECONDS
        text = count_text(runs, search_round)
        if search_round is None:
            text = f"{percent(share)} %, {text}"
            left = left_text(self._pace.seconds_left(now))
            text = f"{text}, {left}" if left and not is_over else text
        if is_over:
            self._ended_before = ended
        self.say(f"{time.strftime('%T')}  {text}")

    def say(self, line: Text | str) -> None:
        """Print a line at once, for those who read a file or a pipe."""
        layout.print_paragraph(line)
        sys.stdout.flush()


@contextlib.contextmanager
def display() -> Iterator[Display]:
    """The display that suits the output of this command."""
    if not console.is_terminal:
        yield Lines()
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[percent]}", markup=False),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}", markup=False),
    )
    with Progress(*columns, console=console, refresh_per_second=DRAWS_PER_SECOND) as progress:
        yield Bar(progress)


def left_text(seconds: float | None) -> str:
    """The time left in words; empty if it is not known."""
    return "" if seconds is None else f"about {duration_text(seconds)} left"


def count_text(runs: pd.DataFrame, search_round: int | None) -> str:
    """How many cells have ended, in a search of those that are known so far."""
    ended, count = count_ended(runs), len(runs)
    if search_round is None:
        return f"{ended}/{quantity(count, 'cell')}"
    return f"round {search_round}: {ended}/{quantity(count, 'training')} so far"


def count_ended(runs: pd.DataFrame) -> int:
    """How many cells have a result or failed."""
    return int(runs["status"].isin([*FINAL, "failed"]).sum())


@contextlib.contextmanager
def foreground(folder: Path) -> Iterator[None]:
    """Show a bar for cells that train in this process, with the lines of their output above it.

    Without a terminal nothing changes: the lines of the output say how far the cells are.
    """
    if not (console.is_terminal and sys.stderr.isatty()):
        yield
        return
    with display() as shown, _lines_of_stderr(shown.say):
        stop = threading.Event()
        thread = threading.Thread(target=_follow, args=(folder, shown, stop), daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


def _follow(folder: Path, shown: Display, stop: threading.Event) -> None:
    while not stop.wait(READ_SECONDS):
        with contextlib.suppress(Exception):  # the bar is no reason to end a training
            runs = sweep_files.runs_of(folder, sweep_files.RECORD_COLUMNS)
            if not runs.empty:
                shown.show(runs)


@contextlib.contextmanager
def output_above(shown: Display) -> Iterator[None]:
    """Show what this process and its children write to standard error above a bar."""
    is_bar = isinstance(shown, Bar) and sys.stderr.isatty()
    with _lines_of_stderr(shown.say) if is_bar else contextlib.nullcontext():
        yield


@contextlib.contextmanager
def _lines_of_stderr(say: Callable[[str], None]) -> Iterator[None]:
    """Pass on what this process and its children write to standard error, line by line."""
    reader, writer = os.pipe()
    original = os.dup(2)
    os.dup2(writer, 2)
    os.close(writer)
    thread = threading.Thread(target=_pass_on, args=(reader, say), daemon=True)
    thread.start()
    try:
        yield
    finally:
        os.dup2(original, 2)  # closes the last end of the pipe that is written to
        os.close(original)
        thread.join()


def _pass_on(reader: int, say: Callable[[str], None]) -> None:
    with open(reader, encoding="utf-8", errors="replace") as lines:
        for line in lines:
            say(line.rstrip("\n"))
