"""Add the next round of a task's searches to its plan: `python -m launch.submit.inside PLAN TASK`.

With `task.search: inside`, a task goes on with its searches when it has trained their first round:
it calls this, and trains the cells that were added. They are written beside the plan, in
inside/TASK.json, whose only writer is the task; whoever loads the plan sees them as its cells. A
search that the task leaves unfinished is continued like any other, by the job after the last task
or by the user.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from analysis import store
from launch.errors import UserError
from launch.plan import Plan, PlanError, PlannedCell, files, load, load_all
from launch.plan.plan import difference, later_rounds
from launch.status.sweep_files import records_of
from launch.submit.freeze import attempts_before
from launch.submit.rounds import open_cells, search_states_of_present_data
from launch.sweep.request import Cell


def add_round(path: Path, task: int) -> int:
    """Add the open cells that the task does not have yet; returns their number.

    `path` is that of the plan. Cells that failed in this task are left for the user.
    """
    plan, folder = load(path), path.resolve().parents[2]
    runs = store.runs(folder)
    searches = [plan.searches[index] for index in plan.task_searches[task]]
    planned_ids = {cell.id for cell in plan.cells}
    states = search_states_of_present_data(searches, runs)
    cells = [cell for cell in open_cells(states) if cell.id not in planned_ids]
    if not cells:
        return 0
    attempts = attempts_before(load_all(folder), records_of(runs))
    file = later_rounds(path.parent, task)
    file.parent.mkdir(exist_ok=True)
    added = [asdict(planned_cell(plan, cell, attempts[cell.id])) for cell in cells]
    earlier = json.loads(file.read_bytes()) if file.exists() else []
    files.write_json(file, [*earlier, *added])
    return len(cells)


def planned_cell(plan: Plan, cell: Cell, attempts: int) -> PlannedCell:
    """A cell of a later round, as the difference from a base of the plan with the same keys."""
    for index, base in enumerate(plan.bases):
        if base.keys() == cell.flat.keys():
            return PlannedCell(cell.id, index, difference(cell.flat, base), attempts)
    raise UserError(f"cell {cell.id}: no base of plan {plan.sid} has its keys")


def main(arguments: Sequence[str]) -> int:
    """Add a round; returns the exit status."""
    path, task = arguments
    try:
        add_round(Path(path), int(task))
    except (UserError, PlanError, store.StoreError, OSError) as error:
        print(f"the next round was not added: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
