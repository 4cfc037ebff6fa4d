"""What `redescent status` prints: a table of the states of a sweep's cells, its hours, its end and
its failures.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from rich.console import Group, RenderableType
from rich.live import Live
from rich.markup import escape
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

from launch.cli import tables
from launch.cost import concurrency, rates
from launch.plan.launcher import cores
from launch.plan.outcome import LIVE, STATES, last_line
from launch.plan.plan import CALIBRATION, name_of
from launch.plan.snapshot import code_hash
from launch.status import failures, summary, sweep_state
from launch.status.summary import Summary
from launch.submit import calibration

LEAST_SECONDS = 5.0
"""A refresh asks the scheduler, which answers other users too."""

FEW = 3
"""Kinds of failures that the plain status names; `--failed` lists all."""

_PREEMPTED = "stopped by a preemption, and in the queue again"


def once(folder: Path) -> None:
    """The status as it is now."""
    tables.out.print(view(sweep_state.observe(folder)))


def watch(folder: Path, seconds: float) -> None:
    """The status, refreshed every `seconds` until no cell is under way or Ctrl-C."""
    with tables.leaving(name_of(folder)), Live(console=tables.out, auto_refresh=False) as live:
        while True:
            seen = sweep_state.observe(folder)
            told = Text(
                f"{time.strftime('%T')}, again every {seconds:.0f} s; Ctrl-C leaves the jobs "
                "running",
                "dim",
            )
            live.update(Group(view(seen), told), refresh=True)
            if not any(cell.state in LIVE for cell in seen.cells.values()):
                return
            time.sleep(seconds)


def until_end(folder: Path, sid: str | None = None) -> bool:
    """A bar of the share that is trained, until no cell is under way; returns whether all cells
    have their result.

    Waits for the tasks of submission `sid` also where their cells have an earlier result.
    """
    columns = (
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with (
        tables.leaving(name_of(folder)),
        Progress("{task.description}", *columns, console=tables.out) as progress,
    ):
        bar = progress.add_task(name_of(folder), total=1.0)
        while True:
            seen = sweep_state.observe(folder)
            states = Counter(cell.state for cell in seen.cells.values())
            share = float((rates.logged(seen.runs) / rates.planned(seen.runs)).mean())
            ended = states["done"] + states["nonfinite"] + states["failed"]
            progress.update(bar, completed=share, description=f"{ended}/{len(seen.cells)} cells")
            again = any(
                task.live for (submission, _), task in seen.tasks.items() if submission == sid
            )
            if not again and not any(states[name] for name in LIVE):
                break
            time.sleep(1.0)
    return not states["failed"] + states["interrupted"] + states["missing"]


def failed(folder: Path) -> None:
    """Every kind of failure: how many cells, one of them, and the command that shows more."""
    found = summary.failures(sweep_state.observe(folder))
    if not found:
        tables.out.print(f"{name_of(folder)}: no cell failed")
        return
    table = Table("cells", "class", "last line", "one of them, whole", show_lines=True)
    for failure in found:
        table.add_row(
            str(len(failure.cells)),
            failure.kind,
            escape(failure.error),
            f"redescent why {failure.cells[0][:11]}",
        )
    tables.out.print(table)


def view(seen: sweep_state.Observation) -> RenderableType:
    """The whole status as one renderable."""
    newest = seen.plans[-1]
    through = newest.launcher.resources
    at_a_time = newest.sizes[0] if len(set(newest.sizes)) == 1 else newest.packing["at_a_time"]
    measured = concurrency.with_calibrations(
        seen.runs, calibration.tried(seen.folder), at_a_time, through
    )
    found = summary.summarise(seen, measured, cores())
    return Group(
        _table(seen, found),
        *map(Text.from_markup, [*_hours(name_of(seen.folder), found), *_notes(seen, found)]),
    )


def _table(seen: sweep_state.Observation, found: Summary) -> Table:
    table = Table(
        "state",
        "cells",
        "",
        title=f"{name_of(seen.folder)}: {len(seen.cells)} cells",
        title_justify="left",
    )
    for name, group in itertools.groupby(found.lines, key=lambda line: line.state):
        lines = list(group)
        table.add_row(name, str(sum(line.cells for line in lines)), STATES.get(name, _PREEMPTED))
        for line in lines:
            if line.detail:
                table.add_row("", f"[dim]{line.cells}[/dim]", f"[dim]{escape(line.detail)}[/dim]")
    return table


def _hours(name: str, found: Summary) -> Sequence[str]:
    """Hours spent and left, and the expected end; what was not measured is said to be unknown."""
    lines = []
    measured = (
        f"about {found.left:.2f} left"
        if found.left or not found.unmeasured
        else "unknown how many left"
    )
    if found.unmeasured:
        measured += f" ({found.unmeasured} cells are like none that was measured"
        measured += ")" if name.endswith(f"/{CALIBRATION}") else f": `redescent calibrate {name}`)"
    lines.append(f"{found.spent:.2f} {found.unit} spent, {measured}")
    if found.end is not None:
        at = time.strftime("%F %H:%M", time.localtime(time.time() + found.end))
        lines.append(
            f"expected end of what is in the queue: {at}, if as many tasks go on running as now"
        )
    elif found.unknown:
        lines.append(f"expected end: unknown, {found.unknown}")
    return lines


def _notes(seen: sweep_state.Observation, found: Summary) -> Sequence[str]:
    lines = [
        f"[red]{len(f.cells)} failed[/red] ({f.kind}): {escape(f.error)}; see `redescent why "
        f"{f.cells[0][:11]}`"
        for f in found.failures[:FEW]
    ]
    if len(found.failures) > FEW:
        lines.append(
            f"and {len(found.failures) - FEW} other errors: `redescent status "
            f"{name_of(seen.folder)} --failed`"
        )
    states = {line.state for line in found.lines}
    if states & {"failed", "interrupted", "missing"} and not states & {
        *LIVE,
        "preempted",
    }:
        held, _ = failures.shared_error(
            [id for id, c in seen.cells.items() if c.state == "failed"], seen, code_hash()
        )
        why = f": {len(held)} cells share an error; once it is mended," if held else ":"
        retry = " --retry-errors" if held else ""
        lines.append(
            f"not complete{why} `redescent resume {name_of(seen.folder)}{retry}` sends the rest"
        )
    lines += _canary(seen)
    if seen.silent:
        lines.append(
            f"[yellow]no answer from the scheduler of {len(seen.silent)} submissions[/yellow]; "
            "their cells may run"
        )
    return lines


def _canary(seen: sweep_state.Observation) -> Sequence[str]:
    """Why the rest was taken out of the queue, where the cells that went first failed."""
    if not seen.plans[-1].policy.get("canary"):
        return []
    first = calibration.failed(seen.folder, seen.plans[-1].packing["at_a_time"])
    return [
        f"[red]the canary failed[/red]: {escape(last_line(error))}; SLURM then takes "
        "what waited for it out of "
        f"the queue; see `redescent why {cell[:11]} --sweep {name_of(seen.folder)}/{CALIBRATION}`"
        for cell, error in first[:1]
    ]
