"""A real SLURM for the tests: four nodes on this machine, arrays of at most five tasks, all waits
short.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from slurm_sweep import ACTIVE, LIMITED, Cluster, Sweep
from storm import heal
from waiting import wait_for

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


@pytest.fixture(autouse=True)
def _no_surrounding_job(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [key for key in os.environ if key.startswith("SLURM_") and key != "SLURM_CONF"]:
        monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _queue_emptied(request: pytest.FixtureRequest) -> Iterator[None]:
    """Take out of the queue what a test left there, also when it failed: the next one needs the
    nodes. Only the sweep `limited` is for another test.
    """
    failed = request.session.testsfailed
    yield
    if "cluster" not in request.fixturenames:
        return
    cluster = request.getfixturevalue("cluster")
    if request.session.testsfailed > failed:
        assert heal(cluster), "the cluster of a test that failed did not come back"

    def is_empty() -> bool:
        """Whether the queue is; what is left there is cancelled once more."""
        remaining = {
            task.partition("_")[0]
            for name, task, *_ in cluster.tasks(ACTIVE)
            if not name.startswith(LIMITED)
        }
        if remaining:
            command = ["scancel", "--quiet", *remaining]
            subprocess.run(command, env=cluster.environment(), check=False)
        return not remaining

    wait_for(is_empty, "an empty queue", 60)
