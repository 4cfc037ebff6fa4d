"""What a user does with a sweep on a real SLURM: tries it out, asks why, follows its output,
cancels a part of it.
"""

from __future__ import annotations

import pytest
from slurm_sweep import Sweep

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(900)]

TINY = ("model=mlp", "~axes", "+axes={optim.weight_decay:[0.0,1e-4,1e-3,1e-2]}", "model.width=8")
ENDLESS = ("trainer.epochs=1000000", "trainer.eval_test=log", "run.checkpoint_seconds=0.5")


def running(sweep: Sweep) -> list[str]:
    records = sweep.records()
    return (
        []
        if records.empty
        else records.query("status == 'running' and epochs > 0")["cell"].tolist()
    )


def test_cancelling_by_condition_ends_tasks_only_if_all_their_cells_match(
    sweep: Sweep,
) -> None:
    sweep.submit(*TINY, *ENDLESS, "task.cells=2", "hydra.launcher.array_parallelism=1")
    sweep.wait(lambda: len(running(sweep)) == 1)
    output = sweep.redescent("cancel", "smoke", "optim.weight_decay != 1e-4")
    assert "cancelled 3 cells, 1 whole tasks" in output
    sweep.wait(lambda: sweep.states() == {"interrupted": 3, "running": 1}, 30)
    assert len(sweep.live("RUNNING,PENDING")) == 1
    assert "3     │ cancelled" in sweep.redescent("status", "smoke")
    assert "stopping (" not in sweep.output(), "the task itself was ended"
    sweep.redescent("cancel", "smoke", "optim.weight_decay=1e-4")
    sweep.wait(sweep.ended, 30)
    assert sweep.states() == {"interrupted": 4}


def test_why_lists_every_attempt_and_following_a_cell_ends_with_it(sweep: Sweep) -> None:
    sweep.submit(*TINY[:1], "~axes", "model.width=8", "seeds=[0]", *ENDLESS)
    sweep.wait(lambda: len(running(sweep)) == 1)
    (cell,) = running(sweep)
    sweep.cluster.run("scontrol", "requeue", sweep.live()[0])
    sweep.wait(lambda: "resuming from step" in sweep.output())
    output = sweep.redescent("why", cell)
    assert "stopped (preempted); SLURM: REQUEUED" in " ".join(output.split())
    sweep.redescent("cancel", "smoke")
    followed = sweep.redescent("logs", cell, "--follow")
    assert "stopping (cancelled)" in followed
    assert "is interrupted" in followed
    sweep.wait(
        lambda: (
            "stopped (cancelled); SLURM: CANCELLED"
            in " ".join(sweep.redescent("why", cell).split())
        ),
        20,
    )


def test_arrays_wait_for_the_canary_and_a_job_compacts_the_sweep(sweep: Sweep) -> None:
    sweep.submit(*TINY, "canary=true")
    assert sweep.states() == {"waiting": 4}
    assert "4     │ Dependency" in sweep.redescent("status", "smoke")
    sweep.wait(sweep.ended)
    assert sweep.states() == {"done": 4}
    canary = Sweep(sweep.cluster, sweep.folder, "calibration")
    assert canary.states() == {"done": 1}
    assert canary.records()["updated"].max() < sweep.records()["updated"].min()
    sweep.wait(lambda: (sweep.folder / "store" / "manifest.json").exists(), 30)
    sweep.wait(lambda: not any((sweep.folder / "runs").iterdir()), 10)
    assert len(sweep.table()) == 8
    assert sweep.states() == {"done": 4}
    assert "nothing to send" in sweep.submit(*TINY, "canary=true")


def test_a_canary_that_fails_takes_the_rest_out_of_the_queue(sweep: Sweep) -> None:
    sweep.submit(*TINY, "canary=true", "trainer.precision=float16")
    sweep.wait(sweep.ended)
    assert sweep.states() == {"missing": 4}
    output = sweep.redescent("status", "smoke")
    assert "the canary failed: RuntimeError: trainer.precision=float16 needs a GPU" in output
    advised = output.partition("redescent why ")[2].partition("`")[0].split()
    assert "of smoke/calibration" in sweep.redescent("why", *advised)
