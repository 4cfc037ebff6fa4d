"""Eight pictures against stored ones, as 64x48 grey means: a test of layout and not of fonts.

Text is hidden, so that fonts move nothing but margins. To store the pictures anew after a change
that was meant, look at them and run with REDESCENT_STORE_PICTURES=1.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from analysis import fig1, fig1_variants, fig2_ab, fig2_cd, fig3, model_wise, width_noise
from analysis.figure import output

PICTURES = Path(__file__).with_name("pictures")
SIZE = (64, 48)
MEAN, LARGE = 2.5, 60.0  # of 255: mean difference, and one that counts as large
SHARE = 0.02  # of cells that may differ by that much

GRID = {"lambdas": (0.0, 1e-4, 1e-3, 1e-2), "seeds": (0, 1), "epochs": 40}
GAPS = {"lambdas": (0.0, 1e-6, 1e-2), "seeds": (0,), "epochs": 20, "skip": ("l1s0w64",)}
SWEEPS: dict[str, tuple[Callable[[list[str]], int], dict[str, object] | None, list[str]]] = {
    "fig1": (fig1.main, None, []),
    "fig1_variants": (fig1_variants.main, None, []),
    "fig2_cd": (fig2_cd.main, None, []),
    "fig3": (fig3.main, None, []),
    "fig2_ab": (fig2_ab.main, GRID, []),
    "fig2_ab_gaps": (fig2_ab.main, GAPS, ["--limits", "0.2", "0.4"]),
    "model_wise": (model_wise.main, {}, []),
    "width_noise": (width_noise.main, {}, []),
}


def raster(figure: Figure) -> np.ndarray:
    """(48, 64) mean grey levels, 0 to 255, of a figure without its text."""
    for text in figure.findobj(Text):
        text.set_alpha(0.0)
    figure.set_dpi(50)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    grey = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB").convert("L")
    return np.asarray(grey.resize(SIZE, Image.Resampling.BOX), np.float64)


def difference(image: np.ndarray, stored: np.ndarray) -> str:
    """How two rasters differ beyond the tolerance; an empty text if they do not."""
    distance = np.abs(image - stored)
    share = float((distance > LARGE).mean())
    if distance.mean() <= MEAN and share <= SHARE:
        return ""
    return f"mean difference {distance.mean():.2f} of 255, {share:.1%} of cells by over {LARGE:g}"


@pytest.mark.parametrize("name", SWEEPS)
def test_a_picture_is_as_stored(name: str, sweep, tmp_path, monkeypatch):
    main, grid, arguments = SWEEPS[name]
    figures: list[Figure] = []
    monkeypatch.setattr(output, "save", lambda figure, *_: figures.append(figure) or ())
    folder = []
    (tmp_path / "out").mkdir()
    if grid is not None:
        write_grid(sweep, grid)
        folder = [str(sweep.folder)]
    assert main([*folder, "--out", str(tmp_path / "out"), *arguments]) == 0
    image, path = raster(figures[0]), PICTURES / f"{name}.png"
    if os.environ.get("REDESCENT_STORE_PICTURES"):
        PICTURES.mkdir(exist_ok=True)
        Image.fromarray(image.round().astype(np.uint8)).save(path)
    with Image.open(path) as stored:
        assert difference(image, np.asarray(stored, np.float64)) == ""


def write_grid(sweep, grid: dict[str, object]) -> None:
    """A sweep over weight decay, or over width and label noise if `grid` is empty."""
    if grid:
        sweep.grid(**grid)
        return
    base = {"trainer.epochs": 60, "optim.weight_decay": 0.0}
    cells = {}
    for width in (1, 2, 4, 8):
        for rate in (0.0, 0.2):
            name = f"k{width}r{rate}"
            cells[name] = {"model.width": width, "data.label_noise.rate": rate, "seed": 0}
    sweep.plan(base, cells)
    for name, values in cells.items():
        is_noisy = values["data.label_noise.rate"] > 0
        decay = 1e-2 / values["model.width"] ** 3 if is_noisy else 1e-2
        sweep.train(name, {**base, **values, "optim.weight_decay": decay}, 60)


def test_the_tolerance_tells_a_picture_from_another():
    with Image.open(PICTURES / "fig2_ab.png") as first, Image.open(PICTURES / "fig3.png") as second:
        rasters = [np.asarray(image, np.float64) for image in (first, second)]
    assert difference(*rasters)
    shifted = np.roll(rasters[0], 3, axis=1)
    assert difference(rasters[0], shifted)
    assert not difference(rasters[0], rasters[0] + 2)
