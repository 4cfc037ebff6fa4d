"""`redescent why CELL`: the state of a cell and its reason, its attempts, last rows, traceback, and
what to do next.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from rich.markup import escape
from rich.table import Table

from analysis import store
from launch.cli import tables as show
from launch.plan.outcome import FINAL, STATES, failure_class
from launch.plan.plan import name_of
from launch.scheduler import slurm
from launch.status import cell_state, sweep_state
from launch.status.sweep_state import Observation

ROWS = 3
_POSITION = ("step", "seconds")


@dataclass(frozen=True)
class Attempt:
    """One attempt at a cell: where and when its task ran by SLURM's word, and what the cell's own
    record says of it.
    """

    number: int
    sid: str
    job: str
    node: str
    start: str
    end: str
    ended: str
    reached: str


def why(folder: Path, cell: str) -> None:
    """Print all of it."""
    seen = sweep_state.observe(folder)
    found = seen.cells[cell]
    table = Table(show_header=False)
    table.add_row("cell", f"{cell} of {name_of(folder)}")
    table.add_row("state", f"[bold]{found.state}[/bold]: {STATES[found.state]}")
    table.add_row("what next", escape(advice(seen, found)))
    show.out.print(table)
    _print_attempts(attempts(seen, cell, store.records(folder, cell)))
    _print_rows(folder, cell)
    show.out.print(escape("  ".join(f"{key}={value}" for key, value in _flat(seen, cell).items())))
    if found.record and found.record.error:
        show.out.print(f"\n{escape(found.record.error.rstrip())}")


def advice(seen: Observation, cell: cell_state.CellState) -> str:
    """What the user can do about a cell in this state."""
    name, short = name_of(seen.folder), cell.id[:11]
    if cell.state in FINAL:
        return "nothing: its rows are in the store"
    if cell.state == "running":
        return f"`redescent logs {short} --follow` shows its job's output as it comes"
    if cell.state == "waiting":
        task = seen.tasks.get((cell.placement.sid, cell.placement.task))
        reason = task.reason if task else ""
        if task is not None and task.state == "RUNNING":
            return "wait: its task runs, and comes to it"
        return _REASONS.get(reason, f"wait: SLURM gives as reason {reason!r}")
    if cell.state == "unknown":
        return "wait until the scheduler answers (`redescent doctor`)"
    if cell.state == "failed" and cell.record:
        return failure_class(cell.record.error_class).advice.format(name=name, short=short)
    return (
        f"`redescent resume {name}` sends it again; it goes on from its checkpoint where it has one"
    )


def attempts(seen: Observation, cell: str, known: Sequence[Mapping[str, Any]]) -> list[Attempt]:
    """The attempts at a cell, oldest first, from the scheduler's accounting (asked once) and the
    cell's records.
    """
    by_number = {row["attempt"]: row for row in known}
    if known and known[-1]["status"] == "running" and seen.cells[cell].state != "running":
        by_number[known[-1]["attempt"]] = {
            **known[-1],
            "status": "no last word: killed, or its node lost",
        }
    placed = [
        (made, number, planned.attempts + 1)
        for made in seen.plans
        for number, task in enumerate(made.tasks)
        for planned in (made.cells[index] for index in task)
        if planned.id == cell
    ]
    jobs = {
        (made.sid, number): sweep_state.job_of(seen, made.sid, number) for made, number, _ in placed
    }
    executions: dict[str, list[slurm.Execution]] = {}
    for execution in slurm.history([job for job in jobs.values() if job]) or []:
        executions.setdefault(execution.job, []).append(execution)
    found: dict[int, Attempt] = {}
    for made, number, first in placed:
        job = jobs[made.sid, number] or ""
        for restart, execution in enumerate(
            executions.get(job) or [slurm.Execution(job, "", "", "", "", "")]
        ):
            if restart == 0 or execution.state:
                attempt = _attempt(
                    first + restart, made.sid, execution, by_number.pop(first + restart, None)
                )
                found[attempt.number] = attempt
    sids = {made.sid: first for made, _, first in placed}
    for number, row in by_number.items():  # accounting is silent, or has forgotten them
        sid = max(
            (sid for sid, first in sids.items() if first <= number),
            default="",
            key=lambda sid: sids[sid],
        )
        found[number] = _attempt(number, sid, slurm.Execution("", "", "", "", "", ""), row)
    return [found[number] for number in sorted(found)]


def _attempt(
    number: int, sid: str, execution: slurm.Execution, row: Mapping[str, Any] | None
) -> Attempt:
    told = []
    if row:
        told.append(row["status"] + (f" ({row['error_class']})" if row.get("error_class") else ""))
    elif execution.state or not execution.job:
        told.append("no record: not begun, or folded away by a compaction")
    if execution.state:
        told.append(
            f"SLURM: {execution.state}" + (f" {execution.exit}" if execution.exit != "0:0" else "")
        )
    last = (
        time.strftime("%FT%T", time.localtime(row["updated"])) if row and row.get("updated") else ""
    )
    reached = ", ".join(
        f"{key} {row[key + 's']}"
        for key in ("epoch", "step")
        if row and row.get(key + "s") is not None
    )
    node = execution.node or (str(row.get("host") or "") if row else "")
    return Attempt(
        number,
        sid,
        execution.job,
        node,
        execution.start,
        execution.end or last,
        "; ".join(told),
        reached,
    )


def _print_attempts(found: Sequence[Attempt]) -> None:
    table = Table(
        "attempt", "submission", "job", "node", "began", "ended, or last word", "how", "reached"
    )
    for a in found:
        table.add_row(
            str(a.number), a.sid, a.job, a.node, a.start, a.end, escape(a.ended), a.reached
        )
    show.out.print(table)


def _print_rows(folder: Path, cell: str) -> None:
    try:
        rows = store.curves(folder, cells=[cell]).tail(ROWS)
    except store.StoreError:  # no cell of the sweep has logged anything
        return
    if rows.empty:
        return
    metrics = [
        c
        for c in rows.columns
        if c not in (*_POSITION, "cell", "attempt", "epoch", "examples") and rows[c].notna().any()
    ]
    table = Table("last rows", *(f"epoch {epoch}" for epoch in rows["epoch"]))
    for name in (*_POSITION, *metrics):
        table.add_row(name, *("" if pd.isna(value) else f"{value:.6g}" for value in rows[name]))
    show.out.print(table)


def _flat(seen: Observation, cell: str) -> dict[str, Any]:
    made = next(p for p in seen.plans if p.sid == seen.cells[cell].placement.sid)
    return made.flat(next(c for c in made.cells if c.id == cell))


_REASONS = {
    "Priority": "wait: others in the queue go first",
    "Resources": "wait: it is next, and nothing fitting is free",
    "None": "wait: SLURM has not looked at it yet",
    "": "wait: SLURM has not looked at it yet",
    "BeginTime": "wait: SLURM holds a requeued job back for a while",
    "JobArrayTaskLimit": "wait: hydra.launcher.array_parallelism tasks of its array run already",
    "Dependency": "wait: it starts when the canary, the first run of the smallest and largest "
    "cells, has ended well",
    "JobHeldUser": "it is held; `scontrol release JOB` lets it go",
    "JobHeldAdmin": "SLURM holds it, as after repeated failures to start; ask your administrator, "
    "or cancel and resume",
    "ReqNodeNotAvail, UnavailableNodes": "wait, or resume elsewhere: the nodes that it asks for "
    "are down",
}
