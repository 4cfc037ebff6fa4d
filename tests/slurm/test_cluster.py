"""The cluster of the tests ends with the process that started it, also when that one is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from slurm_sweep import Cluster
from waiting import wait_for

HERE = Path(__file__).parent
DAEMONS = {"munged", "mariadbd", "slurmdbd", "slurmctld", "slurmd"}
JOB = "trap '' TERM; touch {started}; sleep 1000"
"""A job that only SIGKILL ends."""
OWNER = """
import os, subprocess, sys, time
up, conf, job = sys.argv[1:]
environment = os.environ | {"SLURM_DEV_OWNER": str(os.getpid())}
subprocess.run([up], env=environment, check=True, stdout=subprocess.DEVNULL)
sbatch = ["sbatch", "--output=/dev/null", "--wrap", job]
subprocess.run(sbatch, env=environment | {"SLURM_CONF": conf}, check=True)
time.sleep(1000)
"""

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(900)]


def processes_of(folder: Path) -> dict[int, str]:
    """Names of the processes that have the folder in their environment, by pid."""
    result = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if str(folder).encode() in (path / "environ").read_bytes():
                result[int(path.name)] = (path / "comm").read_text().strip()
        except OSError:  # ended meanwhile
            continue
    return result


def test_a_cluster_and_its_jobs_end_with_a_killed_owner(cluster: Cluster, tmp_path: Path) -> None:
    folder = tmp_path / "slurm"
    marker = tmp_path / "started"
    environment = os.environ | {
        "SLURM_DEV_DIR": str(folder),
        "SLURM_DEV_NODES": "1",
        "SLURM_DEV_INSTALL": "0",
    }
    conf = folder / "etc" / "slurm.conf"
    command = [
        sys.executable,
        "-c",
        OWNER,
        str(HERE / "up.sh"),
        str(conf),
        JOB.format(started=marker),
    ]
    owner = subprocess.Popen(command, env=environment)
    try:
        wait_for(marker.exists, lambda: f"a job, beside {processes_of(folder)}")
        names = set(processes_of(folder).values())
        assert names >= DAEMONS | {"slurmstepd", "sleep"}
        owner.send_signal(signal.SIGKILL)
        owner.wait()
        wait_for(
            lambda: not folder.exists() and not processes_of(folder),
            lambda: f"the end of {processes_of(folder)}",
        )
    finally:
        owner.kill()
        owner.wait()
        subprocess.run([HERE / "down.sh", "--purge"], env=environment, check=False)
