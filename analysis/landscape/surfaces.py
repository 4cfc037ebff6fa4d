"""Surfaces of the loss: from rows to grids, with the levels that all panels share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.figure import query
from analysis.landscape.selection import OF, Measures

Array = NDArray[np.float64]

LOWEST, HIGHEST, PER_DECADE = -4, 1, 5
"""Contours: powers of ten of the loss in nats, and how many in a decade."""

FLOOR = 1e-8
"""Losses below are drawn as this: in single precision they are rounding."""

PATH_UNIT = "largest distance of a snapshot from the end along a component"
"""What is 1 in the plane of the principal components of a path."""


@dataclass(frozen=True)
class Surface:
    """The loss on a grid around one trained cell.

    x: (columns,) and y: (rows,) coordinates in units of `unit`. loss: (rows, columns), nats; NaN
    above the cap, where it is no number, and where nothing is measured. wrong: (rows, columns)
    wrong answers. capped: (rows, columns) bool. missing: (rows,) bool, rows that are not measured.
    """

    cell: str
    label: str
    x: Array
    y: Array
    loss: Array
    wrong: Array
    capped: NDArray[np.bool_]
    missing: NDArray[np.bool_]
    examples: int

    def log_loss(self, above: float) -> Array:
        """log10 of the loss, at least that of FLOOR; `above` where it is capped or no number, NaN
        where it is missing.
        """
        values = np.log10(np.maximum(self.loss, FLOOR))
        return np.where(self.measured & ~np.isfinite(self.loss), above, values)

    @property
    def measured(self) -> NDArray[np.bool_]:
        """(rows, columns) bool, the points that are measured."""
        return self.capped | np.isfinite(self.wrong)

    def share_below(self, kappa: float) -> float:
        """Share of the measured points whose loss is below `kappa`; NaN without any."""
        if not self.measured.any():
            return float("nan")
        return float((self.loss[self.measured] < kappa).mean())


def levels() -> Array:
    """The levels of the contours of log10 loss, the same in every figure."""
    count = (HIGHEST - LOWEST) * PER_DECADE + 1
    return np.linspace(LOWEST, HIGHEST, count, dtype=np.float64)


def axis_values(points: int, span: float, spacing: str) -> Array:
    """The coordinates of a grid of `points` over [-span, span], as the measure places them.

    spacing: linear, or the sign-keeping second ("square") or fifth power ("quintic") of it.
    """
    t = np.linspace(-1.0, 1.0, points, dtype=np.float64)
    power = {"linear": 1, "square": 2, "quintic": 5}[spacing]
    values: Array = span * np.sign(t) * np.abs(t) ** power
    return values


def surfaces(measures: Measures) -> list[Surface]:
    """A surface for each trained cell, in the order of `measures.trained`."""
    rows = measures.rows("x", "y", "loss", "wrong", "examples", "capped")
    result = []
    for cell in measures.trained["cell"].astype(str):
        if (measures.finished[OF] == cell).any():
            result.append(_surface(measures, cell, rows[rows["of"] == cell]))
    return result


def _surface(measures: Measures, cell: str, rows: pd.DataFrame) -> Surface:
    points = int(measures.setting("trainer.points"))
    y, x = rows["epoch"].to_numpy(), rows["step"].to_numpy()
    loss, wrong = np.full((points, points), np.nan), np.full((points, points), np.nan)
    capped = np.zeros((points, points), bool)
    loss[y, x], wrong[y, x] = rows["loss"], rows["wrong"]
    capped[y, x] = rows["capped"] == 1
    span, spacing = float(measures.setting("trainer.span")), measures.setting("trainer.spacing")
    places = axis_values(points, span, spacing)
    return Surface(
        cell=cell,
        label=measures.label(cell),
        x=_measured(rows, "x", "step", places),
        y=_measured(rows, "y", "epoch", places),
        loss=loss,
        wrong=wrong,
        capped=capped,
        missing=~np.isin(np.arange(points), y),
        examples=int(rows["examples"].max()),
    )


def _measured(rows: pd.DataFrame, column: str, index: str, places: Array) -> Array:
    """The coordinates as they were measured; as they are planned where nothing is measured."""
    values = places.copy()
    measured = rows.groupby(index)[column].first()
    values[measured.index.to_numpy()] = measured.to_numpy(np.float64)
    return values


def table(surfaces: list[Surface]) -> pd.DataFrame:
    """All points of all surfaces: cell, label, x, y, loss, wrong, capped."""
    frames = []
    for surface in surfaces:
        x, y = np.meshgrid(surface.x, surface.y)
        frame = pd.DataFrame(
            {
                "cell": surface.cell,
                "label": surface.label,
                "x": x.ravel(),
                "y": y.ravel(),
                "loss": surface.loss.ravel(),
                "wrong": surface.wrong.ravel(),
                "capped": surface.capped.ravel().astype(int),
            }
        )
        frames.append(frame[frame["wrong"].notna() | (frame["capped"] == 1)])
    return pd.concat(frames, ignore_index=True)


def unit(measures: Measures) -> str:
    """What is 1 on both axes."""
    if measures.setting("trainer.plane") == "pca":
        return PATH_UNIT
    return "norm of the weights, filter by filter"


def facts(measures: Measures, kappa: float) -> dict[str, Any]:
    """What the record says of surfaces."""
    cosines = query.numbers(measures.finished, "cosine").dropna()
    return {
        "levels": f"log10 nats from {LOWEST} to {HIGHEST}, {PER_DECADE} a decade, in all panels",
        "cut": kappa,
        "axes": f"unit: {unit(measures)}",
        "cosines": sorted({round(float(value), 4) for value in cosines}),
    }
