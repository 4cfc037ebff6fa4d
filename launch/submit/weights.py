"""Whether the trained cells that a request reads have their weights: read now, wait, or leave out.

A cell whose weights are on disk is sent. One whose trained cell a SLURM job may still train, or
trains again, is sent too, and waits inside SLURM until that job has ended in any way. All others
are left out: nothing waits in a process of ours.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from analysis import store
from analysis.store import weights
from launch.errors import UserError, quantity
from launch.plan import load_all
from launch.plan.outcome import FINAL, LIVE
from launch.plan.plan import name_of
from launch.status.sweep_state import SweepState, load_sweep_state, trained_again
from launch.sweep.reading import Weights, reading_of, weights_of
from launch.sweep.request import Cell

Reason = Literal["not trained", "trains on this machine", "weights not kept", "unknown"]


@dataclass(frozen=True)
class Absence:
    """Why a cell is left out, and the log folder of the trained sweep that it reads."""

    folder: Path
    reason: Reason


@dataclass(frozen=True)
class Availability:
    """Whether the cells of a request find the weights that they read; by the ids of the cells."""

    jobs: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """The jobs that a cell waits for."""
    absent: Mapping[str, Absence] = field(default_factory=dict)
    """Why a cell is left out."""

    def follows(self, cells: Sequence[Cell]) -> list[Sequence[str]]:
        """The jobs that each cell waits for."""
        return [self.jobs.get(cell.id, ()) for cell in cells]

    def messages(self, cells: Iterable[str], name: str) -> list[str]:
        """What is left out of these cells, and the commands that train and then measure them.

        `name` is the sweep of the request.
        """
        counts: dict[Absence, int] = {}
        for cell in cells:
            if cell in self.absent:
                absence = self.absent[cell]
                counts[absence] = counts.get(absence, 0) + 1
        return [_message(absence, count, name) for absence, count in counts.items()]


def _message(absence: Absence, count: int, name: str) -> str:
    cells, sweep = quantity(count, "cell"), absence.folder.name
    verb = "is" if count == 1 else "are"
    then = f"then `redescent resume {name}`"
    match absence.reason:
        case "not trained":
            return (
                f"{cells} {verb} left out, because the trained cells of {sweep} have no weights "
                f"yet and no job trains them: `redescent resume {sweep}`, {then}"
            )
        case "trains on this machine":
            return (
                f"{cells} {verb} left out, because {sweep} trains without SLURM, which could hold "
                f"them back: wait until it has ended, {then}"
            )
        case "weights not kept":
            return (
                f"{cells} {verb} left out, because the weights in {absence.folder}/weights are "
                f"gone: `redescent submit {sweep} --again`, with the overrides that trained them, "
                f"trains the cells again, {then}"
            )
        case "unknown":
            return (
                f"{cells} {verb} left out, because the scheduler does not answer about {sweep}; "
                f"when it does, `redescent resume {name}`"
            )


def look_up(cells: Sequence[Cell], *, can_wait: bool) -> Availability:
    """Look for the weights that these cells read, and for the jobs that train missing ones.

    `can_wait` says whether the launcher can hold cells back until a job has ended. The scheduler is
    asked only about sweeps whose weights are missing, and those that were sent to train again.
    """
    files = functools.cache(weights.names)
    state_of = functools.cache(_state_of)
    may_change = functools.cache(_sent_again)
    jobs: dict[str, Sequence[str]] = {}
    absent: dict[str, Absence] = {}
    for cell in cells:
        jobs_of_cell: set[str] = set()
        for needed in weights_of(cell.flat):
            folder = needed.folder
            if needed.file in files(folder):
                is_changing = may_change(folder) and _trains_again(needed, state_of(folder))
                if not is_changing:
                    continue
            answer = _job_or_reason(needed, state_of(folder), can_wait=can_wait)
            if answer.job is not None:
                jobs_of_cell.add(answer.job)
            else:
                absent[cell.id] = Absence(folder, answer.reason)
        if jobs_of_cell and cell.id not in absent:
            jobs[cell.id] = sorted(jobs_of_cell)
    return Availability(jobs, absent)


def left_out(state: SweepState) -> list[str]:
    """Which cells `redescent resume` would leave out now, and the commands that train and then
    measure them; empty while cells may still run. If the weights cannot be read, the reason.
    """
    states = {cell.id: cell.state for cell in state.cells.values()}
    if any(cell_state in LIVE for cell_state in states.values()):
        return []
    cells = {}
    for plan in state.plans:
        if reading_of(plan.flat(plan.cells[0])) is None:
            continue
        for planned in plan.cells:
            if states[planned.id] not in FINAL:
                cells[planned.id] = Cell(planned.id, plan.flat(planned))
    can_wait = state.plans[-1].backend == "slurm"
    try:
        found = look_up(list(cells.values()), can_wait=can_wait)
    except store.StoreError as error:
        return [str(error)]
    return found.messages(cells, name_of(state.folder))


def _state_of(folder: Path) -> SweepState | None:
    """The state of a trained sweep; None if it was never submitted, or its folder is gone."""
    try:
        return load_sweep_state(folder)
    except UserError:
        return None


def _sent_again(folder: Path) -> bool:
    """Whether done cells of a trained sweep were ever sent to train again."""
    try:
        return folder.is_dir() and any(plan.rerun for plan in load_all(folder))
    except UserError:  # damaged plans; the weights can be read
        return False


def _trains_again(needed: Weights, state: SweepState | None) -> bool:
    """Whether a job trains a done cell again, so that its weights are about to change."""
    return state is not None and needed.cell in trained_again(state).going_on


@dataclass(frozen=True)
class _Answer:
    """The job that trains a cell, or why there is none to wait for."""

    job: str | None = None
    reason: Reason = "not trained"


def _job_or_reason(needed: Weights, state: SweepState | None, *, can_wait: bool) -> _Answer:
    """The job to wait for, from the state of the trained sweep; None if it was never submitted."""
    cell = state.cells.get(needed.cell) if state is not None else None
    if state is None or cell is None:
        return _Answer()
    if cell.state == "unknown":
        return _Answer(reason="unknown")
    if not _trains_again(needed, state):
        if cell.state in FINAL:
            return _Answer(reason="weights not kept")
        if cell.state not in LIVE:
            return _Answer()
    job = state.job_id(cell.placement.sid, cell.placement.task)
    if job is None or not can_wait:
        return _Answer(reason="trains on this machine")
    return _Answer(job=job.partition("_")[0])


def with_earlier_weights(flats: Mapping[str, Mapping[str, Any]], runs: pd.DataFrame) -> list[str]:
    """Ids of the cells whose result is older than that of a trained cell that they read, which was
    trained again since.

    `flats` are the configurations of done cells, by id; `runs` is the runs table of their sweep.
    """
    ends, trained_ends = _ends(runs), functools.cache(_ends_of_trained)
    earlier = []
    for cell, flat in flats.items():
        if cell not in ends:
            continue
        trained = [trained_ends(needed.folder).get(needed.cell) for needed in weights_of(flat)]
        if any(end is not None and end > ends[cell] for end in trained):
            earlier.append(cell)
    return earlier


def _ends_of_trained(folder: Path) -> Mapping[str, float]:
    """`_ends` of a trained sweep; none where no done cell was ever sent to train again."""
    if not _sent_again(folder):
        return {}
    try:
        return _ends(store.runs(folder))
    except store.StoreError:  # damaged logs; the weights can be read
        return {}


def _ends(runs: pd.DataFrame) -> dict[str, float]:
    """The Unix time at which each cell with a result ended."""
    if not {"cell", "status", "updated"} <= set(runs.columns):
        return {}
    finished = runs[runs["status"].isin(FINAL) & runs["updated"].notna()]
    return dict(zip(finished["cell"].astype(str), finished["updated"].astype(float), strict=True))
