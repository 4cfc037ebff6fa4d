"""The arrays sent for a plan and their jobs: jobs.json, and task number <-> job id.

Read inside jobs: standard library only.
"""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from launch.errors import UserError, quantity
from launch.plan.files import write_json
from launch.plan.plan import Plan
from launch.plan.reader import Damaged, Fields, as_list, each, read_json, wrong

Delivery = Literal["sent", "pending", "refused"]
"""Accepted by the scheduler; not known to be accepted; or never going to run."""

NEVER_SENT = "never sent"
NEVER_STARTED = "never started"


@dataclass(frozen=True)
class Array:
    """Tasks `first` ... `first + count - 1` of a plan, sent as one array."""

    name: str
    """Its SLURM job name."""
    first: int
    count: int
    sent: float
    """The Unix time at which it was sent."""
    job: str | None = None
    """Its SLURM id, or "local"; None until the scheduler has accepted it."""
    offset: int = 0
    """The array index of task `first`."""
    error: str | None = None
    """Why the array will never run."""
    after: Sequence[str] = ()
    """The jobs that must succeed before it starts; SLURM removes it if one of them fails."""
    follows: Sequence[str] = ()
    """The jobs that must have ended in any way, because its cells read what those train."""

    @property
    def delivery(self) -> Delivery:
        """Whether the scheduler accepted the array."""
        if self.error:
            return "refused"
        return "sent" if self.job else "pending"

    @property
    def numbers(self) -> range:
        """Numbers of the array's tasks in the plan."""
        return range(self.first, self.first + self.count)

    def index(self, number: int) -> int:
        """Array index of a task of the plan."""
        return number - self.first + self.offset

    def job_id(self, number: int) -> str | None:
        """The SLURM id ("5_3") of a task; None outside SLURM, or if it was never accepted."""
        if not self.job or not self.job.isdigit() or number not in self.numbers:
            return None
        return f"{self.job}_{self.index(number)}"

    def indices(self, numbers: Collection[int]) -> list[int]:
        """Array indices of its tasks in `numbers`, in order."""
        return [self.index(number) for number in self.numbers if number in numbers]


def job_name(plan: Plan, first: int) -> str:
    """SLURM job name of an array: sweep, submission and first task, so no two are equal."""
    sweep = re.sub(r"[^A-Za-z0-9_.-]", "-", plan.name)
    return f"{sweep}.{plan.sid}.{first}"


@dataclass(frozen=True)
class Dependencies:
    """What the tasks of a plan wait for."""

    success: Sequence[str] = ()
    """The jobs that must succeed before any task starts."""
    ends: Sequence[Sequence[str]] = ()
    """For each task the jobs that must have ended; empty if no task waits for one."""


def intended_arrays(
    plan: Plan, size: int, dependencies: Dependencies = Dependencies()
) -> list[Array]:
    """Split a plan into arrays of at most `size` tasks that wait for the same jobs."""
    ends = dependencies.ends or [()] * len(plan.tasks)
    arrays = []
    for first, count in array_ranges(ends, size):
        name, now = job_name(plan, first), time.time()
        after, follows = [*dependencies.success], [*ends[first]]
        arrays.append(Array(name, first, count, now, after=after, follows=follows))
    return arrays


def array_ranges(ends: Sequence[Sequence[str]], size: int) -> list[tuple[int, int]]:
    """First task and length of each array: at most `size` neighbours that wait for the same jobs.

    `ends` has the jobs that each task waits for.
    """
    ranges: list[tuple[int, int]] = []
    for number, jobs in enumerate(ends):
        first, count = ranges[-1] if ranges else (0, size)
        if count < size and list(ends[first]) == list(jobs):
            ranges[-1] = (first, count + 1)
        else:
            ranges.append((number, 1))
    return ranges


def record(
    plan: Plan, sweep: Path, size: int, dependencies: Dependencies = Dependencies()
) -> list[Array]:
    """Record the arrays about to be sent in jobs.json, and return them."""
    arrays = intended_arrays(plan, size, dependencies)
    write(plan, sweep, arrays)
    return arrays


def write(plan: Plan, sweep: Path, arrays: Sequence[Array]) -> None:
    """Record the arrays of a plan in its jobs.json."""
    write_json(_path(plan, sweep), [_entry(array) for array in arrays])


def _entry(array: Array) -> dict[str, Any]:
    """An array as JSON; without `follows` if it is empty, since older code does not know it."""
    entry = asdict(array)
    if not array.follows:
        del entry["follows"]
    return entry


def read(plan: Plan, sweep: Path) -> list[Array]:
    """The arrays of a plan. Raises UserError for a damaged file.

    If the file is missing, the submission died before it recorded its intent: nothing was sent.
    """
    path = _path(plan, sweep)
    if not path.exists():
        return [Array("", 0, len(plan.tasks), plan.created, error=NEVER_SENT)]
    try:
        entries = as_list(read_json(path), "")
        arrays = [_array(entry, key) for key, entry in each(entries, "arrays")]
        _check_cover(arrays, len(plan.tasks))
        return arrays
    except Damaged as error:
        raise UserError(
            f"{path}: damaged ({error}); expected the jobs of this submission. If none of them "
            f"runs any more (squeue), move {path.parent} out of submissions/ and submit the sweep "
            "again: cells that are done stay done"
        ) from None


def _array(content: Any, key: str) -> Array:
    """An array of jobs.json. Raises Damaged."""
    fields = Fields(content, key)
    array = Array(
        name=fields.text("name"),
        first=fields.count("first"),
        count=fields.count("count", 1),
        sent=fields.number("sent"),
        job=fields.text_or_null("job", None),
        offset=fields.count("offset", 0, 0),
        error=fields.text_or_null("error", None),
        after=fields.texts("after", []),
        follows=fields.texts("follows", []),
    )
    fields.finish()
    for job in (array.job or "local", *array.after, *array.follows):
        if job != "local" and not job.isdecimal():
            raise wrong(key, job, "the number of a job, or local")
    return array


def _check_cover(arrays: Sequence[Array], tasks: int) -> None:
    """Raise Damaged unless the arrays have every task of the plan once, in order."""
    end = 0
    for array in arrays:
        if array.first != end:
            raise Damaged(f"found an array from task {array.first}, expected one from task {end}")
        end += array.count
    if end != tasks:
        raise Damaged(f"found arrays of {quantity(end, 'task')}, expected the {tasks} of the plan")


def _path(plan: Plan, sweep: Path) -> Path:
    return plan.folder(sweep) / "jobs.json"
