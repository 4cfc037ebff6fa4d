"""Runs that diverged, and sweeps without a finished run: what figures draw, print and record."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure

from analysis import fig2_ab, model_wise, width_noise
from analysis.figure import output, style

SCRIPTS = [fig2_ab, model_wise, width_noise]
AXES = {fig2_ab: "optim.weight_decay", model_wise: "model.width", width_noise: "model.width"}
EPOCHS = 12


@pytest.fixture
def saved_figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Collects the figures that are saved, without rendering them."""
    figures: list[Figure] = []

    def keep(figure: Figure, out_dir: str, stem: str, *_: object) -> tuple[Path, Path]:
        figures.append(figure)
        Path(out_dir).mkdir(parents=True, exist_ok=True)
        return Path(out_dir) / f"{stem}.png", Path(out_dir) / f"{stem}.pdf"

    monkeypatch.setattr(output, "save", keep)
    return figures


@pytest.fixture
def train(sweep: Any) -> Callable[..., None]:
    """Writes a cell at value `value` of the axis of a script, with its last epoch and status."""

    def write(script: ModuleType, value: float, last: int, status: str, seed: int = 0) -> None:
        config = {"trainer.epochs": EPOCHS, "optim.weight_decay": 0.0, "model.width": 4}
        config |= {"data.label_noise.rate": 0.2, "seed": seed, AXES[script]: value}
        cell = f"c{value}s{seed}"
        rows = []
        for epoch in range(1, last + 1):
            is_broken = status == "nonfinite" and epoch == last
            errors = {"test_error": 0.9 if is_broken else 0.5 / epoch, "train_error": 0.25}
            rows.append({"cell": cell, "attempt": 1, "epoch": epoch, **errors})
        if rows:
            sweep.curves(cell, rows)
        facts = {"cell": cell, "status": status, "attempt": 1, "updated": 1.0, "epochs": last}
        sweep.runs(cell, [{**facts, **config}])

    return write


def crosses(figure: Figure) -> list[float]:
    """The x of the crosses in all panels."""
    places: list[float] = []
    for axes in figure.axes:
        for line in axes.lines:
            if line.get_marker() == "x":
                places += np.asarray(line.get_xdata(), float).tolist()
    return places


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_diverged_run_is_named_marked_and_not_to_be_resumed(
    script: ModuleType,
    sweep: Any,
    train: Callable[..., None],
    saved_figures: list[Figure],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    train(script, 1, EPOCHS, "done")
    train(script, 2, EPOCHS, "done")
    train(script, 8, 5, "nonfinite")
    assert script.main([str(sweep.folder), "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "1 cell diverged" in printed
    assert "redescent resume" not in printed
    record = json.loads((tmp_path / f"{script.__name__.rpartition('.')[2]}.json").read_text())
    assert (record["diverged"], record["unfinished"]) == (["c8s0"], [])
    assert crosses(saved_figures[0])


def test_the_row_of_the_epoch_that_diverged_is_no_measurement(
    sweep: Any, train: Callable[..., None], saved_figures: list[Figure], tmp_path: Path
) -> None:
    train(fig2_ab, 1, EPOCHS, "done")
    train(fig2_ab, 8, 5, "nonfinite")
    assert fig2_ab.main([str(sweep.folder), "--out", str(tmp_path)]) == 0
    assert "8.0,4,0.125" in (tmp_path / "fig2_ab.csv").read_text()
    assert "0.9" not in (tmp_path / "fig2_ab.csv").read_text()


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize(
    ("runs", "message"),
    [
        ([(1, 3, "running"), (2, 2, "running")], ""),
        ([(1, 3, "running")], ""),
        ([(1, EPOCHS, "done")], ""),
        ([(1, 1, "nonfinite"), (2, 1, "nonfinite")], "2 cells diverged"),
        ([(1, 4, "nonfinite"), (2, 3, "nonfinite")], "2 cells diverged"),
        ([(1, 0, "running")], "logged"),
    ],
)
def test_a_sweep_without_an_end_is_drawn_or_refused_in_one_line(
    script: ModuleType,
    runs: list[tuple[float, int, str]],
    message: str,
    sweep: Any,
    train: Callable[..., None],
    saved_figures: list[Figure],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for value, last, status in runs:
        train(script, value, last, status)
    status = script.main([str(sweep.folder), "--out", str(tmp_path)])
    text = capsys.readouterr()
    assert message in text.out + text.err
    if status:
        assert status == 2
        assert len(text.err.splitlines()) == 1


def test_a_users_matplotlibrc_does_not_change_a_picture(tmp_path: Path) -> None:
    def picture(name: str) -> bytes:
        with style.styled():
            figure = Figure(figsize=(2, 2))
            axes = figure.subplots()
            axes.plot([0, 1], [1, 2], label="a")
            axes.plot([0, 1], [2, 1], label="b")
            axes.legend()
        return style.save(figure, tmp_path, name)[0].read_bytes()

    plain = picture("plain")
    users = {
        "text.usetex": True,
        "axes.prop_cycle": mpl.cycler(color=["k"]),
        "savefig.bbox": "tight",
        "axes.facecolor": "red",
    }
    with mpl.rc_context(users):
        assert picture("users") == plain
