"""Log folders that the first version wrote are read, resumed and brought to completion.

`old_logs/` was written on another machine, login1, from a checkout in /data/redescent: `noop` has
three cells that failed, `smoke` two that are done and one that was interrupted in its last epoch,
with its checkpoint. The code archives are left out.
"""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from analysis import store

LOCAL = "hydra/launcher=local"
FAILED = "c1-d4d666eaa2508edcfd0509e155c00cd6"
INTERRUPTED = "c1-cdc17c34bdf31564b8e142ae1f4e5a99"
INTERRUPTED_EPOCH = 8
EPOCHS = 9

Redescent = Callable[..., CompletedProcess[str]]


@pytest.fixture
def old_logs(logs: Path, cache: Path) -> Path:
    """A copy of the folders, with decoded data sets where this test may write them."""
    shutil.copytree(Path(__file__).parent / "old_logs", logs)
    for path in logs.glob("*/submissions/*/plan.json"):
        plan = json.loads(path.read_text())
        for base in plan["bases"]:
            if "data.cache" in base:
                base["data.cache"] = str(cache)
        path.write_text(json.dumps(plan))
    return logs


@pytest.fixture
def same_machine(old_logs: Path) -> Path:
    """The folders as they look on the machine that wrote them, after its workers have ended."""
    for path in old_logs.glob("*/submissions/*/local.json"):
        worker = json.loads(path.read_text())
        path.write_text(json.dumps({**worker, "host": socket.gethostname()}))
    return old_logs


def test_status_counts_the_cells_of_an_old_folder(same_machine: Path, redescent: Redescent) -> None:
    smoke, noop = (redescent("status", name).stdout for name in ("smoke", "noop"))
    assert [word in smoke for word in ("done             2", "interrupted      1")] == [True, True]
    assert "failed      3" in noop
    assert "the cell was told to fail (trainer.fail=error)" in noop


def test_another_machine_does_not_know_whether_old_workers_live(
    old_logs: Path, redescent: Redescent
) -> None:
    assert "unknown      3" in redescent("status", "noop").stdout
    message = redescent("resume", "noop", LOCAL, "--retry-errors", check=False)
    assert message.returncode == 2
    assert "nothing was sent" in message.stderr


def test_why_explains_the_cells_of_an_old_folder(same_machine: Path, redescent: Redescent) -> None:
    interrupted, failed = (redescent("why", cell).stdout for cell in (INTERRUPTED, FAILED))
    assert "stopped (cancelled)" in interrupted
    assert "continues from its checkpoint" in interrupted
    assert "RuntimeError: the cell was told to fail (trainer.fail=error)" in failed


def test_the_store_reads_an_old_folder(old_logs: Path) -> None:
    runs = store.runs(old_logs / "smoke").set_index("cell")
    assert sorted(runs["status"]) == ["done", "done", "stopped"]
    assert sorted(runs["model.name"]) == ["mlp", "mlp", "resnet18"]
    epochs = store.curves(old_logs / "smoke").groupby("cell", observed=True)["epoch"].apply(list)
    assert epochs.pop(INTERRUPTED) == list(range(INTERRUPTED_EPOCH + 1))
    assert list(epochs) == [[0, 1], [0, 1]]
    assert list(store.runs(old_logs / "noop")["status"]) == ["failed"] * 3


def test_an_interrupted_cell_continues_from_an_old_checkpoint(
    same_machine: Path, redescent: Redescent
) -> None:
    before = store.curves(same_machine / "smoke").query("cell == @INTERRUPTED")
    redescent("resume", "smoke", LOCAL, "--wait")
    runs = store.runs(same_machine / "smoke").set_index("cell")
    assert set(runs["status"]) == {"done"}
    assert runs.at[INTERRUPTED, "attempt"] == 2
    rows = store.curves(same_machine / "smoke").query("cell == @INTERRUPTED").set_index("epoch")
    assert list(rows.index) == list(range(EPOCHS + 1))
    earlier_rows = before.set_index("epoch")
    assert rows["seconds"].loc[earlier_rows.index].tolist() == earlier_rows["seconds"].tolist()
    assert rows["attempt"].tolist() == [1] * len(earlier_rows) + [2] * (EPOCHS - INTERRUPTED_EPOCH)


def test_failed_cells_of_an_old_folder_run_again(same_machine: Path, redescent: Redescent) -> None:
    redescent("resume", "noop", LOCAL, "--retry-errors", "--wait", check=False)
    runs = store.runs(same_machine / "noop")
    assert list(runs["status"]) == ["failed"] * 3
    assert list(runs["attempt"]) == [2] * 3
