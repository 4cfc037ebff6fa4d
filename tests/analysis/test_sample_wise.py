"""The figure over training samples: where more data hurts, with planted answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure

from analysis import sample_wise
from analysis.stats import more_data

SAMPLES, SEEDS = (100, 200, 400, 800, 1600), (0, 1, 2, 3)
TEST = {
    4: (0.50, 0.42, 0.47, 0.52, 0.40),  # more data hurts between 200 and 800
    8: (0.50, 0.45, 0.41, 0.38, 0.36),  # it never does
}
TRAIN = {4: (0.0, 0.0, 0.05, 0.15, 0.30), 8: (0.0, 0.0, 0.0, 0.0, 0.0)}
SPREAD = np.array([0.01, -0.01, 0.004, -0.004])


@pytest.fixture
def logs(sweep: Any) -> Path:
    """A sweep over five sample counts, two widths and four seeds, each of two epochs."""
    cells, rows, records = {}, [], []
    for width in TEST:
        for position, samples in enumerate(SAMPLES):
            for seed in SEEDS:
                cell = f"k{width}n{samples}s{seed}"
                axes = {"model.width": width, "data.train_samples": samples, "seed": seed}
                cells[cell] = axes
                errors = {
                    "test_error": TEST[width][position] + SPREAD[seed],
                    "train_error": TRAIN[width][position],
                }
                errors |= {"test_loss": 2 * errors["test_error"], "train_loss": 0.2}
                first = {"test_error": 0.3, "train_error": 0.5}
                rows.append({"cell": cell, "attempt": 1, "epoch": 1, **first})
                rows.append({"cell": cell, "attempt": 1, "epoch": 2, **errors})
                state = {"cell": cell, "status": "done", "attempt": 1, "updated": 1.0}
                records.append({**state, "trainer.epochs": 2, **axes})
    sweep.plan({"trainer.epochs": 2}, cells)
    sweep.curves("all", rows)
    sweep.runs("all", records)
    return sweep.folder


def test_a_mean_over_more_epochs_than_were_trained_is_refused(
    logs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(logs), "--out", str(tmp_path), "--last"]
    assert sample_wise.main([*arguments, "2"]) == 0
    assert sample_wise.main([*arguments, "3"]) == 2
    error = capsys.readouterr().err
    assert error == "error: --last 3: found trainings of 2 epochs, expected no more\n"


def test_the_script_says_between_which_counts_more_data_hurts(
    logs: Path, drawn: list[Figure], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sample_wise.main([str(logs), "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "width k 4: more data hurts from 200 to 800 training samples" in out
    assert "width k 8: the test error never rises with more data" in out
    assert "; training error 0.1 is exceeded from 566 samples on" in out
    assert "; training error 0.1 is never exceeded" in out
    record = json.loads((tmp_path / "sample_wise.json").read_text())
    hurt, harmless = record["rises"]
    assert (hurt["from_samples"], hurt["to_samples"]) == (200, 800)
    assert hurt["rise"] == pytest.approx(0.1, abs=1e-6)
    assert 0 < hurt["rise_low"] <= hurt["rise"] <= hurt["rise_high"]
    assert [hurt["more_data_hurts"], harmless["more_data_hurts"]] == [True, False]
    assert hurt["threshold_samples"] == pytest.approx(400 * np.sqrt(2))  # .05 to .15 crosses .1
    assert harmless["threshold_samples"] == "above every count"
    table = pd.read_csv(tmp_path / "sample_wise_rises.csv")
    assert table["n_seeds"].tolist() == [4, 4]
    ends = pd.read_csv(tmp_path / "sample_wise.csv")
    np.testing.assert_allclose(ends["test_end"], [*TEST[4], *TEST[8]], atol=1e-6)
    bars = [line for line in drawn[0].axes[0].lines if line.get_linewidth() == 4]
    assert [list(bar.get_xdata()) for bar in bars] == [[200, 800]]
    assert thresholds(drawn[0]) == [[pytest.approx(400 * np.sqrt(2))]] * 2


def thresholds(figure: Figure) -> list[list[float]]:
    """The x of the vertical lines in each panel."""
    panels = []
    for axes in figure.axes:
        vertical = [line for line in axes.lines if len(set(line.get_xdata())) == 1]
        panels.append([float(line.get_xdata()[0]) for line in vertical])
    return panels


def test_the_rise_of_a_loss_is_a_factor(
    logs: Path, drawn: list[Figure], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--out", str(tmp_path), "--metric", "test_loss"]
    assert sample_wise.main([str(logs), *options]) == 0
    out = capsys.readouterr().out
    assert "more data hurts from 200 to 800 training samples (test loss (nats) x1.238" in out
    rise = json.loads((tmp_path / "sample_wise.json").read_text())["rises"][0]
    errors = np.array([TEST[4][3], TEST[4][1]]) + SPREAD[:, None]
    expected = np.exp(np.diff(np.log(errors[:, ::-1])).mean())
    assert rise["rise"] == pytest.approx(expected, rel=1e-5)


def test_one_seed_has_no_interval_and_no_verdict(
    logs: Path, drawn: list[Figure], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sample_wise.main([str(logs), "--out", str(tmp_path), "--where", "seed=0"]) == 0
    assert "width k 4: one seed, so no interval; it rises by 0.100" in capsys.readouterr().out
    rises = json.loads((tmp_path / "sample_wise.json").read_text())["rises"]
    assert [row["more_data_hurts"] for row in rises] == [False, False]
    assert rises[0]["rise_low"] is None


@pytest.mark.parametrize(
    ("condition", "note"),
    [("seed == 0 or data.train_samples != 100",
      "the verdict of width k 4, 8 leaves out samples 100, which not all of its seeds have"),
     ("seed != 1 or data.train_samples == 100",
      "the verdict of width k 4, 8 leaves out seed 1, which does not have all of its values of "
      "samples")],
)  # fmt: skip
def test_what_the_verdict_leaves_out_is_noted(
    logs: Path, drawn: list[Figure], tmp_path: Path, capsys: pytest.CaptureFixture[str],
    condition: str, note: str,
) -> None:  # fmt: skip
    assert sample_wise.main([str(logs), "--out", str(tmp_path), "--where", condition]) == 0
    assert f"note: {note}\n" in capsys.readouterr().out
    assert json.loads((tmp_path / "sample_wise.json").read_text())["notes"] == [note]


def test_noise_on_a_flat_error_is_rarely_called_harm() -> None:
    generator = np.random.default_rng(0)
    hurts = 0
    for _ in range(300):
        errors = 0.4 + 0.02 * generator.standard_normal((4, 6))
        hurts += more_data.largest_rise(errors, [1, 2, 3, 4, 5, 6]).hurts
    assert hurts <= 15  # 5 %


def test_the_interval_of_a_rise_is_that_of_tukey() -> None:
    errors = np.random.default_rng(0).standard_normal((5, 4))
    left, right = errors.mean(axis=0).argmin(), errors.mean(axis=0).argmax()
    ordered = np.delete(errors, [left, right], axis=1)
    errors = np.column_stack([errors[:, left], ordered, errors[:, right]])
    rise = more_data.largest_rise(errors, [1, 2, 3, 4])
    assert (rise.start, rise.stop) == (1, 4)
    residuals = errors - errors.mean(axis=0) - errors.mean(axis=1, keepdims=True) + errors.mean()
    expected = 4.1987 * np.sqrt((residuals**2).sum() / 12 / 5)  # tables: q.05(4, 12) = 4.20
    assert rise.high - rise.height == pytest.approx(expected, rel=1e-3)


def test_a_threshold_lies_between_the_counts_around_it() -> None:
    threshold = more_data.interpolation_threshold
    assert threshold([0.0, 0.2], [100, 400], 0.1) == pytest.approx(200)
    assert threshold([0.0, 0.1], [100, 400], 0.1) == np.inf
    assert np.isnan(threshold([0.2, 0.3], [100, 400], 0.1))
