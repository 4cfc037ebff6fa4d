"""Packing: every cell in exactly one task, and tasks of the size that was asked for."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch.cost.packing import TaskPreview, distribute, pack, pack_in_groups
from launch.errors import UserError
from launch.sweep.request import Packing

packings = st.builds(
    Packing,
    cells=st.none() | st.integers(1, 20),
    at_a_time=st.none() | st.integers(1, 8),
    minutes=st.floats(1, 600),
    most=st.integers(1, 50),
    slots=st.integers(1, 50),
)
known_seconds = st.lists(st.floats(0, 40_000), max_size=120)
partly = known_seconds | st.lists(st.none() | st.floats(0, 40_000), max_size=120)


@given(partly, packings, st.booleans(), st.lists(st.none() | st.integers(1, 8), min_size=120))
def test_every_cell_is_in_exactly_one_task_and_no_task_is_empty(
    seconds: list[float | None], packing: Packing, one_task: bool, numbers: list[int | None]
) -> None:
    tasks = pack(seconds, numbers[: len(seconds)], packing, one_task=one_task)
    assert sorted(i for task in tasks for i in task.cells) == list(range(len(seconds)))
    assert all(task.cells for task in tasks)


@given(partly, packings, st.lists(st.sampled_from([(), ("7",), ("8",)]), min_size=120))
def test_cells_that_wait_for_different_jobs_share_no_task(
    seconds: list[float | None], packing: Packing, jobs: list[tuple[str, ...]]
) -> None:
    follows = jobs[: len(seconds)]
    tasks = pack_in_groups(seconds, [1] * len(seconds), packing, follows)
    assert sorted(i for task in tasks for i in task.cells) == list(range(len(seconds)))
    for task in tasks:
        assert {follows[i] for i in task.cells} == {tuple(task.follows)}
    assert len(list(itertools.groupby(tasks, key=lambda task: task.follows))) == len(set(follows))


@given(partly, packings)
def test_there_are_never_more_tasks_than_allowed(
    seconds: list[float | None], packing: Packing
) -> None:
    assert len(distribute(seconds, packing)) <= packing.most


def test_the_most_tasks_are_those_of_all_groups_together() -> None:
    concurrency, follows = [1] * 1000 + [2] * 1000, [["1"], ["2"]] * 1000
    packing = Packing(most=100)
    assert len(pack([1.0] * 2000, concurrency, Packing(cells=1, most=100))) == 100
    assert len(pack_in_groups([None] * 2000, concurrency, packing, follows)) == 100


@given(known_seconds, packings)
def test_the_longest_cells_go_first(seconds: list[float], packing: Packing) -> None:
    order = [seconds[index] for task in distribute(seconds, packing) for index in task]
    assert order == sorted(seconds, reverse=True)


@given(partly, packings.filter(lambda p: p.cells is not None))
def test_a_given_number_of_cells_is_kept_up_to_the_most_tasks(
    seconds: list[float | None], packing: Packing
) -> None:
    sizes = [len(task) for task in distribute(seconds, packing)]
    size = max(packing.cells or 0, math.ceil(len(seconds) / packing.most))
    assert all(result == size for result in sizes[:-1])
    assert all(result <= size for result in sizes[-1:])


@given(st.lists(st.none() | st.floats(0, 40_000), min_size=1, max_size=120), packings)
def test_with_an_unknown_time_a_task_takes_as_many_as_train_at_a_time(
    seconds: list[float | None], packing: Packing
) -> None:
    tasks = distribute([*seconds, None], Packing(at_a_time=packing.at_a_time, most=packing.most))
    size = max(packing.at_a_time or 1, math.ceil((len(seconds) + 1) / packing.most))
    assert [len(task) for task in tasks[:-1]] == [size] * (len(tasks) - 1)


@given(known_seconds, packings.filter(lambda p: p.cells is None))
def test_tasks_keep_within_minutes_and_leave_work_for_every_slot(
    seconds: list[float], packing: Packing
) -> None:
    tasks = distribute(seconds, packing)
    least = math.ceil(len(seconds) / packing.most)
    count = packing.at_a_time or 1
    for task in tasks:
        within = sum(seconds[index] for index in task) <= packing.minutes * 60 * count * (1 + 1e-9)
        assert within or len(task) <= max(1, least)
        assert len(task) <= max(least, count, len(seconds) // packing.slots)


@given(known_seconds, packings.filter(lambda p: p.cells is None))
def test_neighbouring_tasks_could_not_have_been_one(seconds: list[float], packing: Packing) -> None:
    tasks = distribute(seconds, packing)
    count = packing.at_a_time or 1
    cap = max(math.ceil(len(seconds) / packing.most), count, len(seconds) // packing.slots)
    for task, following in itertools.pairwise(tasks):
        cost = sum(seconds[index] for index in [*task, following[0]])
        assert len(task) == cap or cost > packing.minutes * 60 * count * (1 - 1e-9)


def test_equal_cells_fill_tasks_of_the_given_minutes() -> None:
    tasks = distribute([600.0] * 1000, Packing(minutes=60, slots=10))
    assert [len(task) for task in tasks] == [6] * 166 + [4]


def test_one_task_takes_all_and_no_cells_make_no_task() -> None:
    assert pack([1.0, 3.0, None], [4, 1, None], Packing(), one_task=True) == [
        TaskPreview([1, 0, 2], 1)
    ]
    assert pack([], [], Packing(), one_task=True) == []
    assert pack([], [], Packing()) == []
    assert distribute([], Packing(cells=3)) == []


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("cells", 0),
        ("at_a_time", -1),
        ("minutes", 0.5),
        ("most", None),
        ("slots", True),
        ("cells", "3"),
        ("cells", "auto"),
        ("at_a_time", "many"),
    ],
)
def test_a_packing_out_of_range_is_refused(key: str, value: Any) -> None:
    with pytest.raises(
        UserError,
        match=rf"task\.{key}: found {value!r}, expected (an integer|a number) of at least 1",
    ):
        Packing(**{key: value})


@pytest.mark.parametrize("key", ["cells", "at_a_time", "most", "slots"])
def test_half_a_cell_is_refused(key: str) -> None:
    with pytest.raises(UserError, match=rf"task\.{key}: found 2\.5"):
        Packing(**{key: 2.5})
