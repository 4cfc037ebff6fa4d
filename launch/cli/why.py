"""`redescent why CELL`: a cell's state and its reason, attempts, last rows, and what to do next."""

from __future__ import annotations

import math
import numbers
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from rich.text import Text

from analysis import store
from launch.cli import layout, machine
from launch.cli.console import console, styled
from launch.plan.outcome import FINAL, STATES, failure_class
from launch.plan.plan import name_of
from launch.report.grid import varying_settings
from launch.report.searches import trial_text
from launch.status import sweep_state
from launch.status.attempts import Attempt, attempts
from launch.status.cell_state import CellState
from launch.status.silent_ends import SilentEnd, ended_silently, output_line
from launch.status.sweep_state import SweepState
from launch.status.waiting import NEVER_STARTS, stuck_task
from launch.submit import rounds

ROWS = 3
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")
_POSITION = ("step", "seconds")
_NOT_METRICS = ("cell", "attempt", "epoch", "examples", *_POSITION)


@dataclass(frozen=True)
class Explanation:
    """What `why` says of a cell.

    trial: its part in a search. rows: the last rows logged, empty if there are none; `unreadable`
    says why they cannot be read. differs: the settings that vary among the cells of the sweep.
    """

    cell: str
    sweep: str
    state: str
    meaning: str
    advice: str
    trial: str | None
    attempts: Sequence[Attempt]
    rows: pd.DataFrame
    unreadable: str | None
    flat: Mapping[str, Any]
    differs: Mapping[str, Any]
    error: str | None


def explain(folder: Path, cell_id: str) -> Explanation:
    """The state of a cell and its reason. Raises UserError or StoreError for damaged files."""
    state = sweep_state.load_sweep_state(folder)
    cell = state.cells[cell_id]
    flat = _flat(state, cell)
    rows, unreadable = _last_rows(folder, cell_id)
    return Explanation(
        cell=cell_id,
        sweep=name_of(folder),
        state=cell.state,
        meaning=STATES[cell.state],
        advice=advice(state, cell),
        trial=trial_text(rounds.standings(state), cell_id),
        attempts=attempts(state, cell_id),
        rows=rows,
        unreadable=unreadable,
        flat=flat,
        differs={key: flat[key] for key in varying_settings(state) if key in flat},
        error=cell.record.error if cell.record else None,
    )


def why(folder: Path, cell_id: str, *, as_json: bool = False) -> None:
    """Show the state of a cell and what to do next."""
    explanation = explain(folder, cell_id)
    if as_json:
        machine.write("why", machine.why(explanation))
    else:
        _show(explanation)


def _show(explanation: Explanation) -> None:
    pairs: list[tuple[str, layout.Cell]] = [("cell", f"{explanation.cell} of {explanation.sweep}")]
    differs = " ".join(f"{key}={value}" for key, value in explanation.differs.items())
    if differs:
        pairs.append(("settings", differs))
    pairs.append(("state", styled((explanation.state, "bold"), f": {explanation.meaning}")))
    if explanation.trial is not None:
        pairs.append(("search", explanation.trial))
    pairs.append(("what next", explanation.advice))
    layout.print_pairs(pairs)
    _print_attempts(explanation.attempts)
    _print_rows(explanation)
    common = [f"{k}={v}" for k, v in explanation.flat.items() if k not in explanation.differs]
    heading = "as in all cells" if differs else "configuration"
    console.print(Text(f"\n{heading}", "bold"))
    layout.print_paragraph(" ".join(common), indent=0)
    if explanation.error:
        console.print(f"\n{explanation.error.rstrip()}")


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
    resume = f"`redescent resume {name}` sends it again"
    if ended_silently(state, cell):
        end = SilentEnd([cell.id], output_line(state, cell.placement.sid, cell.placement.task))
        ending = f"its task ended without a final record of it; {end.cause}"
        return f"{ending}. Fix the cause, then {resume}"
    return f"{resume}; it resumes from its checkpoint if it has one"


def _waiting_advice(state: SweepState, cell: CellState) -> str:
    task = state.tasks.get((cell.placement.sid, cell.placement.task))
    stuck, name = stuck_task(task), name_of(state.folder)
    if stuck is not None:
        return stuck.advice(name)
    if task is not None and task.state == "RUNNING":
        return "wait: its task runs and has not reached it"
    if task is not None and task.state == "SUSPENDED":
        return (
            "it is suspended: `scontrol resume JOB` lets it go on, or the partition does when the "
            "jobs that displaced it have ended"
        )
    reason = task.reason if task else ""
    if reason in NEVER_STARTS:
        return f"it will never start: {NEVER_STARTS[reason].format(name=name)}"
    return _REASONS.get(reason, f"wait: SLURM gives the reason {reason!r}")


def _print_attempts(attempts: Sequence[Attempt]) -> None:
    """Show each attempt: when and where it ran, how far it got, and how it ended."""
    head = ("attempt", "start", "end", "job", "node", "logged", "how it ended")
    rows = []
    for attempt in attempts:
        execution = attempt.execution
        rows.append(
            [
                str(attempt.number),
                short_time(attempt.start),
                short_time(attempt.end),
                execution.job or attempt.sid[-8:],
                attempt.node,
                attempt.progress,
                attempt.ending,
            ]
        )
    console.print()
    layout.print_table(head, rows)


def short_time(text: str) -> str:
    """A time of SLURM, such as 2026-01-02T03:04:05, as 01-02 03:04:05; another text as it is."""
    return text[5:].replace("T", " ") if _TIME.fullmatch(text) else text


def _last_rows(folder: Path, cell: str) -> tuple[pd.DataFrame, str | None]:
    """The last rows of a cell, or why they cannot be read."""
    try:
        return store.curves(folder, cells=[cell]).tail(ROWS), None
    except store.NothingLogged:
        return pd.DataFrame(), None
    except store.StoreError as error:
        return pd.DataFrame(), str(error)


def _print_rows(explanation: Explanation) -> None:
    rows = explanation.rows
    if explanation.unreadable:
        console.print(styled(("rows cannot be read:", "red"), f" {explanation.unreadable}"))
    if rows.empty:
        return
    table = []
    for name in (*_POSITION, *_metrics(rows)):
        table.append([name, *(_text(value) for value in rows[name])])
    head = ("last rows", *(f"epoch {epoch}" for epoch in rows["epoch"]))
    console.print()
    layout.print_table(head, table, right=" rrr")


def _metrics(rows: pd.DataFrame) -> list[str]:
    """The metrics that at least one row has."""
    names = [str(name) for name in rows if name not in _NOT_METRICS]
    return [name for name in names if rows[name].notna().any()]


def _text(value: Any) -> str:
    """A value of a row; a trainer of somebody else may log texts and lists too."""
    if not isinstance(value, numbers.Real):
        return "" if value is None or value is pd.NA else str(value)
    return "" if math.isnan(value) else f"{float(value):.6g}"


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
