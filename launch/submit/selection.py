"""The cells of a request that a submission would send, and why it leaves others out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from launch.errors import UserError, none_of
from launch.plan.outcome import FINAL, LIVE
from launch.plan.plan import name_of
from launch.plan.result_code import Sources
from launch.status import failures, other_results
from launch.status.failures import HeldBack
from launch.status.sweep_files import is_final
from launch.status.sweep_state import SweepState, trained_again
from launch.submit.weights import Availability, look_up, with_earlier_weights
from launch.sweep.condition import conditions_on
from launch.sweep.request import Cell, Request


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


def select_cells(
    request: Request, state: SweepState, *, retry_errors: bool, rerun: bool
) -> Selection:
    """The cells to run, and those that are held back; with `rerun`, also done cells, unless they
    train again already.
    """
    states = _states_of_cells(state)
    reruns = trained_again(state)
    cells_again = _cells_again(request) if rerun else set()
    training_again = cells_again.intersection(reruns.going_on)
    states |= dict.fromkeys(cells_again.intersection(reruns.unknown), "unknown")
    to_rerun = cells_again - training_again
    cells = []
    for cell in request.cells:
        cell_state = states.get(cell.id)
        if cell_state not in LIVE and (cell.id in to_rerun or cell_state not in FINAL):
            cells.append(cell)
    selection = Selection(
        cells=cells,
        done=frozenset(cell.id for cell in request.cells if states.get(cell.id) in FINAL),
        states=Counter(states.get(cell.id, "new") for cell in request.cells),
        training_again=len(training_again),
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
    flats = {cell.id: cell.flat for cell in request.cells if cell.id not in sent}
    sources = _sources(request, state)
    other_code = [cell for cell in other_results.with_other_code(state, sources) if cell in flats]
    data = other_results.compare_data(state.runs, flats)
    done_with_present_data = selection.done.difference(data.other)
    finished = {cell: flat for cell, flat in flats.items() if cell in done_with_present_data}
    earlier_weights = with_earlier_weights(finished, state.runs)
    shown_states = dict.fromkeys(data.other, "done with other data")
    shown_states |= dict.fromkeys(earlier_weights, "done with earlier weights")
    return replace(
        selection,
        states=_recounted(selection.states, _states_of_cells(state), shown_states),
        other_code=len(other_code),
        continued_code=len(other_results.continue_other_code(state, sent, sources)),
        other_data=data.other,
        earlier_weights=earlier_weights,
        unknown_data=len(data.unknown),
    )


def _sources(request: Request, state: SweepState) -> Sources:
    """The sources that results of the request would come from."""
    if request.software is not None:  # a later round of a search has the code of the first
        return other_results.planned_sources(state, request.code)
    return other_results.present_sources(state, request.own_packages)


def _recounted(
    counts: Counter[str], states: Mapping[str, str], shown_states: Mapping[str, str]
) -> Counter[str]:
    """The cells by state, with some counted under `shown_states` instead of their own `states`."""
    counts = Counter(counts)
    for cell, shown_state in shown_states.items():
        counts[states[cell]] -= 1
        counts[shown_state] += 1
    return +counts


def _states_of_cells(state: SweepState) -> dict[str, str]:
    """The state of each cell that is in a plan, or is done even if its plan is gone."""
    states = {cell: "done" for cell, record in state.records.items() if is_final(record)}
    return states | {cell.id: cell.state for cell in state.cells.values()}
