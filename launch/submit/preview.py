"""What a submission would send now: cells, their tasks, how many train at a time, and the hours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import pandas as pd

from launch.cost import concurrency, rates
from launch.cost.packing import TaskPreview, least_concurrency, pack_in_groups
from launch.errors import UserError, quantity
from launch.plan.jobs import array_ranges
from launch.scheduler import backend
from launch.status import summary
from launch.status.sweep_state import SweepState, load_state_before_submission
from launch.submit import calibration, measurements
from launch.submit.rounds import with_open_rounds
from launch.submit.selection import Selection, select_cells, with_other_results, with_weights
from launch.sweep.adaptive import SearchState, search_key
from launch.sweep.request import AUTO, INSIDE, Cell, Concurrency, Request


@dataclass(frozen=True)
class ConcurrencyChoice:
    """How many cells train at a time: for each cell, and usually ("auto" if this varies)."""

    by_cell: Sequence[Concurrency]
    usual: int | Literal["auto"] | None
    reduced: Sequence[int]
    """The numbers that are lower than usual because a cell lacked memory."""


@dataclass(frozen=True)
class Estimate:
    """What the tasks will take, in GPU-hours or core-hours as `unit` says."""

    unit: str
    hours: float
    """The hours of the cells of known time, each its share of its task."""
    hours_committed: float | None
    """GPU-hours spent, plus those of running and queued cells; None if unknown."""


@dataclass(frozen=True)
class Preview:
    """What a submission would send."""

    request: Request
    selection: Selection
    seconds: Sequence[float | None]
    """Seconds that each selected cell still has to train; None if no measured run resembles it."""
    tasks: Sequence[TaskPreview]
    arrays: int
    """Number of arrays to send."""
    reduced_concurrency: Sequence[int]
    estimate: Estimate
    searches: Sequence[SearchState] = ()
    """The searches of the request; the cells are those of their open rounds."""

    @property
    def cells(self) -> Sequence[Cell]:
        """The cells that would be sent; the tasks hold their indices."""
        return self.selection.cells

    @property
    def unmeasured(self) -> int:
        """How many of the cells resemble no measured run."""
        return sum(time is None for time in self.seconds)


def load_preview(request: Request, *, retry_errors: bool = False, rerun: bool = False) -> Preview:
    """The preview of a request for the current state of its sweep. Changes nothing."""
    state = load_state_before_submission(request.folder, searches=bool(request.searches))
    request, searches = with_open_rounds(request, state)
    proposal = preview(
        request,
        state,
        measurements.calibration_runs(request.folder),
        retry_errors=retry_errors,
        rerun=rerun,
    )
    return with_searches(proposal, searches)


def with_searches(proposal: Preview, searches: Sequence[SearchState]) -> Preview:
    """The preview with the searches that its cells are open trials of, packed as they ask for."""
    proposal = replace(proposal, searches=searches)
    if not searches or proposal.request.packing.search != INSIDE:
        return proposal
    scheduler = backend.BACKENDS[proposal.request.launcher.kind]
    most = 1 if scheduler.one_task else proposal.request.packing.slots
    tasks = whole_searches(proposal, most)
    hours = hours_of(proposal.request, tasks, proposal.seconds)
    return replace(
        proposal,
        tasks=tasks,
        arrays=math.ceil(len(tasks) / scheduler.array_size()),
        estimate=replace(proposal.estimate, hours=hours),
    )


def whole_searches(proposal: Preview, most: int) -> list[TaskPreview]:
    """At most `most` tasks of whole searches; those at one point share cells, and so a task.

    Cells of no search form one more group; groups share tasks if there are more than `most`.
    """
    points: dict[str, str] = {}
    for state in proposal.searches:
        for training in state.open:
            points.setdefault(training.cell.id, search_key(state.search).point)
    groups: dict[str, list[int]] = {}
    for index, cell in enumerate(proposal.cells):
        groups.setdefault(points.get(cell.id, ""), []).append(index)
    by_size = sorted(groups.values(), key=len, reverse=True)
    tasks: list[list[int]] = [[] for _ in range(min(most, len(by_size)))]
    for number, group in enumerate(by_size):
        tasks[number % most] += group
    limits = _concurrency_limits(proposal.tasks)
    return [TaskPreview(cells, least_concurrency(map(limits.get, cells))) for cells in tasks]


def _concurrency_limits(tasks: Sequence[TaskPreview]) -> dict[int, int]:
    """How many cells may train at a time beside each cell; without an entry, one per core."""
    limits = {}
    for task in tasks:
        if task.concurrency is not None:
            limits.update(dict.fromkeys(task.cells, task.concurrency))
    return limits


def preview(
    request: Request,
    state: SweepState,
    calibration_runs: pd.DataFrame,
    *,
    retry_errors: bool = False,
    rerun: bool = False,
) -> Preview:
    """What submitting `request` would send; with `rerun`, also cells that are done, from the start.

    Raises UserError if `task.at_a_time=auto` lacks measurements.
    """
    selection = select_cells(request, state, retry_errors=retry_errors, rerun=rerun)
    selection = with_weights(selection, request)
    selection = with_other_results(selection, request, state)
    choice = choose_concurrency(request, selection, calibration_runs)
    resources = request.launcher.resources
    timed_runs = concurrency.with_calibrations(
        state.runs, calibration_runs, choice.usual, resources
    )
    earlier_runs = state.runs.iloc[:0] if rerun else state.runs
    seconds = remaining_seconds(selection.cells, earlier_runs, timed_runs)
    scheduler = backend.BACKENDS[request.launcher.kind]
    follows = selection.weights.follows(selection.cells)
    tasks = pack_in_groups(
        seconds, choice.by_cell, request.packing, follows, one_task=scheduler.one_task
    )
    estimate = Estimate(
        unit=request.launcher.occupancy(1).unit,
        hours=hours_of(request, tasks, seconds),
        hours_committed=summary.hours_committed(state, timed_runs),
    )
    return Preview(
        request=request,
        selection=selection,
        seconds=seconds,
        tasks=tasks,
        arrays=len(array_ranges([task.follows for task in tasks], scheduler.array_size())),
        reduced_concurrency=choice.reduced,
        estimate=estimate,
    )


def choose_concurrency(
    request: Request, selection: Selection, calibration_runs: pd.DataFrame
) -> ConcurrencyChoice:
    """How many cells train at a time for each selected cell; fewer if it lacked memory."""
    automatic = request.packing.at_a_time == AUTO
    partial = automatic and not calibration.covers_all_families(request.cells)
    numbers = concurrency.choose(
        request,
        selection.cells,
        calibration_runs,
        across_families=partial,
        one_task=backend.BACKENDS[request.launcher.kind].one_task,
    )
    by_cell = []
    reduced = set()
    for cell, number in zip(selection.cells, numbers, strict=True):
        limit = selection.limits.get(cell.id)
        by_cell.append(least_concurrency([limit, number]))
        count = number or request.launcher.usual_concurrency(request.launcher.kind)
        if limit is not None and limit < count:
            reduced.add(limit)
    usual = numbers[0] if len(set(numbers)) == 1 else request.packing.at_a_time
    return ConcurrencyChoice(by_cell, usual, sorted(reduced))


def remaining_seconds(
    cells: Sequence[Cell], runs: pd.DataFrame, timed_runs: pd.DataFrame
) -> list[float | None]:
    """Seconds that each cell still has to train after `runs`, by `timed_runs`; None if unknown."""
    if timed_runs.empty:
        return [None] * len(cells)
    table = pd.DataFrame([{"cell": cell.id, **cell.flat} for cell in cells])
    times = rates.remaining_seconds(table, runs, timed_runs)
    return [None if pd.isna(time) else float(time) for time in times]


def hours_of(
    request: Request, tasks: Sequence[TaskPreview], seconds: Sequence[float | None]
) -> float:
    """Hours of the cells of known time, each its share of its task."""
    hours = 0.0
    for task in tasks:
        share = request.launcher.occupancy(task.concurrency).amount
        for index in task.cells:
            hours += share * (seconds[index] or 0.0) / 3600
    return hours


def check_canary(preview: Preview) -> None:
    """Raise UserError for a canary of cells that are not sent to SLURM."""
    request = preview.request
    if preview.cells and request.policy.canary and request.launcher.kind != "slurm":
        raise UserError("canary: found true, but only SLURM can hold jobs back; set canary=false")


def beyond_limit(preview: Preview) -> str | None:
    """Why a submission exceeds `limits.gpu_hours`.

    None if it does not, if there is no limit, or if it requests no GPU.
    """
    limit = preview.request.policy.gpu_hours
    estimate = preview.estimate
    if limit is None or estimate.unit != "GPU-hours" or not preview.cells:
        return None
    if preview.unmeasured or estimate.hours_committed is None:
        unmeasured = quantity(preview.unmeasured, "cell") if preview.unmeasured else "some cells"
        return (
            f"limits.gpu_hours: {limit:g}, but the hours of the sweep are unknown: no similar run "
            f"was measured for {unmeasured}. Run `redescent calibrate {preview.request.name}` with "
            "the same overrides, or set limits.gpu_hours=null"
        )
    total = estimate.hours_committed + estimate.hours
    if total <= limit:
        return None
    return (
        f"limits.gpu_hours: {limit:g}, but the sweep would take {total:.2f} GPU-hours: "
        f"{estimate.hours_committed:.2f} spent, running or queued, {estimate.hours:.2f} to be "
        "sent. Send fewer cells, or raise the limit"
    )
