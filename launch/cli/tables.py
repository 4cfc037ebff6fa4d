"""Previews, calibrations, cells and checks as tables, and the console of all commands."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from launch.cli import machine
from launch.cli.console import console, styled, visible
from launch.cost import rates
from launch.errors import quantity
from launch.report.grid import varying_settings
from launch.report.searches import expectation_rows
from launch.status import sweep_state
from launch.submit.calibration import Measurement
from launch.submit.preview import Preview, beyond_limit
from launch.sweep.request import AUTO

if TYPE_CHECKING:
    from launch.cli.doctor import Finding

_COLOURS = {"ok": "green", "warning": "yellow", "problem": "red"}


def write_preview(preview: Preview) -> None:
    """Write what a submission would send as JSON."""
    machine.write("plan", machine.plan(preview, preview_warnings(preview)))


def print_preview(preview: Preview) -> None:
    """Show what a submission sends, or would send."""
    table = Table(show_header=False)
    for name, value in preview_rows(preview):
        table.add_row(name, value)
    console.print(table)
    for warning in preview_warnings(preview):
        console.print(Text(warning, "yellow"))


def preview_rows(preview: Preview) -> list[tuple[str, str]]:
    """The facts of a submission as (name, value)."""
    request, selection = preview.request, preview.selection
    rows = [("folder", str(request.folder)), *expectation_rows(preview.searches)]
    rows.append(("cells of the round" if preview.searches else "cells", str(len(request.cells))))
    rows += [(f"  {state}", str(count)) for state, count in sorted(selection.states.items())]
    if selection.other_code:
        rows.append(("  done with other code", f"{selection.other_code}; --again runs them anew"))
    if selection.unknown_data:
        rows.append(("  data not compared", f"{selection.unknown_data}; --again runs them anew"))
    rows.append(("to run", str(len(preview.cells))))
    if selection.weights.jobs:
        rows.append(("  wait for weights", str(len(selection.weights.jobs))))
    if selection.weights.absent:
        rows.append(("  left out", str(len(selection.weights.absent))))
    rows.append(("tasks", _tasks(preview)))
    concurrencies = [task.concurrency for task in preview.tasks if task.concurrency]
    if request.packing.at_a_time == AUTO and concurrencies:
        rows.append(("side by side", f"{_span(concurrencies)} at a time, as measured"))
    if request.launcher.kind == "slurm":
        rows.append(("arrays", str(preview.arrays)))
    rows.append(("hours", hours(preview)))
    if request.policy.gpu_hours is not None:
        within = f"within limits.gpu_hours={request.policy.gpu_hours:g}"
        rows.append(("limit", beyond_limit(preview) or within))
    return rows


def preview_warnings(preview: Preview) -> list[str]:
    """Warnings to show before sending, one sentence each."""
    selection = preview.selection
    warnings = [*selection.left_out]
    if selection.other_data:
        warnings.append(
            f"{quantity(len(selection.other_data), 'cell')} of {preview.request.name} have results "
            "from other data than data.root has now, and are not sent: `redescent submit "
            f"{preview.request.name} --again` trains them anew, and name=OTHER keeps both"
        )
    if selection.held_back.cells:
        count = selection.held_back_with_them
        rest = f", and {quantity(count, 'other')} with them" if count else ""
        warnings.append(
            f"{len(selection.held_back.cells)} failed cells are held back{rest}: they share the "
            f"error {selection.held_back.error!r} and the code has not changed. Fix it, or pass "
            "--retry-errors if "
            "the cause was outside the code"
        )
    if selection.needs_more_memory:
        warnings.append(
            f"{len(selection.needs_more_memory)} cells ran out of memory although each had its "
            "task to itself; "
            "request more memory with hydra.launcher.mem_gb=GB or a larger GPU, or pass "
            "--retry-errors"
        )
    if preview.reduced_concurrency:
        numbers = ", ".join(str(number) for number in preview.reduced_concurrency)
        warnings.append(
            f"cells that ran out of memory will run with fewer cells per task: {numbers} at a time"
        )
    return warnings


def hours(preview: Preview) -> str:
    """Measured hours; without a measurement, the most that the time limits allow."""
    if not preview.cells:
        return "0"
    unit = preview.estimate.unit
    estimate = f"{preview.estimate.hours:.2f} {unit}"
    if not preview.unmeasured:
        return f"{estimate}, from the measured seconds per epoch or step of similar cells"
    reason = f"unknown: no similar run was measured for {quantity(preview.unmeasured, 'cell')}"
    hint = f"`redescent calibrate {preview.request.name}` measures the smallest and largest"
    if preview.unmeasured < len(preview.cells):
        return f"{reason}; the others take {estimate}. {hint}"
    most = _most_hours(preview)
    if most is None:
        return f"{reason}. {hint}"
    limit = f"at most {most:.0f} {unit} until the tasks reach their time limit"
    return f"{reason}; {limit}. {hint}"


def _most_hours(preview: Preview) -> float | None:
    """Hours if every task runs until its time limit; None without a limit."""
    launcher = preview.request.launcher
    if launcher.kind != "slurm" or not launcher.limit_minutes:
        return None
    cores = launcher.cores or 1
    occupied = 0.0
    for task in preview.tasks:
        occupied += launcher.occupancy(task.concurrency).amount * (task.concurrency or cores)
    return float(launcher.limit_minutes) / 60 * occupied


def _tasks(preview: Preview) -> str:
    if not preview.tasks:
        return "0"
    sizes = [len(task.cells) for task in preview.tasks]
    noun = "cell" if set(sizes) == {1} else "cells"
    return f"{len(sizes)} ({_span(sizes)} {noun} each)"


def _span(numbers: Sequence[int]) -> str:
    """One number, or the smallest and the largest."""
    low, high = min(numbers), max(numbers)
    return str(low) if low == high else f"{low} to {high}"


def print_calibration(measurements: Sequence[Measurement]) -> None:
    """Show what a calibration measured, one row per cell and number of concurrent copies."""
    keys = _varying_keys(measurements)
    columns = ("side by side", "seconds", "whole run", "peak memory", "cells an hour", "")
    table = Table(*keys, *columns)
    for measurement in measurements:
        flat = measurement.cell.flat
        values = [str(flat.get(key, "")) for key in keys]
        table.add_row(
            *values, str(measurement.count or "one per core"), *_measurement_columns(measurement)
        )
    console.print(table)


def _measurement_columns(measurement: Measurement) -> list[RenderableType]:
    """Seconds, whole run, peak memory, throughput and verdict; or only the failure."""
    if measurement.failure:
        return [styled(("failed:", "red"), f" {measurement.failure}")]
    article = "a" if measurement.unit == "step" else "an"
    throughput = ""
    if measurement.count and measurement.compared:
        throughput = f"{measurement.count * 3600 / measurement.whole_run:.4g}"
    return [
        f"{measurement.seconds:.4g} {article} {measurement.unit}",
        f"{measurement.whole_run:.0f} s",
        f"{measurement.memory / 1e9:.2f} GB",
        throughput,
        _verdict(measurement),
    ]


def _verdict(measurement: Measurement) -> str:
    if measurement.wins:
        return "best"
    if measurement.count and not measurement.compared:
        return "too short to tell"
    return ""


def _varying_keys(measurements: Sequence[Measurement]) -> list[str]:
    """The keys that vary between the cells, and always model and width."""
    keys = {"model.name", "model.width"}
    for measurement in measurements:
        for key in measurement.cell.flat:
            values = {repr(other.cell.flat.get(key)) for other in measurements}
            if not key.startswith("run.") and len(values) > 1:
                keys.add(key)
    return sorted(keys)


@dataclass(frozen=True)
class CellRow:
    """A cell in a list: progress and planned length in epochs or steps, and the settings that vary
    in the sweep.
    """

    id: str
    state: str
    logged: float
    planned: float
    settings: Mapping[str, Any]


def cell_rows(state: sweep_state.SweepState) -> list[CellRow]:
    """Every cell of a sweep, in the order of its plans."""
    runs = state.runs.set_index("cell").reindex(list(state.cells))
    keys = varying_settings(state)
    columns = [runs[key].tolist() for key in keys]
    progress = zip(rates.logged(runs), rates.planned_length(runs), strict=True)
    rows = []
    for number, (cell, (logged, planned)) in enumerate(
        zip(state.cells.values(), progress, strict=True)
    ):
        settings = {key: column[number] for key, column in zip(keys, columns, strict=True)}
        rows.append(CellRow(cell.id, cell.state, float(logged), float(planned), settings))
    return rows


def print_cells(state: sweep_state.SweepState) -> None:
    """Show one row per cell: id, state, progress, and the settings that vary.

    Plain columns: a table with a frame takes a second for every 2,000 rows.
    """
    rows = cell_rows(state)
    columns: dict[str, list[str]] = {
        "cell": [row.id for row in rows],
        "state": [row.state for row in rows],
        "epochs or steps": [f"{row.logged:.0f}/{row.planned:.0f}" for row in rows],
    }
    for key in rows[0].settings:
        columns[key] = [str(row.settings[key]) for row in rows]
    console.out(visible("\n".join(_aligned(columns))), highlight=False)


def _aligned(columns: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """The lines of a table: the names of the columns, then their values, padded."""
    widths = [max(map(len, (name, *values))) for name, values in columns.items()]
    for row in [tuple(columns), *zip(*columns.values(), strict=True)]:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        yield "  ".join(cells).rstrip()


def write_findings(findings: Sequence[Finding]) -> None:
    """Write the checks of `redescent doctor` as JSON."""
    machine.write("doctor", machine.doctor(findings))


def print_findings(findings: Sequence[Finding]) -> None:
    """Show the checks of `redescent doctor`."""
    table = Table("check", "", "found")
    for finding in findings:
        colour = _COLOURS[finding.verdict]
        table.add_row(finding.check, Text(finding.verdict, colour), finding.detail)
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
