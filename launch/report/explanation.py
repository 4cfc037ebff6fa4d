"""What `redescent why` says of a cell: its state, what to do, its attempts and its last rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from analysis import store
from launch.errors import quantity
from launch.plan.identity import cell_arguments
from launch.plan.outcome import FINAL, STATES, failure_class
from launch.plan.plan import name_of
from launch.report.grid import varying_settings
from launch.report.overview import present_code
from launch.report.searches import trial_text, valueless_advice
from launch.status import failures, sweep_state
from launch.status.attempts import Attempt, attempts
from launch.status.cell_state import CellState
from launch.status.silent_ends import (
    SilentEnd,
    ended_silently,
    not_started_cells,
    output_line,
    was_sent,
)
from launch.status.sweep_state import SweepState, trained_again
from launch.status.waiting import (
    NEVER_STARTS,
    REQUEUED_AND_HELD,
    disk_advice,
    never_starts_advice,
    refusal,
    refused_advice,
    stuck_task,
    unconfirmed_advice,
)
from launch.submit import canary, rounds

ROWS = 3


@dataclass(frozen=True)
class Explanation:
    """What `why` says of a cell."""

    cell: str
    sweep: str
    state: str
    meaning: str
    """What the state means."""
    advice: str
    """What the user can do."""
    trial: str | None
    """Its part in a search; None if it is no trial of any."""
    attempts: Sequence[Attempt]
    rows: pd.DataFrame
    """The last rows logged; empty if there are none."""
    unreadable: str | None
    """Why the rows cannot be read; None if they can."""
    flat: Mapping[str, Any]
    """Its configuration."""
    differs: Mapping[str, Any]
    """The settings of it that vary among the cells of the sweep."""
    error: str | None
    """Its traceback."""


def explain(folder: Path, cell_id: str) -> Explanation:
    """The state of a cell and its reason. Raises UserError or StoreError for damaged files."""
    state = sweep_state.load_sweep_state(folder)
    cell = state.cells[cell_id]
    flat = _flat(state, cell)
    rows, unreadable = _last_rows(folder, cell_id)
    standings = rounds.standings(state)
    is_valueless = any(cell_id in one.valueless and not one.unknown for one in standings)
    is_valueless = is_valueless and cell_id not in trained_again(state).may_run
    return Explanation(
        cell=cell_id,
        sweep=name_of(folder),
        state=cell.state,
        meaning=STATES[cell.state],
        advice=valueless_advice(name_of(folder)) if is_valueless else advice(state, cell),
        trial=trial_text(standings, cell_id),
        attempts=attempts(state, cell_id),
        rows=rows,
        unreadable=unreadable,
        flat=flat,
        differs={key: flat[key] for key in varying_settings(state) if key in flat},
        error=_error(state, cell),
    )


def _error(state: SweepState, cell: CellState) -> str | None:
    """The traceback of the newest attempt: of a done cell, that of a training without a result."""
    if cell.id in trained_again(state).ended:
        return str(store.records(state.folder, cell.id)[-1].get("error") or "") or None
    return cell.record.error if cell.record else None


def _shared_error(state: SweepState, cell: CellState) -> str:
    """What `resume` needs for a cell that is held back with others; empty if it is not."""
    held_back = failures.held_back(state.cells, state, present_code(state)).cells
    if cell.id not in held_back:
        return ""
    shared = quantity(len(held_back), "cell shares", "cells share")
    return f"; {shared} an error: unless the code changes, add --retry-errors"


def advice(state: SweepState, cell: CellState) -> str:
    """What the user can do about a cell in this state."""
    name = name_of(state.folder)
    short = cell_arguments(cell.id, name)
    if cell.state in FINAL:
        return _result_advice(state, cell)
    if cell.state == "running":
        output = f"`redescent logs {short} --follow` prints its job's output"
        if not cell.placement.cancelled:
            return output
        return f"it was cancelled: it saves and stops after its present step; {output}"
    if cell.state == "waiting":
        return _waiting_advice(state, cell)
    if cell.state == "unknown":
        return _unknown_advice(state, cell)
    if cell.state == "failed" and cell.record:
        fix = failure_class(cell.record.error_class).advice.format(name=name, short=short)
        return fix + _shared_error(state, cell)
    if cell.id in not_started_cells(state):
        return (
            "it was not started, because three cells of its submission failed with the same error: "
            f"`redescent status {name}`; after you fix it, `redescent resume {name} "
            "--retry-errors` sends the rest"
        )
    place, newest = cell.placement, state.plans[-1]
    is_of_newest = cell.state == "missing" and place.sid == newest.sid
    if is_of_newest and canary.failed_canary(state, newest):
        return f"SLURM removed it from the queue, because the canary failed: {_status(name)}"
    refused = "" if was_sent(state, place.sid, place.task) else refusal(state, place.sid)
    if cell.state == "missing" and refused:
        return f"the scheduler refused it: {refused}; {refused_advice(name)}"
    return _resume_advice(state, cell)


def _unknown_advice(state: SweepState, cell: CellState) -> str:
    if cell.placement.sid in state.unconfirmed():
        advice = unconfirmed_advice(name_of(state.folder))
        return f"the scheduler has not confirmed its job yet: {advice}"
    return "wait until the scheduler answers (`redescent doctor`)"


def _resume_advice(state: SweepState, cell: CellState) -> str:
    name = name_of(state.folder)
    resume = f"`redescent resume {name}` sends it again"
    disk = disk_advice(state)
    if disk:
        return f"{disk}, then {resume}"
    if ended_silently(state, cell):
        end = SilentEnd([cell.id], output_line(state, cell.placement.sid, cell.placement.task))
        return f"its task ended without a result of it; {end.cause}. Fix the cause, then {resume}"
    return f"{resume}; it resumes from its checkpoint if it has one"


def _result_advice(state: SweepState, cell: CellState) -> str:
    again, name = trained_again(state), name_of(state.folder)
    task = state.task_of(cell)
    if cell.id in again.going_on and task is not None and task.state != "RUNNING":
        return f"it is to be trained again; {_waiting_advice(state, cell)}"
    if cell.id in again.going_on:
        return "wait: it trains again; the earlier result stays until the new one is complete"
    if cell.id in again.unknown:
        return "wait until the scheduler answers (`redescent doctor`): it may be training again"
    if cell.id in again.cancelled:
        return (
            "its training once more was cancelled, and the earlier result stays: `redescent "
            "submit` with --again and the same overrides sends it"
        )
    if cell.id in again.ended and canary.failed_canary(state, state.plans[-1]):
        return f"it was not trained again, because the canary failed: {_status(name)}"
    if cell.id in again.ended:
        logs = f"`redescent logs {cell_arguments(cell.id, name)}` shows why"
        return f"it was trained again without a new result, and the earlier one stays: {logs}"
    return "nothing: its rows are in the store"


def _status(name: str) -> str:
    return f"`redescent status {name}` names its error"


def _waiting_advice(state: SweepState, cell: CellState) -> str:
    task = state.task_of(cell)
    stuck, name = stuck_task(task), name_of(state.folder)
    if stuck is not None:
        return stuck.advice(name)
    if task is not None and task.state == "RUNNING":
        return "wait: its task runs and has not reached it"
    if task is not None and task.state == "SUSPENDED":
        return (
            f"it is suspended: `scontrol resume {task.job}` lets it go on, or the partition does "
            "when the jobs that displaced it have ended"
        )
    reason = task.reason if task else ""
    if reason in NEVER_STARTS:
        is_again = cell.id in trained_again(state).going_on
        return f"it will never start: {never_starts_advice(state, reason, is_again)}"
    advice = _REASONS.get(reason, f"wait: SLURM gives the reason {reason!r}")
    return advice.replace("JOB", task.job if task else "")


def _last_rows(folder: Path, cell: str) -> tuple[pd.DataFrame, str | None]:
    """The last rows of a cell, or why they cannot be read."""
    try:
        return store.curves(folder, cells=[cell]).tail(ROWS), None
    except store.NothingLogged:
        return pd.DataFrame(), None
    except store.StoreError as error:
        return pd.DataFrame(), str(error)


def _flat(state: SweepState, cell: CellState) -> dict[str, Any]:
    plan = state.plan_by_sid[cell.placement.sid]
    (planned,) = (planned for planned in plan.cells if planned.id == cell.id)
    return plan.flat(planned)


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
    "Dependency": "wait: it starts when the jobs that it waits for have ended: the canary, the "
    "first run of the smallest and largest cells, or the trainings whose weights it reads",
    "JobHeldUser": "it is held; `scontrol release JOB` releases it",
    "JobHeldAdmin": "SLURM holds it, as after repeated failures to start; ask your administrator, "
    "or cancel and resume",
    **dict.fromkeys(REQUEUED_AND_HELD, _RELEASE),
    "ReqNodeNotAvail, UnavailableNodes": "wait, or resume elsewhere: the nodes that it needs are "
    "down",
}
