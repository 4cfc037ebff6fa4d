"""Jobs run the code that was frozen with their plan, or none."""

from __future__ import annotations

import io
import random
import warnings
import zipfile
import zipimport
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from analysis import store
from launch.errors import UserError
from launch.plan import Plan, snapshot
from launch.plan.folder import check_folder
from launch.plan.outcome import FROZEN_CODE
from launch.scheduler import task
from launch.worker._child import CellTrainer, Inbox, Writer
from launch.worker.messages import CellJob

FLIPS = 300
SOURCES = {"a/__init__.py": b"", "a/b.py": b"x = 1\n" * 40, "a/c.py": b"y = 'text'\n" * 30}
NOOP: Mapping[str, Any] = {
    "seed": 0, "model.name": "none", "data.name": "none", "optim.name": "none",
    "trainer.name": "noop", "trainer.epochs": 1, "trainer.seconds": 0.0, "trainer.fail": "none",
    "run.device": "auto", "run.threads": 1, "run.compile": False, "run.checkpoint_seconds": 60.0,
}  # fmt: skip


@pytest.fixture
def small_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    """A source tree of three files, to archive."""
    monkeypatch.setattr(snapshot, "our_sources", lambda: SOURCES)


def imported(archive: Path) -> dict[str, bytes]:
    """What Python would import from an archive."""
    importer = zipimport.zipimporter(str(archive))
    return {name: importer.get_data(f"{archive}/{name}") for name in SOURCES}


def test_no_changed_bit_of_an_archive_is_taken(small_tree: None, tmp_path: Path) -> None:
    code, archive = snapshot.snapshot(tmp_path)
    content = archive.read_bytes()
    assert imported(archive) == SOURCES
    draws = random.Random(0)
    refused = 0
    for number in range(FLIPS):
        changed = bytearray(content)
        changed[draws.randrange(len(content))] ^= 1 << draws.randrange(8)
        path = tmp_path / f"{number}.zip"  # zipimport remembers the contents by path
        path.write_bytes(changed)
        if snapshot.archive_hash(path) == code:
            assert imported(path) == SOURCES
        else:
            refused += 1
    assert refused > FLIPS / 3


@pytest.mark.parametrize("damage", ["cut", "other", "empty", "twice"])
def test_a_damaged_archive_is_written_again(small_tree: None, tmp_path: Path, damage: str) -> None:
    code, archive = snapshot.snapshot(tmp_path)
    content = archive.read_bytes()
    if damage == "cut":
        archive.write_bytes(content[:200])
    elif damage == "empty":
        archive.write_bytes(b"")
    else:
        buffer = io.BytesIO(content if damage == "twice" else b"")
        with zipfile.ZipFile(buffer, "a") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the second file with a name
            file.writestr("a/b.py", "planted = True")
        archive.write_bytes(buffer.getvalue())
    assert snapshot.snapshot(tmp_path) == (code, archive)
    assert archive.read_bytes() == content


def test_a_whole_archive_is_not_written_again(small_tree: None, tmp_path: Path) -> None:
    _, archive = snapshot.snapshot(tmp_path)
    before = archive.stat()
    snapshot.snapshot(tmp_path)
    after = archive.stat()  # a running job may read it at any moment
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_process_knows_whether_it_runs_the_code_of_its_plan(tmp_path: Path) -> None:
    code, archive = snapshot.snapshot(tmp_path)
    difference = snapshot.difference_from_plan(code, str(archive))
    assert difference is not None
    assert f"found {snapshot.SOURCE}, expected {archive}" in difference


def test_a_child_trains_no_cell_in_other_code(tmp_path: Path) -> None:
    job = CellJob("c1-0", NOOP, 1, "c0de", "e0")
    trainer = CellTrainer(Writer(tmp_path, "w", "p.", 1.0, "/gone/c0de.zip"), Inbox(io.StringIO()))
    result = trainer.train(job)
    trainer.save()
    assert result.status == "failed"
    (row,) = store.runs(tmp_path).to_dict("records")
    assert (row["status"], row["error_class"]) == ("failed", FROZEN_CODE.name)
    assert "expected /gone/c0de.zip, which was removed" in row["error"]
    assert store.curves(tmp_path).empty


def test_a_task_refuses_a_damaged_plan_in_one_line(
    tmp_path: Path, plan_of: Callable[..., Plan], capsys: pytest.CaptureFixture[str]
) -> None:
    path = plan_of(backend="local").write(tmp_path / "demo")
    path.write_text("{")
    assert task.main([str(path), "--task", "0"], [], check_code=True) == 1
    assert "plan.json: not a plan of this version" in capsys.readouterr().err
    assert not path.with_name("local.json").exists()


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("a:b", "local", "Python splits"),
        ("a:b", "slurm", "Python splits"),
        ("run%A", "slurm", "SLURM replaces"),
        ("a\\b", "slurm", "SLURM reads it as an escape"),
        ("a\nb", "debug", "no printable text"),
        ("a\udcff", "local", "no printable text"),
    ],
)
def test_a_log_folder_that_is_read_otherwise_is_refused(
    tmp_path: Path, name: str, kind: str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        check_folder(tmp_path / name, kind)


def test_other_log_folders_are_fine(tmp_path: Path) -> None:
    for name in ("a b", "é", "a'b", "[x]", "run-1_2.3", "a#b"):
        check_folder(tmp_path / name, "slurm")
    check_folder(tmp_path / "run%A", "local")
