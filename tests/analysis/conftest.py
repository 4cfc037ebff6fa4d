"""Small sweeps on disk, written with pyarrow in the layout of logs/NAME."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from matplotlib.figure import Figure

from analysis.figure import output

REFERENCE = Path(__file__).resolve().parents[3] / "shared" / "reference"
INTEGERS = {
    "attempt": pa.int16(),
    "epoch": pa.int32(),
    "test_wrong": pa.int32(),
    "step": pa.int64(),
}


@dataclass
class Sweep:
    """A log folder under construction."""

    folder: Path

    def curves(self, name: str, rows: Sequence[Mapping[str, Any]], version: str = "1") -> Path:
        """Writes a curves part; a row needs cell, attempt and epoch, and may have any metric."""
        columns = list(dict.fromkeys(key for row in rows for key in row))
        arrays, fields = [], []
        for column in columns:
            values = [row.get(column) for row in rows]
            if column == "cell":
                array = pa.array(values, pa.string()).dictionary_encode()
            else:
                kind = INTEGERS.get(column, pa.float64() if column == "seconds" else pa.float32())
                array = pa.array(values, kind)
            arrays.append(array)
            fields.append(
                pa.field(column, array.type, metadata={"unit": "1", "meaning": f"the {column}"})
            )
        table = pa.table(arrays, schema=pa.schema(fields, metadata={"redescent.schema": version}))
        return self._write("curves", name, table)

    def runs(self, name: str, rows: Sequence[Mapping[str, Any]]) -> Path:
        """Writes a part of run records."""
        columns = list(dict.fromkeys(key for row in rows for key in row))
        arrays = {c: pa.array([r.get(c) for r in rows], INTEGERS.get(c)) for c in columns}
        return self._write(
            "runs", name, pa.table(arrays).replace_schema_metadata({"redescent.schema": "1"})
        )

    def plan(
        self, base: Mapping[str, Any], cells: Mapping[str, Mapping[str, Any]], name: str = "S1"
    ) -> Path:
        """Writes a submission's plan: cell id to the values that differ from `base`."""
        path = self.folder / "submissions" / name / "plan.json"
        path.parent.mkdir(parents=True)
        planned_cells = [
            {"id": cell, "base": 0, "values": dict(values)} for cell, values in cells.items()
        ]
        path.write_text(json.dumps({"sid": name, "bases": [dict(base)], "cells": planned_cells}))
        return path

    def _write(self, kind: str, name: str, table: pa.Table) -> Path:
        path = self.folder / kind / f"{name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.tmp")
        pq.write_table(table, part, compression="zstd")
        part.rename(path)
        return path

    def grid(
        self,
        lambdas: Sequence[float],
        seeds: Sequence[int],
        epochs: int = 200,
        skip: Sequence[str] = (),
        **config: Any,
    ) -> None:
        """A planned sweep over weight decay and seed with one part per cell; cells in `skip` are
        left without logs.
        """
        base = {"trainer.epochs": epochs, "model.width": 64, **config}
        cells = {
            f"l{i}s{seed}w{base['model.width']}": {"optim.weight_decay": value, "seed": seed}
            for i, value in enumerate(lambdas)
            for seed in seeds
        }
        self.plan(base, cells, name=f"S{base['model.width']}")
        for cell, values in cells.items():
            if cell not in skip:
                self.train(cell, {**base, **values}, epochs)

    def train(self, cell: str, config: Mapping[str, Any], last: int) -> None:
        """The parts of one cell, up to epoch `last`."""
        errors = model_curve(config["optim.weight_decay"], config["seed"], last)
        rows = [
            {
                "cell": cell,
                "attempt": 1,
                "epoch": e,
                "seconds": float(e),
                "test_error": float(v),
                "train_error": float(v) / 4,
            }
            for e, v in enumerate(errors, start=1)
        ]
        self.curves(
            cell,
            [
                {
                    "cell": cell,
                    "attempt": 1,
                    "epoch": 0,
                    "seconds": 0.0,
                    "test_error": 0.9,
                    "train_error": 0.9,
                },
                *rows,
            ],
        )
        status = "done" if last == config["trainer.epochs"] else "running"
        record = {
            "cell": cell,
            "status": status,
            "attempt": 1,
            "updated": 1.0,
            "epochs": last,
            "code": "c0de",
        }
        self.runs(cell, [{**record, "environment": "e0", **config}])


def model_curve(weight_decay: float, seed: int, epochs: int) -> np.ndarray:
    """A test error with a bump at epoch 60 that falls with the weight decay, and seed noise of
    0.002.
    """
    t = np.arange(1, epochs + 1)
    bump = 0.12 * np.exp(-((np.log(t / 60) / 0.4) ** 2)) * (weight_decay < 1e-3)
    noise = np.random.default_rng([seed, int(weight_decay * 1e9)]).normal(0, 0.002, epochs)
    return 0.15 + 0.5 / t + bump + noise


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    """An empty log folder called "demo"."""
    folder = tmp_path / "logs" / "demo"
    folder.mkdir(parents=True)
    return Sweep(folder)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Collects the figures that are saved, laid out without rendering them."""
    figures: list[Figure] = []

    def keep(figure: Figure, out_dir: str, stem: str, *_: object) -> list[Path]:
        Path(out_dir).mkdir(parents=True, exist_ok=True)
        figure.draw_without_rendering()
        figures.append(figure)
        return []

    monkeypatch.setattr(output, "save", keep)
    return figures


@pytest.fixture
def drawn_by_grok(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Collects the figures of grokking that are saved, laid out without rendering them."""
    figures: list[Figure] = []

    def keep(figure: Figure, out_dir: str, stem: str, *_: object) -> list[Path]:
        figure.draw_without_rendering()
        figures.append(figure)
        return []

    monkeypatch.setattr(output, "save", keep)
    return figures


@pytest.fixture(scope="session")
def reference() -> Path:
    """Folder of the published arrays; skips where it does not stand beside the repository."""
    if not (REFERENCE / "resnet-test-errors_mean.npy").exists():
        pytest.skip("the published arrays are not beside the repository (../shared/reference)")
    return REFERENCE
