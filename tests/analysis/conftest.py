"""Small sweeps, and the figures that are drawn from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from landscape_sweep import LandscapeSweep
from matplotlib.figure import Figure
from sweep_folder import Sweep

from analysis import grok_sharpness
from analysis.capacity import generalisation
from analysis.figure import origin, output
from analysis.landscape import basins

REFERENCE = Path(__file__).resolve().parents[3] / "shared" / "reference"


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bootstraps of 200 draws; the 1,000 and 2,000 of the figures take seconds."""
    monkeypatch.setattr(basins, "RESAMPLES", 200)
    monkeypatch.setattr(generalisation, "DRAWS", 200)
    monkeypatch.setattr(grok_sharpness, "RESAMPLES", 200)


@pytest.fixture(autouse=True)
def pictures_name_their_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    """No picture of runs is written without a hash of their cells."""
    write = output.write

    def check(*arguments: Any) -> None:
        write(*arguments)
        record = arguments[3]
        assert "source" not in record or origin.cells_hash(record), f"no cells: {sorted(record)}"

    monkeypatch.setattr(output, "write", check)


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    """An empty log folder called "demo"."""
    folder = tmp_path / "logs" / "demo"
    folder.mkdir(parents=True)
    return Sweep(folder)


@pytest.fixture
def landscape(tmp_path: Path) -> LandscapeSweep:
    """A trained sweep of three levels of poison and two seeds."""
    sweep = LandscapeSweep(tmp_path / "logs")
    sweep.train()
    return sweep


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
