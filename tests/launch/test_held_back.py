"""Cells that failed with one error: held back until the code changes or the user insists; planning
changes nothing.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import command_line

ROOT = Path(__file__).resolve().parents[2]
FAILING = ("hydra/launcher=debug", "trainer.fail=error", "seeds={range:[0,3,1]}")
ERROR = "RuntimeError: failed as requested (trainer.fail=error)"


def redescent(logs: Path, *words: str) -> str:
    environment = os.environ | {"REDESCENT_LOGS": str(logs), "COLUMNS": "1000"}
    return command_line.redescent(*words, environment=environment).stdout


def files(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_three_cells_with_one_error_are_held_back_until_retried(tmp_path: Path) -> None:
    redescent(tmp_path, "submit", "noop", *FAILING)
    assert f"3 failed (error): {ERROR}" in redescent(tmp_path, "status", "noop")
    assert (
        "3 cells share an error; after you fix it, `redescent resume noop --retry-errors` sends"
        in redescent(tmp_path, "status", "noop")
    )
    grouped = redescent(tmp_path, "status", "noop", "--failed")
    assert re.search(rf"3\W+error\W+{re.escape(ERROR)}.*redescent why c1-", grouped)
    watched = redescent(tmp_path, "status", "noop", "--watch", "5")  # ends: nothing is running
    assert ", every 5 s" in watched
    for archive in (tmp_path / "noop" / "code").iterdir():
        archive.unlink()
    before = files(tmp_path)
    assert "3 failed cells are held back" in redescent(tmp_path, "plan", "noop", *FAILING)
    assert files(tmp_path) == before, "planning wrote something"
    assert "nothing to send" in redescent(tmp_path, "resume", "noop")
    assert "sent 3 cells" in redescent(tmp_path, "resume", "noop", "--retry-errors")
