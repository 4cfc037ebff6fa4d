"""The page of a large sweep: what writing it costs, how large it is, how long a browser takes.

    python benchmarks/report.py [--quick] [--cells 10000] [--epochs 150]

The cells are those of the sweep `demo` over weight decay, width and five seeds; they compute
nothing, and their parts have random numbers. The time of the browser is that from the start of the
navigation until all charts are drawn, in a headless Chromium; without one it is left out. The last
lines are `ratio NAME VALUE`, each a share of what the page promises: 15 MB and 3 s.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from process_cost import in_child_process
from store import of_command, show

ROOT = Path(__file__).resolve().parents[1]
METRICS = (
    "test_error", "test_loss", "train_error", "train_loss", "train_eval_error", "train_eval_loss",
    "clean_error", "noisy_error", "lr", "grad_norm", "weight_norm", "examples_per_second",
)  # fmt: skip
SEEDS, WIDTHS = 5, 20
CELLS_OF_A_PART = 500
MOST_BYTES, MOST_SECONDS = 15e6, 3.0
OPENINGS = 3
SWITCHES = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")


def plan(logs: Path, cells: int) -> None:
    """Plan the sweep, and write its plan and jobs without sending them."""
    from launch.plan import jobs
    from launch.submit.freeze import freeze
    from launch.submit.preview import load_preview
    from launch.sweep import compose

    decays = max(1, cells // (SEEDS * WIDTHS))
    axes = (
        f"+axes={{optim.weight_decay:{{log:[1e-2,1e-6,{decays}]}},"
        f"model.width:{{range:[8,{8 * WIDTHS + 8},8]}}}}"
    )
    overrides = [
        "hydra/launcher=local",
        f"logs={logs}",
        "where=[]",
        f"limits.cells={cells}",
        "~axes",
        axes,
    ]
    request = compose.expand_sweep("demo", overrides)
    frozen = freeze(load_preview(request), "local", attempts={})
    frozen.write(request.folder)
    array = jobs.Array(jobs.job_name(frozen, 0), 0, len(frozen.tasks), time.time(), "local")
    jobs.write(frozen, request.folder, [array])


def generate_parts(folder: Path, epochs: int) -> None:
    """Parts of 500 cells each: rows of every epoch, and a record of each cell."""
    from launch.plan import load_all

    (only_plan,) = load_all(folder)
    for name in ("curves", "runs"):
        (folder / name).mkdir()
    for first in range(0, len(only_plan.cells), CELLS_OF_A_PART):
        cells = only_plan.cells[first : first + CELLS_OF_A_PART]
        name = f"{only_plan.sid}.{first:05d}.r0.generated.0.vision.parquet"
        write_curves(folder / "curves" / name, [cell.id for cell in cells], epochs)
        write_records(folder / "runs" / name, [(cell.id, only_plan.flat(cell)) for cell in cells])


def write_curves(path: Path, ids: Sequence[str], epochs: int) -> None:
    """Random rows of some cells."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = len(ids) * epochs
    random = np.random.default_rng(len(ids))
    epoch = np.tile(np.arange(1, epochs + 1, dtype=np.int32), len(ids))
    codes = pa.array(np.repeat(np.arange(len(ids), dtype=np.int32), epochs))
    columns: dict[str, Any] = {"cell": pa.DictionaryArray.from_arrays(codes, list(ids))}
    columns |= {"attempt": np.ones(rows, np.int16), "epoch": epoch, "step": epoch * np.int64(22)}
    columns |= {"examples": epoch * np.int64(700), "seconds": epoch * 0.1}
    columns |= {name: random.random(rows, np.float32) for name in METRICS}
    pq.write_table(pa.table(columns), path, compression="zstd", write_page_checksum=True)


def write_records(path: Path, cells: Sequence[tuple[str, Any]]) -> None:
    """Records of cells that are done."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = []
    for number, (cell, flat) in enumerate(cells):
        finals = {f"final_{name}": (number % 97) / 97 for name in METRICS}
        record = {"cell": cell, "status": "done", "attempt": 1, "updated": 1.7e9, "seconds": 15.0}
        rows.append({**record, **flat, **finals, "epochs": 150, "steps": 3300, "code": "c0de"})
    pq.write_table(pa.Table.from_pylist(rows), path)


def opening_seconds(page: Path) -> float | None:
    """Median time that a browser takes to draw the page; None if there is no browser."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        return None
    from selenium import webdriver
    from selenium.webdriver.support.ui import WebDriverWait

    options = webdriver.ChromeOptions()
    for switch in SWITCHES:
        options.add_argument(switch)
    options.binary_location = chromium
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    mark = "const [mark] = performance.getEntriesByName('ready'); return mark && mark.startTime"
    times = []
    try:
        for _ in range(OPENINGS):
            browser.get("about:blank")
            browser.get(page.resolve().as_uri())
            WebDriverWait(browser, 120, 0.05).until(lambda driver: driver.execute_script(mark))
            times.append(float(browser.execute_script(mark)) / 1000)
    finally:
        browser.quit()
    return statistics.median(times)


def main() -> None:
    """Measure, and print the table and the ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--quick", action="store_true", help="under a minute on two cores: 1,000 cells, 50 epochs")
    add("--cells", type=int, default=10_000, help="cells of the sweep (default: 10000)")
    add("--epochs", type=int, default=150, help="rows of a cell (default: 150)")
    options = parser.parse_args()
    if options.quick:
        options.cells, options.epochs = 1000, 50
    machine = platform.processor() or platform.machine()
    print(f"{machine}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print(f"{'':46s} {'CPU s':>8s} {'wall s':>8s} {'peak MB':>8s}")
    with tempfile.TemporaryDirectory() as folder:
        logs = Path(folder)
        in_child_process(lambda: plan(logs, options.cells))
        in_child_process(lambda: generate_parts(logs / "demo", options.epochs))
        cells = f"{options.cells} cells, {options.epochs} epochs"
        show(f"status of {cells}", of_command(["status", "demo"], logs))
        show(f"report of {cells}", of_command(["report", "demo"], logs))
        page = logs / "demo" / "report.html"
        size = page.stat().st_size
        seconds = opening_seconds(page)
    print(f"{'size of the page':46s} {size / 1e6:8.1f} MB")
    if seconds is not None:
        print(f"{'opening it in Chromium':46s} {seconds:8.2f} s")
    print(f"\nratio page_bytes {size / MOST_BYTES:.2f}")
    if seconds is not None:
        print(f"ratio opening {seconds / MOST_SECONDS:.2f}")


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
