"""Crashes: real processes are killed at random moments, and the sweep ends as if nothing had
happened.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from waiting import wait_for

from analysis import store
from launch.plan.process import Process

pytestmark = [
    pytest.mark.skipif(
        not Path("/proc/self/stat").exists(), reason="finds processes through /proc"
    ),
    pytest.mark.timeout(900),
]

LOCAL = ("hydra/launcher=local", "task.at_a_time=2")
CELLS, EPOCHS = 3, 40
SWEEP = f"""
defaults: [{{override /data: digits}}]
axes: {{model: [mlp, cnn, resnet18_pre]}}
seeds: [0]
model: {{width: 2}}
data: {{train_samples: 60, test_samples: 30, augment: true, label_noise: {{rate: 0.2}}}}
optim: {{lr: 1.0e-3, schedule: {{name: cosine}}}}
trainer: {{epochs: {EPOCHS}, batch_size: 25, eval_train: every}}
run: {{checkpoint_seconds: 0.05, device: cpu}}
"""
CLOCK = ["seconds", "examples_per_second", "attempt"]


def parent(pid: int) -> int | None:
    """Parent of a process; None if it is gone or a zombie."""
    try:
        state, number = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if state == "Z" else int(number)


def children(pid: int) -> list[int]:
    """Processes whose parent is `pid`."""
    return [
        condition
        for condition in map(int, filter(str.isdigit, os.listdir("/proc")))
        if parent(condition) == pid
    ]


def all_ended(pids: Sequence[int]) -> bool:
    """Whether all of these processes ended."""
    return all(parent(pid) is None for pid in pids)


def kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def newest_worker(folder: Path) -> int:
    """The process of the sweep's newest submission."""
    path = max(folder.rglob("local.json"), key=lambda path: path.stat().st_mtime)
    return int(json.loads(path.read_text())["pid"])


def epochs_logged(folder: Path) -> int:
    """How many epochs the records of all cells tell of by now."""
    runs = store.runs(folder)
    return int(runs["epochs"].fillna(0).sum()) if "epochs" in runs else 0


@pytest.fixture
def reaper(logs: Path) -> Iterator[None]:
    """Ends what a test that fails would leave running."""
    yield
    for path in logs.rglob("local.json"):
        worker = Process(**json.loads(path.read_text()))
        if worker.alive():
            for pid in (worker.pid, *children(worker.pid)):
                kill(pid)


def test_killed_children_and_a_killed_worker_change_no_row_of_the_sweep(
    redescent: Any, configs: Path, write_sweep: Callable[[str, str], None], logs: Path, reaper: None
) -> None:
    write_sweep("crash", SWEEP)
    folder = logs / "crash"
    moments = random.Random(0)

    def reach(share: float) -> None:
        """Waits for some moment after this share of all epochs is logged."""
        wait_for(
            lambda: epochs_logged(folder) >= share * CELLS * EPOCHS, f"{share:.0%} of the epochs"
        )
        time.sleep(moments.uniform(0, 0.1))

    def kill_child(worker: int) -> None:
        victim = moments.choice(wait_for(lambda: children(worker), "a child"))
        kill(victim)
        wait_for(lambda: all_ended([victim]), "the end of the child")

    redescent("submit", "crash", *LOCAL, configs=configs)
    worker = newest_worker(folder)
    reach(0.2)
    kill_child(worker)  # its parent starts another
    reach(0.5)
    orphans = children(worker)
    kill(worker)
    wait_for(
        lambda: all_ended([worker, *orphans]), "the end of the children that lost their parent"
    )
    # "running" is the word of a child that was killed, where the next had not yet taken its cell up
    assert (
        "stopped" in set(store.runs(folder)["status"]) <= {"stopped", "done", "missing", "running"}
    )

    redescent("resume", "crash")
    reach(0.7)
    kill_child(newest_worker(folder))
    wait_for(lambda: (store.runs(folder)["status"] == "done").all(), "the end of the sweep")
    redescent("submit", "crash", *LOCAL, "name=calm", "--wait", configs=configs)

    crashed, calm = store.curves(folder), store.curves(logs / "calm")
    assert (
        crashed.groupby("cell", observed=True)["epoch"].apply(list).tolist()
        == [list(range(EPOCHS + 1))] * CELLS
    )
    pd.testing.assert_frame_equal(
        crashed.drop(columns=CLOCK), calm.drop(columns=CLOCK), check_exact=True
    )
    assert store.runs(folder)["attempts"].max() > 1
    assert [path.name for path in (folder / "checkpoints").iterdir() if path.suffix == ".pt"] == []
