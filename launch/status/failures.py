"""What becomes of cells that failed, by the class of their failure: which wait, and which get more
room. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from launch.plan import Launcher, Plan
from launch.plan.markers import SAME_ERROR
from launch.plan.outcome import OUT_OF_MEMORY, failure_class, last_line
from launch.plan.plan import ran_in
from launch.status.sweep_state import SweepState


def shared_error(todo: Collection[str], seen: SweepState, code: str) -> tuple[set[str], str | None]:
    """Failed cells that share the last line of their traceback with enough others, in this very
    code, and the line.
    """
    failed: dict[str, set[str]] = {}
    codes = {row["cell"]: row.get("code") for row in seen.runs.to_dict("records")}
    for cell in todo:
        known = seen.cells.get(cell)
        record = known.record if known and known.state == "failed" else None
        if not record or codes.get(cell) != code:
            continue
        if failure_class(record.error_class).repeats_stop_sweep:
            failed.setdefault(last_line(record.error), set()).add(cell)
    shared = {line: cells for line, cells in failed.items() if len(cells) >= SAME_ERROR}
    return set().union(*shared.values()), max(
        shared, key=lambda line: len(shared[line]), default=None
    )


def short_of_memory(todo: Collection[str], seen: SweepState) -> dict[str, tuple[Plan, int]]:
    """Cells whose last word is that memory ran out or that they were killed, with the plan and task
    they ran in.
    """
    records = {
        cell: known.record
        for cell in todo
        if (known := seen.cells.get(cell)) and known.state == "failed"
    }
    wanted = {
        cell: r.attempt
        for cell, r in records.items()
        if r and failure_class(r.error_class).fewer_at_a_time
    }
    return ran_in(seen.plans, wanted) if wanted else {}


def rooms(short: Mapping[str, tuple[Plan, int]]) -> dict[str, int]:
    """How many cells may run side by side where a cell that was short of memory does: half as many
    as before.
    """
    return {cell: max(1, made.cells_at_once(task) // 2) for cell, (made, task) in short.items()}


def starved(
    short: Mapping[str, tuple[Plan, int]], seen: SweepState, launcher: Launcher
) -> list[str]:
    """Cells that ran out of memory alone, and would get no more of it with these settings of the
    launcher.
    """

    def raised(cell: str) -> bool:
        record = seen.cells[cell].record
        return record is not None and record.error_class == OUT_OF_MEMORY.name

    return sorted(
        cell
        for cell, (made, task) in short.items()
        if raised(cell) and made.cells_at_once(task) == 1 and made.launcher == launcher
    )
