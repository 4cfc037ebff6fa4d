"""`redescent why CELL`: a cell's state and its reason, attempts, last rows, and what to do next."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich.markup import escape
from rich.table import Table

from analysis import store
from launch.cli.tables import console
from launch.plan.outcome import FINAL, STATES, failure_class
from launch.plan.plan import name_of
from launch.status import sweep_state
from launch.status.attempts import Attempt, attempts
from launch.status.cell_state import CellState
from launch.status.sweep_state import SweepState

ROWS = 3
_POSITION = ("step", "seconds")
_NOT_METRICS = ("cell", "attempt", "epoch", "examples", *_POSITION)


def why(folder: Path, cell_id: str) -> None:
    """Show the state of a cell and what to do next."""
    state = sweep_state.load_sweep_state(folder)
    cell = state.cells[cell_id]
    table = Table(show_header=False)
    table.add_row("cell", f"{cell_id} of {name_of(folder)}")
    table.add_row("state", f"[bold]{cell.state}[/bold]: {STATES[cell.state]}")
    table.add_row("what next", escape(advice(state, cell)))
    console.print(table)
    _print_attempts(attempts(state, cell_id))
    _print_rows(folder, cell_id)
    settings = [f"{key}={value}" for key, value in _flat(state, cell).items()]
    console.print(escape("  ".join(settings)))
    if cell.record and cell.record.error:
        console.print(f"\n{escape(cell.record.error.rstrip())}")


def advice(state: SweepState, cell: CellState) -> str:
    """What the user can do about a cell in this state."""
    name, short = name_of(state.folder), cell.id[:11]
    if cell.state in FINAL:
        return "nothing: its rows are in the store"
    if cell.state == "running":
        return f"`redescent logs {short} --follow` prints its job's output"
    if cell.state == "waiting":
        return _waiting_advice(state, cell)
    if cell.state == "unknown":
        return "wait until the scheduler answers (`redescent doctor`)"
    if cell.state == "failed" and cell.record:
        return failure_class(cell.record.error_class).advice.format(name=name, short=short)
    return f"`redescent resume {name}` sends it again; it resumes from its checkpoint if it has one"


def _waiting_advice(state: SweepState, cell: CellState) -> str:
    task = state.tasks.get((cell.placement.sid, cell.placement.task))
    if task is not None and task.state == "RUNNING":
        return "wait: its task runs and has not reached it"
    if task is not None and task.state == "SUSPENDED":
        return (
            "it is suspended: `scontrol resume JOB` lets it go on, or the partition does when the "
            "jobs that displaced it have ended"
        )
    reason = task.reason if task else ""
    return _REASONS.get(reason, f"wait: SLURM gives the reason {reason!r}")


def _print_attempts(attempts: Sequence[Attempt]) -> None:
    table = Table(
        "attempt", "submission", "job", "node", "start", "end or last record", "how", "logged"
    )
    for attempt in attempts:
        execution = attempt.execution
        table.add_row(
            str(attempt.number),
            attempt.sid,
            execution.job,
            attempt.node,
            execution.start,
            attempt.end,
            escape(attempt.ending),
            attempt.progress,
        )
    console.print(table)


def _print_rows(folder: Path, cell: str) -> None:
    try:
        rows = store.curves(folder, cells=[cell]).tail(ROWS)
    except store.StoreError:  # no cell of the sweep has logged anything
        return
    if rows.empty:
        return
    table = Table("last rows", *(f"epoch {epoch}" for epoch in rows["epoch"]))
    for name in (*_POSITION, *_metrics(rows)):
        table.add_row(name, *(_text(value) for value in rows[name]))
    console.print(table)


def _metrics(rows: pd.DataFrame) -> list[str]:
    """The metrics that at least one row has."""
    names = [str(name) for name in rows if name not in _NOT_METRICS]
    return [name for name in names if rows[name].notna().any()]


def _text(value: Any) -> str:
    return "" if pd.isna(value) else f"{value:.6g}"


def _flat(state: SweepState, cell: CellState) -> dict[str, Any]:
    plan = next(plan for plan in state.plans if plan.sid == cell.placement.sid)
    return plan.flat(next(entry for entry in plan.cells if entry.id == cell.id))


_REQUEUED_AND_HELD = ("job requeued in held state", "launch failed requeued held")
_RELEASE = (
    "SLURM requeued it and holds it, by `scontrol requeuehold` or after failed starts; "
    "`scontrol release JOB` releases it, once the reason is gone"
)
_REASONS = {
    "Priority": "wait: others are ahead in the queue",
    "Resources": "wait: it is next, and no suitable node is free",
    "None": "wait: SLURM has not considered it yet",
    "": "wait: SLURM has not considered it yet",
    "BeginTime": "wait: SLURM delays a requeued job",
    "JobArrayTaskLimit": "wait: hydra.launcher.array_parallelism tasks of its array run already",
    "Dependency": "wait: it starts when the canary, the first run of the smallest and largest "
    "cells, succeeds",
    "JobHeldUser": "it is held; `scontrol release JOB` releases it",
    "JobHeldAdmin": "SLURM holds it, as after repeated failures to start; ask your administrator, "
    "or cancel and resume",
    **dict.fromkeys(_REQUEUED_AND_HELD, _RELEASE),
    "ReqNodeNotAvail, UnavailableNodes": "wait, or resume elsewhere: the nodes that it needs are "
    "down",
}
