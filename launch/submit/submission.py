"""Submit a sweep: preview it, freeze it as a plan, send it, and record what was sent.

An exclusive lock on the sweep's folder ensures that two people who submit the same sweep at once
send every cell once. `jobs.json` records what is about to be sent before sbatch, and SLURM's answer
after it; a submission that died in between is found by its job name before anything is sent again.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from launch.errors import UserError, quantity
from launch.plan import Launcher, Plan, PlannedCell, jobs, load_all, markers, snapshot
from launch.plan.folder import check_folder, no_sweep
from launch.plan.jobs import Array, Dependencies
from launch.plan.outcome import LIVE, last_line
from launch.plan.plan import factor, new_sid
from launch.scheduler import backend, sbatch, slurm
from launch.status.cell_state import Record
from launch.status.sweep_files import RECORD_COLUMNS, is_final, records_of, runs_of
from launch.status.sweep_state import (
    SweepState,
    load_state_before_submission,
    load_sweep_state,
    trained_again,
)
from launch.submit import calibration, followup, rounds
from launch.submit.lock import locked
from launch.submit.preview import Preview, beyond_limit, check_canary, preview, with_searches
from launch.submit.table_columns import check_columns
from launch.sweep.adaptive import search_key
from launch.sweep.request import INSIDE, LAUNCH_KEYS, Cell, Packing, Policy, Request

_ROOT_VARIABLES = {
    "cifar10": "REDESCENT_CIFAR10",
    "svhn": "REDESCENT_SVHN",
    "table": "REDESCENT_TABLE",
}
"""Environment variables that configs/data/ reads the place of a data set from."""


@dataclass(frozen=True)
class Submission:
    """What a command sent: the preview and its plan; the plan is None if nothing was sent."""

    preview: Preview
    plan: Plan | None


def submit(
    request: Request,
    *,
    retry_errors: bool = False,
    rerun: bool = False,
    by_itself: bool = False,
    abandon_completing: bool = False,
) -> Submission:
    """Send every cell of `request` that is not done, running or queued, and of its searches the
    open rounds. With `by_itself`, cells that hold a search are left for the user. With
    `abandon_completing`, cells of tasks that have been completing for too long are sent too.

    Raises UserError if the hours exceed the limit, or if the scheduler refuses or does not answer;
    what it accepted before that stays recorded.
    """
    sbatch.check(request.launcher)
    check_folder(request.folder, request.launcher.kind)
    check_data([cell.flat for cell in request.cells])
    check_data([search.point for search in request.searches])
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
        calibration_runs = calibration.calibration_runs(request.folder)
        proposal = preview(request, state, calibration_runs, retry_errors=retry_errors, rerun=rerun)
        proposal = with_searches(proposal, searches)
        _check_sendable(proposal)
        rounds.write(state, searches, proposal.selection.ids)
        if not proposal.cells:
            return Submission(proposal, None)
        dependencies = _dependencies(proposal, retry_errors=retry_errors)
        attempts = attempts_before(state.plans, state.records)
        plan = replace(
            freeze(proposal, request.launcher.kind, attempts),
            retry_errors=retry_errors,
            rerun=rerun,
            excluded=_excluded_nodes(request, state.lost_nodes),
        )
        plan.write(request.folder)
        deliver(plan, request.folder, dependencies)
    return Submission(proposal, plan)


def write_searches(folder: Path) -> None:
    """Write searches.json from the results so far, and send nothing; a grid has no such file."""
    if not rounds.searches_of(load_all(folder)):
        return
    with locked(folder):
        rounds.write(load_state_before_submission(folder))


def _check_sendable(proposal: Preview) -> None:
    """Raise UserError if unknown cells may be running, or if the hours exceed the limit."""
    unknown = proposal.selection.states["unknown"]
    if unknown:
        raise UserError(
            f"{quantity(unknown, 'cell')} of {proposal.request.name} may be running in a job whose "
            "scheduler does not answer; nothing was sent. Try again when it answers "
            "(`redescent doctor`)"
        )
    check_canary(proposal)
    refusal = beyond_limit(proposal)
    if refusal:
        raise UserError(refusal)


def _dependencies(proposal: Preview, *, retry_errors: bool) -> Dependencies:
    """The jobs that the tasks wait for: those that train the cells they read, and the canary's."""
    dependencies = Dependencies(ends=[task.follows for task in proposal.tasks])
    if not proposal.request.policy.canary:
        return dependencies
    to_send = replace(proposal.request, cells=proposal.cells)
    canary = send_calibration_first(to_send, retry_errors=retry_errors)
    return replace(dependencies, success=canary)


def send_calibration_first(request: Request, *, retry_errors: bool) -> Sequence[str]:
    """Send the calibration of a request; returns the jobs that must succeed before the rest."""
    all_copies = calibration.calibration_request(request)
    missing = calibration.still_to_measure(all_copies, all_copies.code)
    submission = submit(missing, retry_errors=retry_errors, rerun=True)
    state = load_sweep_state(all_copies.folder)
    running = calibration.running_jobs(state, all_copies.cells)
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
    for cell, error in calibration.failed_cells(request.folder, request.packing.at_a_time):
        if cell in ids:
            return last_line(error)
    return "no result; see `redescent logs` of its cells" if ids & set(again.ended) else None


def resume_request(folder: Path, overrides: Sequence[str]) -> Request:
    """The request that completes a sweep: all cells and searches of its plans, with the settings of
    the newest.

    `overrides` may change launcher and packing: they are added to those of the newest plan, or
    replace them if they name another launcher. Raises UserError for any other override, or if
    nothing was submitted yet.
    """
    _check_launch_overrides(overrides)
    plans = load_all(folder) if folder.is_dir() else []
    if not plans:
        raise no_sweep(folder)
    names_launcher = any(text.startswith("hydra/launcher=") for text in overrides)
    if not names_launcher:
        plans[-1].check_owner(folder)
    request = _planned_request(folder, plans)
    if names_launcher:
        return _with_launcher(request, overrides)
    if overrides:
        changed = _with_launcher(request, [*request.chosen, *overrides])
        return replace(changed, why_launcher=request.why_launcher)
    return request


def _planned_request(folder: Path, plans: Sequence[Plan]) -> Request:
    """All cells and searches of these plans, with the settings of the last."""
    newest = plans[-1]
    cells = {}
    for plan in plans:
        if not plan.searches:  # the cells of a search follow from its results
            for cell in plan.cells:
                cells[cell.id] = Cell(cell.id, plan.flat(cell))
    return Request(
        name=folder.name,
        logs=folder.parent,
        cells=list(cells.values()),
        packing=Packing(**newest.packing),
        launcher=newest.launcher,
        chosen=newest.chosen,
        policy=Policy(**newest.policy),
        searches=rounds.searches_of(plans),
        why_launcher="that of the newest submission",
    )


def _with_launcher(request: Request, overrides: Sequence[str]) -> Request:
    """The request with the launcher, packing and policy that the overrides set."""
    from launch.sweep import compose  # loads Hydra, which the job after a round does without

    choice = backend.choose_launcher(overrides)
    settings = compose.launcher_settings(choice.overrides)
    return replace(
        request,
        packing=settings.packing,
        launcher=settings.launcher,
        chosen=settings.chosen,
        policy=settings.policy,
        why_launcher=choice.reason,
    )


def _check_launch_overrides(overrides: Sequence[str]) -> None:
    for text in overrides:
        if not text.lstrip("+").startswith(LAUNCH_KEYS):
            keys = ", ".join(f"{key}..." for key in LAUNCH_KEYS)
            raise UserError(
                f"{text}: resume runs the cells as planned and accepts only {keys}; use submit "
                "for new cells"
            )


def plan_single_cell(folder: Path, name: str, cell: Cell, launcher: Launcher) -> Plan | None:
    """Plan a cell that this process will run; None if the cell is done."""
    check_folder(folder, launcher.kind)
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        records = records_of(runs_of(folder, RECORD_COLUMNS))
        if is_final(records.get(cell.id)):
            return None
        task = slurm.own_task()
        request = Request(name, folder.parent, [cell], Packing(), launcher, [])
        attempts = attempts_before(load_all(folder), records)
        plan = freeze_cells(request, "slurm" if task else "local", [cell], attempts)
        plan.write(folder)
        array = Array(name=jobs.job_name(plan, 0), first=0, count=1, sent=time.time(), job="local")
        if task:
            array = Array(
                name=task.name, first=0, count=1, sent=time.time(), job=task.job, offset=task.index
            )
        jobs.write(plan, folder, [array])
        return plan


def check_data(configurations: Sequence[Mapping[str, Any]]) -> None:
    """Raise UserError now if the data is missing, or a table lacks a column, rather than in every
    job after it has queued.

    `configurations` are flat.
    """
    sources, tables = {}, {}
    for flat in configurations:
        if "data.root" in flat:
            sources[flat["data.root"], flat.get("data.download", False)] = flat
        if flat.get("data.name") == "table":
            tables[flat["data.root"], flat["data.label"], repr(flat["data.features"])] = flat
    for (root, download), flat in sources.items():
        if root is None and not download:
            raise UserError(_no_root(flat))
        if root is not None and not Path(root).exists():
            raise UserError(
                f"data.root: {root} does not exist; expected the file, folder or archive with the "
                "data set"
            )
    for flat in tables.values():
        check_columns(flat)


def _no_root(flat: Mapping[str, Any]) -> str:
    """What to do for a configuration whose data set has no place."""
    name = str(flat["data.name"])
    ways = ["set data.root=PATH"]
    if name in _ROOT_VARIABLES:
        ways.append(f"export {_ROOT_VARIABLES[name]}=PATH")
    if "data.download" in flat:
        ways.append("set data.download=true, which fetches the data")
    return f"data.root: not set; expected the place of data={name}: {', or '.join(ways)}"


def freeze(preview: Preview, backend_name: str, attempts: Mapping[str, int]) -> Plan:
    """Freeze the cells and tasks of a preview, with the code and environment of its request."""
    plan = freeze_cells(preview.request, backend_name, preview.cells, attempts)
    return replace(
        plan,
        tasks=[task.cells for task in preview.tasks],
        sizes=[task.concurrency for task in preview.tasks],
        task_searches=_searches_by_task(preview),
    )


def _searches_by_task(preview: Preview) -> list[list[int]]:
    """For each task the searches that it goes on with; empty if the rounds are separate tasks."""
    if preview.request.packing.search != INSIDE:
        return []
    keys = [search_key(search) for search in preview.request.searches]
    by_task = []
    for task in preview.tasks:
        ids = {preview.cells[index].id for index in task.cells}
        searches = []
        for state in preview.searches:
            if any(training.cell.id in ids for training in state.open):
                searches.append(keys.index(search_key(state.search)))
        by_task.append(searches)
    return by_task


def freeze_cells(
    request: Request, backend_name: str, cells: Sequence[Cell], attempts: Mapping[str, int]
) -> Plan:
    """Freeze cells in one task, with the code and environment of the request."""
    bases, differences = factor([cell.flat for cell in cells])
    planned_cells = []
    for cell, (base, values) in zip(cells, differences, strict=True):
        planned_cells.append(PlannedCell(cell.id, base, values, attempts.get(cell.id, 0)))
    software = request.software
    if software is None:
        software = snapshot.current_software(request.folder, request.own_packages)
    return Plan(
        sid=new_sid(),
        name=request.name,
        backend=backend_name,
        bases=bases,
        cells=planned_cells,
        tasks=[list(range(len(cells)))],
        packing=asdict(request.packing),
        launcher=request.launcher,
        chosen=request.chosen,
        policy=request.policy.to_json(),
        searches=request.searches,
        **vars(software),
        **snapshot.origin(),
    )


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
    dependencies = Dependencies(ends=[task.follows for task in preview.tasks])
    arrays = jobs.intended_arrays(plan, slurm.array_size(), dependencies)
    paths = folder / "plan.json", folder / "output"
    return [sbatch.array_script(plan, *paths, array) for array in arrays]


def attempts_before(plans: Sequence[Plan], records: Mapping[str, Record]) -> Counter[str]:
    """The newest attempt at each cell that its record or a plan may have begun, and at least one
    per plan that contains it.
    """
    attempts = Counter(cell.id for plan in plans for cell in plan.cells)
    for plan in plans:
        for planned in plan.cells:
            attempts[planned.id] = max(attempts[planned.id], planned.attempts + 1)
    for cell, record in records.items():
        attempts[cell] = max(attempts[cell], record.attempt)
    return attempts


def _excluded_nodes(request: Request, lost_nodes: Collection[str]) -> list[str]:
    """The nodes that lost tasks, which jobs avoid unless no other node is in service."""
    if not lost_nodes or request.launcher.kind != "slurm":
        return []
    in_service = slurm.nodes_in_service(request.launcher.partition) or set()
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
    """The message about a plan of which only the first tasks were sent."""
    command = "submit --again" if plan.rerun else "submit"
    count = (
        f"{sent} of {len(plan.tasks)} tasks were sent; the rest is kept for the next `{command}`"
    )
    if isinstance(refusal, backend.Unreachable):
        what = count if sent else "nothing was sent"
        return f"SLURM does not answer ({refusal}): {what}. Try again later (`redescent doctor`)"
    return (
        f"the jobs were refused: {refusal}. {count}. Change the refused setting "
        "(hydra.launcher.KEY=VALUE) and submit again"
    )


def _with_error(arrays: Sequence[Array], error: str) -> list[Array]:
    return [replace(array, error=error) for array in arrays]
