"""What a sweep's status says in words: hours, the expected end, and what to do next."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from launch.errors import quantity
from launch.plan.identity import cell_arguments
from launch.plan.markers import RepeatedErrors, notify_error
from launch.plan.outcome import FINAL, STATES, last_line
from launch.plan.plan import CALIBRATION, name_of
from launch.report.drawing import drawing_command
from launch.report.overview import Overview
from launch.report.searches import advice
from launch.status.summary import Summary
from launch.status.sweep_state import SweepState, TrainedAgain
from launch.status.waiting import (
    disk_advice,
    held_jobs,
    never_starts,
    refusal,
    refused_advice,
    stuck_tasks,
    unconfirmed_advice,
)

SHOWN_FAILURES = 3
"""Kinds of failures shown by the plain status; `--failed` and the report list all."""

_MEANINGS: Mapping[str, str] = {str(state): meaning for state, meaning in STATES.items()}

Severity = Literal["bad", "warning", "plain"]


@dataclass(frozen=True)
class Note:
    """One sentence about a sweep: `headline` says what is wrong, `text` goes on from there."""

    headline: str
    text: str
    severity: Severity

    @property
    def sentence(self) -> str:
        """The whole sentence."""
        return self.headline + self.text


def plain(text: str) -> Note:
    """A note without a headline."""
    return Note("", text, "plain")


def meaning_of(state: str) -> str:
    """What a state in the status table means."""
    return _MEANINGS.get(state, "preempted, and queued again")


def hours(overview: Overview) -> list[str]:
    """Hours spent and left, and the expected end; "unknown" if not measured."""
    summary = overview.summary
    spent = f"{summary.hours_spent:.2f} {summary.unit} spent"
    is_complete = overview.ended == len(overview.state.cells)
    lines = [spent if is_complete else f"{spent}, {hours_left(overview)}"]
    if summary.end is not None:
        lines.append(f"expected end of {_expected(overview)}")
    elif summary.unknown:
        lines.append(f"expected end: unknown, {summary.unknown}")
    return lines


def _expected(overview: Overview) -> str:
    """What ends when; with cells that wait, on which condition."""
    end = end_time(overview.summary)
    if any(cell.state == "waiting" for cell in overview.state.cells.values()):
        return f"the cells that run or wait: {end}, if as many tasks keep running as now"
    return f"the running cells: {end}"


def hours_left(overview: Overview) -> str:
    """The hours left, and why they are not known."""
    summary = overview.summary
    remaining = f"about {summary.hours_left:.2f} left"
    if summary.unmeasured and not summary.hours_left:
        remaining = "unknown how many left"
    if summary.unmeasured:
        reason = f"no similar run was measured for {quantity(summary.unmeasured, 'cell')}"
        is_calibration = overview.name.endswith(f"/{CALIBRATION}")
        hint = "" if is_calibration else f": `redescent calibrate {overview.name}`"
        remaining += f" ({reason}{hint})"
    return remaining


def end_time(summary: Summary) -> str:
    """When the queue is expected to be empty, in local time; empty if unknown."""
    if summary.end is None:
        return ""
    return time.strftime("%F %H:%M", time.localtime(time.time() + summary.end))


_SHARED_ERROR = ": three cells of the submission failed with the same error, so it stopped"


def next_steps(overview: Overview, *, on_page: bool = False) -> list[Note]:
    """What the user must know or do for the sweep to go on; `on_page`: on the page of the sweep."""
    notes = waiting(overview.state)
    is_live = overview.is_live
    held_back = overview.held_back > 0
    searches = advice(overview.searches, overview.name, live=is_live, held_back=held_back)
    disk = disk_advice(overview.state)
    if disk:
        notes.append(Note(disk, "", "bad"))
    for end in overview.silent_ends[:SHOWN_FAILURES]:
        cells = f"{quantity(len(end.cells), 'cell')} without a result"
        notes.append(Note(cells, f": the task ended, and {end.cause}", "bad"))
    if overview.not_started:
        headline = f"{quantity(overview.not_started, 'cell')} not started"
        notes.append(Note(headline, _SHARED_ERROR, "warning"))
    states = {line.state for line in overview.summary.lines}
    if is_live:
        notes.append(plain(f"not over: `redescent status {overview.name} --watch` follows it"))
    elif _is_complete_but_for_cancelled(overview):
        notes.append(plain(_cancelled(overview)))
    elif states & {"failed", "interrupted", "missing"}:
        notes += _refused(overview.state)
        notes += [plain(f"not complete: {hint}") for hint in _resume_hints(overview)]
    elif not searches:
        notes.append(plain(_complete(overview, on_page=on_page)))
    notes += [plain(line) for line in searches]
    notes += [*_canary(overview), *_other_code(overview), *_trained_again(overview)]
    if overview.is_unmerged:
        notes.append(plain(_unmerged(overview)))
    notes += _notification(overview)
    return [*notes, *_unconfirmed(overview), *_silence(overview.state)]


def _is_complete_but_for_cancelled(overview: Overview) -> bool:
    """Whether some cells have a result, and the user cancelled all others."""
    others = [cell for cell in overview.state.cells.values() if cell.state not in FINAL]
    return bool(overview.ended and others) and all(cell.placement.cancelled for cell in others)


def _cancelled(overview: Overview) -> str:
    count = len(overview.state.cells) - overview.ended
    option = " --retry-errors" if overview.held_back else ""
    return (
        f"complete but for {quantity(count, 'cancelled cell')}: "
        f"`redescent resume {overview.name}{option}` sends {'it' if count == 1 else 'them'}"
    )


def _complete(overview: Overview, *, on_page: bool) -> str:
    """The command that shows a complete sweep: its figure, or the page where no script is known."""
    newest = overview.state.plans[-1]
    command = drawing_command(overview.state.folder, newest.flat(newest.cells[0])["trainer.name"])
    if command is not None:
        return f"complete: `{command}` draws its figure"
    if on_page:
        return "complete"
    return f"complete: `redescent report {overview.name}` writes a page with its results"


def waiting(state: SweepState) -> list[Note]:
    """What the user must know about cells that will not start or end by themselves."""
    name = name_of(state.folder)
    notes = []
    for wait in never_starts(state):
        headline = f"{quantity(wait.cells, 'cell')} will never start"
        notes.append(Note(headline, f" ({wait.reason}): {wait.advice}", "bad"))
    held = held_jobs(state)
    if held is not None:
        headline = f"{quantity(held.cells, 'cell')} held by SLURM"
        notes.append(Note(headline, f": {held.advice}", "warning"))
    stuck = stuck_tasks(state)
    if stuck is not None:
        headline = f"{quantity(stuck.cells, 'cell')} held by a node"
        notes.append(Note(headline, f": {stuck.advice(name)}", "warning"))
    return notes


def _refused(state: SweepState) -> list[Note]:
    """The newest submission, if the scheduler refused it."""
    error = refusal(state, state.plans[-1].sid)
    if not error:
        return []
    advice = refused_advice(name_of(state.folder))
    return [Note("the scheduler refused the newest submission", f": {error}; {advice}", "bad")]


def _resume_hints(overview: Overview) -> Sequence[str]:
    """What sends the cells without a result; measures first need what they read."""
    command = f"redescent resume {overview.name}"
    hints = [*overview.left_out]
    if overview.held_back:
        cells = quantity(overview.held_back, "cell shares", "cells share")
        hints.append(
            f"{cells} an error; after you fix it, `{command} --retry-errors` sends the rest"
        )
    return hints or [f"`{command}` sends the rest"]


def _canary(overview: Overview) -> list[Note]:
    if overview.canary is None:
        return []
    cell, error = overview.canary
    consequence = "SLURM removes the cells that waited for it from the queue"
    arguments = cell_arguments(cell, f"{overview.name}/{CALIBRATION}")
    hint = f"see `redescent why {arguments}`"
    return [Note("the canary failed", f": {last_line(error)}; {consequence}; {hint}", "bad")]


def _other_code(overview: Overview) -> list[Note]:
    if not overview.other_code:
        return []
    headline = f"{quantity(overview.other_code, 'cell')} done with other code"
    sweep = overview.name.removesuffix(f"/{CALIBRATION}")
    if sweep != overview.name:
        return [Note(headline, f": `redescent calibrate {sweep}` repeats the training", "warning")]
    command = f"redescent submit {sweep} --again"
    them = "it" if overview.other_code == 1 else "them"
    hint = f"`{command}`, with the overrides that trained {them}, trains {them} again"
    return [Note(headline, f": {hint}", "warning")]


def _unmerged(overview: Overview) -> str:
    is_on_slurm = overview.state.plans[-1].backend == "slurm"
    cause = ": the job that merges them failed or waits" if is_on_slurm else ""
    return f"its parts are not merged{cause}; `redescent compact {overview.name}` merges them"


def training_again(again: TrainedAgain) -> list[Note]:
    """How many done cells train again, or may: they count as done meanwhile."""
    notes = []
    if again.going_on:
        cells = quantity(len(again.going_on), "done cell")
        text = f"{cells} queued or training again; earlier results stay until new ones are complete"
        notes.append(plain(text))
    if again.unknown:
        notes.append(plain(f"{quantity(len(again.unknown), 'done cell')} may be training again"))
    return notes


def _trained_again(overview: Overview) -> list[Note]:
    return [*training_again(overview.trained_again), *without_new_result(overview)]


def without_new_result(overview: Overview) -> list[Note]:
    """The cells that were sent to train again and got no new result."""
    again, notes = overview.trained_again, []
    if again.ended:
        cells = quantity(len(again.ended), "cell")
        notes.append(Note(f"{cells} without a new result", _why_no_new_result(overview), "bad"))
    if again.cancelled:
        cells = quantity(len(again.cancelled), "done cell")
        was = "was" if len(again.cancelled) == 1 else "were"
        text = f" {was} cancelled while training again: earlier results stay, and {_AGAIN}"
        notes.append(Note(cells, text, "plain"))
    return notes


_AGAIN = "`redescent submit` with --again and the same overrides sends them once more"


def _why_no_new_result(overview: Overview) -> str:
    """Why cells that were sent to train again have no new result, and what to do."""
    if overview.canary is not None:
        return ": they were not trained again, because the canary failed; the earlier ones stay"
    arguments = cell_arguments(overview.trained_again.ended[0], overview.name)
    hint = f"`redescent logs {arguments}` shows why"
    newest = [plan for plan in overview.state.plans if plan.rerun][-1]
    error = RepeatedErrors(newest.folder(overview.state.folder)).stopped_by()
    if error is not None:
        return f": trained again, they failed with {error!r} or were not started; {hint}"
    return f": the earlier ones stay; {hint}, and {_AGAIN}"


def _notification(overview: Overview) -> list[Note]:
    plan = overview.state.plans[-1]
    error = notify_error(plan.folder(overview.state.folder))
    if not error:
        return []
    return [Note("notify.command failed", f": {error}; the sweep is not affected", "warning")]


def _unconfirmed(overview: Overview) -> list[Note]:
    sids = overview.state.unconfirmed()
    if not sids:
        return []
    headline = f"the scheduler has not confirmed {quantity(len(sids), 'submission')} yet"
    return [Note(headline, f": {unconfirmed_advice(overview.name)}", "warning")]


def _silence(state: SweepState) -> list[Note]:
    if not state.silent:
        return []
    submissions = quantity(len(state.silent), "submission")
    headline = f"the scheduler does not answer about {submissions}"
    reason = f" ({state.silence})" if state.silence else ""
    whose = "its" if len(state.silent) == 1 else "their"
    return [Note(headline, f"{reason}; {whose} cells may be running", "warning")]
