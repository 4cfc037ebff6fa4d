"""Cells that failed with one error: held back until the code changes or the user insists; planning
changes nothing.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FAILING = (
    "hydra/launcher=debug",
    "~axes",
    "model=mlp",
    "model.width=4",
    "trainer.precision=float16",
    "seeds=[0,1,2]",
)


def redescent(logs: Path, *words: str) -> str:
    command = [sys.executable, "-c", "from launch.cli import main; main()", *words]
    environment = os.environ | {"REDESCENT_LOGS": str(logs), "COLUMNS": "200"}
    process = subprocess.run(
        command, capture_output=True, text=True, env=environment, cwd=ROOT, check=False
    )
    return process.stdout


def files(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_three_cells_with_one_error_are_held_back_until_retried(tmp_path: Path) -> None:
    redescent(tmp_path, "submit", "smoke", *FAILING)
    assert "3 failed (error): RuntimeError: trainer.precision=float16 needs a GPU" in redescent(
        tmp_path, "status", "smoke"
    )
    assert (
        "3 cells share an error; after you fix it, `redescent resume smoke --retry-errors` sends"
        in redescent(tmp_path, "status", "smoke")
    )
    grouped = redescent(tmp_path, "status", "smoke", "--failed")
    assert re.search(
        r"3\W+error\W+RuntimeError: trainer.precision=float16 needs a GPU.*redescent why c1-",
        grouped,
    )
    assert ", every 5 s" in redescent(
        tmp_path, "status", "smoke", "--watch", "5"
    )  # and ends: nothing is under way
    for archive in (tmp_path / "smoke" / "code").iterdir():
        archive.unlink()
    before = files(tmp_path)
    assert "3 failed cells are held back" in redescent(tmp_path, "plan", "smoke", *FAILING)
    assert files(tmp_path) == before, "planning wrote something"
    assert "nothing to send" in redescent(tmp_path, "resume", "smoke")
    assert "sent 3 cells" in redescent(tmp_path, "resume", "smoke", "--retry-errors")
