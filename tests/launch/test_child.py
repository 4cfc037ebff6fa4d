"""What a child answers about the cells that it trained."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest

import trainers
from analysis import store
from launch.worker import pool
from launch.worker._child import CellTrainer, Inbox, Writer
from launch.worker.messages import CellJob, CellResult

ROOT = Path(__file__).resolve().parents[2]

NOOP: Mapping[str, Any] = {
    "seed": 0, "model.name": "none", "data.name": "none", "optim.name": "none",
    "trainer.name": "noop", "trainer.epochs": 4, "trainer.seconds": 0.0, "trainer.fail": "error",
    "run.device": "auto", "run.threads": 1, "run.compile": False, "run.checkpoint_seconds": 60.0,
}  # fmt: skip
"""A cell that fails in its fourth epoch."""


class Calm(Inbox):
    """The messages of a parent that never asks to stop."""

    def __init__(self) -> None:
        self.reason = ""

    def stop_requested(self) -> bool:
        return False


def train(folder: Path, flat: Mapping[str, Any]) -> CellResult:
    """Train one cell in this process."""
    trainer = CellTrainer(Writer(folder, "w", "p.", 1.0, ""), Calm())
    trainer.differences["c0de"] = None  # this process runs the code of the plan
    return trainer.train(CellJob("c1-0", flat, 1, "c0de", "e0"))


def test_a_cell_that_failed_tells_how_far_it_was(tmp_path: Path) -> None:
    result = train(tmp_path, NOOP)
    assert (result.status, result.epochs) == ("failed", 3)
    unreadable = train(tmp_path, {**NOOP, "trainer.name": "unknown"})
    assert (unreadable.status, unreadable.epochs) == ("failed", 0)


class WithoutMessage(RuntimeError):
    def __str__(self) -> str:
        raise KeyError("text")


def with_note(note: str) -> Exception:
    error = RuntimeError("boom")
    error.add_note(note)
    return error


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (RuntimeError("one\ntwo"), "RuntimeError: one"),
        (SystemExit(3), "SystemExit: 3"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (RuntimeError("name \udcff.csv"), "RuntimeError: name \\udcff.csv"),
        (with_note(""), "RuntimeError: boom"),
        (WithoutMessage(), f"{__name__}.WithoutMessage: (no message: its __str__ raised KeyError)"),
        (ExceptionGroup("several", [ValueError("a")]), "ExceptionGroup: several (1 sub-exception)"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_whatever_a_class_raises_is_a_failure_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, line: str
) -> None:
    def fails(*_: object) -> NoReturn:
        raise error

    monkeypatch.setattr(trainers, "train", fails)
    monkeypatch.setattr(logging, "exception", lambda *_: None)  # its text may be no UTF-8
    trainer = CellTrainer(Writer(tmp_path, "w", "p.", 1.0, ""), Calm())
    trainer.differences["c0de"] = None
    result = trainer.train(CellJob("c1-0", NOOP, 1, "c0de", "e0"))
    trainer.save()
    assert (result.status, result.failure, result.error) == ("failed", "error", line)
    (record,) = store.records(tmp_path, "c1-0")
    assert record["error_class"] == "error"
    assert "raise error" in record["error"]


def test_a_trainer_that_stops_unasked_fails_its_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainers, "train", lambda *_: "stopped")
    result = train(tmp_path, NOOP)
    assert (result.status, result.failure) == ("failed", "error")
    assert "trainers.noop:train returned 'stopped', but run.should_stop()" in str(result.error)


FORKS = """
import os, sys, time
from launch.worker._child import _own_pipes
messages, answers = _own_pipes()
answers.write(messages.readline())
try:
    input()
except EOFError:
    answers.write("no input\\n")
if os.fork() == 0:
    os.fork()
    time.sleep(60)
os._exit(7)
"""


def test_a_fork_of_a_child_does_not_hide_its_death(tmp_path: Path) -> None:
    with open(tmp_path / "log", "w") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", FORKS],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=ROOT,
            start_new_session=True,
        )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("a cell\n")
    process.stdin.flush()
    began = time.monotonic()
    try:
        assert process.stdout.read() == "a cell\nno input\n"
        assert process.wait() == 7
        assert time.monotonic() - began < 50
        assert (tmp_path / "log").read_text() == ""
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.stdin.close()
        process.stdout.close()


def test_children_that_do_not_stop_are_killed_after_the_grace() -> None:
    child = SimpleNamespace(process=subprocess.Popen(["sleep", "60"]))
    workers = object.__new__(pool.Pool)
    workers.children = [child]
    workers.kill_at = time.monotonic() + 60
    workers._kill_unresponsive_children()
    assert child.process.poll() is None
    workers.kill_at = time.monotonic()
    workers._kill_unresponsive_children()
    assert child.process.wait() == -signal.SIGKILL
