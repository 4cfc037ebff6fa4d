"""All sweeps of a folder of logs, one line each: for `redescent list` and the index of reports."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis.store import StoreError
from launch.errors import UserError
from launch.plan import PlanError
from launch.plan.plan import plan_files
from launch.report.data import StateCount, state_counts
from launch.report.overview import load_overview
from launch.status.answers import SlurmAnswer, ask_slurm
from launch.status.summary import percent
from launch.status.sweep_files import SweepFiles, read_files
from launch.status.sweep_state import state_of

_UNREADABLE = (UserError, PlanError, StoreError, OSError)
"""What reading a damaged sweep raises."""

REPORT = "report.html"
"""The page of a sweep, in its folder."""


@dataclass(frozen=True)
class SweepLine:
    """One sweep in a list."""

    name: str
    problem: str = ""
    """Why it cannot be read; the rest is then empty."""
    cells: int = 0
    ended: int = 0
    """Cells with a result."""
    share_done: float = 0.0
    is_live: bool = False
    counts: Sequence[StateCount] = ()
    unit: str = ""
    hours_spent: float = 0.0
    hours_left: float = 0.0
    unmeasured: int = 0
    training_again: int = 0
    """Done cells that train again."""
    submitted: float = 0.0
    """The Unix time of its newest submission."""
    report: str = ""
    """The link to its page; empty without one."""

    @property
    def day(self) -> str:
        """When it was submitted last, in local time; empty if unknown."""
        if not self.submitted:
            return ""
        return time.strftime("%F %H:%M", time.localtime(self.submitted))

    @property
    def spent(self) -> str:
        """Hours spent, with their unit."""
        return f"{self.hours_spent:.2f} {self.unit}"

    @property
    def left(self) -> str:
        """Hours left as text: "unknown" where cells resemble no measured run."""
        if self.ended == self.cells:
            return "0"
        return "unknown" if self.unmeasured else f"{self.hours_left:.2f}"

    @property
    def percent(self) -> int:
        """The share of the planned training that is done, rounded down: 100 is the whole."""
        return percent(self.share_done)

    @property
    def done(self) -> str:
        """The share as text: "unknown" while cells may have gone on without our knowing."""
        is_known = all(count.state != "unknown" for count in self.counts)
        return f"{self.percent} %" if is_known else "unknown"

    def states(self) -> str:
        """The cells by state, such as "75 done, 3 failed", and how many of the done train again."""
        parts = [f"{count.cells} {count.state}" for count in self.counts]
        if self.training_again:
            parts.append(f"{self.training_again} training again")
        return ", ".join(parts)


def load_sweeps(logs: Path) -> list[SweepLine]:
    """The sweeps of a folder of logs, the last submitted first; those that cannot be read last.

    SLURM is asked once about all of them.

    Raises UserError if the folder is absent or has no sweep.
    """
    folders = sorted(path for path in logs.glob("*") if path.is_dir())
    sweeps = [_read(folder) for folder in folders if _is_sweep(folder)]
    answer = ask_slurm([sweep for sweep in sweeps if isinstance(sweep, SweepFiles)])
    lines = [_line(sweep, answer) for sweep in sweeps]
    if not lines:
        raise UserError(
            f"{logs}: no submitted sweep in this folder; `redescent submit NAME` creates one"
        )
    return sorted(lines, key=lambda line: -line.submitted)


def _is_sweep(folder: Path) -> bool:
    try:
        return bool(plan_files(folder))
    except PlanError:
        return True


def _read(folder: Path) -> SweepFiles | SweepLine:
    """The files of a sweep, or the line that says why they cannot be read."""
    try:
        return read_files(folder)
    except _UNREADABLE as error:
        return SweepLine(folder.name, problem=str(error))


def _line(sweep: SweepFiles | SweepLine, answer: SlurmAnswer) -> SweepLine:
    if isinstance(sweep, SweepLine):
        return sweep
    folder = sweep.folder
    try:
        overview = load_overview(state_of(sweep, answer))
    except _UNREADABLE as error:
        return SweepLine(folder.name, problem=str(error))
    state, summary = overview.state, overview.summary
    return SweepLine(
        name=overview.name,
        cells=len(state.cells),
        ended=overview.ended,
        share_done=overview.share_done,
        is_live=overview.is_live,
        counts=state_counts(summary.lines),
        unit=summary.unit,
        hours_spent=summary.hours_spent,
        hours_left=summary.hours_left,
        unmeasured=summary.unmeasured,
        training_again=len(overview.trained_again.going_on),
        submitted=state.plans[-1].created,
        report=f"{folder.name}/{REPORT}" if (folder / REPORT).exists() else "",
    )
