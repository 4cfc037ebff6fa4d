"""What a user does with a sweep on a real SLURM: tries it out, asks why, follows its output,
cancels a part of it.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from slurm_sweep import Cluster, Sweep

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(900)]

FOUR = ("seeds={range:[0,4,1]}", "task.cells=2")
ENDLESS = ("trainer.epochs=1000000", "trainer.seconds=0.2", "run.checkpoint_seconds=0.5")


@pytest.fixture
def noop(cluster: Cluster, tmp_path: Path) -> Sweep:
    """Cells that compute nothing: their children need no torch until they save."""
    return Sweep(cluster, tmp_path / "logs", "noop")


def running(sweep: Sweep) -> list[str]:
    records = sweep.records()
    return (
        []
        if records.empty
        else records.query("status == 'running' and epochs > 0")["cell"].tolist()
    )


def test_cancelling_by_condition_ends_tasks_only_if_all_their_cells_match(noop: Sweep) -> None:
    noop.submit(*FOUR, *ENDLESS, "hydra.launcher.array_parallelism=1")
    noop.wait(lambda: len(running(noop)) == 1)
    output = noop.redescent("cancel", "noop", "seed != 1")
    assert "cancelled 3 cells, 1 whole task" in output
    noop.wait(lambda: noop.states() == {"interrupted": 3, "running": 1}, 60)
    assert len(noop.live("RUNNING,PENDING")) == 1
    assert "3  cancelled" in noop.redescent("status", "noop")
    assert "stopping (" not in noop.output(), "the task itself was ended"
    noop.redescent("cancel", "noop", "seed=1")
    noop.wait(noop.ended, 60)
    assert noop.states() == {"interrupted": 4}


def test_why_lists_every_attempt_and_following_a_cell_ends_with_it(noop: Sweep) -> None:
    noop.submit("seeds={range:[0,1,1]}", *ENDLESS)
    noop.wait(lambda: len(running(noop)) == 1)
    (cell,) = running(noop)
    noop.cluster.run("scontrol", "requeue", noop.live()[0])
    noop.wait(lambda: "resuming from step" in noop.output())
    output = noop.redescent("why", cell)
    assert "stopped (preempted); SLURM: REQUEUED" in " ".join(output.split())
    # a cell that is cancelled before its attempt has a record counts as ended at once
    noop.wait(lambda: noop.records().query("attempt == 2")["status"].tolist() == ["running"])
    noop.redescent("cancel", "noop")
    followed = noop.redescent("logs", cell, "--follow")
    assert "stopping (cancelled)" in followed
    assert "is interrupted" in followed
    noop.wait(
        lambda: (
            "stopped (cancelled); SLURM: CANCELLED" in " ".join(noop.redescent("why", cell).split())
        ),
        20,
    )


def test_arrays_wait_for_the_canary_and_a_job_compacts_the_sweep(noop: Sweep) -> None:
    cells = (*FOUR, "trainer.seconds=2")
    noop.submit(*cells, "canary=true", "compact=true")
    assert noop.states() == {"waiting": 4}
    # SLURM gives the reason when it has considered the job
    noop.wait(lambda: "4  Dependency" in noop.redescent("status", "noop"), 20)
    noop.wait(noop.ended)
    assert noop.states() == {"done": 4}
    canary = Sweep(noop.cluster, noop.folder, "calibration")
    assert canary.states() == {"done": 1}
    assert canary.records()["updated"].max() < noop.records()["updated"].min()
    noop.wait(lambda: (noop.folder / "store" / "manifest.json").exists(), 30)
    noop.wait(lambda: not any((noop.folder / "runs").iterdir()), 10)
    assert len(noop.table()) == 8
    assert noop.states() == {"done": 4}
    assert "nothing to send" in noop.submit(*cells, "canary=true")


def test_a_canary_that_fails_takes_the_rest_out_of_the_queue(noop: Sweep, tmp_path: Path) -> None:
    program, told = tmp_path / "program", tmp_path / "told"
    program.write_text(f'#!/bin/sh\necho "$@" > {told}.new && mv {told}.new {told}\n')
    program.chmod(0o755)
    noop.submit(*FOUR, "canary=true", "trainer.fail=error", f"notify.command={program}")
    noop.wait(noop.ended)
    assert noop.states() == {"missing": 4}
    noop.wait(told.exists, 60)
    reason = "the canary failed: RuntimeError: failed as requested (trainer.fail=error)"
    assert told.read_text() == f"noop held back, 4 cells: 4 missing ({reason})\n"
    output = noop.redescent("status", "noop")
    assert "the canary failed: RuntimeError: failed as requested (trainer.fail=error)" in output
    advised = output.partition("redescent why ")[2].partition("`")[0].split()
    assert "of noop/calibration" in noop.redescent("why", *advised)
