"""Pack cells into tasks, so that each SLURM task runs long enough to be worth starting. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from launch.sweep.request import AUTO, Concurrency, Packing


@dataclass(frozen=True)
class TaskPreview:
    """A planned task: the indices of its cells, and how many of them train at a time.

    `follows` are the jobs that must have ended before it starts.
    """

    cells: Sequence[int]
    concurrency: Concurrency
    follows: Sequence[str] = ()


def least_concurrency(numbers: Iterable[Concurrency]) -> Concurrency:
    """The smallest number that is not None; None if there is none."""
    return min((number for number in numbers if number is not None), default=None)


def pack(
    seconds: Sequence[float | None],
    concurrency: Sequence[Concurrency],
    packing: Packing,
    *,
    one_task: bool = False,
) -> list[TaskPreview]:
    """Distribute cells over tasks; cells with the same concurrency share tasks.

    `seconds[i]` is the expected time of cell i, or None if no measured run resembles it. With
    `one_task`, all cells go into one task with the smallest concurrency: a worker without SLURM has
    its own queue.
    """
    if one_task:
        order = _longest_first(seconds)
        return [TaskPreview(order, least_concurrency(concurrency))] if order else []
    tasks = []
    for number in dict.fromkeys(concurrency):
        group = [i for i, other in enumerate(concurrency) if other == number]
        times = [seconds[i] for i in group]
        share = replace(_share(packing, len(group), len(seconds)), at_a_time=number)
        for chunk in distribute(times, share):
            tasks.append(TaskPreview([group[i] for i in chunk], number))
    return tasks


def _share(packing: Packing, count: int, total: int) -> Packing:
    """The packing of `count` of `total` cells: their share of the most tasks of a submission."""
    return replace(packing, most=max(1, packing.most * count // total))


def pack_in_groups(
    seconds: Sequence[float | None],
    concurrency: Sequence[Concurrency],
    packing: Packing,
    follows: Sequence[Sequence[str]],
    *,
    one_task: bool = False,
) -> list[TaskPreview]:
    """As `pack`, but cells that wait for different jobs are in different tasks.

    `follows[i]` are the jobs that cell i waits for; tasks that wait for the same jobs are
    neighbours.
    """
    groups: dict[tuple[str, ...], list[int]] = {}
    for index, jobs in enumerate(follows):
        groups.setdefault(tuple(jobs), []).append(index)
    tasks = []
    for jobs, indices in groups.items():
        times = [seconds[index] for index in indices]
        numbers = [concurrency[index] for index in indices]
        share = _share(packing, len(indices), len(follows))
        for task in pack(times, numbers, share, one_task=one_task):
            cells = [indices[index] for index in task.cells]
            tasks.append(TaskPreview(cells, task.concurrency, jobs))
    return tasks


def distribute(seconds: Sequence[float | None], packing: Packing) -> list[list[int]]:
    """Distribute cells of one concurrency, `packing.at_a_time`; returns their indices by task.

    The longest cells go first, so that long tasks start early. A task gets `packing.cells` cells.
    If that is None, it gets as many as fill `packing.minutes`, but few enough that there is a task
    for each of `packing.slots`; if their time is not known, as many as run at a time. There are
    never more than `packing.most` tasks.
    """
    assert packing.at_a_time != AUTO  # `pack` puts the number there
    order = _longest_first(seconds)
    least = math.ceil(len(seconds) / packing.most)
    concurrency = packing.at_a_time or 1
    if packing.cells is not None:
        return _chunks(order, max(packing.cells, least))
    if any(time is None for time in seconds):
        return _chunks(order, max(concurrency, least))
    most = max(least, concurrency, len(seconds) // packing.slots)
    budget = packing.minutes * 60 * concurrency
    return _fill(order, [time or 0.0 for time in seconds], budget, (least, most))


def _fill(
    order: Sequence[int], seconds: Sequence[float], budget: float, size: tuple[int, int]
) -> list[list[int]]:
    """Fill tasks one after another up to the budget of seconds, with `size` cells (least, most)."""
    least, most = size
    tasks: list[list[int]] = []
    load = math.inf
    for index in order:
        over_budget = load + seconds[index] > budget
        count = len(tasks[-1]) if tasks else least
        if (over_budget and count >= least) or count >= most:
            tasks.append([])
            load = 0.0
        tasks[-1].append(index)
        load += seconds[index]
    return tasks


def _longest_first(seconds: Sequence[float | None]) -> list[int]:
    return sorted(range(len(seconds)), key=lambda i: -(seconds[i] or 0.0))


def _chunks(order: Sequence[int], size: int) -> list[list[int]]:
    return [list(order[start : start + size]) for start in range(0, len(order), size)]
