"""Small log folders for the report: real plans and parts, with curves from formulas.

python tests/report/small_sweep.py FOLDER      # writes examples to look at
"""

from __future__ import annotations

import dataclasses
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from launch.plan import Launcher, Plan, PlannedCell, Search, jobs, markers
from launch.plan.identity import cell_id
from launch.plan.plan import factor
from launch.sweep.adaptive import replay
from trainers.schema import Metric, curve_schema, run_schema

SID = "20260102T030405-0a1b2c3d"
CODE = "906a612f1c23d507"

VISION: Mapping[str, Any] = {
    "seed": 0, "model.name": "mlp", "model.width": 64, "model.depth": 2, "data.name": "digits",
    "data.train_samples": 700, "optim.name": "adam", "optim.lr": 0.01, "optim.weight_decay": 0.0,
    "trainer.name": "vision", "trainer.epochs": 40, "trainer.batch_size": 32,
}  # fmt: skip
ALGORITHMIC: Mapping[str, Any] = {
    "seed": 0, "model.name": "transformer", "data.name": "arithmetic", "data.train_fraction": 0.3,
    "optim.name": "adamw", "trainer.name": "algorithmic", "trainer.steps": 1000,
}  # fmt: skip
MEASURE: Mapping[str, Any] = {
    "seed": 0, "model.name": "mlp", "data.name": "digits", "trainer.name": "surface",
    "trainer.of": "c1-0", "trainer.block": 0,
}  # fmt: skip
NOOP: Mapping[str, Any] = {
    "seed": 0, "model.name": "none", "data.name": "none", "optim.name": "none",
    "trainer.name": "noop", "trainer.epochs": 1, "trainer.seconds": 0.0, "trainer.fail": "none",
    "run.device": "cpu", "run.threads": 1, "run.compile": False, "run.checkpoint_seconds": 60.0,
}  # fmt: skip

ERRORS = (
    Metric("test_error", "float32", "1", "test_wrong / test_examples", "min"),
    Metric("test_loss", "float32", "nats", "mean cross-entropy on the test set", "min"),
    Metric("train_error", "float32", "1", "train_wrong / train_examples"),
)
ACCURACIES = (
    Metric("test_accuracy", "float32", "1", "share of right answers on the test set", "max"),
    Metric("train_accuracy", "float32", "1", "share of right answers on the training set", "max"),
)
SURFACE = (
    Metric("loss", "float32", "nats", "mean cross-entropy", "min"),
    Metric("x", "float32", "1", "along the first direction"),
)
PROGRESS = (Metric("progress", "float32", "1", "share of the epochs that are over", "max"),)

Row = Mapping[str, float]


@dataclass(frozen=True)
class SmallCell:
    """A cell to write: the values in which it differs from the base, its status ("" for none), and
    its rows; `facts` go into its record.
    """

    values: Mapping[str, Any]
    status: str = ""
    rows: Sequence[Row] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class SmallSweep:
    """A sweep to write: the base of its cells, what its trainer logs, its cells and searches."""

    base: Mapping[str, Any]
    metrics: Sequence[Metric]
    cells: Sequence[SmallCell]
    searches: Sequence[Search] = ()
    is_live: bool = False

    def write(self, folder: Path) -> Path:
        """Write plan, jobs and parts; the worker of a live sweep is this process."""
        flats = [{**self.base, **cell.values} for cell in self.cells]
        ids = [cell_id(flat) for flat in flats]
        plan = _plan(folder.name, flats, ids, self.searches)
        plan.write(folder)
        array = jobs.Array(jobs.job_name(plan, 0), 0, 1, time.time(), "local")
        jobs.write(plan, folder, [array])
        if self.is_live:
            markers.mark_local_worker(plan.folder(folder))
        curves, records = [], []
        for id, flat, cell in zip(ids, flats, self.cells, strict=True):
            curves += [{"cell": id, "attempt": 1, **row} for row in cell.rows]
            if cell.status:
                records.append(self._record(id, flat, cell))
        _write_part(folder / "curves", curves, curve_schema(self.metrics))
        _write_part(folder / "runs", records, run_schema(self.metrics))
        return folder

    def _record(self, id: str, flat: Mapping[str, Any], cell: SmallCell) -> dict[str, Any]:
        last: Mapping[str, Any] = cell.rows[-1] if cell.rows else {}
        finals = {f"final_{m.name}": last.get(m.name) for m in self.metrics}
        return {
            "cell": id,
            "status": cell.status,
            "attempt": 1,
            "updated": time.time(),
            **flat,
            **finals,
            "epochs": last.get("epoch"),
            "steps": last.get("step"),
            "seconds": last.get("seconds", 1.0),
            "host": "node01",
            "code": CODE,
            "environment": "dd8a9269a74b",
            **cell.facts,
        }


def _plan(
    name: str, flats: Sequence[Mapping[str, Any]], ids: Sequence[str], searches: Sequence[Search]
) -> Plan:
    bases, split = factor(flats)
    cells = [PlannedCell(id, *pair) for id, pair in zip(ids, split, strict=True)]
    return Plan(
        sid=SID,
        name=name,
        created=1.7e9,
        user="ada",
        host="login1",
        backend="local",
        bases=bases,
        cells=cells,
        tasks=[list(range(len(cells)))],
        packing={"cells": None, "at_a_time": 1, "minutes": 60, "most": 1000, "slots": 100},
        launcher=Launcher({"_target_": "x.LocalLauncher", "timeout_min": 60, "cpus_per_task": 1}),
        chosen=["hydra/launcher=local"],
        python="/opt/py/bin/python",
        code=CODE,
        code_archive=f"/logs/{name}/code/{CODE}.zip",
        environment="dd8a9269a74b",
        packages={"torch": "2.13.0", "numpy": "2.4.6"},
        commit="8eeae0297a6f3d2c",
        searches=searches,
    )


def _write_part(folder: Path, rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> None:
    if not rows:
        return
    folder.mkdir(parents=True, exist_ok=True)
    metadata = {"redescent.schema": "1"}
    table = pa.Table.from_pylist(list(rows), schema=schema.with_metadata(metadata))
    pq.write_table(table, folder / f"{SID}.00000.r0.ab12cd34.0.part.parquet")


def position(epoch: int, steps: int = 22) -> dict[str, float]:
    """The position of a row after an epoch."""
    return {"epoch": epoch, "step": epoch * steps, "examples": epoch * 700, "seconds": epoch / 10}


def descent(decay: float, seed: int, epochs: int) -> list[Row]:
    """Errors that fall, rise while little decay lets the labels be fitted, and fall again."""
    rows = []
    strength = 1 / (1 + 3e3 * decay)
    for epoch in range(1, epochs + 1):
        time_left = math.exp(-epoch / 3)
        bump = 0.18 * strength * math.exp(-((math.log(epoch / 14)) ** 2) / 0.4)
        jitter = 0.008 * math.sin(7.1 * epoch + 11 * seed)
        error = 0.1 + 0.3 * time_left + bump + jitter + 0.02 * strength
        train = max(0.0, 0.4 * math.exp(-epoch / (6 + 4e3 * decay)))
        rows.append({
            **position(epoch), "test_error": error, "test_loss": 2.2 * error, "train_error": train,
        })  # fmt: skip
    return rows


def grid(
    decays: Sequence[float], seeds: int, make: Callable[[float, int], SmallCell]
) -> SmallSweep:
    """A vision sweep over weight decay and seeds."""
    cells = []
    for decay in decays:
        cells += [make(decay, seed) for seed in range(seeds)]
    return SmallSweep(VISION, ERRORS, cells)


def vision(decay: float, seed: int) -> SmallCell:
    """A cell that is done."""
    values = {"optim.weight_decay": decay, "seed": seed}
    return SmallCell(values, "done", descent(decay, seed, 40))


def half(decay: float, seed: int) -> SmallCell:
    """A cell of a sweep that trains: some are done, one trains, some failed, others wait."""
    values = {"optim.weight_decay": decay, "seed": seed}
    if decay >= 1e-2:
        error = "Traceback:\n  File x.py\nRuntimeError: CUDA error: <device-side> assert & more"
        return SmallCell(values, "failed", (), {"error": error, "error_class": "error"})
    if decay >= 1e-3 and seed == 2:
        error = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB"
        return SmallCell(values, "failed", (), {"error": error, "error_class": "out of memory"})
    if decay >= 1e-3:
        return SmallCell(values)
    if decay >= 1e-4 and seed == 1:
        return SmallCell(values, "running", descent(decay, seed, 17))
    if decay >= 1e-4 and seed == 2:
        return SmallCell(values)
    if seed == 2 and decay == 0:
        return SmallCell(values, "nonfinite", descent(decay, seed, 6))
    return SmallCell(values, "done", descent(decay, seed, 40))


DECAYS = (0.0, 1e-6, 1e-5, 1e-4, 2e-4, 5e-4, 1e-3, 2e-3, 1e-2)


def finished() -> SmallSweep:
    """27 cells, all done."""
    return grid(DECAYS, 3, vision)


def unfinished() -> SmallSweep:
    """The same cells while they train."""
    return dataclasses.replace(grid(DECAYS, 3, half), is_live=True)


def empty() -> SmallSweep:
    """Planned, and nothing logged yet."""
    return grid(
        DECAYS[:2], 2, lambda decay, seed: SmallCell({"optim.weight_decay": decay, "seed": seed})
    )


def one_cell() -> SmallSweep:
    """A single cell that is done."""
    return SmallSweep(VISION, ERRORS, [vision(0.0, 0)])


def all_failed() -> SmallSweep:
    """Cells that failed before their first epoch."""
    facts = {"error": "ValueError: no </script> here", "error_class": "error"}
    return grid(
        DECAYS[:2],
        2,
        lambda decay, seed: SmallCell(
            {"optim.weight_decay": decay, "seed": seed}, "failed", (), facts
        ),
    )


def algorithmic() -> SmallSweep:
    """Two fractions, two seeds, rows by steps alone."""
    cells = []
    for fraction in (0.3, 0.5):
        for seed in (0, 1):
            rows = []
            for step in (10, 20, 50, 100, 200, 500, 1000):
                test = 1 / (1 + math.exp(-(step - 400 * (1 - fraction)) / 60))
                train = 1 - math.exp(-step / 40)
                rows.append({
                    "epoch": 1, "step": step, "examples": step * 512, "seconds": step / 100,
                    "test_accuracy": test - 0.01 * seed, "train_accuracy": train,
                })  # fmt: skip
            cells.append(SmallCell({"data.train_fraction": fraction, "seed": seed}, "done", rows))
    return SmallSweep(ALGORITHMIC, ACCURACIES, cells)


def last_rows() -> SmallSweep:
    """Three trainings that end at different epochs, each with one row, of its end."""
    cells = []
    for seed in range(3):
        row = {**position(10 + 5 * seed), "test_error": 0.3 - 0.1 * seed}
        cells.append(SmallCell({"seed": seed}, "done", [row]))
    return SmallSweep(VISION, ERRORS, cells)


def measure() -> SmallSweep:
    """A surface of two trained cells in two blocks: epochs are its lines, steps its columns."""
    cells = []
    for source in ("c1-" + "a" * 32, "c1-" + "b" * 32):
        for block in (0, 1):
            rows = []
            for line in (1, 2):
                for column in (1, 2, 3):
                    row = {"step": column, "loss": line * column + block, "x": column}
                    rows.append({**position(line), **row})
            facts = {"radius_mean": 0.3 + block}
            values = {"trainer.of": source, "trainer.block": block}
            cells.append(SmallCell(values, "done", rows, facts))
    return SmallSweep(MEASURE, SURFACE, cells)


def search() -> SmallSweep:
    """Two searches for the number of epochs at which success changes, which is 10, after a round;
    their seconds tell them apart.
    """
    settings = {
        "low": 2, "high": 32, "lattice": 8, "step": None, "integer": True, "falling": True,
        "method": "posterior", "first": 4, "per_round": 3, "until": 1.7, "most": 12,
        "verify": False, "seeds": 5, "doublings": 0,
    }  # fmt: skip
    searches, cells = [], []
    for seconds in (0.0, 1.0):
        point = {**NOOP, "trainer.seconds": seconds}
        condition = "trainer.epochs <= 10"
        one = Search("trainer.epochs", condition, settings, [0, 1, 2, 3, 4], [], "manual", point)
        searches.append(one)
        for trial in replay(one, {}).open:
            rows = [{**position(1), "progress": 1.0}]
            cells.append(SmallCell(trial.cell.flat, "done", rows))
    return SmallSweep(NOOP, PROGRESS, cells, searches)


EXAMPLES: Mapping[str, Callable[[], SmallSweep]] = {
    "finished": finished, "unfinished": unfinished, "empty": empty, "one_cell": one_cell,
    "all_failed": all_failed, "algorithmic": algorithmic, "measure": measure, "search": search,
    "last_rows": last_rows,
}  # fmt: skip

if __name__ == "__main__":
    for name, example in EXAMPLES.items():
        example().write(Path(sys.argv[1]) / name)
