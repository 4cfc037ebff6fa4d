"""Sweeps on a real SLURM: sent, watched, killed in every way, resumed; the table equals a calm
run's bit for bit.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pandas as pd
import pytest
from slurm_sweep import LIMITED, REPOSITORY, Cluster, Sweep

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(900)]

ENDLESS = (
    "seeds={range:[0,4,1]}",
    "task.cells=2",
    "trainer.epochs=1000000",
    "trainer.seconds=0.1",
)
"""Overrides that make `noop` four cells without an end in two tasks."""


@pytest.fixture(scope="module", autouse=True)
def limited(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Sweep:
    """A sweep whose tasks are longer than their time limit, sent first: SLURM's shortest limit is a
    minute.
    """
    sweep = Sweep(cluster, tmp_path_factory.mktemp("limited"), "noop")
    sweep.submit(
        f"name={LIMITED}",
        "seeds={range:[0,1,1]}",
        "trainer.epochs=300",
        "trainer.seconds=0.2",
        "run.checkpoint_seconds=1",
        "hydra.launcher.timeout_min=1",
        "hydra.launcher.signal_delay_s=25",
    )
    return Sweep(cluster, sweep.logs, LIMITED)


def workers(folder: Path, module: str) -> list[int]:
    """Processes of this sweep that run `module`."""
    result = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().decode().split("\0")
        except OSError:
            continue
        if module in words and any(word.startswith(str(folder)) for word in words):
            result.append(int(path.parent.name))
    return result


def calm(sweep: Sweep, tmp_path: Path, *overrides: str) -> pd.DataFrame:
    """The same sweep, undisturbed, on this machine without SLURM."""
    other = Sweep(sweep.cluster, tmp_path / "calm", sweep.name)
    other.submit(*overrides, "--wait", launcher="local")
    return other.table()


def test_a_sweep_killed_in_every_way_ends_with_the_table_of_a_calm_run(
    cluster: Cluster, tmp_path: Path
) -> None:
    sweep = Sweep(cluster, tmp_path / "logs", "noop")
    overrides = (
        "seeds={range:[0,6,1]}",
        "trainer.epochs=50",
        "trainer.seconds=0.1",
        "run.checkpoint_seconds=0.2",
        "task.cells=2",
    )
    sweep.submit(*overrides)
    sweep.wait(lambda: len(sweep.live()) == 3 and sweep.epochs() > 15)
    usr2, term, batch = sweep.live()[:3]
    sweep.cluster.run("scancel", "--signal=USR2", usr2)
    sweep.cluster.run("scancel", "--signal=TERM", term)
    sweep.cluster.run("scancel", "--full", "--signal=USR2", batch)
    os.kill(workers(sweep.folder, "launch.worker.child")[-1], signal.SIGKILL)
    sweep.wait(lambda: sweep.epochs() > 75)
    os.kill(workers(sweep.folder, "launch.job")[0], signal.SIGKILL)
    sweep.wait(lambda: sweep.epochs() > 120)
    names = {array["name"] for array in sweep.arrays()}
    node = next((node for name, *_, node in sweep.cluster.tasks("RUNNING") if name in names), "n1")
    sweep.cluster.run("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
    sweep.wait(lambda: sweep.cluster.resumed(node))
    sweep.wait(sweep.ended)
    if sweep.states() != {"done": 6}:
        assert sweep.states().get("interrupted", 0) + sweep.states().get("missing", 0) > 0
        sweep.redescent("resume", "noop")
        sweep.wait(sweep.ended)
    assert sweep.states() == {"done": 6}, sweep.output()
    assert sweep.records()["attempt"].max() > 1
    pd.testing.assert_frame_equal(
        sweep.table(), calm(sweep, tmp_path, *overrides), check_exact=True
    )
    assert not list((sweep.folder / "checkpoints").iterdir())


def test_arrays_split_at_the_cluster_limit_and_status_counts_every_cell(
    cluster: Cluster, tmp_path: Path
) -> None:
    noop = Sweep(cluster, tmp_path / "logs", "noop")
    cells = ("seeds={range:[0,12,1]}", "task.cells=2")
    noop.submit(*cells)
    assert [array["count"] for array in noop.arrays()] == [5, 1]
    assert sum(noop.states().values()) == 12
    noop.wait(noop.ended)
    assert noop.states() == {"done": 12}
    assert "nothing to send" in noop.submit(*cells)
    assert "12" in noop.redescent("status", "noop")
    before = noop.table()
    noop.compact()
    pd.testing.assert_frame_equal(noop.table(), before, check_exact=True)
    assert "nothing to send" in noop.submit(*cells)


def test_queued_jobs_keep_the_configuration_and_code_that_were_submitted(
    cluster: Cluster, tmp_path: Path
) -> None:
    noop = Sweep(cluster, tmp_path / "logs", "noop")
    checkout = tmp_path / "checkout"
    for room in ("launch", "trainers", "analysis", "configs"):
        shutil.copytree(
            REPOSITORY / room, checkout / room, ignore=shutil.ignore_patterns("__pycache__")
        )
    later = "+hydra.launcher.additional_parameters.begin='now+4'"
    noop.submit("seeds=[0,1]", "trainer.epochs=1", "task.cells=1", later, code=checkout)
    (checkout / "trainers" / "noop.py").write_text(
        "raise RuntimeError('edited after submitting')\n"
    )
    yaml = checkout / "configs" / "trainer" / "noop.yaml"
    yaml.write_text(yaml.read_text().replace("epochs: ", "epochs: 7"))
    shutil.rmtree(checkout / "launch")
    noop.wait(noop.ended)
    assert noop.states() == {"done": 2}, noop.output()
    assert set(noop.records()["trainer.epochs"]) == {1}


def test_two_simultaneous_submissions_send_every_cell_once(
    cluster: Cluster, tmp_path: Path
) -> None:
    noop = Sweep(cluster, tmp_path / "logs", "noop")
    answers: list[str] = []
    threads = [
        threading.Thread(target=lambda: answers.append(noop.submit("seeds={range:[0,4,1]}")))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted("nothing to send" in answer for answer in answers) == [False, True]
    noop.wait(noop.ended)
    assert len(noop.records()) == 4


def test_a_cell_that_raises_fails_its_job_and_spares_the_others(sweep: Sweep) -> None:
    mixed = (
        "model=mlp",
        "model.width=8",
        "~axes",
        "+axes={trainer.precision:[float32,float16]}",
        "seeds=[0,1]",
        "task.cells=4",
    )
    sweep.submit(*mixed)
    sweep.wait(sweep.ended)
    assert sweep.states() == {"done": 2, "failed": 2}
    status = sweep.redescent("status", "smoke")
    assert "float16 needs a GPU" in status
    failed = sweep.records().query("status == 'failed'")["cell"].iloc[0]
    assert "Traceback" in sweep.redescent("why", failed[:12])
    job = str(sweep.arrays()[0]["job"])
    sweep.wait(
        lambda: "FAILED" in sweep.cluster.run("sacct", "-X", "-n", "-P", "-j", job, "-o", "State"),
        30,
    )


def test_a_refused_submission_is_reported_and_can_be_sent_again(
    cluster: Cluster, tmp_path: Path
) -> None:
    noop = Sweep(cluster, tmp_path / "logs", "noop")
    output = noop.submit("seeds={range:[0,2,1]}", "hydra.launcher.partition=nowhere", check=False)
    assert "invalid partition specified" in output.lower()
    assert "Traceback" not in output
    noop.submit("seeds={range:[0,2,1]}")
    noop.wait(noop.ended)
    assert noop.states() == {"done": 2}


def test_cancelled_jobs_save_and_do_not_come_back_until_resumed(
    cluster: Cluster, tmp_path: Path
) -> None:
    sweep = Sweep(cluster, tmp_path / "logs", "noop")
    sweep.submit(*ENDLESS, "run.checkpoint_seconds=0.5")
    sweep.wait(lambda: len(sweep.records()) == 2 and sweep.epochs() > 5)
    sweep.redescent("cancel", "noop")
    sweep.wait(sweep.ended, 30)
    time.sleep(2)
    assert sweep.ended()
    assert sweep.states() == {"interrupted": 4}
    reached = sweep.epochs()
    sweep.redescent("resume", "noop")
    sweep.wait(lambda: sweep.output().count("resuming from step") == 2)
    sweep.wait(lambda: sweep.epochs() > reached)
    table = sweep.table()
    assert len(table) == sum(table.groupby("cell")["epoch"].max() + 1), "an epoch is missing"
    sweep.cluster.run("scancel", *{task.partition("_")[0] for task in sweep.live()})
    sweep.wait(sweep.ended, 30)
    assert set(sweep.records().query("attempt == 2")["error_class"]) == {"cancelled"}
    assert "preempted" not in sweep.redescent("status", "noop")


def test_a_preempted_task_saves_and_continues_where_it_stopped(
    cluster: Cluster, tmp_path: Path
) -> None:
    sweep = Sweep(cluster, tmp_path / "logs", "noop")
    sweep.submit(*ENDLESS, "run.checkpoint_seconds=5", "hydra.launcher.partition=gentle")
    sweep.wait(lambda: len(records := sweep.records()) == 2 and records["epochs"].min() > 0)
    terminated = Sweep(cluster, tmp_path / "terminated", "noop")
    terminated.submit(*ENDLESS, "run.checkpoint_seconds=5")
    terminated.wait(lambda: terminated.output().count("start 1") == 2)
    sweep.preempt()
    # the signal of a preemption on clusters without preempt_send_user_signal
    terminated.cluster.run("scancel", "--signal=TERM", str(terminated.arrays()[0]["job"]))
    terminated.wait(lambda: terminated.output().count("start 2") == 2, 240)
    assert terminated.output().count("requeueing") == 2
    terminated.redescent("cancel", "noop")
    sweep.wait(lambda: sweep.output().count("resuming from step") == 2, 240)
    output = sweep.output()
    assert output.count("stopping (preempted)") == 2
    assert output.count("requeueing") == 2
    stopped_cells = dict(re.findall(r"cell (\S+): stopped after (\d+) epochs?", output))
    resumed = dict(re.findall(r"cell (\S+): resuming from step (\d+) of attempt 1", output))
    assert resumed == stopped_cells  # a step an epoch
    sweep.redescent("cancel", "noop")


def test_a_hydra_multirun_through_submitit_joins_the_same_sweep(
    cluster: Cluster, tmp_path: Path
) -> None:
    sweep = Sweep(cluster, tmp_path / "logs", "noop")
    sweep.submit("seeds=[0]", "+axes={trainer.epochs:[1,2]}")
    sweep.wait(sweep.ended)
    command = [
        sys.executable,
        "-m",
        "launch.train",
        "-m",
        "hydra/launcher=slurm",
        "sweep=noop",
        "~seeds",
        "trainer.epochs=2,3",
        "hydra.launcher.timeout_min=5",
    ]
    environment = sweep.cluster.environment() | {"REDESCENT_LOGS": str(sweep.logs)}
    subprocess.run(
        command, env=environment, check=True, cwd=REPOSITORY, capture_output=True, timeout=120
    )
    records = sweep.records()
    assert sorted(records["trainer.epochs"]) == [1, 2, 3], "the cell that was done ran again"
    assert sweep.states() == {"done": 3}


def test_every_backend_runs_a_plan_to_the_same_table(cluster: Cluster, tmp_path: Path) -> None:
    launchers = ("slurm", "local", "debug")
    sweeps = [Sweep(cluster, tmp_path / launcher) for launcher in launchers]
    two_cells = ("model=mlp", "model.width=8", "~axes", "+axes={optim.weight_decay:[0.0,1e-3]}")
    for sweep in sweeps:
        sweep.submit(*two_cells, "task.at_a_time=1", launcher=sweep.logs.name)
    for sweep in sweeps:
        sweep.wait(sweep.ended)
        sweep.wait(lambda sweep=sweep: sweep.states() == {"done": 2})
        pd.testing.assert_frame_equal(sweep.table(), sweeps[0].table(), check_exact=True)


def test_doctor_asks_slurm_whether_it_would_take_the_jobs(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    from launch.cli import doctor

    monkeypatch.setenv("SLURM_CONF", str(sweep.cluster.conf))
    monkeypatch.setenv("REDESCENT_LOGS", str(sweep.logs))
    # tests/launch/test_doctor.py checks the kernels, which takes ten seconds
    monkeypatch.setattr(doctor, "kernels", lambda: doctor.Finding("kernels", "ok", ""))
    for partition, expected in (("main", set()), ("nowhere", {"problem"})):
        words = ["hydra/launcher=slurm", f"hydra.launcher.partition={partition}"]
        verdicts = {finding.verdict for finding in doctor.examine(words)}
        assert verdicts & {"problem"} == expected


def test_a_time_limit_leads_to_a_checkpoint_and_a_requeue(limited: Sweep, cluster: Cluster) -> None:
    limited.wait(lambda: "start 2" in limited.output(), 150)
    assert "stopping (timeout)" in limited.output()
    limited.wait(lambda: "resuming from step" in limited.output(), 30)
    limited.redescent("cancel", limited.name)
    limited.wait(limited.ended, 30)
