"""What a submission would send now: cells, their tasks, how many train at a time, and the hours."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import pandas as pd

from launch.cost import concurrency, rates
from launch.cost.packing import TaskPreview, least_concurrency, pack_in_groups
from launch.errors import UserError, none_of, quantity
from launch.plan.jobs import array_ranges
from launch.plan.outcome import FINAL, LIVE
from launch.plan.plan import name_of
from launch.scheduler import backend
from launch.status import failures, other_results, summary
from launch.status.failures import HeldBack
from launch.status.sweep_files import is_final
from launch.status.sweep_state import SweepState, load_state_before_submission, trained_again
from launch.submit import calibration, measurements
from launch.submit.rounds import with_open_rounds
from launch.submit.weights import Availability, look_up, with_earlier_weights
from launch.sweep.adaptive import SearchState, search_key
from launch.sweep.condition import conditions_on
from launch.sweep.request import AUTO, INSIDE, Cell, Concurrency, Request


@dataclass(frozen=True)
class Selection:
    """The cells of a request that would be sent, and why others would not."""

    cells: Sequence[Cell]
    states: Counter[str]
    """How many cells of the request are in each state; "new" cells are in no plan."""
    done: frozenset[str] = frozenset()
    """Ids of the cells of the request that have a result."""
    held_back: HeldBack = field(default_factory=HeldBack)
    held_back_with_them: int = 0
    """How many cells are held back although they did not fail."""
    needs_more_memory: Sequence[str] = ()
    """Ids of cells that ran out of memory on their own, and would not get more."""
    limits: Mapping[str, int] = field(default_factory=dict)
    """How many cells may train at a time in the task of a cell that lacked memory."""
    weights: Availability = field(default_factory=Availability)
    """Whether the trained cells that the cells read have their weights."""
    training_again: int = 0
    """How many of the cells that are done train again already."""
    left_out: Sequence[str] = ()
    """What is left out for lack of weights, one sentence each."""
    other_code: int = 0
    """How many of the cells that are done, and are not sent, have their result from other code."""
    continued_code: int = 0
    """How many of the cells to send continue a checkpoint of other code."""
    other_data: Sequence[str] = ()
    """Ids of the cells that are done, and are not sent, whose result comes from other data."""
    earlier_weights: Sequence[str] = ()
    """Ids of the cells that are done, and are not sent, although a trained cell that they read was
    trained again since."""
    unknown_data: int = 0
    """How many cells that are done, and are not sent, have a result that names no data."""

    @property
    def ids(self) -> list[str]:
        """Ids of the cells."""
        return [cell.id for cell in self.cells]

    @property
    def done_again(self) -> int:
        """How many of the cells are done, and are trained again."""
        return len(self.done.intersection(self.ids))


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


def select_cells(
    request: Request, state: SweepState, *, retry_errors: bool, rerun: bool
) -> Selection:
    """The cells to run, and those that are held back."""
    states = _states_of_cells(state)
    again = _cells_again(request) if rerun else set()
    training = trained_again(state)
    already = again & set(training.going_on)
    states |= dict.fromkeys(again & set(training.unknown), "unknown")
    again -= already
    cells = []
    for cell in request.cells:
        cell_state = states.get(cell.id)
        if cell_state not in LIVE and (cell.id in again or cell_state not in FINAL):
            cells.append(cell)
    selection = Selection(
        cells=cells,
        done=frozenset(cell.id for cell in request.cells if states.get(cell.id) in FINAL),
        states=Counter(states.get(cell.id, "new") for cell in request.cells),
        training_again=len(already),
    )
    without_memory = failures.out_of_memory_cells(selection.ids, state)
    if not rerun:
        limits = failures.concurrency_limits(without_memory)
        selection = replace(selection, limits=limits)
    if retry_errors or not state.plans:
        return selection
    needs_more_memory = failures.needs_more_memory(without_memory, state, request.launcher)
    held_back = failures.held_back(selection.ids, state, request.code)
    return hold_back(selection, held_back, needs_more_memory)


def _cells_again(request: Request) -> set[str]:
    """Ids of the cells that meet all conditions of `submit --again`.

    Raises UserError for a bad condition, and for conditions that no cell meets.
    """
    conditions = conditions_on(request.again, [cell.flat for cell in request.cells])
    ids = {cell.id for cell in request.cells if all(meets(cell.flat) for meets in conditions)}
    if conditions and not ids:
        raise UserError(
            f"--again: {none_of(len(request.cells), 'cell')} of {request.name} meets "
            f"{' and '.join(request.again)}; nothing was sent"
        )
    return ids


def hold_back(
    selection: Selection, held_back: HeldBack, needs_more_memory: Sequence[str]
) -> Selection:
    """The selection without held-back cells: all of them are, if failures share an error."""
    if held_back.cells:
        cells, with_them = [], len(selection.cells) - len(held_back.cells)
    else:
        cells = [cell for cell in selection.cells if cell.id not in needs_more_memory]
        with_them = 0
    return replace(
        selection,
        cells=cells,
        held_back=held_back,
        held_back_with_them=with_them,
        needs_more_memory=needs_more_memory,
    )


def with_weights(selection: Selection, request: Request) -> Selection:
    """The selection without cells that read trained cells whose weights no job will write."""
    availability = look_up(selection.cells, can_wait=request.launcher.kind == "slurm")
    cells = [cell for cell in selection.cells if cell.id not in availability.absent]
    left_out = availability.messages(selection.ids, name_of(request.folder))
    return replace(selection, cells=cells, weights=availability, left_out=left_out)


def with_other_results(selection: Selection, request: Request, state: SweepState) -> Selection:
    """The selection with the cells that stay done although their result is of other code, data or
    weights.

    Those of other data, and of earlier weights, are counted apart from the done ones.
    """
    sent = set(selection.ids)
    done = {cell.id: cell.flat for cell in request.cells if cell.id not in sent}
    if request.software is not None:  # a later round of a search has the code of the first
        sources = other_results.planned_sources(state, request.code)
    else:
        sources = other_results.present_sources(state, request.own_packages)
    other_code = [cell for cell in other_results.with_other_code(state, sources) if cell in done]
    data = other_results.compare_data(state.runs, done)
    states = Counter(selection.states)
    states_of_cells = _states_of_cells(state)
    for cell in data.other:
        states[states_of_cells[cell]] -= 1
        states["done with other data"] += 1
    finished = {cell: flat for cell, flat in done.items() if cell in selection.done}
    for cell in data.other:
        finished.pop(cell, None)
    earlier_weights = with_earlier_weights(finished, state.runs)
    for cell in earlier_weights:
        states[states_of_cells[cell]] -= 1
        states["done with earlier weights"] += 1
    return replace(
        selection,
        states=+states,
        other_code=len(other_code),
        continued_code=len(other_results.continue_other_code(state, sent, sources)),
        other_data=data.other,
        earlier_weights=earlier_weights,
        unknown_data=len(data.unknown),
    )


def _states_of_cells(state: SweepState) -> dict[str, str]:
    """The state of each cell that is in a plan, or is done even if its plan is gone."""
    states = {cell: "done" for cell, record in state.records.items() if is_final(record)}
    return states | {cell.id: cell.state for cell in state.cells.values()}


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
