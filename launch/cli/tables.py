"""Previews, calibrations, cells and checks as tables, and the console of all commands."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from launch.cost import rates
from launch.status import sweep_state
from launch.submit.calibration import Measurement
from launch.submit.preview import Draft, beyond_limit
from launch.sweep.request import AUTO

if TYPE_CHECKING:
    from launch.cli.doctor import Finding

console = Console(highlight=False, soft_wrap=True)

_COLOURS = {"ok": "green", "warning": "yellow", "problem": "red"}


def print_preview(preview: Draft) -> None:
    """Show what a submission sends, or would send."""
    table = Table(show_header=False)
    for name, value in preview_rows(preview):
        table.add_row(name, escape(value))
    console.print(table)
    for warning in preview_warnings(preview):
        console.print(f"[yellow]{escape(warning)}[/yellow]")


def preview_rows(preview: Draft) -> list[tuple[str, str]]:
    """The facts of a submission as (name, value)."""
    request = preview.request
    rows = [("folder", str(request.folder)), ("cells", str(len(request.cells)))]
    rows += [(f"  {state}", str(count)) for state, count in sorted(preview.states.items())]
    rows.append(("to run", str(len(preview.todo))))
    rows.append(("tasks", _tasks(preview)))
    concurrencies = [size for size in preview.sizes if size]
    if request.packing.at_a_time == AUTO and concurrencies:
        rows.append(("side by side", f"{_span(concurrencies)} at a time, as measured"))
    if request.launcher.kind == "slurm":
        rows.append(("arrays", str(preview.arrays)))
    rows.append(("hours", hours(preview)))
    if request.policy.gpu_hours is not None:
        within = f"within limits.gpu_hours={request.policy.gpu_hours:g}"
        rows.append(("limit", beyond_limit(preview) or within))
    return rows


def preview_warnings(preview: Draft) -> list[str]:
    """What the user should know before sending, a sentence each."""
    warnings = []
    if preview.held:
        rest = f", and the {preview.others} others with them" if preview.others else ""
        warnings.append(
            f"{len(preview.held)} failed cells are held back{rest}: they share the error "
            f"{preview.error!r} and the code has not changed. Fix it, or pass --retry-errors if "
            "the cause was outside the code"
        )
    if preview.starved:
        warnings.append(
            f"{len(preview.starved)} cells ran out of memory although each had its task to itself; "
            "request more memory with hydra.launcher.mem_gb=GB or a larger GPU, or pass "
            "--retry-errors"
        )
    if preview.fewer:
        numbers = ", ".join(str(number) for number in preview.fewer)
        warnings.append(
            f"cells that ran out of memory will run with fewer cells per task: {numbers} at a time"
        )
    return warnings


def hours(preview: Draft) -> str:
    """Hours by measurement; without one, the most that the time limits allow."""
    if not preview.todo:
        return "0"
    unmeasured = sum(seconds is None for seconds in preview.seconds)
    measured = f"{preview.hours:.2f} {preview.unit}"
    if not unmeasured:
        return f"{measured}, from the measured seconds per epoch or step of similar cells"
    reason = f"unknown: no measured run resembles {unmeasured} of the cells"
    hint = f"`redescent calibrate {preview.request.name}` measures the smallest and largest"
    if unmeasured < len(preview.todo):
        return f"{reason}; the others take {measured}. {hint}"
    most = _most_hours(preview)
    if most is None:
        return f"{reason}. {hint}"
    limit = f"at most {most:.0f} {preview.unit} until the tasks reach their time limit"
    return f"{reason}; {limit}. {hint}"


def _most_hours(preview: Draft) -> float | None:
    """Hours if every task runs until its time limit; None without a limit."""
    launcher = preview.request.launcher
    if launcher.kind != "slurm" or not launcher.limit_minutes:
        return None
    cores = launcher.cores or 1
    occupied = 0.0
    for concurrency in preview.sizes:
        occupied += launcher.occupancy(concurrency).amount * (concurrency or cores)
    return float(launcher.limit_minutes) / 60 * occupied


def _tasks(preview: Draft) -> str:
    if not preview.tasks:
        return "0"
    return f"{len(preview.tasks)} of {_span([len(task) for task in preview.tasks])} cells each"


def _span(numbers: Sequence[int]) -> str:
    """One number, or the least and the most."""
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low} to {high}"


def print_calibration(measurements: Sequence[Measurement]) -> None:
    """Show what a calibration measured, a line per cell and number of concurrent copies."""
    keys = _varying_keys(measurements)
    columns = ("side by side", "seconds", "whole run", "peak memory", "cells an hour", "")
    table = Table(*keys, *columns)
    for measurement in measurements:
        flat = measurement.cell.flat
        values = [str(flat.get(key, "")) for key in keys]
        table.add_row(*values, str(measurement.count or "one a core"), *_measured(measurement))
    console.print(table)


def cells(seen: sweep_state.SweepState) -> None:
    """Every cell on a line: id, state, epochs or steps logged of those planned, and what varies
    between the cells.
    """
    runs = seen.runs.set_index("cell").reindex(list(seen.cells))
    keys = [
        key for key in runs.columns if ("." in key or key == "seed") and not key.startswith("run.")
    ]


def _verdict(measurement: Measurement) -> str:
    if measurement.wins:
        return "wins"
    if measurement.count and not measurement.compared:
        return "too short to tell"
    return ""


def _varying_keys(measurements: Sequence[Measurement]) -> list[str]:
    """The keys of the cells that vary, and always model and width."""
    keys = {"model.name", "model.width"}
    for measurement in measurements:
        for key in measurement.cell.flat:
            values = {repr(other.cell.flat.get(key)) for other in measurements}
            if not key.startswith("run.") and len(values) > 1:
                keys.add(key)
    return sorted(keys)


def print_cells(state: sweep_state.Observation) -> None:
    """Show every cell on a line: id, state, progress, and the settings that vary."""
    runs = state.runs.set_index("cell").reindex(list(state.cells))
    keys = []
    for key in runs.columns:
        is_setting = "." in key or key == "seed"
        if is_setting and not key.startswith("run.") and runs[key].astype(str).nunique() > 1:
            keys.append(key)
    logged, planned = rates.logged(runs), rates.planned(runs)
    table = Table(Column("cell", min_width=35), "state", "epochs or steps", *keys)
    for id, cell in state.cells.items():
        progress = f"{logged[id]:.0f}/{planned[id]:.0f}"
        table.add_row(id, cell.state, progress, *(str(runs.at[id, key]) for key in keys))
    console.print(table)


def print_findings(findings: Sequence[Finding]) -> None:
    """Show the checks of `redescent doctor`."""
    table = Table("check", "", "found")
    for finding in findings:
        colour = _COLOURS[finding.verdict]
        table.add_row(finding.check, f"[{colour}]{finding.verdict}[/]", escape(finding.found))
    console.print(table)


@contextlib.contextmanager
def leave_on_interrupt(name: str) -> Iterator[None]:
    """End the command on Ctrl-C, and leave the jobs running."""
    try:
        yield
    except KeyboardInterrupt:
        console.print(
            f"stopped watching; the jobs continue: `redescent status {name}`, "
            f"`redescent cancel {name}`"
        )
        sys.exit(130)
