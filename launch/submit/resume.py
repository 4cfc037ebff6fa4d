"""The request that completes a sweep: what its plans hold, with changes of launcher and packing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from launch.errors import UserError
from launch.plan import Plan, load_all
from launch.plan.folder import no_sweep
from launch.scheduler import backend
from launch.submit import rounds
from launch.sweep.request import LAUNCH_KEYS, Cell, Packing, Policy, Request


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
