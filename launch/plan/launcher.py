"""The launcher of a sweep: where its tasks run, and with which resources."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from launch.errors import UserError

_KINDS = {"SlurmLauncher": "slurm", "LocalLauncher": "local", "BasicLauncher": "debug"}
_RESOURCES = ("partition", "constraint", "gres", "gpus_per_node", "gpus_per_task", "cpus_per_task")


@dataclass(frozen=True)
class Occupancy:
    """What a cell occupies while it trains, and the unit of its hours."""

    unit: str
    amount: float


@dataclass(frozen=True)
class Launcher:
    """A Hydra launcher's settings, and what follows from them."""

    settings: Mapping[str, Any]
    """The settings as Hydra composed them; the sbatch script is rendered from them."""

    @property
    def kind(self) -> str:
        """The backend of the settings: slurm, local or debug. Raises UserError."""
        target = str(self.settings.get("_target_", ""))
        for ending, kind in _KINDS.items():
            if target.endswith(ending):
                return kind
        raise UserError(
            f"launcher {target!r}: expected hydra/launcher=slurm, v100, local, debug or a file "
            "like these"
        )

    @property
    def gpus(self) -> int:
        """GPUs of one task, which has one node."""
        for key in ("gpus_per_node", "gpus_per_task"):
            if self.settings.get(key):
                return _count(str(self.settings[key]))
        for resource in str(self.settings.get("gres") or "").split(","):
            kind, _, text = resource.strip().removeprefix("gres/").partition(":")
            if kind == "gpu":
                return _count(text)
        return 0

    @property
    def cores(self) -> int | None:
        """Cores of one task; None if not set."""
        return self.settings.get("cpus_per_task")

    @property
    def memory_gb(self) -> float | None:
        """Memory of one task in GB; None if not set."""
        return self.settings.get("mem_gb")

    @property
    def limit_minutes(self) -> float | None:
        """Time limit of one task in minutes; None if not set."""
        return self.settings.get("timeout_min")

    @property
    def lead_seconds(self) -> float:
        """Seconds before its time limit at which a task must begin to save."""
        return float(self.settings.get("signal_delay_s") or 0)

    @property
    def partition(self) -> str | None:
        """The partition that tasks are sent to; None is the cluster's default."""
        return self.settings.get("partition")

    @property
    def released(self) -> Launcher:
        """The launcher of jobs that are sent without the user, who would not know to release
        them.
        """
        if "hold" not in self.additional_parameters:
            return self
        extra = {**self.additional_parameters}
        del extra["hold"]
        return Launcher({**self.settings, "additional_parameters": extra})

    @property
    def additional_parameters(self) -> Mapping[str, Any]:
        """Options of sbatch that submitit has no names for."""
        return self.settings.get("additional_parameters") or {}

    def usual_concurrency(self, backend: str) -> int:
        """Cells that a task of a backend trains at a time where nothing else is set: one a core."""
        return (self.cores or 1) if backend == "slurm" else cores()

    @property
    def resources(self) -> str:
        """The settings that affect the best number of cells per task, as comparable text.

        Memory is left out: if cells run out of memory, their number is halved.
        """
        return json.dumps([self.kind, *(self.settings.get(key) for key in _RESOURCES)])

    def occupancy(self, concurrency: int | None) -> Occupancy:
        """What each of `concurrency` cells occupies: GPUs if the launcher requests any, else cores.

        None means one cell per core of the task. If the launcher sets no cores, each cell has one.
        """
        cells = concurrency or self.cores or 1
        if self.gpus:
            return Occupancy("GPU-hours", self.gpus / cells)
        return Occupancy("core-hours", self.cores / cells if self.cores else 1.0)


def _count(text: str) -> int:
    """The number at the end of a request such as "2", "a100:2" or "a100:2(S:0-1)"; 1 without."""
    count = text.partition("(")[0].rpartition(":")[2]
    return int(count) if count.isdigit() else 1


def cores() -> int:
    """Cores that this process may use: those of its SLURM task, or of its CPU affinity."""
    allocated = os.environ.get("SLURM_CPUS_PER_TASK", "")
    if allocated and allocated.isdecimal() and int(allocated) > 0:
        return int(allocated)
    return len(os.sched_getaffinity(0))
