"""The status of a sweep in one object: what `redescent status` and the report show."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import pandas as pd

from launch.cost import concurrency
from launch.errors import UserError
from launch.plan.outcome import FINAL, LIVE
from launch.plan.plan import name_of
from launch.plan.snapshot import code_hash
from launch.status import failures, other_results, summary
from launch.status.silent_ends import SilentEnd, not_started_cells, silent_ends
from launch.status.summary import Summary, percent, share_done
from launch.status.sweep_state import SweepState, TrainedAgain, trained_again
from launch.submit import canary, measurements, rounds, weights
from launch.submit.rounds import Standing, keys_in_live_tasks

COMPACTION_SECONDS = 600.0
"""Seconds after the last record within which the compaction of a sweep is not late."""


@dataclass(frozen=True)
class Overview:
    """What `redescent status` shows of a sweep."""

    state: SweepState
    summary: Summary
    held_back: int
    """How many failed cells share an error."""
    canary: tuple[str, str] | None
    """Cell and error of a failed calibration that blocks the rest of the sweep."""
    searches: Sequence[Standing] = ()
    silent_ends: Sequence[SilentEnd] = ()
    """Cells whose task ended without a result or an error of them."""
    left_out: Sequence[str] = ()
    """Which cells `resume` leaves out because they read missing weights, and what to do."""
    other_code: int = 0
    """How many cells are done with other code than the present, and do not train again now."""
    not_started: int = 0
    """How many cells were not started because others of their submission share an error."""
    is_unmerged: bool = False
    """Whether parts are left that a compaction should have merged."""
    trained_again: TrainedAgain = field(default_factory=TrainedAgain)
    """Done cells that train again, or were trained again without a new result."""

    @property
    def is_live(self) -> bool:
        """Whether a cell may still train."""
        return is_live(self.state)

    @property
    def ended(self) -> int:
        """Cells with a result."""
        return sum(cell.state in FINAL for cell in self.state.cells.values())

    @property
    def share_done(self) -> float:
        """The share of the planned training that is done, 0 to 1."""
        runs = self.state.runs
        return share_done(runs[runs["cell"].isin(set(self.state.cells))])

    @property
    def percent(self) -> int:
        """The share in percent, rounded down: 100 is the whole."""
        return percent(self.share_done)

    @property
    def name(self) -> str:
        """The name of the sweep."""
        return name_of(self.state.folder)


def load_overview(state: SweepState) -> Overview:
    """The overview of a sweep in this state."""
    plan = state.plans[-1]
    failed_cells = [id for id, cell in state.cells.items() if cell.state == "failed"]
    held_back = failures.held_back(failed_cells, state, present_code(state))
    other_code = other_results.with_other_code(state, other_results.present_sources(state))
    again = trained_again(state)
    return Overview(
        state=state,
        summary=summary.summarise(state, _timed_runs(state)),
        held_back=len(held_back.cells),
        canary=canary.failed_canary(state, plan),
        searches=rounds.standings(state),
        silent_ends=silent_ends(state),
        left_out=weights.left_out(state),
        not_started=len(not_started_cells(state)),
        other_code=len(set(other_code) - set(again.may_run)),
        is_unmerged=_is_unmerged(state),
        trained_again=again,
    )


def _timed_runs(state: SweepState) -> pd.DataFrame:
    """The runs of a sweep and of its calibrations, to estimate times from."""
    plan = state.plans[-1]
    calibrations = measurements.calibration_runs(state.folder)
    has_one_size = len(set(plan.sizes)) == 1
    at_a_time = plan.sizes[0] if has_one_size else plan.packing["at_a_time"]
    resources = plan.launcher.resources
    return concurrency.with_calibrations(state.runs, calibrations, at_a_time, resources)


def _is_unmerged(state: SweepState) -> bool:
    """Whether the compaction of a sweep that is over is late: it failed, or waits in the queue."""
    if not any(plan.policy.get("compact") for plan in state.plans) or is_live(state):
        return False
    runs = state.folder / "runs"
    with contextlib.suppress(FileNotFoundError):
        is_late = time.time() - runs.stat().st_mtime > COMPACTION_SECONDS
        return is_late and any(runs.glob("*.parquet"))
    return False


def present_code(state: SweepState) -> str:
    """Hash of the sources that jobs of the newest plan would import now; empty where a package of
    the user's cannot be imported here.
    """
    try:
        return code_hash(state.plans[-1].own_packages)
    except UserError:
        return ""


def is_live(state: SweepState, sid: str | None = None) -> bool:
    """Whether a cell may still train, or train again; with `sid`, again for that submission.

    A task that trains whole searches may be about to add cells.
    """
    if any(cell.state in LIVE for cell in state.cells.values()) or keys_in_live_tasks(state):
        return True
    return bool(trained_again(state, sid).may_run)
