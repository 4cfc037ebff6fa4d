"""Progress measures drawn from hand-made stores."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pandas as pd
import pytest
from grok_sweep import add
from matplotlib.figure import Figure
from sweep_folder import Sweep

from analysis import grok_progress

STEPS = (0, 10, 100, 1000)
CHANCE = math.log(31)
CURVE = {"train_accuracy": (0.0, 0.1, 1.0, 1.0, 1.0), "test_accuracy": (0.0, 0.0, 0.1, 0.5, 1.0)}


@pytest.fixture
def measures(sweep: Sweep) -> Path:
    """Measures of two seeds: frequencies 3 and 5 grow, the restricted loss falls before the test
    loss.
    """
    folder = sweep.folder.parent / "measures"
    folder.mkdir()
    measuring = Sweep(folder)
    records, rows = [], []
    for seed in (0, 1):
        cell = f"c1-s{seed}"
        add(sweep, cell, {"data.modulus": 31, "seed": seed}, curve=CURVE)
        records.append({
            "cell": f"{cell}m", "status": "done", "attempt": 1, "updated": 1.0, "seed": seed,
            "trainer.name": "progress", "trainer.of": cell, "trainer.of_folder": str(sweep.folder),
            "trainer.key_share": 0.05, "code": "c0de", "environment": "e0",
        })  # fmt: skip
        for unit, step in enumerate(STEPS):
            place = {"cell": f"{cell}m", "attempt": 1, "epoch": unit, "seconds": 0.0}
            rows.append({
                **place, "step": 0, "snapshot_step": step,
                "train_loss": (CHANCE, CHANCE, 0.1, 0.01)[unit],
                "test_loss": (CHANCE, 3 * CHANCE, 2 * CHANCE, 0.1)[unit],
                "restricted_loss": (CHANCE, CHANCE, 0.1, 0.01)[unit],
                "excluded_loss": (CHANCE, CHANCE, 0.2, 4.0)[unit],
                "gini_embedding": 0.2 * unit, "gini_output": 0.1 * unit,
            })  # fmt: skip
            for k in range(1, 16):
                is_key = int(k in (3, 5))
                share = 0.49 if is_key and unit == 3 else 0.02
                rows.append({**place, "step": k, "frequency": k, "power_share": share,
                             "is_key": is_key})  # fmt: skip
    measuring.runs("runs", records)
    measuring.curves("rows", rows)
    return folder


def test_progress_is_drawn_under_the_accuracy_of_one_seed(
    measures: Path, tmp_path: Path, drawn: list[Figure], capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert grok_progress.main([str(measures), "--out", str(out), "--where", "seed=1"]) == 0
    printed = capsys.readouterr().out
    assert "key frequencies 3, 5 of 15: 98.0 % of the power" in printed
    assert "restricted loss below half of ln p: from step 100 on" in printed
    assert "test loss below half of ln p: from step 1,000 on" in printed
    snapshots = pd.read_csv(out / "grok_progress.csv")
    assert snapshots["step"].tolist() == list(STEPS)
    assert len(pd.read_csv(out / "grok_progress_frequencies.csv")) == 4 * 15
    accuracy, loss, share, gini = drawn[0].axes
    assert accuracy.get_title() == "x+y mod 31, seed 1"
    assert gini.get_xlabel() == "Optimiser steps"
    assert len(loss.get_lines()) == 4
    assert {text.get_text() for text in share.get_legend().get_texts()} == {"k = 3", "k = 5"}
    record = json.loads((out / "grok_progress.json").read_text())
    assert [entry["cell"] for entry in record["trained"]] == ["c1-s1"]
    assert record["first_steps"] == {"train_loss": 100, "restricted_loss": 100, "test_loss": 1000}


def test_a_loss_that_rises_again_is_not_below_for_good(measures: Path) -> None:
    options = grok_progress.selection.parser("", "x").parse_args([str(measures)])
    _, data = grok_progress.load(options)
    assert grok_progress.halved(data, "train_loss") == 100
    assert grok_progress.halved(data, "excluded_loss") is None


def test_another_sweep_is_refused(sweep: Sweep, capsys: pytest.CaptureFixture[str]) -> None:
    add(sweep, "a", {})
    assert grok_progress.main([str(sweep.folder)]) == 2
    assert "no cells of trainer=progress; found algorithmic" in capsys.readouterr().err
