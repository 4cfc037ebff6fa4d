"""What a launcher's settings say of a task, and the cores that this process may use."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from launch.cli.preview import launcher_text
from launch.errors import none_of
from launch.plan import Launcher
from launch.plan.launcher import cores
from launch.sweep import compose

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


@pytest.mark.parametrize(
    ("settings", "gpus"),
    [
        ({"gres": "gpu:v100:1"}, 1),
        ({"gres": "gpu"}, 1),
        ({"gres": "gpu:2,nvme:1"}, 2),
        ({"gres": "nvme:1,gpu:2"}, 2),
        ({"gres": "gres/gpu:2"}, 2),
        ({"gres": "gpu:a100:2(S:0-1)"}, 2),
        ({"gres": "nvme:3"}, 0),
        ({"gpus_per_node": "a100:4"}, 4),
        ({"gpus_per_task": 1}, 1),
        ({"gpus_per_task": 0, "gres": "gpu:2"}, 2),
    ],
)
def test_gpus_of_a_task_are_counted_however_they_are_requested(
    settings: dict[str, Any], gpus: int
) -> None:
    assert Launcher(settings).gpus == gpus


def test_memory_does_not_count_among_the_resources() -> None:
    settings = {"_target_": "x.SlurmLauncher", "cpus_per_task": 4, "mem_gb": 2}
    launcher = Launcher(settings)
    assert launcher.resources == Launcher({**settings, "mem_gb": 9}).resources
    assert launcher.resources != Launcher({**settings, "cpus_per_task": 8}).resources


def test_counts_of_one_are_singular() -> None:
    one = ["hydra/launcher=slurm", "hydra.launcher.timeout_min=1", "seeds=[0]"]
    request = compose.expand_sweep("noop", one)
    assert launcher_text(request).endswith("1 minute")
    assert none_of(1, "cell") == "no cell"
    assert none_of(2, "cell") == "none of the 2 cells"
