"""What a launcher's settings say of a task, and the cores that this process may use."""

from __future__ import annotations

import subprocess
import sys

import pytest

from launch.plan import Launcher
from launch.plan.launcher import cores

ONE_CORE = (
    "import os; os.environ.pop('SLURM_CPUS_PER_TASK', None)\n"
    "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
    "from launch.plan.launcher import cores; print(cores())"
)


def test_cores_are_those_that_the_process_may_use_not_the_machine() -> None:
    process = subprocess.run([sys.executable, "-c", ONE_CORE], capture_output=True, text=True)
    assert process.stdout == "1\n", process.stderr


def test_cores_inside_slurm_are_those_of_the_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "7")
    assert cores() == 7


def test_what_settings_leave_out_is_none_or_nothing() -> None:
    empty = Launcher({})
    assert (empty.gpus, empty.cores, empty.memory_gb, empty.limit_minutes) == (0, None, None, None)
    assert empty.lead_seconds == 0.0


def test_memory_does_not_count_among_the_resources() -> None:
    settings = {"_target_": "x.SlurmLauncher", "cpus_per_task": 4, "mem_gb": 2}
    launcher = Launcher(settings)
    assert launcher.resources == Launcher({**settings, "mem_gb": 9}).resources
    assert launcher.resources != Launcher({**settings, "cpus_per_task": 8}).resources
