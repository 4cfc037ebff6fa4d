"""Decision boundaries of nets on inputs in the plane: from rows to frames of logit differences."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.landscape.selection import OF, Measures

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Boundary:
    """The logit differences of one trained cell, for weights moved along a direction.

    places: (points,) coordinates of the inputs along both axes. margins: (frames, points, points),
    logit of class 1 minus that of class 0, rows are y; NaN where nothing is measured. frames: a row
    for each frame with c, loss and accuracy, and lambda_max_scaled where it was measured. points:
    the training samples, columns x, y, label and margin of the unmoved weights; may be empty.
    """

    cell: str
    label: str
    places: Array
    margins: Array
    frames: pd.DataFrame
    points: pd.DataFrame

    @property
    def centre(self) -> int:
        """The frame of the unmoved weights."""
        return len(self.margins) // 2


def boundaries(measures: Measures) -> list[Boundary]:
    """A boundary for each trained cell that is measured, in the order of `measures.trained`."""
    columns = ("frame", "x_index", "y_index", "margin", "c", "loss", "accuracy")
    optional = ("lambda_max_scaled", "point_x", "point_y", "point_label")
    rows = measures.rows(*columns, *optional)
    result = []
    for cell in measures.trained["cell"].astype(str):
        if (measures.finished[OF] == cell).any():
            result.append(_boundary(measures, cell, rows[rows["of"] == cell]))
    return result


def _boundary(measures: Measures, cell: str, rows: pd.DataFrame) -> Boundary:
    points, frames = (int(measures.setting(f"trainer.{key}")) for key in ("points", "frames"))
    extent = float(measures.setting("trainer.extent"))
    margins = np.full((frames, points, points), np.nan)
    grid = rows[rows["x_index"].notna()]
    index = [grid[name].to_numpy(np.int64) for name in ("frame", "y_index", "x_index")]
    margins[tuple(index)] = grid["margin"]
    samples = rows[rows["point_x"].notna()]
    names = {"point_x": "x", "point_y": "y", "point_label": "label"}
    return Boundary(
        cell=cell,
        label=measures.label(cell),
        places=np.linspace(-extent, extent, points, dtype=np.float64),
        margins=margins,
        frames=rows[rows["c"].notna()].sort_values("frame", ignore_index=True),
        points=samples.rename(columns=names)[["x", "y", "label", "margin"]],
    )
