"""What a submission would send now: which cells, in which tasks, how many at a time, and what they
will take.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from launch.cost import concurrency, rates
from launch.cost.packing import pack_apart
from launch.plan import snapshot
from launch.plan.launcher import cores
from launch.plan.outcome import FINAL, LIVE
from launch.scheduler import backend
from launch.status import failures, summary
from launch.status.sweep_state import is_final, load_sweep_state, records_of, runs_of
from launch.submit import calibration
from launch.sweep.request import AUTO, Cell, Request


@dataclass(frozen=True)
class Draft:
    """What a submission would send: cells, how they pack into tasks and arrays, and the time that
    they may take.
    """

    request: Request
    todo: Sequence[Cell]
    seconds: Sequence[float | None]
    """What each cell of `todo` has still to train; None where nothing like it was measured."""
    tasks: Sequence[Sequence[int]]
    arrays: int
    states: Counter[str]
    committed: float | None
    """GPU-hours that the sweep took so far, and will take for what is under way; None where not
    known.
    """
    sizes: Sequence[int | None]
    """How many cells each task runs at a time; None for one a core."""
    fewer: Sequence[int]
    """How many at a time, where cells that were short of memory are to have fewer beside them."""
    held: Sequence[str]
    """Ids of failed cells that share one error, which holds back all others too."""
    error: str | None
    others: int
    """How many cells are held back with them."""
    starved: Sequence[str]
    """Ids of cells that ran out of memory alone, and are not sent again with no more of it."""
    lost_nodes: frozenset[str]
    """Nodes that lost tasks of this sweep a short while ago."""

    @property
    def unit(self) -> str:
        """What `hours` counts: GPU-hours, or core-hours where the launcher asks for no GPU."""
        return self.request.launcher.occupancy(1).unit

    @property
    def hours(self) -> float:
        """What the cells of known time will occupy: each its share of its task."""
        shares = [self.request.launcher.occupancy(size).amount for size in self.sizes]
        known = (
            (share, self.seconds[i])
            for share, task in zip(shares, self.tasks, strict=True)
            for i in task
        )
        return sum(share * seconds / 3600 for share, seconds in known if seconds is not None)


def draft(request: Request, retry_errors: bool = False, again: bool = False) -> Draft:
    """What submitting `request` now would send, with `again` also what is done, all as if it had
    never run.

    Changes nothing. Raises UserError where the measurements that `task.at_a_time=auto` needs are
    lacking.
    """
    seen = (
        load_sweep_state(request.folder)
        if any((request.folder / "submissions").glob("*/plan.json"))
        else None
    )
    runs = seen.runs if seen else runs_of(request.folder)
    done = {
        cell for cell, record in records_of(runs).items() if is_final(record)
    }  # whatever became of their plans
    known: dict[str, str] = dict.fromkeys(done, "done")
    known |= {cell: found.state for cell, found in seen.cells.items()} if seen else {}
    states: Counter[str] = Counter(known.get(cell.id, "new") for cell in request.cells)
    spared = LIVE if again else (*FINAL, *LIVE)
    todo = [cell for cell in request.cells if known.get(cell.id) not in spared]
    ids = [cell.id for cell in todo]
    short = failures.short_of_memory(ids, seen) if seen else {}
    held: set[str] = set()
    error, starved = None, []
    if seen and not retry_errors:
        held, error = failures.shared_error(ids, seen, snapshot.code_hash())
        starved = failures.starved(short, seen, request.launcher)
    others = len(todo) - len(held) if held else 0
    todo = [] if held else [cell for cell in todo if cell.id not in starved]
    kind = request.launcher.kind
    where = backend.BACKENDS[kind]
    tried, through = (
        calibration.calibration_runs(request.folder),
        request.launcher.resources,
    )
    pooled = request.packing.at_a_time == AUTO and not calibration.covers_all_families(
        request.cells
    )
    counts = concurrency.choose(request, todo, tried, through, pooled, where.one_task)
    at_a_time = counts[0] if len(set(counts)) == 1 else request.packing.at_a_time
    rooms = {} if again else failures.rooms(short)
    beside = [
        concurrency.fewest(rooms.get(cell.id), count)
        for cell, count in zip(todo, counts, strict=True)
    ]
    fewer = {
        room
        for room, count in zip(beside, counts, strict=True)
        if room and room < (count or cores())
    }
    measured = concurrency.with_calibrations(runs, tried, at_a_time, through)
    table = pd.DataFrame([{"cell": cell.id, **cell.flat} for cell in todo])
    left = rates.expected(table, measured) if again else rates.left(table, runs, measured)
    seconds = [None if time != time else float(time) for time in left]
    tasks, sizes = pack_apart(seconds, beside, request.packing, where.one_task)
    arrays = -(-len(tasks) // where.array_size()) if tasks else 0
    committed = summary.hours_committed(seen, measured) if seen else 0.0
    return Draft(
        request, todo, seconds, tasks, arrays, states, committed, sizes, sorted(fewer), sorted(held), error, others,
        starved, lost_nodes=seen.lost_nodes if seen else frozenset(),
    )  # fmt: skip


def beyond_limit(made: Draft) -> str | None:
    """Why a draft is beyond `limits.gpu_hours`; None where it is within, or there is none, or it
    asks for no GPU.
    """
    limit = made.request.policy.gpu_hours
    if limit is None or made.unit != "GPU-hours" or not made.todo:
        return None
    unmeasured = sum(s is None for s in made.seconds)
    if unmeasured or made.committed is None:
        return (
            f"limits.gpu_hours: {limit:g}, but what the sweep takes is not known: nothing like "
            f"{unmeasured or 'some'} "
            f"of the cells was measured. Run `redescent calibrate {made.request.name}` with the "
            "same overrides, or set "
            "limits.gpu_hours=null"
        )
    if made.committed + made.hours <= limit:
        return None
    return (
        f"limits.gpu_hours: {limit:g}, but with this the sweep comes to "
        f"{made.committed + made.hours:.2f} GPU-hours: "
        f"{made.committed:.2f} spent or under way, {made.hours:.2f} to be sent. Send less, or "
        "raise the limit"
    )
