"""Cells -> tasks: how many one after another in a SLURM task, so that a task is worth its start.
Pure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from launch.sweep.request import AUTO, Packing


def pack(
    seconds: Sequence[float | None], packing: Packing, one_task: bool = False
) -> list[list[int]]:
    """Distribute cells over tasks.

    `seconds[i]` is the expected time of cell i, or None if nothing like it was measured. Returns
    the cells' indices, task by task, each cell once. `one_task` puts all into one: a machine
    without SLURM keeps its own queue.

    The longest cells go first, so that a task which turns out long starts early. A task takes
    `packing.cells` cells; if that is None, as many as fill `packing.minutes`, but no more than
    leave a task for each of `packing.slots`, and as many as run at a time if their time is not
    known. In any case enough to keep within `packing.most` tasks.
    """
    count = len(seconds)
    order = sorted(range(count), key=lambda i: -(seconds[i] or 0.0))
    if one_task:
        return [order] if order else []
    least = math.ceil(count / packing.most)
    if packing.cells is not None:
        return _chunks(order, max(packing.cells, least))
    assert packing.at_a_time != AUTO  # `pack_apart` is told the number
    at_a_time = packing.at_a_time or 1
    if any(s is None for s in seconds):
        return _chunks(order, max(at_a_time, least))
    cap = max(least, at_a_time, count // packing.slots)
    budget = packing.minutes * 60 * at_a_time
    tasks: list[list[int]] = []
    used = math.inf
    for index in order:
        cost = seconds[index] or 0.0
        if (used + cost > budget and (not tasks or len(tasks[-1]) >= least)) or len(
            tasks[-1]
        ) >= cap:
            tasks.append([])
            used = 0.0
        tasks[-1].append(index)
        used += cost
    return tasks


def pack_apart(
    seconds: Sequence[float | None],
    rooms: Sequence[int | None],
    packing: Packing,
    one_task: bool = False,
) -> tuple[list[list[int]], list[int | None]]:
    """`pack`, where cell i runs among `rooms[i]` at a time, None for one a core: cells of equal
    rooms share tasks.

    Returns the tasks, and for each of them how many cells it runs at a time; in one task it is the
    least of the rooms.
    """
    if one_task:
        tasks = pack(seconds, packing, one_task)
        return tasks, [min((room for room in rooms if room is not None), default=None)] * len(tasks)
    found: list[list[int]] = []
    sizes: list[int | None] = []
    for room in dict.fromkeys(rooms):
        group = [i for i, other in enumerate(rooms) if other == room]
        tasks = pack([seconds[i] for i in group], replace(packing, at_a_time=room))
        found += [[group[i] for i in task] for task in tasks]
        sizes += [room] * len(tasks)
    return found, sizes


def _chunks(order: Sequence[int], size: int) -> list[list[int]]:
    return [list(order[start : start + size]) for start in range(0, len(order), size)]
