"""Submit a sweep: preview it, freeze it as a plan, send it, and record what was sent.

An exclusive lock on the sweep's folder ensures that two people who submit the same sweep at once
send every cell once. `jobs.json` records what is about to be sent before sbatch, and SLURM's answer
after it; a submission that died in between is found by its job name before anything is sent again.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Collection, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path

from launch.errors import UserError, quantity
from launch.plan import Launcher, Plan, jobs, load_all, markers, snapshot
from launch.plan.folder import check_folder
from launch.plan.jobs import Array, Dependencies
from launch.plan.outcome import LIVE, last_line
from launch.plan.plan import name_of
from launch.scheduler import backend, cluster, own_task, sbatch
from launch.status.sweep_files import RECORD_COLUMNS, is_final, records_of, runs_of
from launch.status.sweep_state import (
    SweepState,
    load_state_before_submission,
    load_sweep_state,
    trained_again,
)
from launch.submit import calibration, canary, followup, measurements, rounds
from launch.submit.data_check import check_data
from launch.submit.freeze import attempts_before, freeze, freeze_cells
from launch.submit.lock import locked
from launch.submit.preview import Preview, beyond_limit, check_canary, preview, with_searches
from launch.sweep.request import Cell, Packing, Request


@dataclass(frozen=True)
class Submission:
    """What a command sent."""

    preview: Preview
    plan: Plan | None
    """None if nothing was sent."""
    waits_for_canary: bool = False
    """Whether the jobs wait for a canary; they do not if it had succeeded before."""


def submit(
    request: Request,
    *,
    retry_errors: bool = False,
    rerun: bool = False,
    by_itself: bool = False,
    abandon_completing: bool = False,
) -> Submission:
    """Send every cell of `request` that is not done, running or queued, and the open rounds of its
    searches.

    With `retry_errors`, cells that are held back for a shared error are sent too; with `rerun`,
    done cells train again; with `by_itself`, cells that hold a search are left for the user; with
    `abandon_completing`, cells of tasks that have been completing for too long are sent too.

    Raises UserError if the hours exceed the limit, or if the scheduler refuses or does not answer;
    what it accepted before that stays recorded.
    """
    _check_request(request)
    request.folder.mkdir(parents=True, exist_ok=True)
    with locked(request.folder):
        state = load_state_before_submission(
            request.folder,
            searches=bool(request.searches),
            abandon_completing=abandon_completing,
        )
        request, searches = rounds.with_open_rounds(request, state)
        if by_itself:
            request = rounds.without_held(request, state)
        elif searches:
            markers.allow_rounds(request.folder)
        calibration_runs = measurements.calibration_runs(request.folder)
        proposal = preview(request, state, calibration_runs, retry_errors=retry_errors, rerun=rerun)
        proposal = with_searches(proposal, searches)
        _check_sendable(proposal, state)
        rounds.write(state, searches, proposal.selection.ids)
        if not proposal.cells:
            return Submission(proposal, None)
        canary_jobs = _send_canary(proposal, retry_errors=retry_errors)
        plan = freeze(proposal, request.launcher.kind, attempts_before(state.plans, state.records))
        excluded = _excluded_nodes(request, state.lost_nodes)
        plan = replace(plan, retry_errors=retry_errors, rerun=rerun, excluded=excluded)
        plan.write(request.folder)
        deliver(plan, request.folder, replace(_ends(proposal), success=canary_jobs))
    return Submission(proposal, plan, waits_for_canary=bool(canary_jobs))


def _check_request(request: Request) -> None:
    """Raise UserError for a launcher, a folder or data with which no job could work."""
    sbatch.check(request.launcher)
    check_folder(request.folder, request.launcher.kind)
    check_data([cell.flat for cell in request.cells])
    check_data([search.point for search in request.searches])


def _send_canary(proposal: Preview, *, retry_errors: bool) -> Sequence[str]:
    """Send the canary of these cells, if they have one; returns the jobs that must succeed."""
    if not proposal.request.policy.canary:
        return ()
    to_send = replace(proposal.request, cells=proposal.cells)
    return send_calibration_first(to_send, retry_errors=retry_errors)


def write_searches(folder: Path) -> None:
    """Write searches.json from the results so far, and send nothing; a grid has no such file."""
    if not rounds.searches_of(load_all(folder)):
        return
    with locked(folder):
        rounds.write(load_state_before_submission(folder))


def _check_sendable(proposal: Preview, state: SweepState) -> None:
    """Raise UserError if unknown cells may be running, or if the hours exceed the limit."""
    unknown = proposal.selection.states["unknown"]
    if unknown:
        cells = f"{quantity(unknown, 'cell')} of {name_of(proposal.request.folder)}"
        if not state.silent:
            raise UserError(
                f"the scheduler has not confirmed yet whether it has the jobs of {cells}; nothing "
                "was sent. Try again two minutes after the jobs were sent"
            )
        raise UserError(
            f"{cells} may be running in a job whose scheduler does "
            "not answer; nothing was sent. Try again when it answers (`redescent doctor`)"
        )
    check_canary(proposal)
    refusal = beyond_limit(proposal)
    if refusal:
        raise UserError(refusal)


def _ends(proposal: Preview) -> Dependencies:
    """The jobs after whose end each task starts: those that train the cells that it reads."""
    return Dependencies(ends=[task.follows for task in proposal.tasks])


def send_calibration_first(request: Request, *, retry_errors: bool) -> Sequence[str]:
    """Send the calibration of a request; returns the jobs that must succeed before the rest."""
    released = replace(request, launcher=request.launcher.released)
    all_copies = calibration.calibration_request(released)
    missing = measurements.still_to_measure(all_copies, all_copies.code)
    submission = submit(missing, retry_errors=retry_errors, rerun=True)
    state = load_sweep_state(all_copies.folder)
    running = canary.running_jobs(state, all_copies.cells)
    error = submission.preview.selection.held_back.error
    if error is None and not running:
        error = _error_of_canary(request, state, {cell.id for cell in missing.cells})
    if error is not None:
        raise UserError(
            f"canary: its cells failed with {error!r} in this code, so nothing else was "
            "sent. Fix the error, or send everything with --retry-errors"
        )
    return running


def _error_of_canary(request: Request, state: SweepState, ids: Set[str]) -> str | None:
    """Why the cells of a calibration without known jobs did not succeed; None if they did.

    Raises UserError if a job of them may be about to run.
    """
    again = trained_again(state)
    may_run = {cell.id for cell in state.cells.values() if cell.state in LIVE} | set(again.may_run)
    if ids & may_run:
        raise UserError(
            "canary: it is not known whether SLURM accepted its cells, so nothing else was sent. "
            "Submit again when `redescent doctor` finds SLURM"
        )
    for cell, error in canary.failed_cells(request.folder, request.packing.at_a_time):
        if cell in ids:
            return last_line(error)
    return "no result; see `redescent logs` of its cells" if ids & set(again.ended) else None


def plan_single_cell(folder: Path, name: str, cell: Cell, launcher: Launcher) -> Plan | None:
    """Plan a cell that this process will run; None if the cell is done."""
    check_folder(folder, launcher.kind)
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        records = records_of(runs_of(folder, RECORD_COLUMNS))
        if is_final(records.get(cell.id)):
            return None
        task = own_task.from_environment()
        request = Request(name, folder.parent, [cell], Packing(), launcher, [])
        attempts = attempts_before(load_all(folder), records)
        plan = freeze_cells(request, "slurm" if task else "local", [cell], attempts)
        plan.write(folder)
        array = Array(name=jobs.job_name(plan, 0), first=0, count=1, sent=time.time(), job="local")
        if task:
            array = replace(array, name=task.name, job=task.job, offset=task.index)
        jobs.write(plan, folder, [array])
        return plan


def array_scripts(preview: Preview) -> list[str]:
    """The scripts that sbatch would get for a preview, one for each array; nothing is written.

    The id in the names of the jobs is another one in each submission. Raises UserError if there is
    nothing to send, or another launcher than SLURM.
    """
    request = preview.request
    if request.launcher.kind != "slurm":
        raise UserError(
            f"--sbatch: found the launcher {request.launcher.kind}, expected hydra/launcher=slurm "
            "or a file like it"
        )
    if not preview.cells:
        raise UserError("--sbatch: there is nothing to send, so no script")
    software = request.software or snapshot.planned_software(request.folder, request.own_packages)
    request = replace(request, software=software)
    plan = freeze(replace(preview, request=request), "slurm", {})
    folder = plan.folder(request.folder).resolve()
    arrays = jobs.intended_arrays(plan, cluster.array_size(), _ends(preview))
    paths = folder / "plan.json", folder / "output"
    return [sbatch.array_script(plan, *paths, array) for array in arrays]


def _excluded_nodes(request: Request, lost_nodes: Collection[str]) -> list[str]:
    """The nodes that lost tasks, which jobs avoid unless no other node is in service."""
    if not lost_nodes or request.launcher.kind != "slurm":
        return []
    in_service = cluster.nodes_in_service(request.launcher.partition) or set()
    return sorted(lost_nodes) if in_service - set(lost_nodes) else []


def deliver(plan: Plan, folder: Path, dependencies: Dependencies) -> None:
    """Record what is about to be sent, send the arrays one by one, and record each answer.

    After a refusal or a lost answer nothing more is sent: the rest is recorded as never sent, and
    UserError is raised.
    """
    scheduler = backend.BACKENDS[plan.backend]
    arrays = jobs.record(plan, folder, scheduler.array_size(), dependencies)
    for i, array in enumerate(arrays):
        try:
            arrays[i] = scheduler.send(plan, folder, array)
        except backend.Unanswered as silence:
            arrays[i] = replace(array, sent=time.time())
            arrays[i + 1 :] = _with_error(arrays[i + 1 :], jobs.NEVER_SENT)
            jobs.write(plan, folder, arrays)
            raise UserError(
                f"the scheduler did not answer ({silence}), so {quantity(array.count, 'task')} "
                "may or may not be queued; submit again in two minutes: accepted jobs are found by "
                "name, and the rest is sent"
            ) from None
        except backend.Refused as refusal:
            arrays[i:] = _with_error(arrays[i:], str(refusal))
            jobs.write(plan, folder, arrays)
            raise UserError(_not_sent(refusal, array.first, plan)) from None
        except OSError as error:
            arrays[i:] = _with_error(arrays[i:], str(error))
            with contextlib.suppress(OSError):  # a full disk holds no answer either
                jobs.write(plan, folder, arrays)
            raise
        # a lost answer is waited for from when its own array was sent
        now = time.time()
        arrays[i + 1 :] = [replace(later, sent=now) for later in arrays[i + 1 :]]
        jobs.write(plan, folder, arrays)
    if plan.backend == "slurm":
        followup.send(plan, folder, [str(array.job) for array in arrays])


def _not_sent(refusal: backend.Refused, sent: int, plan: Plan) -> str:
    """The message about a plan of which only the first tasks were sent, or none."""
    what = "nothing was sent"
    if sent:
        were = "was" if sent == 1 else "were"
        command = "submit --again" if plan.rerun else "submit"
        tasks = quantity(len(plan.tasks), "task")
        what = f"{sent} of {tasks} {were} sent; the rest is kept for the next `{command}`"
    if isinstance(refusal, backend.Missing):
        advice = "Run this command on a login node, which has sbatch"
        return f"{refusal}: {what}. {advice}"
    if isinstance(refusal, backend.Unreachable):
        advice = "Try again later (`redescent doctor`)"
        return f"SLURM does not answer ({refusal}): {what}. {advice}"
    return (
        f"the jobs were refused: {refusal}: {what}. Change the refused setting "
        "(hydra.launcher.KEY=VALUE) and submit again"
    )


def _with_error(arrays: Sequence[Array], error: str) -> list[Array]:
    """The arrays, each with the error that kept it from being sent."""
    return [replace(array, error=error) for array in arrays]
