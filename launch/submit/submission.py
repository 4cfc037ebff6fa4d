"""Submitting: draft what the sweep needs, freeze it as a plan, send it, and record what was sent.

All under an exclusive lock on the sweep's folder, so that two people who submit the same sweep at
the same moment send every cell once. `jobs.json` says before sbatch what is about to be sent and
after it what SLURM answered; a submission that died in between is found by its job name before
anything is sent again.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from launch.errors import UserError
from launch.plan import Launcher, Plan, PlannedCell, jobs, plan, snapshot
from launch.plan.jobs import Array
from launch.plan.outcome import last_line
from launch.scheduler import backend, sbatch, slurm
from launch.status.sweep_state import is_final, records_of, runs_of
from launch.submit import calibration, followup
from launch.submit.lock import locked
from launch.submit.preview import Draft, beyond_limit, draft
from launch.sweep import compose
from launch.sweep.request import LAUNCH_KEYS, Cell, Packing, Policy, Request


def submit(
    request: Request, retry_errors: bool = False, again: bool = False
) -> tuple[Draft, Plan | None]:
    """Send every cell of `request` that is neither done nor under way; returns what was sent, None
    if nothing was.

    Raises UserError where the hours are beyond the limit, and where the scheduler refuses or does
    not answer; what it had accepted before stays recorded.
    """
    sbatch.check(request.launcher)
    check_data(request.cells)
    request.folder.mkdir(parents=True, exist_ok=True)
    with locked(request.folder):
        made = draft(request, retry_errors, again)
        if made.states["unknown"]:
            raise UserError(
                f"{made.states['unknown']} cells of {request.name} belong to jobs whose scheduler "
                "gives no answer now; "
                "nothing was sent, since they may be running. Try again when it answers "
                "(`redescent doctor`)"
            )
        if not made.todo:
            return made, None
        refusal = beyond_limit(made)
        if refusal:
            raise UserError(refusal)
        after = (
            _canary(replace(request, cells=made.todo), retry_errors)
            if request.policy.canary
            else ()
        )
        frozen = freeze(request, request.launcher.kind, made.todo, made.tasks)
        frozen = replace(
            frozen,
            sizes=made.sizes,
            retry_errors=retry_errors,
            excluded=_excluded(request, made.lost_nodes),
        )
        frozen.write(request.folder)
        size = backend.BACKENDS[frozen.backend].array_size()
        arrays = jobs.intended_arrays(frozen, size, after)
        jobs.write(frozen, request.folder, arrays)
        _send(frozen, request.folder, arrays)
        if request.policy.compact and frozen.backend == "slurm":
            followup.send(frozen, request.folder, [str(array.job) for array in arrays])
        return made, frozen


def _canary(request: Request, retry_errors: bool) -> Sequence[str]:
    """Send the calibration of a request; returns the jobs that must end well before the rest may
    start.
    """
    if request.launcher.kind != "slurm":
        raise UserError(
            "canary: found true, but only SLURM can hold jobs back; leave it out with canary=false"
        )
    small = calibration.calibration_request(request)
    made, _ = submit(
        calibration.still_to_measure(small, snapshot.code_hash()), retry_errors, again=True
    )
    before = calibration.running_jobs(small)
    failed = [] if before else calibration.failed_cells(request.folder, request.packing.at_a_time)
    if made.held or failed:
        error = made.error if made.held else last_line(failed[0][1])
        raise UserError(
            f"canary: its cells failed with {error!r} in this very code, so nothing else was sent. "
            "Mend it, or insist "
            "with --retry-errors"
        )
    return before


def resume_request(folder: Path, overrides: Sequence[str]) -> Request:
    """The request that brings a sweep to completion: all cells of its plans, sent as the newest one
    was.

    `overrides` may change launcher and packing: they come on top of those of the newest plan, or
    begin anew where they choose another launcher. Raises UserError for any other override, and
    where nothing was submitted yet.
    """
    for text in overrides:
        if not text.lstrip("+").startswith(LAUNCH_KEYS):
            takes = ", ".join(f"{key}..." for key in LAUNCH_KEYS)
            raise UserError(
                f"{text}: resume runs the cells as planned and takes only {takes}; use submit for "
                "new cells"
            )
    plans = plan.load_all(folder) if folder.is_dir() else []
    if not plans:
        raise UserError(f"{folder}: no submitted sweep there; `redescent submit NAME` makes one")
    cells = {cell.id: Cell(cell.id, made.flat(cell)) for made in plans for cell in made.cells}
    newest = plans[-1]
    packing, launcher, chosen = Packing(**newest.packing), newest.launcher, newest.chosen
    policy = Policy(**newest.policy)
    if overrides:
        before = (
            [] if any(text.startswith("hydra/launcher=") for text in overrides) else newest.chosen
        )
        other = compose.launcher_settings(backend.with_launcher([*before, *overrides]))
        packing, launcher, chosen, policy = (
            other.packing,
            other.launcher,
            other.chosen,
            other.policy,
        )
    return Request(
        folder.name, folder.parent, list(cells.values()), packing, launcher, chosen, policy
    )


def plan_single_cell(sweep: Path, name: str, cell: Cell, launcher: Launcher) -> tuple[Plan, bool]:
    """Plan a single cell that this very process will run; returns the plan and whether the cell is
    done already.
    """
    sweep.mkdir(parents=True, exist_ok=True)
    with locked(sweep):
        record = records_of(runs_of(sweep)).get(cell.id)
        task = slurm.own_task()
        request = Request(name, sweep.parent, [cell], Packing(), launcher, [])
        made = freeze(request, "slurm" if task else "local", [cell], [[0]])
        if is_final(record):
            return made, True
        made.write(sweep)
        array = Array(jobs.job_name(made, 0), 0, 1, time.time(), "local")
        if task:
            array = Array(task.name, 0, 1, time.time(), task.job, task.index)
        jobs.write(made, sweep, [array])
        return made, False


def check_data(cells: Sequence[Cell]) -> None:
    """Refuse what every job would only find out after its wait in the queue. Raises UserError."""
    for root, download in {
        (c.flat["data.root"], c.flat["data.download"]) for c in cells if "data.root" in c.flat
    }:
        if root is None and not download:
            raise UserError(
                "data.root: not set; give the folder with data.root=DIR, or data.download=true to "
                "fetch it"
            )
        if root is not None and not Path(root).exists():
            raise UserError(
                f"data.root: {root} does not exist; expected the folder or archive with the data "
                "set"
            )


def freeze(
    request: Request, where: str, cells: Sequence[Cell], tasks: Sequence[Sequence[int]]
) -> Plan:
    """Freeze cells and tasks, with the code and environment of now."""
    attempts = _attempts(request.folder, {cell.id for cell in cells})
    bases, split = plan.factor([cell.flat for cell in cells])
    planned = [
        PlannedCell(cell.id, base, values, attempts[cell.id])
        for cell, (base, values) in zip(cells, split, strict=True)
    ]
    code, archive = snapshot.snapshot(request.folder)
    digest, packages = snapshot.environment()
    return Plan(
        sid=plan.new_sid(), name=request.name, backend=where, bases=bases, cells=planned, tasks=tasks,
        packing=asdict(request.packing), launcher=request.launcher, chosen=request.chosen, code=code,
        code_archive=str(archive.resolve()), environment=digest, packages=packages, commit=snapshot.commit(),
        policy=asdict(request.policy), **snapshot.origin(),
    )  # fmt: skip


def _excluded(request: Request, lost: Collection[str]) -> list[str]:
    """The nodes that lost tasks, to be left out for now, unless no other is in service."""
    if not lost or request.launcher.kind != "slurm":
        return []
    others = (slurm.nodes_in_service(request.launcher.partition) or set()) - set(lost)
    return sorted(lost) if others else []


def _attempts(folder: Path, cells: set[str]) -> dict[str, int]:
    """Attempts before a new plan: what the records say, and at least one for every plan that held
    the cell.
    """
    planned: Counter[str] = Counter(
        c.id for made in plan.load_all(folder) for c in made.cells if c.id in cells
    )
    records = records_of(runs_of(folder))
    return {
        cell: max(planned[cell], records[cell].attempt if cell in records else 0) for cell in cells
    }


def _send(frozen: Plan, folder: Path, arrays: list[Array]) -> None:
    """Send the arrays one by one, recording each answer. At a refusal the rest is marked as never
    sent.
    """
    where = backend.BACKENDS[frozen.backend]
    for i, array in enumerate(arrays):
        try:
            arrays[i] = where.send(frozen, folder, array)
        except backend.Unanswered as silence:
            arrays[i + 1 :] = [replace(rest, error=jobs.NEVER_SENT) for rest in arrays[i + 1 :]]
            jobs.write(frozen, folder, arrays)
            raise UserError(
                f"the scheduler's answer was lost ({silence}), so {arrays[i].count} tasks may or "
                "may not be in its "
                "queue; submit again in two minutes: what was accepted is found by its name, the "
                "rest is sent"
            ) from None
        except backend.Refused as refusal:
            arrays[i:] = [replace(rest, error=str(refusal)) for rest in arrays[i:]]
            jobs.write(frozen, folder, arrays)
            sent = sum(a.count for a in arrays[:i])
            raise UserError(
                f"the jobs were refused: {refusal}. {sent} of {len(frozen.tasks)} tasks were sent "
                "and stay; change "
                "what it names (hydra.launcher.KEY=VALUE) and submit again: only what was not "
                "sent will go"
            ) from None
        jobs.write(frozen, folder, arrays)
