"""What was sent of a plan: the arithmetic of arrays, and jobs.json written and read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from launch.errors import UserError
from launch.plan import Plan, jobs
from launch.plan.jobs import Array, Dependencies

ARRAY = Array("demo.sid.10", first=10, count=3, sent=0.0, job="77", offset=4)


def test_task_numbers_become_indices_and_job_ids() -> None:
    assert list(ARRAY.numbers) == [10, 11, 12]
    assert [ARRAY.index(number) for number in ARRAY.numbers] == [4, 5, 6]
    assert ARRAY.indices({9, 12, 10}) == [4, 6]
    assert ARRAY.job_id(12) == "77_6"
    assert ARRAY.job_id(13) is None


@pytest.mark.parametrize("job", [None, "local"])
def test_a_task_outside_slurm_has_no_job_id(job: str | None) -> None:
    assert Array("demo", 0, 1, 0.0, job).job_id(0) is None


def test_delivery_follows_from_job_and_error() -> None:
    assert ARRAY.delivery == "sent"
    assert Array("demo", 0, 1, 0.0).delivery == "pending"
    assert Array("demo", 0, 1, 0.0, error="QOSMaxSubmitJob").delivery == "refused"


def test_a_plan_is_cut_into_arrays_of_the_size(plan_of: Callable[..., Plan]) -> None:
    plan = plan_of(tasks=[[0], [1], [2]])
    arrays = jobs.intended_arrays(plan, 2, Dependencies(success=["5"]))
    assert [(array.first, array.count) for array in arrays] == [(0, 2), (2, 1)]
    assert [array.name.rpartition(".")[2] for array in arrays] == ["0", "2"]
    assert [array.after for array in arrays] == [["5"], ["5"]]


def test_tasks_that_wait_for_other_jobs_are_other_arrays(plan_of: Callable[..., Plan]) -> None:
    plan = plan_of(tasks=[[0], [1], [2]])
    arrays = jobs.intended_arrays(plan, 5, Dependencies(ends=[(), ("7", "8"), ("7", "8")]))
    assert [(array.first, array.count) for array in arrays] == [(0, 1), (1, 2)]
    assert [list(array.follows) for array in arrays] == [[], ["7", "8"]]


def test_an_array_that_waits_for_trainings_is_read_as_written(
    plan_of: Callable[..., Plan], tmp_path: Path
) -> None:
    plan = plan_of(tasks=[[0]])
    plan.write(tmp_path)
    arrays = jobs.record(plan, tmp_path, 5, Dependencies(ends=[["7"]]))
    assert jobs.read(plan, tmp_path) == arrays
    assert list(arrays[0].follows) == ["7"]


def test_arrays_are_read_as_written(plan_of: Callable[..., Plan], tmp_path: Path) -> None:
    plan = plan_of()
    assert jobs.read(plan, tmp_path)[0].error == jobs.NEVER_SENT
    path = plan.write(tmp_path).with_name("jobs.json")
    jobs.write(plan, tmp_path, [ARRAY])
    assert jobs.read(plan, tmp_path) == [Array(**{**vars(ARRAY), "after": []})]
    keys = ["name", "first", "count", "sent", "job", "offset", "error", "after"]
    assert list(json.loads(path.read_text())[0]) == keys
    path.write_text("[{")
    with pytest.raises(UserError, match=r"jobs\.json: damaged"):
        jobs.read(plan, tmp_path)
