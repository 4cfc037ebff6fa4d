"""Checkpoints: whole or not there, whatever kills the process or fills the disk, and never code."""

from __future__ import annotations

import logging
import os
import pickle
import resource
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from trainers.checkpoint import Checkpoints, replacing

CELL = "c1-0123"
KILLS = 40


def of(
    folder: Path, attempt: int = 1, writer: str = "S1.00000.r0.abcdef01.0", cell: str = CELL
) -> Checkpoints:
    return Checkpoints(folder, cell, attempt, writer)


def saved(state: dict[str, Any]) -> dict[str, Any]:
    """What a run saves together with the state of its trainer."""
    return {"state": state, "rows": [], "seconds": 0.5, "attempt": 1, "step": 2}


def state_of(checkpoints: Checkpoints) -> dict[str, Any] | None:
    """The state of the trainer in the newest checkpoint."""
    content = checkpoints.load()
    return content and content["state"]


def big(value: float) -> dict[str, Any]:
    """Two megabytes, all of one value."""
    return saved({"value": value, "weights": torch.full((500_000,), value)})


def files(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def test_a_process_without_torch_saves_and_reads_its_checkpoints(tmp_path: Path) -> None:
    script = """
import pathlib, sys
from trainers.checkpoint import Checkpoints
folder, content = pathlib.Path(sys.argv[1]), {"state": {"epoch": 3}, "rows": [{"progress": 0.1}]}
Checkpoints(folder, "c1-0123", 1, "w").save(content | {"seconds": 0.5, "attempt": 1, "step": 2})
loaded = Checkpoints(folder, "c1-0123", 2, "v").load()
assert loaded["state"] == {"epoch": 3} and loaded["rows"] == [{"progress": 0.1}], loaded
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script, tmp_path], check=True)
    assert state_of(of(tmp_path, attempt=2)) == {"epoch": 3}
    (path,) = tmp_path.iterdir()
    content = path.read_bytes()
    path.write_bytes(content.replace(b"3", b"4"))
    assert of(tmp_path, attempt=2).load() is None
    path.write_bytes(content[content.index(b"{") :])
    assert of(tmp_path, attempt=2).load() is None


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    state = {"weights": torch.randn(3, 2), "rng": torch.get_rng_state()}
    rows = [{"cell": CELL, "epoch": 1, "loss": None, "error": 0.5}]
    of(tmp_path).save(saved(state) | {"rows": rows})
    checkpoint = of(tmp_path, attempt=2).load()
    assert checkpoint is not None
    assert torch.equal(checkpoint["state"]["weights"], state["weights"])
    assert torch.equal(checkpoint["state"]["rng"], state["rng"])
    assert checkpoint["rows"] == rows


def test_without_a_checkpoint_there_is_none(tmp_path: Path) -> None:
    of(tmp_path, cell="c1-01234").save(saved({"a": 1}))
    assert of(tmp_path).load() is None


def test_the_newest_attempt_is_taken_and_drops_the_older_ones(tmp_path: Path) -> None:
    for attempt in range(1, 13):
        of(tmp_path, attempt).save(saved({"attempt": attempt}))
        assert state_of(of(tmp_path, 99)) == {"attempt": attempt}
        assert len(files(tmp_path)) == 1


def test_an_old_attempt_that_is_still_alive_does_not_disturb_the_new_one(tmp_path: Path) -> None:
    old, new = of(tmp_path, 1, "old"), of(tmp_path, 2, "new")
    new.save(saved({"from": "new"}))
    old.save(saved({"from": "old"}))
    assert state_of(new) == state_of(old) == {"from": "new"}
    new.save(saved({"from": "new, later"}))
    assert state_of(new) == {"from": "new, later"}


def test_of_one_attempt_the_file_of_the_last_child_is_taken(tmp_path: Path) -> None:
    for child in (1, 2, 9, 10, 11, 100):
        of(tmp_path, 1, f"S1.00000.r0.abcdef01.{child}").save(saved({"child": child}))
        assert state_of(of(tmp_path)) == {"child": child}


def test_an_earlier_checkpoint_that_cannot_be_removed_fails_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    in_the_way = tmp_path / f"{CELL}.00001.S0.00000.r0.abcdef01.0.pt"
    in_the_way.mkdir()  # as little to be removed as a file of somebody else's
    checkpoints = of(tmp_path, attempt=2)
    checkpoints.save(saved({"value": 1.0}))
    assert state_of(checkpoints) == {"value": 1.0}
    checkpoints.clear()
    assert files(tmp_path) == [in_the_way.name]
    assert "cannot be removed" in caplog.text


def test_clearing_removes_the_checkpoints_of_the_cell_alone(tmp_path: Path) -> None:
    for attempt in (2, 1):
        of(tmp_path, attempt).save(saved({}))
    of(tmp_path, cell="c1-01234").save(saved({"a": 1}))
    of(tmp_path).clear()
    assert of(tmp_path).load() is None
    assert state_of(of(tmp_path, cell="c1-01234")) == {"a": 1}


@pytest.mark.parametrize("damage", ["truncated", "empty", "noise"])
def test_a_damaged_checkpoint_is_named_once_and_the_older_one_taken(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    new, old = of(tmp_path, 2), of(tmp_path, 1)
    new.save(big(2.0))
    (name,) = files(tmp_path)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(
        {"truncated": content[:-100], "empty": b"", "noise": b"\x80" * 1000}[damage]
    )
    old.save(big(1.0))
    with caplog.at_level(logging.WARNING):
        checkpoint = state_of(of(tmp_path, 3))
    assert checkpoint is not None
    assert checkpoint["value"] == 1.0
    assert [name in record.getMessage() for record in caplog.records] == [True]


def test_damage_alone_means_from_the_start(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    of(tmp_path).save(saved({"a": 1}))
    path = tmp_path / files(tmp_path)[0]
    path.write_bytes(path.read_bytes()[:50])
    assert of(tmp_path).load() is None
    assert len(caplog.records) == 1


def test_every_flipped_bit_is_found(tmp_path: Path) -> None:
    weights = torch.randn(16, 16)
    of(tmp_path).save(saved({"weights": weights}))
    path = tmp_path / files(tmp_path)[0]
    content = path.read_bytes()
    for position in range(0, len(content), 7):
        changed = bytearray(content)
        changed[position] ^= 1 << (position % 8)
        path.write_bytes(changed)
        assert of(tmp_path, 2).load() is None, position
    path.write_bytes(content)
    assert of(tmp_path, 2).load() is not None


def test_a_checkpoint_of_an_earlier_version_has_no_checksum(tmp_path: Path) -> None:
    torch.save(saved({"a": 1}), tmp_path / f"{CELL}.00001.w.pt")
    assert state_of(of(tmp_path, 2)) == {"a": 1}


@pytest.mark.parametrize("version", ["this", "earlier"])
def test_the_checkpoint_of_another_cell_is_passed_over(
    tmp_path: Path, version: str, caplog: pytest.LogCaptureFixture
) -> None:
    other = saved({"a": 1}) | {"rows": [{"cell": "c1-ffff", "epoch": 0}]}
    path = tmp_path / f"{CELL}.00001.w.pt"
    if version == "earlier":
        torch.save(other, path)
    else:
        of(tmp_path, 1, "w", "c1-ffff").save(saved({"a": 1}))
        (tmp_path / "c1-ffff.00001.w.pt").rename(path)
    assert of(tmp_path, 2).load() is None
    assert "belongs to cell c1-ffff" in caplog.text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "it holds a list"),
        ({"state": {}}, "rows: found NoneType"),
        (saved({}) | {"step": "3"}, "step: found str"),
    ],
)
def test_what_no_run_saves_is_named_and_passed_over(
    tmp_path: Path, content: Any, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    torch.save(content, tmp_path / f"{CELL}.00002.w.pt")
    of(tmp_path, 1, "older").save(saved({"a": 1}))
    assert state_of(of(tmp_path, 3)) == {"a": 1}
    assert message in caplog.text


def test_other_names_in_the_folder_are_left_alone(tmp_path: Path) -> None:
    for name in (f"{CELL}.pt", f"{CELL}.x.w.pt", f"{CELL}.00001.pt"):
        (tmp_path / name).write_bytes(b"")
    checkpoints = of(tmp_path, 2)
    assert checkpoints.load() is None
    checkpoints.save(saved({"a": 1}))
    checkpoints.clear()
    assert len(files(tmp_path)) == 3


def test_a_link_under_the_temporary_name_is_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("kept")
    target = tmp_path / "file"
    temporary = tmp_path / f".file.{socket.gethostname()}.{os.getpid()}.tmp"
    temporary.symlink_to(precious)
    with replacing(target) as file:
        file.write(b"new")
    assert precious.read_text() == "kept"
    assert target.read_bytes() == b"new"


class Code:
    """Runs when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.folder,)


@pytest.mark.parametrize(
    "writer",
    [torch.save, lambda obj, path: path.write_bytes(pickle.dumps(obj))],
    ids=["zip", "bare"],
)
def test_code_in_a_checkpoint_is_never_run(
    tmp_path: Path, writer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    of(folder, 1).save(saved({"value": "honest"}))
    writer({"value": Code(tmp_path / "ran")}, folder / f"{CELL}.00002.w.pt")
    assert state_of(of(folder, 3)) == {"value": "honest"}
    assert not (tmp_path / "ran").exists()
    assert len(caplog.records) == 1


SAVE_UNTIL_KILLED = """
import os, random, signal, sys, time
from pathlib import Path
import torch
from trainers.checkpoint import Checkpoints

folder, kills = Path(sys.argv[1]), int(sys.argv[2])
torch.set_num_threads(1)
state = {"value": 0, "weights": torch.zeros(500_000)}
random.seed(0)
value = 0
for attempt in range(1, kills + 1):
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        checkpoints = Checkpoints(folder, "c1-0123", attempt, "w")
        while True:
            value += 1
            state["weights"].fill_(value)
            content = {"state": {**state, "value": value}, "rows": [], "seconds": 0.0}
            checkpoints.save({**content, "attempt": attempt, "step": value})
            os.write(writer, b"x")
    os.close(writer)
    saved = value + len(os.read(reader, 1))  # one is written; any moment may come now
    time.sleep(random.uniform(0, 0.02))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    saved += len(os.read(reader, 65536))
    os.close(reader)
    found = Checkpoints(folder, "c1-0123", attempt + 1, "w").load()
    assert found is not None, f"attempt {attempt}: nothing loads of {os.listdir(folder)}"
    found = found["state"]
    assert found["value"] in (saved, saved + 1), (found["value"], saved)
    assert (found["weights"] == found["value"]).all()
    value = found["value"]
"""


@pytest.fixture(scope="module")
def killed(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A folder where 40 attempts were killed while they saved 2 MB over and over, half of them in
    mid-file.
    """
    folder = tmp_path_factory.mktemp("killed")
    command = [sys.executable, "-c", SAVE_UNTIL_KILLED, str(folder), str(KILLS)]
    return folder, subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_a_process_killed_while_saving_leaves_a_whole_checkpoint(
    killed: Any,
) -> None:
    folder, written_files = killed
    assert written_files.returncode == 0, written_files.stderr
    assert "cannot be used" not in written_files.stderr
    assert of(folder, KILLS + 1).load() is not None


def test_half_written_files_are_removed_with_the_checkpoints(killed: Any) -> None:
    folder, _ = killed
    of(folder, KILLS + 1).clear()
    assert files(folder) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 300 KB."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount the small disk")
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("this machine does not let root mount a tmpfs")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def small_files(tmp_path: Path) -> Iterator[Path]:
    """A folder where this process can write no more than 300 KB to a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
    yield tmp_path
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("limit", ["small_disk", "small_files"])
def test_a_full_disk_is_an_os_error_and_leaves_the_checkpoint_before(
    request: pytest.FixtureRequest, limit: str
) -> None:
    folder = request.getfixturevalue(limit)
    of(folder, 1).save(saved({"value": "before"}))
    before = files(folder)
    for attempt in (1, 2):
        with pytest.raises(OSError, match=r"No space left|File too large"):
            of(folder, attempt).save(big(1.0))
        assert files(folder) == before
        assert state_of(of(folder, 2)) == {"value": "before"}


def test_a_whole_checkpoint_that_cannot_be_read_for_want_of_memory_is_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of(tmp_path).save(big(1.0))

    def without_memory(*_: Any, **__: Any) -> None:
        raise RuntimeError("can't allocate memory: you tried to allocate 2000000 bytes")

    monkeypatch.setattr(torch, "load", without_memory)
    with pytest.raises(RuntimeError, match="allocate memory"):
        of(tmp_path, attempt=2).load()
