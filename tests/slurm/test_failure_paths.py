"""What can fail around a sweep on a real SLURM, one way after another: daemons, disks, commands
that die half way.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from slurm_sweep import Cluster, Sweep
from storm import Storm, heal, processes

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(900)]


@pytest.fixture
def noop(cluster: Cluster, tmp_path: Path) -> Sweep:
    return Sweep(cluster, tmp_path / "logs", "noop")


SAVING = "run.checkpoint_seconds=0"
"""Save after every epoch. Children that never save do not import torch and start sooner."""


def cells(count: int, *more: str) -> tuple[str, ...]:
    """Overrides that make `noop` so many cells, a task each."""
    return (f"seeds={{range:[0,{count},1]}}", "task.cells=1", "compact=false", *more)


def one_task(count: int) -> tuple[str, ...]:
    """Overrides that make `noop` so many cells in one task."""
    return (*cells(count), f"task.cells={count}")


def every_epoch_once(sweep: Sweep, count: int, epochs: int) -> None:
    from analysis import store

    assert sweep.states() == {"done": count}, sweep.output()
    rows = store.curves(sweep.folder).groupby("cell", observed=True)["epoch"].apply(list)
    assert rows.tolist() == [list(range(epochs + 1))] * count
    assert "differ" not in sweep.compact()


def finish(sweep: Sweep) -> None:
    """Let the queue run empty and resume what is left, as a user would."""
    sweep.wait(lambda: heal(sweep.cluster))
    sweep.wait(sweep.ended, 240)
    sweep.redescent("resume", sweep.name, check=False)
    sweep.wait(sweep.ended)


def test_a_killed_step_a_killed_daemon_and_a_requeue_lose_nothing(noop: Sweep) -> None:
    noop.submit(
        *cells(4, "trainer.epochs=10", "trainer.seconds=0.5", SAVING),
        "hydra.launcher.cpus_per_task=3",
    )
    noop.wait(lambda: noop.epochs() > 4)
    storm = Storm(noop, 0)
    assert storm.step()
    assert storm.slurmd()
    assert storm.requeue()
    noop.wait(lambda: noop.epochs() > 16)
    finish(noop)
    every_epoch_once(noop, 4, 10)


def test_a_controller_may_restart_while_jobs_run_and_while_one_submits(noop: Sweep) -> None:
    noop.submit(*cells(3, "trainer.epochs=6", "trainer.seconds=0.5"))
    noop.wait(lambda: noop.epochs() > 0)
    storm = Storm(noop, 0)
    assert storm.controller()
    answers: list[str] = []
    submitting = threading.Thread(
        target=lambda: answers.append(
            noop.submit(*cells(6, "trainer.epochs=6", "trainer.seconds=0.5"), check=False)
        )
    )
    submitting.start()
    noop.wait(lambda: storm.has_ended("slurmctld"))
    heal(noop.cluster)
    submitting.join()
    assert "Traceback" not in answers[0]
    noop.wait(noop.ended)
    noop.wait(
        lambda: (
            "sent" in noop.submit(*cells(6, "trainer.epochs=6", "trainer.seconds=0.5"), check=False)
            or noop.states() == {"done": 6}
        ),
        60,
    )
    finish(noop)
    every_epoch_once(noop, 6, 6)


def test_without_accounting_two_concurrent_resumes_send_each_cell_once(
    noop: Sweep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("sbatch", "squeue", "scontrol", "scancel", "sinfo", "srun", "bash"):
        (programs / name).symlink_to(shutil.which(name) or "")
    storm = Storm(noop, 0)
    assert storm.accounting()
    try:
        with monkeypatch.context() as patch:
            patch.setenv("PATH", str(programs))
            noop.submit(*cells(3, "trainer.epochs=40", "trainer.seconds=0.5", SAVING))
        noop.wait(lambda: noop.epochs() > 2)
        for worker in processes("launch.job", noop.folder):
            os.kill(worker, signal.SIGKILL)
        noop.wait(noop.ended)
        answers: list[str] = []
        threads = [
            threading.Thread(target=lambda: answers.append(noop.redescent("resume", "noop")))
            for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted("nothing to send" in answer for answer in answers) == [False, True], answers
        noop.wait(noop.ended)
    finally:
        heal(noop.cluster)
    every_epoch_once(noop, 3, 40)


def test_preemption_without_grace_continues_from_the_checkpoint(noop: Sweep) -> None:
    noop.submit(
        *cells(2, "trainer.epochs=1000", "trainer.seconds=0.5", SAVING),
        "hydra.launcher.partition=harsh",
    )
    noop.wait(lambda: noop.epochs() > 4)
    noop.preempt()
    noop.wait(lambda: "resuming from step" in noop.output())
    assert "start 2" in noop.output()
    noop.redescent("cancel", "noop")
    noop.wait(noop.ended)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "logs"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1500k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("a disk that fills needs a small tmpfs, and mounting one needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_resume_completes_tasks_stopped_by_a_full_or_read_only_disk(
    small_disk: Path, noop: Sweep
) -> None:
    noop.submit(*cells(12, "trainer.epochs=6", "trainer.seconds=0.3", "task.cells=6", SAVING))
    noop.wait(lambda: noop.epochs() > 3)
    with pytest.raises(OSError, match="No space left"):
        (small_disk / "stuffing").write_bytes(b"x" * 1_500_000)
    noop.wait(noop.ended)
    assert noop.states().get("done", 0) < 12
    (small_disk / "stuffing").unlink()
    output = noop.redescent("resume", "noop")
    assert "sent" in output, output
    noop.wait(lambda: len(noop.live()) > 0)
    subprocess.run(["mount", "--bind", str(small_disk), str(small_disk)], check=True)
    read_only = ["mount", "-o", "remount,bind,ro", str(small_disk), str(small_disk)]
    # the mount is busy while a task writes a file
    noop.wait(lambda: subprocess.run(read_only, capture_output=True, check=False).returncode == 0)
    output = noop.redescent("resume", "noop", check=False)
    assert "Read-only file system" in output
    assert "Traceback" not in output
    noop.wait(noop.ended)
    subprocess.run(["umount", "-l", str(small_disk)], check=True)
    subprocess.run(["mount", "-o", "remount,size=50m", str(small_disk)], check=True)
    finish(noop)
    every_epoch_once(noop, 12, 6)


@pytest.mark.parametrize(
    "step",
    [
        "launch.plan.snapshot.snapshot",
        "launch.plan.Plan.write",
        "launch.plan.jobs.record",
        "launch.scheduler.backend.Slurm.send",
        "launch.plan.jobs.write",
    ],
)
def test_a_submission_killed_at_any_step_is_made_good_by_the_next(noop: Sweep, step: str) -> None:
    dying = (
        "import os, signal\nimport launch.plan.snapshot, launch.scheduler.backend\n"
        "from launch import cli\n"
        f"real = {step}\n"
        f"def die(*a, **k):\n    real(*a, **k)\n    os.kill(os.getpid(), signal.SIGKILL)\n{step} = "
        "die\n"
        f"cli.main(['submit', 'noop', 'hydra/launcher=slurm', *{one_task(3)!r}])"
    )
    environment = noop.cluster.environment() | {"REDESCENT_LOGS": str(noop.logs)}
    assert (
        subprocess.run([sys.executable, "-c", dying], env=environment, check=False).returncode
        == -signal.SIGKILL
    )
    repeat = (
        "from launch import cli\nfrom launch.status import sweep_files\n"
        "sweep_files.UNANSWERED_SECONDS = 0.5\n"
        f"cli.main(['submit', 'noop', 'hydra/launcher=slurm', *{one_task(3)!r}])"
    )
    noop.wait(
        lambda: (
            subprocess.run(
                [sys.executable, "-c", repeat], env=environment, check=False, stdout=-3
            ).returncode
            == 0
        )
    )
    noop.wait(noop.ended)
    every_epoch_once(noop, 3, 1)
    assert not list((noop.folder / "runs").glob("*.parquet"))  # all in the store
    ran = [array for array in noop.arrays() if array["job"]]
    assert sum(int(str(array["count"])) for array in ran) + step.endswith("Slurm.send") == 1


def test_a_repeated_error_stops_the_tasks_that_have_not_started(noop: Sweep) -> None:
    noop.submit(*cells(24, "trainer.fail=error", "trainer.seconds=1", "task.cells=4"))
    noop.wait(noop.ended)
    states = noop.states()
    assert states["failed"] + states["missing"] == 24
    assert states["failed"] < 24
    assert "held back" in noop.redescent("resume", "noop")


NO_REQUEUE = "+hydra.launcher.additional_parameters={no-requeue:true}"


def test_a_task_that_slurm_does_not_requeue_ends_and_is_resumed(noop: Sweep) -> None:
    cells = (*one_task(2), "trainer.epochs=400", "trainer.seconds=0.5", SAVING)
    noop.submit(*cells, NO_REQUEUE)
    noop.wait(lambda: noop.epochs() > 2)
    noop.cluster.run("scancel", "--signal=USR2", *noop.live())
    noop.wait(noop.ended, 60)
    assert noop.output().count("SLURM did not requeue the task") == 1
    status = noop.redescent("status", "noop")
    assert "2 cells without a result: the task ended, and its output ends with" in status
    for shown in (status, *(noop.redescent("why", cell) for cell in noop.records()["cell"])):
        assert "SLURM did not requeue the task: " in shown
    assert "sent 2 cells" in noop.submit(*cells)
    noop.redescent("cancel", "noop")
    noop.wait(noop.ended)


def test_a_node_that_lost_a_task_is_left_out_of_the_next_submission(noop: Sweep) -> None:
    noop.submit(
        *cells(2, "trainer.epochs=40", "trainer.seconds=0.5"),
        NO_REQUEUE,
    )
    noop.wait(lambda: len(noop.records()) == 2)
    (node,) = {node for name, *_, node in noop.cluster.tasks("RUNNING") if name.startswith("noop")}
    noop.cluster.run("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
    noop.wait(noop.ended)
    noop.wait(lambda: noop.cluster.resumed(node))
    assert "sent 2 cells" in noop.redescent("resume", "noop")
    noop.wait(lambda: noop.live() != [])
    assert node not in {
        node for name, *_, node in noop.cluster.tasks("RUNNING") if name.startswith("noop")
    }
    noop.redescent("cancel", "noop")
    noop.wait(noop.ended)
