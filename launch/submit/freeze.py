"""Freeze cells as a plan, with the code and environment of their request."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace

from launch.plan import Plan, PlannedCell, snapshot
from launch.plan.plan import factor, new_sid
from launch.status.cell_state import Record
from launch.submit.preview import Preview
from launch.sweep.adaptive import search_key
from launch.sweep.request import INSIDE, Cell, Request


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
