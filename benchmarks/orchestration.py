"""Overhead of SLURM submission: ours compared with hydra-submitit-launcher and plain submitit, with
cells that compute nothing.

    python benchmarks/orchestration.py [--quick] [--rounds 3] [--cells 10000] [--planned 100000]

Starts a real SLURM of four nodes on this machine (tests/slurm/up.sh) and stops it. The tools
alternate. A measurement starts with the command and ends when its last job has left the queue;
`submit` ends with the last sbatch. The other tools get fewer cells, because they need seconds for
each; ours is also measured with this number. Calls counts calls of SLURM's programs, by the
submitting command and inside jobs. Then a larger sweep is planned, and its parts are generated and
compacted, without SLURM. The last lines are `ratio NAME VALUE`: plain over ours, per cell; memory
in total.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from process_cost import in_child_process

ROOT = Path(__file__).resolve().parents[1]
CELLS_OF_A_TASK = 250
REDESCENT = [sys.executable, "-c", "from launch.cli import main; main()"]
HYDRA = """
import hydra

@hydra.main(version_base="1.3", config_path=None)
def main(config):
    pass

main()
"""
SUBMITIT = """
import sys
import submitit

def cell(number):
    pass

executor = submitit.AutoExecutor(sys.argv[1])
executor.update_parameters(timeout_min=30, cpus_per_task=1, mem_gb=1, slurm_array_parallelism=1000)
[job.result() for job in executor.map_array(cell, range(int(sys.argv[2])))]
"""
CALL = '#!/bin/bash\n{real} "$@"\nstatus=$?\necho "$EPOCHREALTIME {name}" >> {log}\nexit $status\n'


@dataclass(frozen=True)
class Measured:
    """One submission through SLURM: seconds to the last sbatch and to an empty queue, files and
    bytes on disk afterwards, peak memory of the submitting process, and calls of SLURM's programs.
    """

    way: str
    cells: int
    submit: float
    done: float
    files: int
    bytes: int
    memory: int
    calls: int
    folder: Path

    def each(self, quantity: str) -> float:
        """A quantity per cell."""
        return float(getattr(self, quantity)) / self.cells


class Cluster:
    """A SLURM for this run only, whose client programs log their calls."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.log = folder, folder / "calls"
        self.environment = os.environ | {"SLURM_DEV_DIR": str(folder / "slurm")}
        subprocess.run(
            [ROOT / "tests/slurm/up.sh"],
            env=self.environment,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        self.environment |= {
            "SLURM_CONF": str(folder / "slurm/etc/slurm.conf"),
            "PYTHONPATH": str(ROOT),
        }
        (folder / "bin").mkdir()
        for name in ("sbatch", "squeue", "sacct", "scontrol", "scancel", "srun", "sinfo"):
            script = folder / "bin" / name
            script.write_text(CALL.format(real=shutil.which(name), name=name, log=self.log))
            script.chmod(0o755)

    def stop(self) -> None:
        subprocess.run([ROOT / "tests/slurm/down.sh", "--purge"], env=self.environment, check=False)

    def idle(self) -> bool:
        process = subprocess.run(
            ["squeue", "-h", "-o", "%i"], env=self.environment, capture_output=True, check=True
        )
        return not process.stdout

    def measure(self, way: str, cells: int, command: Sequence[str]) -> Measured:
        """Run a command in an empty folder, and wait until all of its jobs have ended."""
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        self.log.write_text("")
        environment = {
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "REDESCENT_LOGS": str(folder / "logs"),
        }
        began = time.time()
        with open(folder.with_suffix(".out"), "wb") as out:
            process = Process(command, folder, self.environment | environment, out)
        while "sbatch" not in self.log.read_text() and not process.over():
            time.sleep(0.05)
        while not self.idle():
            time.sleep(0.2)
        duration = time.time() - began
        process.wait()
        calls = [line.split() for line in self.log.read_text().splitlines()]
        submit_times = [float(when) for when, name in calls if name == "sbatch"]
        if process.status or not submit_times:
            output = folder.with_suffix(".out").read_text()[-2000:]
            raise SystemExit(f"{way}: status {process.status}\n{output}")
        files = [path for path in folder.rglob("*") if path.is_file()]
        size = sum(path.stat().st_size for path in files)
        return Measured(
            way,
            cells,
            submit_times[-1] - began,
            duration,
            len(files),
            size,
            process.memory,
            len(calls),
            folder,
        )

    def status(self, folder: Path) -> float:
        """Seconds that `redescent status` takes. Exits if a cell is not done."""
        began = time.time()
        environment = self.environment | {"REDESCENT_LOGS": str(folder / "logs")}
        process = subprocess.run(
            [*REDESCENT, "status", "noop"],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        unfinished = ("running", "waiting", "failed", "interrupted", "missing")
        if any(state in process.stdout for state in unfinished):
            raise SystemExit(f"not all cells are done:\n{process.stdout}")
        return time.time() - began


class Process:
    """Run a command and measure its peak memory."""

    def __init__(
        self, command: Sequence[str], folder: Path, environment: Mapping[str, str], out: IO[bytes]
    ) -> None:
        self.process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=out, stderr=out
        )
        self.status: int | None = None
        self.memory = 0

    def over(self) -> bool:
        return self.status is not None or self._wait(os.WNOHANG)

    def wait(self) -> None:
        if self.status is None:
            self._wait(0)

    def _wait(self, how: int) -> bool:
        pid, status, usage = os.wait4(self.process.pid, how)
        if pid:
            self.status = self.process.returncode = os.waitstatus_to_exitcode(status)
            self.memory = usage.ru_maxrss * 1024
        return bool(pid)


def ours(cells: int) -> list[str]:
    """The command for a sweep of no-op cells."""
    seeds = f"seeds={{range:[0,{cells},1]}}"
    return [
        *REDESCENT,
        "submit",
        "noop",
        "hydra/launcher=slurm",
        seeds,
        f"task.cells={CELLS_OF_A_TASK}",
    ]


def hydra(folder: Path, cells: int) -> list[str]:
    """The command for a multirun through hydra-submitit-launcher."""
    (folder / "with_hydra.py").write_text(HYDRA)
    launcher = [
        "hydra/launcher=submitit_slurm",
        "hydra.launcher.timeout_min=30",
        "hydra.launcher.mem_gb=1",
        "hydra.launcher.cpus_per_task=1",
        "hydra.launcher.array_parallelism=1000",
    ]
    return [sys.executable, str(folder / "with_hydra.py"), "-m", *launcher, f"+cell=range({cells})"]


def submitit(folder: Path, cells: int) -> list[str]:
    """The command for an array through plain submitit."""
    (folder / "with_submitit.py").write_text(SUBMITIT)
    return [sys.executable, str(folder / "with_submitit.py"), "jobs", str(cells)]


def planning(folder: Path, cells: int) -> None:
    """Plan and freeze a sweep of no-op cells without sending it."""
    from launch.submit.freeze import freeze
    from launch.submit.preview import load_preview
    from launch.sweep import compose

    seeds = f"seeds={{range:[0,{cells},1]}}"
    request = compose.expand_sweep(
        "noop", ["hydra/launcher=slurm", f"logs={folder}", seeds, "task.most=400"]
    )
    plan = freeze(load_preview(request), "local", attempts={})
    plan.write(request.folder)


def training(folder: Path) -> None:
    """Generate the parts of every task of the plan without jobs, as its child would write them."""
    from launch.plan import plan
    from trainers import config, noop
    from trainers.checkpoint import Checkpoints
    from trainers.part import Part
    from trainers.run import Run

    (only_plan,) = plan.load_all(folder)
    for name in ("curves", "runs", "checkpoints"):
        (folder / name).mkdir()
    for number, task in enumerate(only_plan.tasks):
        writer = f"{only_plan.sid}.{number:05d}.r0.generated.0.noop"
        part = Part(folder, writer, noop.METRICS, throttle=True)
        for cell in (only_plan.cells[index] for index in task):
            flat = only_plan.flat(cell)
            checkpoints = Checkpoints(folder / "checkpoints", cell.id, 1, part.writer)
            run = Run(cell.id, flat, 1, part, checkpoints, lambda: False, 60.0)
            run.mark_running()
            run.close(noop.train(config.parse(flat), run))
        part.write()


def folding(folder: Path) -> None:
    """The state of every cell."""
    from launch.status import sweep_state

    assert {cell.state for cell in sweep_state.load_sweep_state(folder).cells.values()} == {"done"}


def compacting(folder: Path) -> None:
    """Compact the parts into the store."""
    from analysis.store import compact

    assert compact.compact(folder).mismatches.empty


def larger(cells: int) -> None:
    """Plan a sweep too large for this SLURM, generate its parts, read its state and compact it."""
    with tempfile.TemporaryDirectory() as logs:
        folder = Path(logs) / "noop"
        steps: dict[str, Callable[[], None]] = {
            "planned": lambda: planning(Path(logs), cells),
            "parts generated": lambda: training(folder),
            "state folded": lambda: folding(folder),
            "compacted": lambda: compacting(folder),
            "state folded again": lambda: folding(folder),
        }
        print(f"\n{cells} cells without SLURM      seconds   peak MB    files")
        for name, action in steps.items():
            cost = in_child_process(action)
            files = sum(path.is_file() for path in folder.rglob("*"))
            print(f"{name:27s} {cost.wall:10.1f} {cost.memory / 1e6:9.0f} {files:8d}", flush=True)


def measure(folder: Path, rounds: int, cells: int, few: int) -> tuple[list[Measured], list[float]]:
    """All measurements of every way, and the seconds of `status` after each run of ours."""
    runs: list[Measured] = []
    status: list[float] = []
    cluster = Cluster(folder)
    try:
        for _ in range(rounds):
            runs.append(cluster.measure("ours", cells, ours(cells)))
            status.append(cluster.status(runs[-1].folder))
            runs.append(cluster.measure("ours, few cells", few, ours(few)))
            commands = {
                "hydra-submitit-launcher": (few, hydra(cluster.folder, few)),
                "submitit map_array": (2 * few, submitit(cluster.folder, 2 * few)),
            }
            for way, (count, command) in commands.items():
                runs.append(cluster.measure(way, count, command))
    finally:
        cluster.stop()
    return runs, status


def print_table(ways: Mapping[str, Sequence[Measured]], rounds: int) -> None:
    """The machine, and a line for each way."""
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, "
        f"load {os.getloadavg()[0]:.1f}, Python {platform.python_version()}, "
        f"SLURM with 4 nodes of 4 CPUs on it, {rounds} rounds"
    )
    print(
        "way                      cells submit s      range   done s         range cells/s  files  "
        "    MB peak MB calls"
    )
    for way, runs in ways.items():
        print(_row(way, runs))


def print_ratios(ways: Mapping[str, Sequence[Measured]]) -> None:
    """Every quantity per cell of the others over ours; memory as a whole."""
    quantities = {"turn_round": "done", "submission": "submit", "files": "files", "bytes": "bytes"}
    for way in ("hydra-submitit-launcher", "submitit map_array"):
        label = way.split()[0].replace("-", "_")
        for name, quantity in quantities.items():
            plain = statistics.median(run.each(quantity) for run in ways[way])
            own = statistics.median(run.each(quantity) for run in ways["ours"])
            print(f"ratio {name}_{label} {plain / own:.1f}")
        plain = statistics.median(run.memory for run in ways[way])
        own = statistics.median(run.memory for run in ways["ours"])
        print(f"ratio memory_{label} {plain / own:.2f}")


def main() -> None:
    """Run the rounds and print the table and the ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="about a minute on two cores: one round of fewer cells"
    )
    parser.add_argument(
        "--rounds", type=int, default=3, help="runs of each tool (default: 3; quick: 1)"
    )
    parser.add_argument(
        "--cells", type=int, default=10_000, help="cells of ours (default: 10000; quick: 2000)"
    )
    parser.add_argument(
        "--planned", type=int, default=100_000, help="cells without SLURM (100000; quick: 10000)"
    )
    options = parser.parse_args()
    rounds, cells, few, unsubmitted = options.rounds, options.cells, 60, options.planned
    if options.quick:
        rounds, cells, few, unsubmitted = 1, 2000, 20, 10_000
    with tempfile.TemporaryDirectory() as folder:
        runs, status = measure(Path(folder), rounds, cells, few)
    ways: dict[str, list[Measured]] = {}
    for run in runs:
        ways.setdefault(run.way, []).append(run)
    print_table(ways, rounds)
    print(
        f"\nstatus of {cells} cells: {statistics.median(status):.2f} s "
        f"({min(status):.2f}-{max(status):.2f})"
    )
    larger(unsubmitted)
    print()
    print_ratios(ways)


def _row(way: str, runs: Sequence[Measured]) -> str:
    def middle(quantity: str) -> float:
        return statistics.median(getattr(run, quantity) for run in runs)

    def spread(quantity: str) -> str:
        values = [getattr(run, quantity) for run in runs]
        return f"{min(values):.2f}-{max(values):.2f}"

    return (
        f"{way:24s} {runs[0].cells:5d} {middle('submit'):8.2f} {spread('submit'):>11s} "
        f"{middle('done'):8.2f} "
        f"{spread('done'):>13s} {runs[0].cells / middle('done'):7.1f} {middle('files'):6.0f} "
        f"{middle('bytes') / 1e6:7.2f} {middle('memory') / 1e6:7.0f} {middle('calls'):5.0f}"
    )


if __name__ == "__main__":
    main()
