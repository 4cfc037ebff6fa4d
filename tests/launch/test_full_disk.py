"""A disk that fills while a sweep runs: one clear message, nothing lost, and a resume to the table
of a calm run.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import command_line
import pandas as pd
import pytest
from waiting import wait_for

from analysis import store
from launch.plan import files, load_all, markers
from launch.status import sweep_state

REPOSITORY = Path(__file__).resolve().parents[2]
WHEN = ["attempt", "seconds", "examples_per_second"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1100k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("a disk that fills needs a small tmpfs, and mounting one needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk: Path) -> None:
    """Leave not one free page on a disk."""
    extend(disk / "stuffing", 4096)


def extend(path: Path, size: int) -> None:
    """Append lines without text to a file, a number of bytes at a time, until the disk is full."""
    is_full = pytest.raises(OSError, match="No space left")
    with open(path, "ab", buffering=0) as file, is_full:
        while True:
            file.write(b"\n" * size)


def make_room(disk: Path) -> None:
    (disk / "stuffing").unlink()
    subprocess.run(["mount", "-o", "remount,size=50m", str(disk)], check=True)


def redescent(logs: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"REDESCENT_LOGS": str(logs)}
    return command_line.redescent(*words, environment=environment)


def submit(logs: Path) -> subprocess.CompletedProcess[str]:
    return redescent(
        logs,
        "submit",
        "smoke",
        "hydra/launcher=local",
        "~axes",
        "model=cnn",
        "model.width=8",
        "seeds=[0]",
        "trainer.epochs=6",
        "run.checkpoint_seconds=0",
        "compact=false",
        "--wait",
    )


def submit_noop(logs: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    words = ("submit", "noop", "hydra/launcher=local", "compact=false")
    return redescent(logs, *words, *overrides)


def states(folder: Path) -> set[str]:
    return {cell.state for cell in sweep_state.load_sweep_state(folder).cells.values()}


def table(logs: Path) -> pd.DataFrame:
    return store.curves(logs / "smoke").drop(columns=WHEN).astype({"cell": str})


def test_a_full_disk_fails_cells_with_its_name_and_a_resume_completes_them(
    small_disk: Path, tmp_path: Path
) -> None:
    stuffing = small_disk / "stuffing"
    stuffing.write_bytes(b"x" * 450_000)
    first = submit(small_disk)
    assert first.returncode == 1, first.stdout
    assert "No space left on device" in first.stdout
    assert not any(
        cell.state == "done"
        for cell in sweep_state.load_sweep_state(small_disk / "smoke").cells.values()
    )
    make_room(small_disk)
    repeat = redescent(small_disk, "resume", "smoke", "--wait")
    assert repeat.returncode == 0, repeat.stdout
    submit(tmp_path / "calm")
    pd.testing.assert_frame_equal(table(small_disk), table(tmp_path / "calm"), check_exact=True)


def test_submitting_to_a_full_disk_reports_it_and_sends_nothing(small_disk: Path) -> None:
    (small_disk / "stuffing").write_bytes(b"x" * 1_090_000)
    output = submit(small_disk)
    assert output.returncode == 2
    assert "the disk is full" in output.stderr
    assert "Traceback" not in output.stdout + output.stderr
    make_room(small_disk)
    assert submit(small_disk).returncode == 0


def test_cancel_on_a_full_disk_ends_the_jobs_and_says_what_is_not_recorded(
    small_disk: Path,
) -> None:
    folder = small_disk / "noop"
    words = ("seeds=[0]", "trainer.epochs=1000000", "trainer.seconds=0.05")
    assert submit_noop(small_disk, *words, "run.checkpoint_seconds=3600").returncode == 0
    (plan,) = load_all(folder)

    def process() -> markers.Process | None:
        return markers.local_worker(plan.folder(folder))

    wait_for(lambda: "running" in states(folder), "a cell that trains")
    fill(small_disk)
    output = redescent(small_disk, "cancel", "noop")
    assert output.returncode == 0, output.stderr
    assert "cancelled 1 cell, 1 whole task" in output.stdout
    assert "cannot be marked as cancelled (No space left on device)" in output.stdout
    assert "Run this again when the disk can be written" in output.stdout
    wait_for(lambda: (worker := process()) is None or worker.alive() is False, "the worker's end")
    make_room(small_disk)
    assert "no running or waiting cell" in redescent(small_disk, "cancel", "noop").stdout
    assert states(folder) & {"interrupted", "failed"}


def submit_saving(disk: Path) -> Path:
    """Train two cells that save after every epoch; returns their log once the first one trains."""
    words = ("seeds=[0,1]", "task.at_a_time=1", "trainer.epochs=400", "trainer.seconds=0.1")
    assert submit_noop(disk, *words, "run.checkpoint_seconds=0").returncode == 0
    wait_for(lambda: "running" in states(disk / "noop"), "a cell that trains")
    (log,) = disk.glob("noop/submissions/*/output/*")
    return log


def test_a_task_that_a_full_disk_stops_says_so_in_its_log_and_in_status(small_disk: Path) -> None:
    log = submit_saving(small_disk)
    fill(small_disk)
    wait_for(lambda: "running" not in states(small_disk / "noop"), "the end of the task")
    lines = log.read_text().splitlines()
    assert "cannot write to the disk of the logs: OSError: [Errno 28] No space left" in lines[-1]
    assert "its process died" not in log.read_text()
    assert "Traceback" not in log.read_text(), "the log has hardly room for it"
    make_room(small_disk)
    status = " ".join(redescent(small_disk, "status", "noop").stdout.split())
    assert "2 cells without a result" in status
    assert "No space left on device" in status


def test_status_and_why_say_that_the_disk_is_full_where_the_log_could_not(
    small_disk: Path,
) -> None:
    log = submit_saving(small_disk)
    fill(small_disk)
    extend(log, 1)
    wait_for(lambda: "running" not in states(small_disk / "noop"), "the end of the task")
    shown = [redescent(small_disk, "status", "noop").stdout]
    for cell in sweep_state.load_sweep_state(small_disk / "noop").cells:
        shown.append(redescent(small_disk, "why", cell).stdout)
    assert len(shown) == 3
    for text in shown:
        assert "no space left on device" in " ".join(text.split())
    make_room(small_disk)
    assert redescent(small_disk, "resume", "noop").returncode == 0
    assert "no space" not in redescent(small_disk, "status", "noop").stdout
    redescent(small_disk, "cancel", "noop")
    wait_for(lambda: not states(small_disk / "noop") & {"running", "waiting"}, "the end")


DISK = {
    "f_blocks": 10**6, "f_bavail": 10**5, "f_frsize": 4096, "f_files": 10**6, "f_favail": 10**5,
    "f_flag": 0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("disk", "full"),
    [
        ({}, False),
        ({"f_bavail": 15}, True),
        ({"f_favail": 0}, True),
        ({"f_files": 0, "f_favail": 0}, False),  # a file system without a fixed number of inodes
        ({"f_blocks": 0, "f_bavail": 0, "f_files": 0, "f_favail": 0}, False),  # states no sizes
        ({"f_bavail": 0, "f_flag": os.ST_RDONLY}, False),  # an archive that is mounted
    ],
)
def test_a_disk_is_full_without_room_or_inodes_where_these_are_known(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, disk: dict[str, int], full: bool
) -> None:
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(**DISK | disk))
    assert files.is_full(tmp_path) == full


def test_a_disk_that_cannot_be_asked_is_not_called_full(tmp_path: Path) -> None:
    assert not files.is_full(tmp_path / "gone")
