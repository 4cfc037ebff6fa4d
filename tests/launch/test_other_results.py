"""Cells that are done with other data or code are reported, and run anew when asked."""

from __future__ import annotations

import io
import json
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from launch.cli.preview import print_meant_as_conditions
from launch.cli.words import conditions_and_overrides
from launch.errors import UserError
from launch.plan import result_code
from launch.plan.launcher import Launcher
from launch.status import other_results
from launch.submit import preview
from launch.submit import selection as selections
from launch.sweep.request import Cell, Packing, Request
from launch.worker._child import CellTrainer, Inbox, Writer
from launch.worker.messages import CellJob
from trainers import config
from trainers.config import source
from trainers.part import FinishedCell

TABLE: dict[str, Any] = {
    "data.name": "table", "data.label": "label", "data.features": None, "data.test_share": 0.5,
    "data.split_seed": None, "data.train_samples": None, "data.standardise": True,
    "data.label_noise.kind": "incorrect", "data.label_noise.rate": 0.0,
    "data.label_noise.classes": None, "data.label_noise.count": "nearest",
}  # fmt: skip
Selection = Callable[..., selections.Selection]


@pytest.fixture
def cells(tmp_path: Path, flat: dict[str, Any]) -> list[Cell]:
    """Two cells on a table."""
    (tmp_path / "rows.csv").write_text("a,label\n1,0\n2,1\n")
    others = {key: value for key, value in flat.items() if not key.startswith("data.")}
    whole = {**others, **TABLE, "data.root": str(tmp_path / "rows.csv")}
    return [Cell(f"c1-{width}", {**whole, "model.width": width}) for width in (4, 8)]


def state_of(runs: list[dict[str, Any]], folder: Path = Path("/logs")) -> Any:
    """A sweep whose records are `runs`, and that has no plan left."""
    frame = pd.DataFrame(runs)
    records = {run["cell"]: SimpleNamespace(status=run["status"]) for run in runs}
    return SimpleNamespace(folder=folder, runs=frame, plans=[], cells={}, records=records)


def select(cells: list[Cell], state: Any, rerun: bool = False, again: Any = ()) -> Any:
    request = Request("s", Path("/logs"), cells, Packing(), Launcher({}), [], again=again)
    selection = selections.select_cells(request, state, retry_errors=True, rerun=rerun)
    return selections.with_other_results(selection, request, state)


def done(cell: str, source_hash: str | None, code: str = "c0de") -> dict[str, Any]:
    return {"cell": cell, "status": "done", "code": code, "source_hash": source_hash}


def test_a_cell_of_other_data_is_not_done(cells: list[Cell], tmp_path: Path) -> None:
    present = config.source_hash(config.parse(cells[0].flat).data)
    state = state_of([done("c1-4", "0123456789abcdef"), done("c1-8", present)])
    selection = select(cells, state)
    assert selection.other_data == ["c1-4"]
    assert selection.cells == []
    assert selection.states == {"done": 1, "done with other data": 1}
    (tmp_path / "rows.csv").write_text("a,label\n1,1\n2,0\n3,1\n")
    assert select(cells, state).other_data == ["c1-4", "c1-8"]


def test_a_task_does_not_pass_a_result_of_other_data_off_as_done(
    cells: list[Cell], tmp_path: Path
) -> None:
    present = config.source_hash(config.parse(cells[0].flat).data)
    answers = {}
    for earlier in (present, "0123456789abcdef", None):
        trainer = CellTrainer(Writer(tmp_path, "w", "p.", 1.0, ""), Inbox(io.StringIO()))
        trainer.finished = {"c1-4": FinishedCell("done", 3, earlier)}
        answers[earlier] = trainer.train(CellJob("c1-4", cells[0].flat, 2, "c0de", "e0"))
    assert {key: answer.status for key, answer in answers.items()} == {
        present: "done", "0123456789abcdef": "failed", None: "done",
    }  # fmt: skip
    assert "other data" in str(answers["0123456789abcdef"].error)


def test_what_cannot_be_compared_is_said(cells: list[Cell], tmp_path: Path) -> None:
    old = state_of([{"cell": "c1-4", "status": "done"}])
    assert (select(cells, old).other_data, select(cells, old).unknown_data) == ([], 1)
    (tmp_path / "rows.csv").unlink()
    state = state_of([done("c1-4", None), done("c1-8", "0123456789abcdef")])
    selection = select(cells, state)
    assert (selection.other_data, selection.unknown_data) == ([], 2)


def test_the_newest_result_tells_where_the_files_cannot_be_read(
    cells: list[Cell], tmp_path: Path
) -> None:
    (tmp_path / "rows.csv").unlink()
    earlier = done("c1-4", "0123456789abcdef") | {"updated": 1.0}
    newest = done("c1-8", "fedcba9876543210") | {"updated": 2.0}
    selection = select(cells, state_of([newest, earlier]))
    assert (selection.other_data, selection.unknown_data) == (["c1-4"], 0)


def test_again_takes_the_done_cells_that_meet_its_conditions(cells: list[Cell]) -> None:
    state = state_of([done("c1-4", None), done("c1-8", None)])
    assert select(cells, state).cells == []
    assert select(cells, state, rerun=True).ids == ["c1-4", "c1-8"]
    assert select(cells, state, rerun=True, again=["model.width == 8"]).ids == ["c1-8"]
    fresh = state_of([done("c1-4", None)])
    assert select(cells, fresh, rerun=True, again=["model.width == 8"]).ids == ["c1-8"]
    with pytest.raises(UserError, match=r"none of the 2 cells of s meets model.width == 3"):
        select(cells, fresh, rerun=True, again=["model.width == 3"])


def test_done_cells_are_counted_whose_trainer_said_something_else(
    cells: list[Cell], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    present = {"launch/a.py": b"1", "trainers/b.py": b"x = 1", "mine/c.py": b"y = 2"}
    monkeypatch.setattr(result_code, "our_sources", lambda: present)
    versions = {
        "same": present,
        "commented": {**present, "trainers/b.py": b"# now\nx = 1\n"},
        "launched": {**present, "launch/a.py": b"2"},
        "edited": {**present, "mine/c.py": b"y = 3"},
    }
    (tmp_path / "code").mkdir()
    for code, sources in versions.items():
        with zipfile.ZipFile(tmp_path / "code" / f"{code}.zip", "w") as archive:
            for name, content in sources.items():
                archive.writestr(name, content)
    counts = {}
    for code in (*versions, "lost"):
        state = state_of([done("c1-4", None), done("c1-8", None, code)], tmp_path)
        counts[code] = select(cells, state).other_code
    assert counts == {"same": 0, "commented": 0, "launched": 0, "edited": 1, "lost": 0}
    state = state_of([done("c1-4", None, "same"), done("c1-8", None, "edited")], tmp_path)
    assert select(cells, state, rerun=True, again=["model.width == 8"]).other_code == 0
    continued = {**done("c1-8", None, "same"), "earlier_code": "same edited"}
    assert select(cells, state_of([continued], tmp_path)).other_code == 1


def test_cells_that_continue_a_checkpoint_of_other_code_are_counted(
    cells: list[Cell], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(result_code, "our_sources", lambda: {"trainers/b.py": b"x = 1"})
    (tmp_path / "code").mkdir()
    (tmp_path / "checkpoints").mkdir()
    with zipfile.ZipFile(tmp_path / "code" / "edited.zip", "w") as archive:
        archive.writestr("trainers/b.py", b"x = 2")
    stopped = [{**done(cell.id, None, "edited"), "status": "stopped"} for cell in cells]
    state = state_of(stopped, tmp_path)
    assert select(cells, state).continued_code == 0
    (tmp_path / "checkpoints" / f"{cells[0].id}.1.w.pt").touch()
    assert select(cells, state).continued_code == 1


@pytest.mark.parametrize(("code", "count"), [("same", 0), ("edited", 1)])
def test_an_interrupted_training_again_of_other_code_is_counted(
    cells: list[Cell], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, count: int
) -> None:
    sources = {"same": b"x = 1", "edited": b"x = 2"}
    monkeypatch.setattr(result_code, "our_sources", lambda: {"trainers/b.py": sources["same"]})
    (tmp_path / "code").mkdir()
    (tmp_path / "checkpoints").mkdir()
    for name, content in sources.items():
        with zipfile.ZipFile(tmp_path / "code" / f"{name}.zip", "w") as archive:
            archive.writestr("trainers/b.py", content)
    state = state_of([done(cell.id, None, "same") for cell in cells], tmp_path)
    (tmp_path / "checkpoints" / f"{cells[0].id}.2.w.pt").touch()
    stopped = {**done(cells[0].id, None, code), "status": "stopped", "attempt": 2}
    records = {cells[0].id: [{**done(cells[0].id, None, "same"), "attempt": 1}, stopped]}
    monkeypatch.setattr(other_results.store, "records", lambda folder, cell: records[cell])
    selection = select(cells, state, rerun=True)
    assert (selection.done_again, selection.continued_code) == (2, count)


def test_conditions_are_told_from_overrides() -> None:
    conditions = ["model.width == 4", "optim.lr<0.1", "model.width in [1, 2]", "a.b==1"]
    overrides = [
        "model.width=4",
        "+axes={a: [1]}",
        "~seeds",
        "hydra/launcher=local",
        "where=['a<3']",
    ]
    assert conditions_and_overrides([*conditions, *overrides]) == (conditions, overrides)


@pytest.mark.parametrize(
    ("done_cells", "again", "overrides", "state", "expected"),
    [
        (
            [],
            [],
            ["model.width=4", "hydra/launcher=local", "seeds=[0]"],
            "new",
            "as in 'model.width == 4'",
        ),
        (["c1-4"], [], ["model.width=4"], "new", ""),
        ([], ["seed == 0"], ["model.width=4"], "new", ""),
        ([], [], ["hydra/launcher=local"], "new", ""),
        ([], [], ["model.width=4"], "running", ""),
    ],
)
def test_again_without_a_done_cell_says_how_a_condition_is_written(
    cells: list[Cell],
    capsys: pytest.CaptureFixture[str],
    done_cells: list[str],
    again: list[str],
    overrides: list[str],
    state: str,
    expected: str,
) -> None:
    states = Counter({state: len(cells)})
    selection = selections.Selection(cells, states, done=frozenset(done_cells))
    request = Request("s", Path("/logs"), cells, Packing(), Launcher({}), [], again=again)
    estimate = preview.Estimate("core-hours", 0.0, None)
    proposal = preview.Preview(request, selection, [], [], 0, (), estimate)
    print_meant_as_conditions(proposal, overrides)
    out = " ".join(capsys.readouterr().out.split())
    assert expected in out if expected else out == ""


def test_the_hash_of_a_source_follows_its_contents_alone(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        (folder / "inner").mkdir(parents=True)
        (folder / "a.csv").write_text("1")
        (folder / "inner" / "b.csv").write_text("2")
    hash_of = lambda root: config.source_hash(SimpleNamespace(root=root, cache=tmp_path / "c"))  # noqa: E731
    first = hash_of(str(one))
    assert first == hash_of(str(two))
    (two / "inner" / "b.csv").write_text("3.")
    assert hash_of(str(two)) != first
    assert hash_of(str(tmp_path / "none")) is None
    assert hash_of(None) is None
    kept = sorted((tmp_path / "c" / "sources").glob("*.json"))
    assert first in {json.loads(path.read_text())["source_hash"] for path in kept}


def test_the_first_layout_that_is_there_is_hashed(tmp_path: Path) -> None:
    layouts = config.CIFAR10.layouts
    for name in ("train-0.parquet", "test-0.parquet", "test_batch", "notes.txt"):
        (tmp_path / name).write_text(name)
    names = [path.name for path in source.source_files(tmp_path, layouts)]
    assert names == ["test-0.parquet", "train-0.parquet"]
    (tmp_path / "test-0.parquet").unlink()
    assert source.source_files(tmp_path, layouts) == []
    assert source.source_files(tmp_path / "notes.txt", layouts) == [tmp_path / "notes.txt"]
