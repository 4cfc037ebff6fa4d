"""What large sweeps cost on the login node: planning, status, reading curves, and waiting.

    python benchmarks/store.py [--quick] [--cells 20000] [--parts 3000] [--rows 10000000]
                               [--planned 300000] [--wait 60]

Cells compute nothing, and their parts are generated as a child would write them. Each step runs in
a process of its own, of which the table has CPU seconds and peak memory. Reading curves is compared
with pandas: every file by read_parquet, concat, sort_values and drop_duplicates. The last lines are
`ratio NAME VALUE`: memory_curves is the peak over the size of the frame, plain_cpu_curves and
plain_memory_curves are pandas' over ours, and core_wait is the share of a core that `submit --wait`
takes.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from process_cost import Cost, cost_of, in_child_process

ROOT = Path(__file__).resolve().parents[1]
REDESCENT = [sys.executable, "-c", "from launch.cli import main; main()"]
METRICS = 20
CELLS_OF_A_FILE, EPOCHS = 100, 1000
DAY = 86400.0


def of_command(words: Sequence[str], logs: Path) -> Cost:
    """The cost of a redescent command, without the processes that it leaves running."""
    began = time.time()
    environment = os.environ | {"REDESCENT_LOGS": str(logs), "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [*REDESCENT, *words], env=environment, cwd=ROOT, stdout=subprocess.DEVNULL
    )
    return cost_of(process.pid, began)


def plan(logs: Path, cells: int, tasks: int) -> None:
    """Plan a sweep of no-op cells in `tasks` tasks, and write its plan and jobs without sending."""
    from launch.plan import jobs
    from launch.submit.freeze import freeze
    from launch.submit.preview import load_preview
    from launch.sweep import compose

    seeds = f"seeds={{range:[0,{cells},1]}}"
    packing = [f"task.cells={-(-cells // tasks)}", f"task.most={tasks}"]
    overrides = ["hydra/launcher=slurm", f"logs={logs}", f"limits.cells={cells}", seeds, *packing]
    request = compose.expand_sweep("noop", overrides)
    frozen = freeze(load_preview(request), "local", attempts={})
    frozen.write(request.folder)
    array = jobs.Array(jobs.job_name(frozen, 0), 0, len(frozen.tasks), time.time(), "local")
    jobs.write(frozen, request.folder, [array])


def load(folder: Path) -> None:
    """Read the plans of a sweep."""
    from launch.plan import load_all

    assert load_all(folder)


def generate_parts(folder: Path) -> None:
    """The parts of every task of the plan, as its child would write them, without checkpoints."""
    from launch.plan import load_all
    from trainers import config, noop
    from trainers.checkpoint import Checkpoints
    from trainers.part import Part
    from trainers.run import Run

    (only_plan,) = load_all(folder)
    for name in ("curves", "runs", "checkpoints"):
        (folder / name).mkdir()
    for number, task in enumerate(only_plan.tasks):
        writer = f"{only_plan.sid}.{number:05d}.r0.generated.0.noop"
        part = Part(folder, writer, noop.METRICS, throttle=True)
        part.throttle.after_quick_cell = True
        part.throttle.last_write = time.monotonic() + DAY  # written once, at the end
        for cell in (only_plan.cells[index] for index in task):
            flat = only_plan.flat(cell)
            checkpoints = Checkpoints(folder / "checkpoints", cell.id, 1, part.writer)
            run = Run(cell.id, flat, 1, part, checkpoints, lambda: False, 60.0)
            run.close(noop.train(config.parse(flat), run))
        part.write()


@contextlib.contextmanager
def without_syncing() -> Iterator[None]:
    """Generated files need not outlive a crash of the machine."""
    sync = os.fsync
    os.fsync = lambda _: None
    try:
        yield
    finally:
        os.fsync = sync


def generate_curves(folder: Path, rows: int) -> None:
    """Files of 100 cells with 1,000 epochs each, and 20 metrics of random numbers."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    (folder / "curves").mkdir(parents=True)
    count = CELLS_OF_A_FILE * EPOCHS
    random = np.random.default_rng(0)
    epochs = np.tile(np.arange(EPOCHS, dtype=np.int32), CELLS_OF_A_FILE)
    codes = pa.array(np.repeat(np.arange(CELLS_OF_A_FILE, dtype=np.int32), EPOCHS))
    columns = {"attempt": np.ones(count, np.int16), "epoch": epochs, "step": epochs * np.int64(98)}
    columns |= {"examples": epochs * np.int64(50_000), "seconds": epochs * 1.5}
    columns |= {f"metric_{i}": random.random(count, np.float32) for i in range(METRICS)}
    for number in range(rows // count):
        texts = (f"{number}.{cell}".encode() for cell in range(CELLS_OF_A_FILE))
        ids = [f"c1-{hashlib.sha256(text).hexdigest()[:32]}" for text in texts]
        table = pa.table({"cell": pa.DictionaryArray.from_arrays(codes, ids), **columns})
        path = folder / "curves" / f"{number:05d}.parquet"
        pq.write_table(table, path, compression="zstd", write_page_checksum=True)


def read_curves(folder: Path) -> None:
    """All curves through the store; the size of the frame goes to a file beside them."""
    from analysis import store

    size = int(store.curves(folder).memory_usage().sum())
    (folder / "bytes").write_text(str(size))


def read_with_pandas(folder: Path) -> None:
    """All curves as a user without the store would read them."""
    import pandas as pd

    frames = [pd.read_parquet(path) for path in sorted((folder / "curves").iterdir())]
    keys = ["cell", "epoch", "step"]
    frame = pd.concat(frames).sort_values([*keys, "attempt"])
    assert len(frame.drop_duplicates(keys, keep="last"))


def show(name: str, cost: Cost) -> None:
    """One row of the table."""
    print(f"{name:46s} {cost.cpu:8.1f} {cost.wall:8.1f} {cost.memory / 1e6:8.0f}", flush=True)


def measure_sweep(logs: Path, options: argparse.Namespace) -> None:
    """Planning, writing and loading a large plan, and the status of a sweep of many parts."""
    planned = logs / "planned"
    cost = in_child_process(lambda: plan(planned, options.planned, 1000))
    show(f"plan and write {options.planned} cells", cost)
    cost = in_child_process(lambda: load(planned / "noop"))
    show(f"load a plan of {options.planned} cells", cost)
    in_child_process(lambda: plan(logs, options.cells, options.parts))
    with without_syncing():
        in_child_process(lambda: generate_parts(logs / "noop"))
    sweep = f"{options.cells} cells in {options.parts} parts"
    show(f"status of {sweep}", of_command(["status", "noop"], logs))
    show(f"status --cells of {sweep}", of_command(["status", "noop", "--cells"], logs))


def measure_curves(folder: Path, rows: int) -> list[str]:
    """Reading curves through the store and with pandas; the lines of the ratios."""
    in_child_process(lambda: generate_curves(folder, rows))
    ours = in_child_process(lambda: read_curves(folder))
    plain = in_child_process(lambda: read_with_pandas(folder))
    show(f"store.curves of {rows} rows", ours)
    show(f"the same with pandas.read_parquet ({rows} rows)", plain)
    size = int((folder / "bytes").read_text())
    return [
        f"ratio memory_curves {ours.memory / size:.2f}",
        f"ratio plain_cpu_curves {plain.cpu / ours.cpu:.1f}",
        f"ratio plain_memory_curves {plain.memory / ours.memory:.1f}",
    ]


def measure_wait(logs: Path, seconds: float) -> list[str]:
    """`submit --wait` for two cells that take `seconds`, beside one that takes 1 s."""
    words = ["submit", "noop", "hydra/launcher=local", "seeds=[0,1]", "compact=false", "--wait"]
    short = of_command([*words, "name=short", "trainer.seconds=1"], logs)
    long = of_command([*words, "name=long", f"trainer.seconds={seconds}"], logs)
    show(f"submit --wait of {seconds:.0f} s", long)
    return [f"ratio core_wait {(long.cpu - short.cpu) / (long.wall - short.wall):.4f}"]


def main() -> None:
    """Measure, and print the table and the ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--quick", action="store_true", help="about a minute on two cores: fewer of everything")
    add("--cells", type=int, default=20_000, help="cells of the sweep (default: 20000)")
    add("--parts", type=int, default=3000, help="parts of the sweep (default: 3000)")
    add("--rows", type=int, default=10_000_000, help="rows of curves (default: 10000000)")
    add("--planned", type=int, default=300_000, help="cells of the plan (default: 300000)")
    add("--wait", type=float, default=60.0, help="seconds of a cell (default: 60)")
    options = parser.parse_args()
    if options.quick:
        options.cells, options.parts, options.rows = 2000, 300, 1_000_000
        options.planned, options.wait = 30_000, 15.0
    machine = platform.processor() or platform.machine()
    print(f"{machine}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print(f"{'':46s} {'CPU s':>8s} {'wall s':>8s} {'peak MB':>8s}")
    with tempfile.TemporaryDirectory() as folder:
        logs = Path(folder)
        measure_sweep(logs, options)
        ratios = measure_curves(logs / "curves_of_a_sweep", options.rows)
        ratios += measure_wait(logs, options.wait)
    print("\n" + "\n".join(ratios))


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
