"""The measurements of a calibration, and the cells of a sweep, as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from launch.cli import layout
from launch.cli.console import console, styled
from launch.cost import rates
from launch.plan.identity import SHORT_ID
from launch.report.grid import setting_text, varying_settings
from launch.report.searches import short_names
from launch.status import sweep_state
from launch.submit.measurements import Measurement


def print_calibration(measurements: Sequence[Measurement]) -> None:
    """Show what a calibration measured, one row per cell and number of concurrent copies."""
    keys = _varying_keys(measurements)
    head = [*short_names(keys), "at once", "seconds", "whole run", "memory", "cells/h", "verdict"]
    rows = []
    for measurement in measurements:
        flat = measurement.cell.flat
        values = [str(flat.get(key, "")) for key in keys]
        count = str(measurement.count or "1 a core")
        rows.append([*values, count, *_measurement_columns(measurement)])
    layout.print_table(head, rows)


def _measurement_columns(measurement: Measurement) -> list[layout.Cell]:
    """Seconds, whole run, peak memory, throughput and verdict; or only the failure."""
    if measurement.failure:
        return ["", "", "", "", styled(("failed:", "red"), f" {measurement.failure}")]
    article = "an" if measurement.unit == "epoch" else "a"
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
    settings = runs[keys].astype(object).to_dict("records")
    logged = rates.logged(runs).astype(float).tolist()
    planned = rates.planned_length(runs).astype(float).tolist()
    rows = []
    for number, cell in enumerate(state.cells.values()):
        shown = {key: settings[number][key] for key in keys}
        rows.append(CellRow(cell.id, cell.state, logged[number], planned[number], shown))
    return rows


def print_cells(state: sweep_state.SweepState) -> None:
    """Show one row per cell: id, state, progress, and the settings that vary.

    Where the settings do not fit as columns, they follow the progress as KEY=VALUE.
    """
    rows = cell_rows(state)
    ids = short_ids([row.id for row in rows])
    keys = list(rows[0].settings)
    names = short_names(keys)
    head = ["cell", "state", "progress", *names]
    table = []
    for row, short in zip(rows, ids, strict=True):
        values = [setting_text(row.settings[key]) for key in keys]
        table.append([short, row.state, f"{row.logged:.0f}/{row.planned:.0f}", *values])
    if layout.table_width(head, table) > console.width:
        head = [*head[:3], "settings"]
        table = [[*row[:3], _pairs_text(names, row[3:])] for row in table]
    layout.print_table(head, table)


def _pairs_text(names: Sequence[str], values: Sequence[str]) -> str:
    """Settings as KEY=VALUE, with spaces between them."""
    return " ".join(f"{name}={value}" for name, value in zip(names, values, strict=True))


def short_ids(ids: Sequence[str]) -> list[str]:
    """The ids cut to the same number of characters, as many as tell them apart; at least 11."""
    length = SHORT_ID
    while len({id[:length] for id in ids}) < len(set(ids)):
        length += 1
    return [id[:length] for id in ids]
