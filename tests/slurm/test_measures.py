"""Measures of trained cells on a real SLURM: they wait for the trainings inside the queue, and a
training that fails takes only its own measures away.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from slurm_sweep import Cluster, Sweep

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(1500)]

SMALL = (
    "task.cells=1",
    "axes={trainer.poison.samples:[0,25]}",
    "seeds=[0]",
    "model.widths=[4]",
    "trainer.epochs=60",
    "trainer.polish.loss=null",
    "run.checkpoint_seconds=0",
)
"""Two trainings of some seconds each, in tasks of their own, that save after every epoch."""

PATIENCE = 600
"""Seconds: both sweeps follow each other, and every process of them imports torch."""

ONE_BLOCK = ("task.cells=1", "axes={trainer.block:{range:[0,1,1]}}", "trainer.kappa=2.0")


@pytest.fixture
def sweeps(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Sweep, Sweep]:
    """The trainings, and the sweep that measures them, in one folder of logs."""
    monkeypatch.setenv("SLURM_CONF", str(cluster.conf))
    logs = tmp_path / "logs"
    return Sweep(cluster, logs, "demo_landscape"), Sweep(cluster, logs, "demo_landscape_radius")


def radii(sweep: Sweep) -> pd.DataFrame:
    """What was measured, without the columns that tell when."""
    rows = sweep.table()
    return rows.drop(columns=[name for name in ("step",) if name not in rows])


def test_measures_wait_for_their_own_training_through_kills_and_failures(
    sweeps: tuple[Sweep, Sweep], tmp_path: Path
) -> None:
    trained, measuring = sweeps
    trained.submit(*SMALL)
    answer = measuring.submit(*ONE_BLOCK)
    assert "wait for weights" in answer
    trained.wait(lambda: len(trained.live()) == 2 and trained.epochs() > 5)
    preempted, cancelled = trained.live()
    trained.cluster.run("scancel", "--signal=USR2", preempted)  # saves, requeues itself
    trained.cluster.run("scancel", cancelled)
    assert measuring.live() == []
    measuring.wait(measuring.ended, PATIENCE)
    assert measuring.states() == {"done": 1, "failed": 1}
    assert "not trained" in measuring.redescent("status", measuring.name, "--failed")
    advice = "`redescent resume demo_landscape`, then `redescent resume demo_landscape_radius`"
    status = measuring.redescent("status", measuring.name)
    assert advice in status
    assert "sends the rest" not in status
    left_out = measuring.redescent("resume", measuring.name)
    assert "redescent resume demo_landscape`" in left_out
    assert "nothing to send" in left_out
    trained.redescent("resume", trained.name)
    trained.wait(trained.ended, PATIENCE)
    measuring.redescent("resume", measuring.name)
    measuring.wait(measuring.ended, PATIENCE)
    assert trained.states() == measuring.states() == {"done": 2}
    calm = Sweep(trained.cluster, tmp_path / "calm", measuring.name)
    calm.logs.mkdir()
    (calm.logs / trained.name).symlink_to(trained.folder)
    calm.submit(*ONE_BLOCK, "--wait", launcher="local")
    pd.testing.assert_frame_equal(radii(measuring), radii(calm))
