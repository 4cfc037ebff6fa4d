"""`redescent status` and `--wait`: cells by state, hours, the expected end, and failures."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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

from launch.cli.console import console, styled
from launch.cli.searches import advice, search_table
from launch.cli.tables import leave_on_interrupt
from launch.cost import concurrency, rates
from launch.errors import UserError, quantity
from launch.plan import files, markers
from launch.plan.launcher import cores
from launch.plan.outcome import FINAL, LIVE, STATES, last_line
from launch.plan.plan import CALIBRATION, name_of
from launch.plan.snapshot import code_hash
from launch.status import failures, other_results, summary, sweep_state
from launch.status.silent_ends import SilentEnd, silent_ends
from launch.status.summary import Summary
from launch.status.sweep_state import SweepState
from launch.status.waiting import never_starts, stuck_tasks
from launch.submit import calibration, rounds, submission
from launch.submit.advance import advance
from launch.submit.rounds import Standing, keys_in_live_tasks

POLL_SECONDS = 10.0
"""Seconds between queries of the scheduler, which serves other users too."""

LEAST_SECONDS = 5.0
"""The shortest period that `--watch` accepts."""

MOST_SECONDS = 86400.0
"""The longest period that `--watch` accepts."""

LOOK_SECONDS = 0.5
"""Seconds between checks of the log folder between two queries; they read no file."""

READ_SHARE = 0.02
"""The parts are read again only so often that reading takes at most this share of a core."""

SHOWN_FAILURES = 3
"""Kinds of failures shown by the plain status; `--failed` lists all."""

_PREEMPTED = "preempted, and queued again"


@dataclass(frozen=True)
class Report:
    """What `redescent status` shows of a sweep.

    `held_back` counts the failed cells that share an error. `canary` is the cell and error of a
    failed calibration that blocks the rest of the sweep.
    """

    state: SweepState
    summary: Summary
    held_back: int
    canary: tuple[str, str] | None
    searches: Sequence[Standing] = ()
    silent_ends: Sequence[SilentEnd] = ()
    """Cells whose task ended without a record of them."""
    other_code: int = 0
    """How many cells are done with other code than the present."""

    @property
    def is_live(self) -> bool:
        """Whether a cell may still train."""
        return _is_live(self.state)

    @property
    def name(self) -> str:
        """The name of the sweep."""
        return name_of(self.state.folder)


def load_report(state: SweepState) -> Report:
    """The report on a sweep in this state."""
    plan = state.plans[-1]
    same = len(set(plan.sizes)) == 1
    at_a_time = plan.sizes[0] if same else plan.packing["at_a_time"]
    calibrations = calibration.calibration_runs(state.folder)
    timed_runs = concurrency.with_calibrations(
        state.runs, calibrations, at_a_time, plan.launcher.resources
    )
    failed_cells = [id for id, cell in state.cells.items() if cell.state == "failed"]
    held_back = failures.held_back(failed_cells, state, _present_code(state))
    numbers = summary.summarise(state, timed_runs, cores())
    canary = _canary_failure(state)
    return Report(
        state=state,
        summary=numbers,
        held_back=len(held_back.cells),
        canary=canary,
        searches=rounds.standings(state),
        silent_ends=silent_ends(state),
        other_code=len(other_results.with_other_code(state, other_results.present_codes(state))),
    )


def _present_code(state: SweepState) -> str:
    """Hash of the sources that jobs of the newest plan would import now; empty where a package of
    the user's cannot be imported here.
    """
    try:
        return code_hash(state.plans[-1].own_packages)
    except UserError:
        return ""


def _canary_failure(state: SweepState) -> tuple[str, str] | None:
    plan = state.plans[-1]
    if not plan.policy.get("canary"):
        return None
    return next(iter(calibration.failed_cells(state.folder, plan.packing["at_a_time"])), None)


def print_status(folder: Path) -> None:
    """Show the current status."""
    console.print(view(load_report(sweep_state.load_sweep_state(folder))))


def watch(folder: Path, seconds: float) -> None:
    """Refresh the status every `seconds` until no cell runs or waits, or until Ctrl-C."""
    with leave_on_interrupt(name_of(folder)), Live(console=console, auto_refresh=False) as live:
        while True:
            state = sweep_state.load_sweep_state(folder)
            footer = f"{time.strftime('%T')}, every {seconds:.0f} s; Ctrl-C leaves the jobs running"
            live.update(Group(view(load_report(state)), Text(footer, "dim")), refresh=True)
            if not _is_live(state):
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
        Progress(*columns, console=console) as progress,
    ):
        bar = progress.add_task(name, total=1.0)
        notes: set[str] = set()

        def show(runs: pd.DataFrame) -> None:
            has_ended = runs["status"].isin([*FINAL, "failed"])  # perhaps before its planned end
            share = (rates.logged(runs) / rates.planned_length(runs)).where(~has_ended, 1.0).mean()
            text = f"{_count_ended(runs)}/{len(runs)} cells"
            progress.update(bar, completed=float(share), description=text)

        while True:
            state = sweep_state.load_sweep_state(folder)
            show(state.runs)
            for line in waiting_lines(state):
                if line.plain not in notes:
                    notes.add(line.plain)
                    progress.console.print(line)
            if not _is_live(state, sid):
                break
            _follow_parts(state, show)
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
        if not was_sent and not _is_live(sweep_state.load_sweep_state(folder)):
            return False


def _is_live(state: SweepState, sid: str | None = None) -> bool:
    """Whether a cell may still train, or a task of submission `sid` may still run.

    A task that trains whole searches may be about to add cells.
    """
    if any(cell.state in LIVE for cell in state.cells.values()) or keys_in_live_tasks(state):
        return True
    return any(task.live for (other, _), task in state.tasks.items() if other == sid)


def _follow_parts(state: SweepState, show: Callable[[pd.DataFrame], None]) -> None:
    """Show progress from the parts only, until it is time to query the scheduler again.

    That is after POLL_SECONDS, or as soon as every cell or a local worker has ended.
    """
    deadline = time.monotonic() + POLL_SECONDS
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
    workers = [markers.local_worker(plan.folder(state.folder)) for plan in state.plans]
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


def view(report: Report) -> RenderableType:
    """Render the whole status; computes nothing."""
    lines = [*_hours(report), *_failures(report), *_next_steps(report)]
    tables = [_table(report)]
    if report.searches:
        tables.append(search_table(report.searches, live=report.is_live))
    return Group(*tables, *lines)


def _table(report: Report) -> Table:
    title = f"{report.name}: {quantity(len(report.state.cells), 'cell')}"
    table = Table("state", "cells", "", title=title, title_justify="left")
    for state, group in itertools.groupby(report.summary.lines, key=lambda line: line.state):
        lines = list(group)
        table.add_row(state, str(sum(line.cells for line in lines)), _meaning(STATES, state))
        for line in lines:
            if line.detail:
                table.add_row("", Text(str(line.cells), "dim"), Text(line.detail, "dim"))
    return table


def _meaning(states: Mapping[Any, str], state: str) -> str:
    return states.get(state, _PREEMPTED)


def _hours(report: Report) -> Sequence[str]:
    """Hours spent and left, and the expected end; "unknown" if not measured."""
    summary = report.summary
    remaining = f"about {summary.hours_left:.2f} left"
    if summary.unmeasured and not summary.hours_left:
        remaining = "unknown how many left"
    if summary.unmeasured:
        reason = f"no similar run was measured for {quantity(summary.unmeasured, 'cell')}"
        is_calibration = report.name.endswith(f"/{CALIBRATION}")
        hint = "" if is_calibration else f": `redescent calibrate {report.name}`"
        remaining += f" ({reason}{hint})"
    lines = [f"{summary.hours_spent:.2f} {summary.unit} spent, {remaining}"]
    if summary.end is not None:
        end = time.strftime("%F %H:%M", time.localtime(time.time() + summary.end))
        lines.append(
            f"expected end of the queued cells: {end}, if as many tasks keep running as now"
        )
    elif summary.unknown:
        lines.append(f"expected end: unknown, {summary.unknown}")
    return lines


def _failures(report: Report) -> Sequence[RenderableType]:
    lines: list[RenderableType] = []
    for failure in report.summary.failures[:SHOWN_FAILURES]:
        count = (f"{len(failure.cells)} failed", "red")
        hint = f"see `redescent why {failure.cells[0][:11]}`"
        lines.append(styled(count, f" ({failure.kind}): {failure.error}; {hint}"))
    more = len(report.summary.failures) - SHOWN_FAILURES
    if more > 0:
        lines.append(f"and {more} other errors: `redescent status {report.name} --failed`")
    return lines


def _next_steps(report: Report) -> Sequence[RenderableType]:
    lines: list[RenderableType] = [*waiting_lines(report.state)]
    for end in report.silent_ends[:SHOWN_FAILURES]:
        cells = (f"{quantity(len(end.cells), 'cell')} without a record", "red")
        lines.append(styled(cells, f": the task ended, and {end.cause}"))
    states = {line.state for line in report.summary.lines}
    is_over = not states & {*LIVE, "preempted"}
    if is_over and states & {"failed", "interrupted", "missing"}:
        lines.append(_resume_hint(report))
    lines += advice(report.searches, report.name, live=report.is_live)
    if report.canary is not None:
        cell, error = report.canary
        consequence = "SLURM removes the cells that waited for it from the queue"
        hint = f"see `redescent why {cell[:11]} --sweep {report.name}/{CALIBRATION}`"
        canary = ("the canary failed", "red")
        lines.append(styled(canary, f": {last_line(error)}; {consequence}; {hint}"))
    if report.other_code:
        cells = (f"{quantity(report.other_code, 'cell')} done with other code", "yellow")
        lines.append(styled(cells, f": `redescent submit {report.name} --again` runs them anew"))
    if report.state.silent:
        submissions = quantity(len(report.state.silent), "submission")
        silence = (f"the scheduler does not answer about {submissions}", "yellow")
        lines.append(styled(silence, "; their cells may be running"))
    return lines


def waiting_lines(state: SweepState) -> list[Text]:
    """What the user must know about cells that will not start or end by themselves."""
    name = name_of(state.folder)
    lines = []
    for wait in never_starts(state):
        cells = (f"{quantity(wait.cells, 'cell')} will never start", "red")
        lines.append(styled(cells, f" ({wait.reason}): {wait.advice.format(name=name)}"))
    stuck = stuck_tasks(state)
    if stuck is not None:
        cells = (f"{quantity(stuck.cells, 'cell')} held by a node", "yellow")
        lines.append(styled(cells, f": {stuck.advice(name)}"))
    return lines


def _resume_hint(report: Report) -> str:
    command = f"redescent resume {report.name}"
    if not report.held_back:
        return f"not complete: `{command}` sends the rest"
    return (
        f"not complete: {report.held_back} cells share an error; after you fix it, "
        f"`{command} --retry-errors` sends the rest"
    )
