"""The notebook runs from its first cell to its last on a small sweep."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

NOTEBOOK = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "from_store_to_plot.ipynb"
DECAYS, SEEDS, EPOCHS = (1e-4, 1e-3, 1e-2), (0, 1), 12


def write_sweep(folder: Path) -> pd.DataFrame:
    """Parts of a sweep over weight decay and seed; returns its curves."""
    runs, curves = [], []
    for decay in DECAYS:
        for seed in SEEDS:
            cell = f"c1-{decay}-{seed}"
            errors = 0.5 / np.arange(1, EPOCHS + 1) + decay + 0.01 * seed
            run = {"cell": cell, "status": "done", "attempt": 1, "updated": 1.0, "seed": seed}
            runs.append(run | {"optim.weight_decay": decay, "final_test_error": errors[-1]})
            for epoch, error in enumerate(errors, 1):
                row = {"cell": cell, "attempt": 1, "epoch": epoch, "step": epoch, "seconds": 1.0}
                curves.append(row | {"test_error": error})
    for name, rows in (("runs", runs), ("curves", curves)):
        (folder / name).mkdir(parents=True)
        frame = pd.DataFrame(rows).astype({"attempt": "int16"})
        frame.to_parquet(folder / name / "w.parquet", index=False)
    return pd.DataFrame(curves)


def code_cells() -> list[str]:
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def test_the_notebook_draws_what_is_in_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    curves = write_sweep(tmp_path / "logs" / "demo")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    plt.switch_backend("agg")
    first, *others = code_cells()
    exec(compile(first, str(NOTEBOOK), "exec"), names)
    assert names["FOLDER"] == NOTEBOOK.parents[2] / "logs" / "demo"
    names["FOLDER"] = tmp_path / "logs" / "demo"
    for source in others:
        exec(compile(source, str(NOTEBOOK), "exec"), names)
    assert len(names["rows"]) == len(curves)
    assert (names["seeds"] == len(SEEDS)).all(axis=None)
    drawn, points = plt.figure(1).axes[0], plt.figure(2).axes[0]
    first = drawn.lines[0].get_ydata()
    mean = 0.5 / np.arange(1, EPOCHS + 1) + DECAYS[0] + 0.005
    np.testing.assert_allclose(first, mean, rtol=1e-5)
    assert len(points.collections[0].get_offsets()) == len(DECAYS) * len(SEEDS)
    plt.close("all")


def test_the_notebook_is_stored_without_outputs() -> None:
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    assert all(not cell.get("outputs") for cell in cells)
