"""Damaged files of a submission: none is taken silently, and the error names file and key."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from analysis.stats import threshold
from launch.errors import UserError
from launch.plan import (
    Plan,
    PlanError,
    PlannedCell,
    Search,
    contents,
    jobs,
    load,
    load_all,
    markers,
)
from launch.plan.jobs import Array
from launch.plan.search import SETTINGS
from launch.status import sweep_state
from launch.sweep.request import Packing, Policy

PlanOf = Callable[..., Plan]
FLIPS = 300


def flips(content: bytes, seed: int = 0) -> Iterator[bytes]:
    """The content with one bit changed, FLIPS times."""
    draws = random.Random(seed)
    for _ in range(FLIPS):
        changed = bytearray(content)
        changed[draws.randrange(len(content))] ^= 1 << draws.randrange(8)
        yield bytes(changed)


@pytest.fixture
def plan_file(plan_of: PlanOf, tmp_path: Path) -> Path:
    return plan_of().write(tmp_path / "demo")


def test_no_changed_bit_of_a_plan_is_taken(plan_file: Path) -> None:
    content = plan_file.read_bytes()
    plan = load(plan_file)
    messages = []
    for changed in flips(content):
        plan_file.write_bytes(changed)
        try:
            other = load(plan_file)
        except PlanError as error:
            messages.append(str(error))
        else:
            assert dataclasses.replace(other, created=plan.created) == plan
    assert len(messages) > 0.9 * FLIPS
    assert [text for text in messages if not text.startswith(f"{plan_file}: ")] == []


def test_a_plan_without_a_checksum_is_checked_by_its_ids(plan_file: Path) -> None:
    plan = json.loads(plan_file.read_text())
    del plan["checksum"]
    plan_file.write_text(json.dumps(plan))
    assert len(load(plan_file).cells) == 3
    plan["bases"][0]["model.width"] = 5
    plan_file.write_text(json.dumps(plan))
    with pytest.raises(PlanError, match=r"found c1-\w+ with a configuration whose id is c1-"):
        load(plan_file)


def test_a_task_checks_its_own_cells(plan_file: Path) -> None:
    plan = json.loads(plan_file.read_text())
    del plan["checksum"]
    plan["cells"][2]["values"] = {"seed": 7}
    plan_file.write_text(json.dumps(plan))
    assert load(plan_file, task=0).tasks == [[0, 1], [2]]
    with pytest.raises(PlanError, match="whose id is"):
        load(plan_file, task=1)
    with pytest.raises(PlanError, match="found 2, expected one with the number 2"):
        load(plan_file, task=2)


def test_the_time_of_a_plan_may_be_corrected(plan_file: Path) -> None:
    plan = json.loads(plan_file.read_text())
    plan_file.write_text(json.dumps({**plan, "created": 99.5}))
    assert load(plan_file).created == 99.5


def edited(content: Any, path: Sequence[str | int], value: Any) -> Any:
    """The content with one value, at a path of keys and indices, replaced."""
    copy = json.loads(json.dumps(content))
    target = copy
    for key in path[:-1]:
        target = target[key]
    target[path[-1]] = value
    return copy


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["tasks"], None, "tasks: found None, expected a list"),
        (["tasks"], [[0, 99]], r"tasks\[0\]: found 99, expected an integer of at least 0"),
        (["tasks"], [[0, 1]], "tasks: found cell 2 0 times"),
        (["tasks"], [[0, 1], [1, 2]], "tasks: found cell 1 2 times"),
        (["created"], None, "created: found None, expected a number"),
        (["created"], 10**400, "created: found 1000"),
        (["launcher"], None, "launcher: found None, expected an object"),
        (["launcher", "timeout_min"], "x", r"launcher\.timeout_min: found 'x'"),
        (["launcher", "setup"], "rm", r"launcher\.setup: found 'rm', expected a list"),
        (["cells", 1, "base"], 99, r"cells\[1\]\.base: found 99, expected an index below 1"),
        (["cells", 1, "values"], None, r"cells\[1\]\.values: found None, expected an object"),
        (["cells", 1, "attempts"], "x", r"cells\[1\]\.attempts: found 'x', expected an integer"),
        (["cells", 1, "id"], 5, r"cells\[1\]\.id: found 5, expected a text"),
        (["cells", 1], [], r"cells\[1\]: found \[\], expected an object"),
        (["cells", 1, "newer"], 1, r"cells\[1\]\.newer: unknown key. Newer code"),
        (["sizes"], [0, 1], r"sizes\[0\]: found 0"),
        (["sizes"], [1], "sizes: found 1 entry,"),
        (["packing"], {"newer": 1, "at_a_time": 1}, r"packing\.newer: unknown key. Newer code"),
        (["packing", "at_a_time"], 0, r"packing\.at_a_time: found 0"),
        (["policy"], {"newer": 1}, r"policy\.newer: unknown key. Newer code"),
        (["backend"], "pbs", "backend: found 'pbs', expected one of slurm, local, debug. Newer"),
        (["backend"], None, "backend: found None, expected a text"),
        (["sid"], "other", "sid: found 'other', expected 20260102T030405-0a1b2c3d"),
        (["chosen"], [1], r"chosen: found 1, expected a text"),
        (["searches"], [{}], r"searches\[0\]\.settings: missing"),
        (["user"], "nobody", "checksum: found one of other content"),
    ],
)  # fmt: skip
def test_a_value_of_another_type_or_range_is_named(
    plan_file: Path, path: Sequence[str | int], value: Any, message: str
) -> None:
    content = json.loads(plan_file.read_text())
    plan_file.write_text(json.dumps(edited(content, path, value)))
    with pytest.raises(PlanError, match=message):
        load_all(plan_file.parents[2])


@pytest.mark.parametrize("content", [b"[" * 200_000, b"9" * 5000, b"\xff", b"", b"{}", b"null"])
def test_no_content_of_a_plan_ends_in_a_traceback(plan_file: Path, content: bytes) -> None:
    plan_file.write_bytes(content)
    with pytest.raises(PlanError, match=r"plan\.json"):
        load(plan_file)


def test_cells_that_a_task_added_are_checked_too(plan_of: PlanOf, tmp_path: Path) -> None:
    settings = dict.fromkeys(SETTINGS, 1)
    search = Search("model.width", "fitted == true", settings, [0], [], "auto", {"seed": 0})
    plan = plan_of(searches=[search], task_searches=[[0], []])
    path = plan.write(tmp_path / "demo")
    (path.parent / "inside").mkdir()
    added = path.parent / "inside" / "00000.json"
    cell = plan.cells[0]
    added.write_text(json.dumps([dataclasses.asdict(PlannedCell(cell.id, 0, cell.values))]))
    assert load(path).tasks == [[0, 1, 3], [2]]
    added.write_text(json.dumps([{"id": cell.id, "base": 0, "values": {"seed": 9}, "attempts": 0}]))
    with pytest.raises(PlanError, match="whose id is"):
        load(path)
    added.write_text("[")
    with pytest.raises(PlanError, match=r"cells of inside/00000\.json: found no JSON"):
        load(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "found arrays of 0 tasks, expected the 2 of the plan"),
        ("{}", "found {}, expected a list"),
        ("", "found no JSON"),
        ("[" * 200_000, "nested too deep"),
        ({"count": 99}, "found arrays of 99 tasks, expected the 2"),
        ({"first": 1}, "found an array from task 1, expected one from task 0"),
        ({"sent": None}, r"arrays\[0\]\.sent: found None, expected a number"),
        ({"job": "5; rm"}, r"arrays\[0\]: found '5; rm', expected the number of a job"),
        ({"job": 5}, r"arrays\[0\]\.job: found 5, expected a text or null"),
        ({"newer": 5}, r"arrays\[0\]\.newer: unknown key"),
    ],
)
def test_damaged_jobs_are_named(
    plan_of: PlanOf, tmp_path: Path, content: str | Mapping[str, Any], message: str
) -> None:
    plan = plan_of()
    path = plan.write(tmp_path / "demo").with_name("jobs.json")
    if isinstance(content, str):
        path.write_text(content)
    else:
        array = dataclasses.asdict(Array("demo.0", 0, 2, 5.0, "7"))
        path.write_text(json.dumps([{**array, **content}]))
    with pytest.raises(UserError, match=rf"jobs\.json: damaged \(.*{message}"):
        jobs.read(plan, tmp_path / "demo")


@pytest.mark.parametrize("content", ["", '["c1-', "5", "[5]", "{}", "[" * 200_000])
def test_damaged_cancellations_are_named(plan_file: Path, content: str) -> None:
    plan_file.with_name("cancelled.json").write_text(content)
    with pytest.raises(UserError, match=r"cancelled\.json: damaged"):
        sweep_state.load_sweep_state(plan_file.parents[2])


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"host": "a", "pid": 0, "start": "1"}',
     '{"host": "a", "pid": -1, "start": ""}',
     '{"host": "a", "pid": "1", "start": "1"}', '{"host": null, "pid": 1, "start": "1"}'],
)  # fmt: skip
def test_a_damaged_local_worker_is_named(plan_of: PlanOf, tmp_path: Path, content: str) -> None:
    path = plan_of(backend="local").write(tmp_path / "demo")
    path.with_name("local.json").write_text(content)
    with pytest.raises(UserError, match=r"local\.json: damaged"):
        sweep_state.load_sweep_state(tmp_path / "demo")
    with pytest.raises(UserError, match="move the file away"):
        markers.local_worker(path.parent)


def test_the_keys_of_a_plan_are_those_of_the_classes_that_they_become() -> None:
    packing, policy = dataclasses.asdict(Packing()), dataclasses.asdict(Policy())
    assert contents.packing(packing) == packing
    assert contents.policy(policy) == policy
    assert [field.name for field in dataclasses.fields(threshold.Settings)] == list(SETTINGS)
