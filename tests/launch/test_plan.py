"""Plans: frozen whole on disk, read back the same, and the code that their jobs import."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch.plan import Plan, PlannedCell, files, snapshot
from launch.plan import plan as plans
from launch.plan.folder import umask_that_locks_out
from launch.plan.identity import cell_id
from launch.plan.plan import factor

PlanOf = Callable[..., Plan]
scalars = (
    st.sampled_from([0, 0.0, -0.0, False, 1, 1.0, True, None, "1", ""])
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
)
values = scalars | st.lists(scalars, max_size=2)
flats = st.dictionaries(st.sampled_from("abcd"), values)


def exact(flat: Any) -> str:
    """A text that differs wherever a configuration does, in the type of a value too."""
    return json.dumps(flat, sort_keys=True)


def test_a_plan_comes_back_as_it_was_written(plan_of: PlanOf, tmp_path: Path) -> None:
    values = {"a": None, "b": True, "c": 1.0, "d": [1, 2], "e": "é"}
    plan = plan_of(bases=[{}], cells=[PlannedCell(cell_id(values), 0, values, 3)], tasks=[[0]])
    path = plan.write(tmp_path)
    assert path == tmp_path / "submissions" / plan.sid / "plan.json"
    assert plans.load(path) == plan
    assert exact(plans.load(path).cells[0].values) == exact(plan.cells[0].values)


def test_a_plan_is_never_written_over(plan_of: PlanOf, tmp_path: Path) -> None:
    plan_of().write(tmp_path)
    with pytest.raises(FileExistsError):
        plan_of(name="other").write(tmp_path)


def test_plans_of_a_sweep_come_oldest_first(plan_of: PlanOf, tmp_path: Path) -> None:
    for sid, created in (("b", 2.0), ("c", 1.0), ("a", 2.0)):
        plan_of(sid=sid, created=created).write(tmp_path)
    assert [plan.sid for plan in plans.load_all(tmp_path)] == ["c", "a", "b"]
    assert plans.load_all(tmp_path / "nothing") == []


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"{}", b"[]", b"5", b"null", b'"plan"', b'{"cells": 5}', b'{"cells": [1]}',
     b"\xff\xfe", b'{"cells": []}'],
)  # fmt: skip
def test_a_file_that_is_no_plan_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "plan.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"plan\.json: not a plan of this version"):
        plans.load(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colour": "red"}, r"colour: unknown key. Newer code wrote this plan"),
        ({"sid": ...}, r"sid: missing.*expected what `redescent submit` writes"),
    ],
    ids=["a key too many", "a key too few"],
)
def test_a_plan_of_another_version_is_named(
    plan_of: PlanOf, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    path = plan_of().write(tmp_path)
    raw = {**json.loads(path.read_text()), **change}
    path.write_text(json.dumps({key: value for key, value in raw.items() if value is not ...}))
    with pytest.raises(ValueError, match=message):
        plans.load(path)


def factored(configurations: Sequence[dict[str, Any]]) -> list[str]:
    """The configurations after factoring and putting together again."""
    bases, split = factor(configurations)
    return [exact({**bases[index], **differing}) for index, differing in split]


@given(st.lists(flats, max_size=8))
def test_factoring_loses_nothing(configurations: list[dict[str, Any]]) -> None:
    assert factored(configurations) == [exact(flat) for flat in configurations]


@pytest.mark.parametrize(
    "equal", [(1, 1.0, True), (0, 0.0, False), (0.0, -0.0), ([1, 2], [1.0, 2], [True, 2])], ids=str
)
def test_factoring_keeps_equal_values_of_different_type_apart(equal: tuple[Any, ...]) -> None:
    for order in itertools.permutations({"a": value} for value in equal):
        assert factored(order) == [exact(flat) for flat in order]


@given(st.lists(flats, max_size=8))
def test_configurations_with_equal_keys_share_a_base(configurations: list[dict[str, Any]]) -> None:
    bases, split = factor(configurations)
    assert len(bases) == len({frozenset(flat) for flat in configurations})
    assert [set(bases[index]) for index, _ in split] == [set(flat) for flat in configurations]
    for (index, differing), flat in zip(split, configurations, strict=True):
        assert all(exact(bases[index][key]) != exact(flat[key]) for key in differing)


def test_a_plan_gives_the_configuration_of_its_cells(plan_of: PlanOf) -> None:
    plan = plan_of(
        bases=[{"seed": 0, "a": 1}, {"seed": 0}], cells=[PlannedCell("c", 1, {"seed": 5})]
    )
    assert plan.flat(plan.cells[0]) == {"seed": 5}


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the source tree, taken for the one to archive."""
    copy = tmp_path / "source"
    for package in ("launch", "trainers", "analysis"):
        shutil.copytree(
            snapshot.SOURCE / package, copy / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    monkeypatch.setattr(snapshot, "SOURCE", copy)
    return copy


def test_a_snapshot_is_the_same_for_the_same_sources(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, archive = snapshot.snapshot(tmp_path / "one")
    another_day = plans.time.localtime(1e9)
    monkeypatch.setattr(plans.time, "localtime", lambda *_: another_day)
    for path in source.rglob("*.py"):
        os.utime(path, (1e9, 1e9))
    repeat, other = snapshot.snapshot(tmp_path / "two")
    assert (code, archive.name) == (repeat, other.name) == (code, f"{code}.zip")
    assert archive.read_bytes() == other.read_bytes()


@pytest.mark.parametrize("change", ["edit", "add", "rename"])
def test_a_snapshot_of_other_sources_has_another_name(
    source: Path, tmp_path: Path, change: str
) -> None:
    code, archive = snapshot.snapshot(tmp_path / "sweep")
    before = archive.read_bytes()
    if change == "edit":
        (source / "trainers" / "optim.py").write_text("lr = 1")
    elif change == "add":
        (source / "trainers" / "models" / "new.py").touch()
    else:
        (source / "launch" / "train.py").rename(source / "launch" / "training.py")
    assert snapshot.snapshot(tmp_path / "sweep")[0] != code
    assert archive.read_bytes() == before


def test_a_snapshot_holds_the_sources_and_nothing_else(source: Path, tmp_path: Path) -> None:
    for name in (
        "launch/__pycache__/grid.cpython-311.pyc",
        "launch/notes.txt",
        "analysis/another.py",
        "launch/.grid.py.swp",
    ):
        (source / name).parent.mkdir(exist_ok=True)
        (source / name).write_text("x")
    _, archive = snapshot.snapshot(tmp_path)
    expected = {
        str(p.relative_to(source))
        for d in ("launch", "trainers")
        for p in (source / d).rglob("*.py")
        if p.parent.name != "report"
    }
    expected |= {"analysis/__init__.py"}
    expected |= {str(p.relative_to(source)) for p in (source / "analysis" / "store").glob("*.py")}
    stats = ("__init__", "condition", "lattice", "posterior", "threshold")
    expected |= {f"analysis/stats/{name}.py" for name in stats}
    with zipfile.ZipFile(archive) as file:
        assert set(file.namelist()) == expected
        assert file.testzip() is None


def test_jobs_import_the_archived_code_and_not_the_tree(source: Path, tmp_path: Path) -> None:
    (source / "launch" / "job.py").write_text(
        "from launch.worker import pool; print(pool.__file__, flush=True)"
    )
    _, archive = snapshot.snapshot(tmp_path)
    command = [sys.executable, "-P", "-m", "launch.job"]
    process = subprocess.run(
        command, env={"PYTHONPATH": str(archive)}, capture_output=True, text=True, check=True
    )
    assert process.stdout.strip() == f"{archive}/launch/worker/pool.py"


def test_a_job_can_compact_with_the_archived_code_alone(source: Path, tmp_path: Path) -> None:
    _, archive = snapshot.snapshot(tmp_path)
    command = [sys.executable, "-P", "-m", "analysis.store.compact", str(tmp_path)]
    process = subprocess.run(
        command, env={"PYTHONPATH": str(archive)}, capture_output=True, text=True, check=True
    )
    assert "not compacted: " in process.stdout
    assert "nothing to compact" in process.stdout


def test_a_write_that_fails_leaves_the_old_file_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "jobs.json"
    files.write_json(path, {"a": 1})

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        files.write_json(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 1}
    assert os.listdir(tmp_path) == ["jobs.json"]


def test_submission_ids_differ_and_sort_by_age(monkeypatch: pytest.MonkeyPatch) -> None:
    real = plans.time.gmtime
    result = []
    for now in (0, 0, 1, 61, 10**9):
        monkeypatch.setattr(plans.time, "gmtime", lambda now=now: real(now))
        result.append(plans.new_sid())
    assert len(set(result)) == 5
    assert [sid[:15] for sid in result] == sorted(sid[:15] for sid in result)


def test_the_environment_is_named_by_the_versions_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    before, versions = snapshot.environment()
    assert {"python", "torch", "numpy"} <= set(versions)
    assert snapshot.environment() == (before, versions)
    monkeypatch.setattr(snapshot.importlib.metadata, "version", lambda name: "0.0")
    assert snapshot.environment()[0] != before


@pytest.mark.parametrize(
    ("mode", "mask", "expected"),
    [(0o2775, 0o022, "022"), (0o2775, 0o002, ""), (0o775, 0o022, ""), (0o2755, 0o022, "")],
)
def test_a_umask_that_locks_the_group_out_of_a_shared_folder_is_known(
    tmp_path: Path, mode: int, mask: int, expected: str
) -> None:
    tmp_path.chmod(mode)
    before = os.umask(mask)
    try:
        assert umask_that_locks_out(tmp_path) == expected
        assert umask_that_locks_out(tmp_path / "new") == expected
        assert umask_that_locks_out(tmp_path / "no" / "such") == ""
        assert os.umask(mask) == mask
    finally:
        os.umask(before)
