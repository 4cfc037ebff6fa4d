"""Sending cells from the command line: what `plan`, `submit`, `resume` and `calibrate` share."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from launch.cli import layout, progress
from launch.cli.console import console
from launch.cli.preview import hours, print_meant_as_conditions, print_preview
from launch.cli.status import print_status
from launch.cli.tables import print_calibration
from launch.cli.wait import wait_until_end, wait_until_finished
from launch.errors import FAILED, quantity
from launch.plan.folder import umask_that_locks_out
from launch.plan.outcome import FINAL
from launch.plan.plan import CALIBRATION, name_of
from launch.plan.project import setting_for
from launch.scheduler import backend
from launch.status.sweep_state import load_sweep_state, trained_again
from launch.submit import calibration, measurements, submission
from launch.submit.preview import load_preview
from launch.submit.submission import Submission
from launch.sweep import compose
from launch.sweep.request import Request


def expand(name: str, overrides: Sequence[str]) -> Request:
    """The cells of a sweep, with the launcher that the overrides name or this machine has."""
    choice = backend.choose_launcher(overrides)
    request = compose.expand_sweep(name, choice.overrides)
    return replace(request, why_launcher=choice.reason)


def send(request: Request, wait: bool, overrides: Sequence[str] = (), **choices: bool) -> None:
    """Submit with these choices of `submission.submit`, and show what was sent. With `wait`, show
    progress until the end, and exit with the status of the sweep.

    `overrides` are those that made the request.
    """
    _warn_of_umask(request.folder)
    is_here = request.launcher.kind == "debug"
    with progress.foreground(request.folder) if is_here else contextlib.nullcontext():
        result = submission.submit(request, **choices)
    print_preview(result.preview)
    if choices.get("rerun"):
        print_meant_as_conditions(result.preview, overrides)
    setting = setting_for(request.folder.parent)
    if setting:
        layout.print_paragraph(
            f"logs=... is of this command alone: `export {setting}` lets the others find the sweep"
        )
    plan = result.plan
    if plan is None:
        console.print("nothing to send")
    else:
        _print_sent(result, plan.sid)
    has_trained = is_here and (plan is not None or len(request.searches) > 0)
    if wait or has_trained:
        complete = wait_until_finished(request.folder, plan.sid if plan else None)
        print_status(request.folder)
        if not complete:
            _print_cells_of_other_requests(request)
        sys.exit(0 if complete else FAILED)


def _warn_of_umask(folder: Path) -> None:
    """Warn a user whose umask keeps the group from writing into a sweep that it shares."""
    mask = umask_that_locks_out(folder)
    if mask:
        layout.print_paragraph(
            f"warning: {folder} is shared with its group, but your umask {mask} keeps "
            "others from writing what you create there; set umask 002 before you submit"
        )


def _print_sent(result: Submission, sid: str) -> None:
    """Say how many cells were sent, and what they wait for if the sweep has a canary."""
    request, count = result.preview.request, len(result.preview.cells)
    name = name_of(request.folder)
    layout.print_paragraph(
        f"sent {quantity(count, 'cell')} as submission {sid}; "
        f"`redescent status {name}` shows {'its' if count == 1 else 'their'} state"
    )
    if result.waits_for_canary:
        layout.print_paragraph(
            f"they start when the smallest and largest cells succeed in {name}/{CALIBRATION}; "
            "if one of those fails, SLURM removes them from the queue"
        )
    elif request.policy.canary:
        layout.print_paragraph(
            "no canary was sent: the smallest and largest cells succeeded with this code "
            f"before, in {name}/{CALIBRATION}"
        )


def _print_cells_of_other_requests(request: Request) -> None:
    """Say how many cells keep a sweep incomplete although the request has none of them."""
    requested = {cell.id for cell in request.cells}
    count = 0
    for cell in load_sweep_state(request.folder).cells.values():
        if cell.state not in FINAL and not cell.placement.cancelled and cell.id not in requested:
            count += 1
    if count and not request.searches:
        cells, them = ("cell is", "it") if count == 1 else ("cells are", "them")
        layout.print_paragraph(
            f"{count} {cells} of earlier submissions alone and without a result: "
            f"`redescent cancel {name_of(request.folder)} CONDITION` leaves {them} out of the sweep"
        )


def calibrate(
    name: str, overrides: Sequence[str], epochs: int, steps: int, counts: Sequence[int]
) -> None:
    """Train the smallest and largest cells with each number of copies; show how long they take."""
    request = expand(name, overrides)
    concurrencies: Sequence[int | None] = sorted(set(counts)) or [None]
    for concurrency in concurrencies:
        runs = calibration.calibration_request(request, epochs, steps, concurrency)
        missing = measurements.still_to_measure(runs, runs.code)
        plan = submission.submit(missing, retry_errors=True, rerun=True).plan
        wait_until_end(missing.folder, plan.sid if plan else None)
        if plan and trained_again(load_sweep_state(missing.folder), plan.sid).without_result:
            print_status(missing.folder)
            sys.exit(FAILED)
    results = measurements.measurements(request)
    print_calibration(results)
    succeeded = {result.cell.id for result in results if not result.failure}
    cells = calibration.smallest_and_largest(calibration.calibrated_cells(request))
    if {cell.id for cell in cells} - succeeded:
        print_status(request.folder / CALIBRATION)
        sys.exit(FAILED)
    console.print(f"the sweep: {hours(load_preview(request))}")
