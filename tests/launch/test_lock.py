"""The lock of a sweep: one holder at a time, with flock and without, and none that a dead process
keeps.
"""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import socket
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from launch.plan import files, markers
from launch.plan.process import own_process
from launch.submit import lock
from launch.submit.lock import locked


@pytest.fixture(params=["flock", "none"])
def locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A file system with locks and one without."""
    if request.param == "none":

        def refuse(*_: object) -> None:
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr(lock.fcntl, "flock", refuse)
    return str(request.param)


def count(folder: Path, times: int) -> None:
    for _ in range(times):
        with locked(folder):
            number = int((folder / "number").read_text())
            time.sleep(0.001)
            (folder / "number").write_text(str(number + 1))


def test_processes_that_take_the_lock_work_one_after_another(locks: str, tmp_path: Path) -> None:
    (tmp_path / "number").write_text("0")
    context = multiprocessing.get_context("fork")
    counting = [context.Process(target=count, args=(tmp_path, 10)) for _ in range(4)]
    for one in counting:
        one.start()
    for one in counting:
        one.join(60)
    assert (tmp_path / "number").read_text() == "40"
    assert {path.name for path in tmp_path.iterdir()} == {"number", ".lock"}


def die_holding(folder: Path) -> None:
    with locked(folder):
        os._exit(0)


def test_a_lock_whose_process_died_is_taken_away(locks: str, tmp_path: Path) -> None:
    dead = multiprocessing.get_context("fork").Process(target=die_holding, args=(tmp_path,))
    dead.start()
    dead.join(60)
    assert dead.exitcode == 0
    lock_file = tmp_path / ".lock.held"
    assert lock_file.exists() == (locks == "none")
    with locked(tmp_path):
        if locks == "none":
            assert json.loads(lock_file.read_text()) == asdict(own_process())
    assert not lock_file.exists()


def test_a_lock_of_a_silent_host_is_taken_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock_file = tmp_path / ".lock.held"
    lock_file.write_text(json.dumps(asdict(own_process()) | {"host": "elsewhere"}))
    assert not lock._stale(lock_file)
    silent = time.time() - lock.STALE_SECONDS - 1
    os.utime(lock_file, (silent, silent))
    assert lock._stale(lock_file)
    lock._remove_stale(lock_file)
    assert not lock_file.exists()


def test_a_link_in_the_place_of_the_lock_is_refused_and_its_target_kept(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("kept")
    (tmp_path / ".lock").symlink_to(precious)
    with pytest.raises(OSError, match=r"symbolic links.*\.lock"), locked(tmp_path):
        pass
    assert precious.read_text() == "kept"


@pytest.mark.parametrize("write", [files.write_bytes, files.create])
def test_a_link_under_a_temporary_name_is_not_followed(tmp_path: Path, write: Any) -> None:
    precious = tmp_path / "precious"
    precious.write_text("kept")
    name = f".new.{socket.gethostname()}.{os.getpid()}"
    for temporary in (name, f"{name}.tmp"):
        (tmp_path / temporary).symlink_to(precious)
    write(tmp_path / "new", b"content" if write is files.write_bytes else "content")
    assert precious.read_text() == "kept"
    assert (tmp_path / "new").read_text() == "content"


def cancel_one(submission: Path, cell: str) -> None:
    with locked(submission, lock.CANCEL_LOCK):
        markers.cancel_cells(submission, [cell])


def test_cells_cancelled_at_the_same_moment_are_all_recorded(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    cells = [f"c1-{number}" for number in range(12)]
    processes = [context.Process(target=cancel_one, args=(tmp_path, cell)) for cell in cells]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert markers.cancelled_cells(tmp_path) == set(cells)


def hold(folder: Path) -> None:
    with locked(folder):
        (folder / "held").touch()
        time.sleep(1.0)


@pytest.mark.parametrize(("silent", "says"), [(0.2, True), (60.0, False)])
def test_a_command_says_that_it_waits_long_for_another(
    locks: str,
    silent: float,
    says: bool,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lock, "SILENT_SECONDS", silent)
    with locked(tmp_path):
        pass
    assert capsys.readouterr().err == ""
    holder = multiprocessing.get_context("fork").Process(target=hold, args=(tmp_path,))
    holder.start()
    end = time.monotonic() + 60
    while not (tmp_path / "held").exists():
        assert time.monotonic() < end
        time.sleep(0.01)
    with locked(tmp_path):
        pass
    holder.join(60)
    said = f"{tmp_path}: another command is at work on this sweep" in capsys.readouterr().err
    assert said == says


def test_a_damaged_lock_file_ends_with_its_time(
    locks: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".lock.held").write_text("{")
    monkeypatch.setattr(lock, "STALE_SECONDS", -1.0)
    with locked(tmp_path):
        pass
