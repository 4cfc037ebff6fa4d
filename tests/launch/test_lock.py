"""The lock of a sweep: one holder at a time, with flock and without, and none that a dead process
keeps.
"""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import time
from pathlib import Path

import pytest

from launch.plan import files
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
            assert json.loads(lock_file.read_text()) == files.own_process()
    assert not lock_file.exists()


def test_a_lock_of_a_silent_host_is_taken_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock_file = tmp_path / ".lock.held"
    lock_file.write_text(json.dumps(files.own_process() | {"host": "elsewhere"}))
    assert not lock._stale(lock_file)
    silent = time.time() - lock.STALE_SECONDS - 1
    os.utime(lock_file, (silent, silent))
    assert lock._stale(lock_file)
    lock._remove_stale(lock_file)
    assert not lock_file.exists()
