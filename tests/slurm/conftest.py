"""A real SLURM for the tests: four nodes on this machine, arrays of at most five tasks, all waits
short.
"""

from __future__ import annotations

import inspect
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from slurm_sweep import ACTIVE, Cluster, Sweep
from storm import heal

HERE = Path(__file__).parent
PACKAGES = ("munged", "slurmctld", "slurmd", "slurmdbd", "mariadbd", "sbatch")

PREEMPTABLE = (
    "PartitionName={} Nodes=ALL MaxTime=24:00:00 PriorityTier=1 PreemptMode=REQUEUE "
    "GraceTime={} State=UP\n"
)
PARTITIONS = PREEMPTABLE.format("harsh", 0) + PREEMPTABLE.format("gentle", 60)
"""Partitions whose jobs are preempted without a moment of grace, and with time to save on a busy
machine.
"""


def why_not() -> str | None:
    """The reason why no SLURM can be started here, or None."""
    path = f"/usr/sbin:/sbin:{os.environ['PATH']}"
    if all(shutil.which(name, path=path) for name in PACKAGES):
        return None
    if shutil.which("apt-get") is None:
        return "SLURM is not installed, and there is no apt-get to install it with"
    if os.geteuid() == 0:
        return None
    sudo = (
        shutil.which("sudo")
        and subprocess.run(["sudo", "-n", "true"], capture_output=True, check=False).returncode == 0
    )
    return (
        None
        if sudo
        else "SLURM is not installed, and installing it needs root or sudo without a password"
    )


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    reason = why_not()
    if reason:
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="redescent-slurm-"))
    extra = folder / "extra.conf"
    extra.write_text(PARTITIONS)
    settings = {
        "SLURM_DEV_DIR": str(folder),
        "SLURM_DEV_NODE_TIMEOUT": "6",
        "SLURM_DEV_OVERRIDE": "MaxArraySize=6",
        "SLURM_DEV_EXTRA": str(extra),
        "SLURM_DEV_OWNER": str(os.getpid()),
    }
    environment = os.environ | settings
    try:
        subprocess.run([HERE / "up.sh"], env=environment, check=True, stdout=subprocess.DEVNULL)
        yield Cluster(folder / "etc" / "slurm.conf", settings)
    finally:
        subprocess.run([HERE / "down.sh", "--purge"], env=environment, check=False)


@pytest.fixture
def sweep(cluster: Cluster, tmp_path: Path) -> Sweep:
    return Sweep(cluster, tmp_path / "logs")


@pytest.fixture(scope="session", autouse=True)
def limited(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Sweep | None:
    """A sweep whose tasks are longer than their time limit, sent first: SLURM's shortest limit is a
    minute.
    """
    functions = [getattr(item, "function", None) for item in request.session.items]
    if not any(
        function and "limited" in inspect.signature(function).parameters for function in functions
    ):
        return None
    sweep = Sweep(request.getfixturevalue("cluster"), tmp_path_factory.mktemp("limited"), "noop")
    sweep.submit(
        "seeds={range:[0,1,1]}",
        "trainer.epochs=300",
        "trainer.seconds=0.2",
        "run.checkpoint_seconds=1",
        "hydra.launcher.timeout_min=1",
        "hydra.launcher.signal_delay_s=25",
    )
    return sweep


@pytest.fixture(autouse=True)
def _no_surrounding_job(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [key for key in os.environ if key.startswith("SLURM_") and key != "SLURM_CONF"]:
        monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _queue_emptied(request: pytest.FixtureRequest, limited: Sweep | None) -> Iterator[None]:
    """Take out of the queue what a test left there, also when it failed: the next one needs the
    nodes.
    """
    failed = request.session.testsfailed
    yield
    if "cluster" not in request.fixturenames:
        return
    cluster = request.getfixturevalue("cluster")
    if request.session.testsfailed > failed:
        assert heal(cluster), "the cluster of a test that failed did not come back"
    spared = {array["name"] for array in limited.arrays()} if limited else set()
    end = time.monotonic() + 60
    while remaining := {
        task.partition("_")[0] for name, task, *_ in cluster.tasks(ACTIVE) if name not in spared
    }:
        assert time.monotonic() < end, (
            f"jobs {sorted(remaining)} are still in the queue 60 s after scancel"
        )
        subprocess.run(["scancel", "--quiet", *remaining], env=cluster.environment(), check=False)
        time.sleep(0.2)
