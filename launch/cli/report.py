"""`redescent report` and `redescent list`: pages of sweeps, and all sweeps in the terminal."""

from __future__ import annotations

import webbrowser
from pathlib import Path

from launch.cli import layout, machine
from launch.cli.console import console, styled
from launch.cli.exits import leave_on_interrupt
from launch.errors import UserError
from launch.plan.plan import name_of
from launch.report import page
from launch.report.sweeps import SweepLine, load_sweeps


def report(folder: Path, watch: float | None, *, out: Path | None, show: bool) -> None:
    """Write the page of a sweep to `out`; with `watch`, again every `watch` seconds. `show` opens
    it.
    """

    if out is not None and not out.absolute().parent.is_dir():
        raise UserError(f"--out: {out.parent} is no folder; create it, or choose another")

    def announce(path: Path) -> None:
        console.print(f"wrote {path}")
        if watch is not None:
            console.print(f"written again every {watch:g} s until no cell runs or waits")
        if show:
            open_page(path)

    if watch is None:
        announce(page.write_page(folder, out=out)[0])
        return
    with leave_on_interrupt(name_of(folder)):
        page.follow(folder, watch, announce, out)


def report_index(logs: Path, *, show: bool) -> None:
    """Write the page of all sweeps."""
    path = page.write_index(logs)
    console.print(f"wrote {path}")
    if show:
        open_page(path)


def open_page(path: Path) -> None:
    """Open a page in the user's browser, or say that there is none."""
    if not webbrowser.open(path.resolve().as_uri()):
        console.print(styled(("no browser", "yellow"), f" can be started here; copy {path} to one"))


def print_sweeps(logs: Path, *, as_json: bool = False) -> None:
    """Show one line per sweep, the last submitted first."""
    sweeps = load_sweeps(logs)
    if as_json:
        machine.write("list", machine.sweeps(sweeps))
        return
    head = ("sweep", "done", "hours spent", "left", "submitted", "cells")
    layout.print_table(head, [_row(line) for line in sweeps], right=" rrr")


def _row(line: SweepLine) -> list[layout.Cell]:
    if line.problem:
        return [line.name, "", "", "", "", styled(("cannot be read: ", "red"), line.problem)]
    return [line.name, line.done, line.spent, line.left, line.day[:10], line.states()]
