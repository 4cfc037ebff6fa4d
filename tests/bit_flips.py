"""Flip single bits in every kind of file that holds results or decides them, and count the ends.

    python -m tests.bit_flips [--flips 300] [--seed 0]

Each flip is "refused" (the reader names the file, or passes it over), "harmless" (what was read is
what was written) or "taken" (other content was read without a word). The exit status is 1 if one
was taken; an error that is none of the reader's own is not caught.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import random
import sys
import tempfile
import zipfile
import zipimport
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from analysis import store
from analysis.store import compact
from analysis.store import weights as stored_weights
from analysis.store.errors import FileVanished
from analysis.store.parts import read_all
from launch.plan import Launcher, Plan, PlanError, PlannedCell, load, snapshot
from launch.plan.identity import cell_id
from trainers import weights
from trainers.checkpoint import Checkpoints
from trainers.part import Part
from trainers.schema import STATE_COLUMNS, Metric

METRICS = [Metric("loss", "float32", "nats", "mean cross-entropy")]
CELLS = [f"c1-{number}" for number in range(5)]
OURS = (store.StoreError, FileVanished, PlanError, weights.WeightsError)
"""Errors by which a reader refuses a file."""


@dataclass(frozen=True)
class Kind:
    """One kind of file: its path, and a reader whose result can be compared; None is a refusal."""

    path: Path
    read: Callable[[], Any]


@dataclass
class Counts:
    """What became of the flips in one kind of file."""

    refused: int = 0
    harmless: int = 0
    taken: int = 0


def count(kind: Kind, flips: int, seed: int) -> Counts:
    """Flip one bit at a time; the file is whole again afterwards."""
    draws = random.Random(seed)
    good, expected = kind.path.read_bytes(), kind.read()
    assert expected is not None, f"{kind.path} cannot be read before any flip"
    counts = Counts()
    for _ in range(flips):
        changed = bytearray(good)
        changed[draws.randrange(len(good))] ^= 1 << draws.randrange(8)
        kind.path.write_bytes(changed)
        try:
            content = kind.read()
        except OURS:
            content = None
        if content is None:
            counts.refused += 1
        elif content == expected:
            counts.harmless += 1
        else:
            counts.taken += 1
    kind.path.write_bytes(good)
    return counts


def kinds(folder: Path) -> Mapping[str, Kind]:
    """Every kind of file, each in a folder of its own."""
    parts, compacted = folder / "parts", folder / "compacted"
    for sweep in (parts, compacted):
        write_parts(sweep)
    compact.compact(compacted)
    return {
        "checkpoint": checkpoint(folder / "checkpoints"),
        "plan": plan(folder / "planned"),
        "code archive": archive(folder / "coded"),
        "part of rows": Kind(only(parts / "curves"), lambda: rows_of(parts)),
        "part of records": Kind(only(parts / "runs"), lambda: frame(store.runs(parts))),
        "states of a part": Kind(only(parts / "runs"), lambda: states_of(parts)),
        "shard of rows": Kind(only(compacted / "store", "curves-*"), lambda: rows_of(compacted)),
        "shard of records": Kind(
            only(compacted / "store", "runs-*"), lambda: frame(store.runs(compacted))
        ),
        "manifest": Kind(compacted / "store" / "manifest.json", lambda: rows_of(compacted)),
        **kinds_of_weights(folder / "weighed"),
    }  # fmt: skip


def only(folder: Path, pattern: str = "*.parquet") -> Path:
    """The one file of a folder."""
    (path,) = folder.glob(pattern)
    return path


def frame(table: Any) -> Any:
    """A DataFrame as values that can be compared: columns, types and rows, NaN equal to NaN."""
    return [table.dtypes.astype(str).to_dict(), repr(table.to_dict("records"))]


def rows_of(folder: Path) -> Any:
    """All rows of a sweep."""
    return frame(store.curves(folder))


def states_of(sweep: Path) -> Any:
    """What `status` reads of the records of a sweep."""
    return [table.to_pylist() for table in read_all(sweep, "runs", STATE_COLUMNS)]


def write_parts(sweep: Path) -> None:
    """A sweep with one part of five cells, and a plan-less folder that the store reads."""
    for name in ("curves", "runs"):
        (sweep / name).mkdir(parents=True)
    part = Part(sweep, "S1.00000.r0.w", METRICS)
    for cell in CELLS:
        rows = [
            {"cell": cell, "attempt": 1, "epoch": epoch, "step": epoch, "examples": 10 * epoch,
             "seconds": float(epoch), "loss": 1.0 / epoch}
            for epoch in range(1, 10)
        ]  # fmt: skip
        record = {"cell": cell, "attempt": 1, "status": "done", "epochs": 9, "seconds": 9.0}
        part.add(rows, record)
    part.write()


def checkpoint(folder: Path) -> Kind:
    """A checkpoint of a small network; a damaged one is passed over."""
    folder.mkdir()
    state = {"w": torch.arange(4096, dtype=torch.float32)}
    checkpoints = Checkpoints(folder, "c1-x", 1, "w")
    checkpoints.save({"state": state, "rows": [], "seconds": 1.0, "attempt": 1, "step": 1})

    def read() -> Any:
        content = Checkpoints(folder, "c1-x", 2, "w").load()
        if content is None:
            return None
        return repr(content | {"state": content["state"]["w"].tolist()})

    return Kind(only(folder, "*.pt"), read)


def plan(sweep: Path) -> Kind:
    """A plan of two cells; the time at which it was made is not covered."""
    cells = [{"seed": seed, "model.width": 4} for seed in range(2)]
    written = Plan(
        sid="20260102T030405-0a1b2c3d", name="demo", created=1.5, user="somebody", host="login",
        backend="slurm", bases=[cells[0]],
        cells=[PlannedCell(cell_id(flat), 0, {"seed": flat["seed"]}) for flat in cells],
        tasks=[[0], [1]],
        packing={"cells": 1, "at_a_time": 1, "minutes": 60, "most": 1000, "slots": 100},
        launcher=Launcher({"_target_": "x.SlurmLauncher", "timeout_min": 60, "mem_gb": 1.5}),
        chosen=[], python="/opt/py/bin/python", code="c0de", code_archive="/logs/c0de.zip",
        environment="e0", packages={"torch": "2.0"}, commit="",
    )  # fmt: skip
    path = written.write(sweep)
    return Kind(path, lambda: dataclasses.replace(load(path), created=0.0))


def archive(sweep: Path) -> Kind:
    """The code archive; it is harmless if its sources hash to its name and are those written."""
    code, path = snapshot.snapshot(sweep)

    def read() -> Any:
        if snapshot.archive_hash(path) != code:
            return None
        importer = zipimport.zipimporter(str(path))  # it compares no CRC, so one may change
        importer.invalidate_caches()
        with zipfile.ZipFile(path) as file:
            names = file.namelist()
        return {name: importer.get_data(str(path / name)) for name in names}

    return Kind(path, read)


def kinds_of_weights(sweep: Path) -> Mapping[str, Kind]:
    """Final weights and snapshots of a cell, and a shard, each read by trainer and by store."""
    folder = sweep / "weights"
    folder.mkdir(parents=True)
    owner = weights.Owner("c1-a", "d0", "c0de")
    arrays = {"a.weight": np.arange(500, dtype=np.float32), "a.bias": np.ones(3)}
    for epoch in (1, 2):
        final = weights.Snapshot(epoch, weights.Evaluated(0.5, 3), arrays)
    weights.write_final(folder, owner, final)
    weights.write_path(folder, owner, [dataclasses.replace(final, epoch=1), final])
    packed = sweep / "packed"
    (packed / "weights").mkdir(parents=True)
    weights.write_final(packed / "weights", owner, final)
    stored_weights.pack(packed, ["c1-a"], least_files=1)
    shard = only(packed / "weights", "shard-*.zip")
    return {
        "weights": Kind(folder / "c1-a.npz", lambda: repr(weights.read(folder, "c1-a", "final"))),
        "weights in the store": Kind(folder / "c1-a.npz", lambda: stored(sweep, "c1-a.npz")),
        "snapshots": Kind(
            folder / "c1-a.path.npz", lambda: repr(weights.read_path(folder, "c1-a"))
        ),
        "shard of weights": Kind(
            shard, lambda: repr(weights.read(packed / "weights", "c1-a", "final"))
        ),
        "shard of weights in the store": Kind(shard, lambda: stored(packed, "c1-a.npz")),
    }


def stored(sweep: Path, name: str) -> Any:
    """The arrays of a file of weights, as analyses read them; None if it is not there any more."""
    try:
        arrays = stored_weights.load(sweep, name)
    except store.StoreError:
        raise
    except FileNotFoundError:
        return None
    return {key: (str(array.dtype), array.tolist()) for key, array in arrays.items()}


def main() -> int:
    """Print a table of the counts; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--flips", type=int, default=300, help="of each kind (default: 300)")
    parser.add_argument("--seed", type=int, default=0, help="of the places (default: 0)")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    taken = 0
    print(f"{'':32s} {'refused':>8s} {'harmless':>8s} {'taken':>8s}")
    with tempfile.TemporaryDirectory() as folder:
        for name, kind in kinds(Path(folder)).items():
            counts = count(kind, options.flips, options.seed)
            print(f"{name:32s} {counts.refused:8d} {counts.harmless:8d} {counts.taken:8d}")
            taken += counts.taken
    return 1 if taken else 0


if __name__ == "__main__":
    sys.exit(main())
