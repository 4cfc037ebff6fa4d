"""The trainer that computes nothing logs, stops, resumes and fails on request, without torch."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import trainers
from trainers import config, noop
from trainers.run import Run

ROOT = Path(__file__).resolve().parents[2]
FLAT = {
    "seed": 0, "model.name": "none", "data.name": "none", "optim.name": "none",
    "trainer.name": "noop",
    "trainer.epochs": 3, "trainer.seconds": 0.0, "trainer.fail": "none",
    "run.device": "cpu", "run.threads": 1, "run.compile": False, "run.checkpoint_seconds": 1e9,
}  # fmt: skip


def go(
    begin: Callable[..., Run],
    attempt: int = 1,
    stop: Callable[[], bool] = lambda: False,
    **changes: Any,
) -> Any:
    flat = FLAT | {f"trainer.{key}": value for key, value in changes.items()}
    run = begin(noop.METRICS, attempt, flat=flat, stop=stop)
    outcome = noop.train(config.parse(flat), run)
    run.close(outcome)
    return outcome


def test_every_epoch_is_logged_once_over_a_stop(begin: Callable[..., Run], sweep: Path) -> None:
    answers = iter([False, False, True])
    assert go(begin, stop=lambda: next(answers)) == "stopped"
    assert go(begin, 2) == "done"
    rows = pq.read_table(next((sweep / "curves").glob("*.r2.*"))).to_pylist()
    assert [(row["epoch"], row["attempt"]) for row in rows] == [(0, 1), (1, 1), (2, 1), (3, 2)]


def test_a_trainer_that_returns_nothing_is_an_error(
    begin: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(noop, "train", lambda cell, run: None)
    with pytest.raises(TypeError, match="noop:train returned None, expected one of done, stopped"):
        trainers.train(config.parse(FLAT), begin(noop.METRICS, flat=FLAT))


def test_it_fails_as_configured(begin: Callable[..., Run]) -> None:
    assert go(begin, fail="nonfinite") == "nonfinite"
    with pytest.raises(RuntimeError, match="failed as requested"):
        go(begin, fail="error")
    with pytest.raises(MemoryError):
        go(begin, fail="memory")
    assert go(begin, fail="crowded") == "done"


def test_a_cell_that_saves_nothing_never_loads_torch() -> None:
    modules = "trainers.noop, trainers.run, trainers.checkpoint"
    program = f"import sys, {modules}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0
