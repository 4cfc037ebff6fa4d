"""What the tests against SLURM share: a cluster to ask, and a small sweep on it that is driven by
the command line.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import command_line
import pandas as pd
from waiting import wait_for

REPOSITORY = Path(__file__).resolve().parents[2]
NOT_COMPUTED = ["attempt", "seconds", "examples_per_second"]
"""Columns of a row that tell when and by whom it was computed, and may differ between equal
trainings.
"""

NO_COMPACTION = ("compact=false",)

LIMITED = "limited"
"""Name of the sweep that runs into its time limit while other tests run."""

ACTIVE = "PENDING,RUNNING,COMPLETING,SUSPENDED,CONFIGURING"
"""States of a job that has not ended; squeue shows ended ones too for a while."""


@dataclass(frozen=True)
class Cluster:
    conf: Path
    settings: Mapping[str, str]
    """Settings of up.sh that it was started with."""

    def run(self, *command: str) -> str:
        process = subprocess.run(
            command, capture_output=True, text=True, env=self.environment(), check=False
        )
        assert process.returncode == 0, f"{command}: {process.stderr}"
        return process.stdout

    def resumed(self, node: str) -> bool:
        """Bring a node that was set down back; SLURM refuses while it clears the node's jobs away,
        and does it itself where the node's daemon reports again."""
        command = ["scontrol", "update", f"nodename={node}", "state=resume"]
        if (
            subprocess.run(
                command, capture_output=True, env=self.environment(), check=False
            ).returncode
            == 0
        ):
            return True
        return self.run("sinfo", "-h", "-n", node, "-p", "main", "-o", "%T").startswith(
            ("idle", "mixed", "alloc")
        )

    def environment(self) -> dict[str, str]:
        return os.environ | {"SLURM_CONF": str(self.conf)}

    def tasks(self, state: str = "all") -> list[tuple[str, str, str, str]]:
        """(job name, array id and index, state, node) of every task."""
        text = self.run("squeue", "-h", "-r", "-t", state, "-o", "%j|%F_%K|%T|%N")
        return [tuple(line.strip().split("|")) for line in text.splitlines()]  # type: ignore[misc]


@dataclass(frozen=True)
class Sweep:
    """The sweep `smoke` with overrides, in a logs folder of its own."""

    cluster: Cluster
    logs: Path
    name: str = "smoke"
    patience: float = 600.0
    """Seconds that a command may take."""

    @property
    def folder(self) -> Path:
        return self.logs / self.name

    def redescent(self, *words: str, check: bool = True, code: Path = REPOSITORY) -> str:
        environment = self.cluster.environment() | {
            "REDESCENT_LOGS": str(self.logs),
            "PYTHONPATH": str(code),
        }
        environment |= {"COLUMNS": "1000"}
        process = command_line.redescent(
            *words,
            environment=environment,
            folder=self.logs.parent,
            check=check,
            seconds=self.patience,
        )
        return process.stdout + process.stderr

    def submit(
        self, *overrides: str, check: bool = True, launcher: str = "slurm", code: Path = REPOSITORY
    ) -> str:
        """Submit it; no job compacts it afterwards unless an override says so."""
        compact = () if any(word.startswith("compact=") for word in overrides) else NO_COMPACTION
        words = (f"hydra/launcher={launcher}", *overrides, *compact)
        return self.redescent("submit", self.name, *words, check=check, code=code)

    def wait(self, until: Callable[[], bool], seconds: float = 240) -> None:
        wait_for(until, lambda: f"{self.redescent('status', self.name)}\n{self.output()}", seconds)

    def ended(self) -> bool:
        """No task of this sweep is in the queue."""
        names = {array["name"] for array in self.arrays()}
        return not any(name in names for name, *_ in self.cluster.tasks(ACTIVE))

    def compact(self) -> str:
        """Compact by hand, after the job that does so by itself where it is at it; what the command
        said.
        """
        answer = [""]

        def done() -> bool:
            answer[0] = self.redescent("compact", self.name, check=False)
            return "compaction is running" not in answer[0]

        self.wait(done)
        return answer[0]

    def arrays(self) -> list[dict[str, object]]:
        files = sorted((self.folder / "submissions").glob("*/jobs.json"))
        return [array for path in files for array in json.loads(path.read_text())]

    def live(self, state: str = "RUNNING") -> list[str]:
        names = {array["name"] for array in self.arrays()}
        return [task for name, task, *_ in self.cluster.tasks(state) if name in names]

    def preempt(self) -> None:
        """Take the nodes that its tasks run on for a job of a partition that goes first."""
        names = {array["name"] for array in self.arrays()}
        nodes = {node for name, *_, node in self.cluster.tasks("RUNNING") if name in names}
        where = ("-N", str(len(nodes)), "-w", ",".join(sorted(nodes)), "--exclusive")
        job = ("-t", "1", "-o", "/dev/null", "--wrap", "sleep 1")
        self.cluster.run("sbatch", "-p", "prio", *where, *job)

    def output(self) -> str:
        return "\n".join(
            f"== {p.name}\n{p.read_text()}"
            for p in sorted(self.folder.glob("submissions/*/output/*"))
        )

    def records(self) -> pd.DataFrame:
        """The runs table, without cells that have no record yet."""
        from analysis import store

        if (
            not any((self.folder / "runs").glob("*.parquet"))
            and not (self.folder / "store" / "manifest.json").exists()
        ):
            return pd.DataFrame()
        runs = store.runs(self.folder)
        return runs[runs["status"] != "missing"]

    def epochs(self) -> int:
        """Epochs logged so far by all cells together."""
        records = self.records()
        return 0 if records.empty else int(records["epochs"].sum())

    def table(self) -> pd.DataFrame:
        """All that was computed: a row for every cell and epoch, without the columns that tell
        when.
        """
        from analysis import store

        rows = store.curves(self.folder).drop(columns=NOT_COMPUTED, errors="ignore")
        assert not rows.duplicated(["cell", "epoch"]).any()
        return rows.astype({"cell": str}).sort_values(["cell", "epoch"], ignore_index=True)

    def states(self) -> dict[str, int]:
        from launch.status import sweep_state

        os.environ["SLURM_CONF"] = str(self.cluster.conf)
        cells = sweep_state.load_sweep_state(self.folder).cells.values()
        return pd.Series([cell.state for cell in cells]).value_counts().to_dict()
