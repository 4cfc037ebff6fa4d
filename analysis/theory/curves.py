"""A curve of the theory: its parameters, turning points, table, and how it was computed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.theory.closed_form import Block, Order, fast_slow, ridge_asymptotics
from analysis.theory.setting import Setting

Array = NDArray[np.float64]
FLAT = 1e-9  # rises and falls smaller than this are rounding
APPROXIMATIONS = {
    "fast_slow": "fast-slow formula (Eqs. 12 and 14 into Eq. 6): stopping at t as a ridge penalty "
    "λ + 1/t, the step size as singular values ½ and 1/(2κ), each block of features as if alone "
    "with all n samples; n, d → ∞",
    "ridge_asymptotics": "deterministic equivalent of ridge regression with penalty λ + 1/t: exact "
    "for ridge as n, d → ∞",
    "exact_trace": "average over teachers and label noise in closed form (Eq. 9 into Eq. 6) for "
    "every drawn X and F, then the mean over the draws: no approximation",
    "simulation": "students trained on drawn data; the mean over seeds has the sampling error that "
    "its std tells",
}


@dataclass(frozen=True)
class Curve:
    """Values over `times` (T,) for one setting.

    source: key of APPROXIMATIONS. frozen_block: the block that does not move.
    """

    label: str
    setting: Setting
    times: Array
    order: Order
    source: str = "fast_slow"
    frozen_block: Block | None = None

    @property
    def abscissa(self) -> Array:
        """t + 1, which begins at 1 on the logarithmic axis."""
        return self.times + 1


def closed_form(
    label: str,
    setting: Setting,
    times: Array,
    frozen_block: Block | None = None,
    source: str = "fast_slow",
) -> Curve:
    """The curve of `fast_slow` or `ridge_asymptotics` for a setting."""
    if source == "fast_slow":
        order = fast_slow(setting, times, frozen_block)
    else:
        order = ridge_asymptotics(setting, times)
    return Curve(label, setting, times, order, source, frozen_block)


def turning_points(abscissa: Array, values: Array) -> list[tuple[str, float, float]]:
    """Inner minima and maxima as ("minimum" or "maximum", abscissa, value), in order of time.

    For curves without noise: changes below FLAT count as none, and a flat stretch turns at its
    beginning.
    """
    steps = np.diff(values)
    moving = np.flatnonzero(np.abs(steps) > FLAT)
    signs = np.sign(steps[moving])
    points = []
    for i in np.flatnonzero(signs[1:] != signs[:-1]):
        kind, at = "minimum" if signs[i] < 0 else "maximum", moving[i] + 1
        points.append((kind, float(abscissa[at]), float(values[at])))
    return points


def table(curves: Iterable[Curve]) -> dict[str, Any]:
    """Columns of the CSV, one row for every curve and time."""
    all_curves = list(curves)
    sizes = [len(curve.times) for curve in all_curves]
    labels: list[str] = []
    for curve, size in zip(all_curves, sizes, strict=True):
        labels += [curve.label] * size
    columns: dict[str, Any] = {"curve": labels}
    for name in vars(all_curves[0].setting):
        columns[name] = np.repeat([getattr(curve.setting, name) for curve in all_curves], sizes)
    columns["t"] = np.concatenate([curve.times for curve in all_curves])
    columns["t_plus_1"] = columns["t"] + 1
    for name in Order._fields:
        columns[name] = np.concatenate([getattr(curve.order, name) for curve in all_curves])
    return columns


def record(curve: Curve) -> dict[str, Any]:
    """How a curve was computed, its turning points, and its distance from exact ridge."""
    points = []
    for kind, at, value in turning_points(curve.abscissa, curve.order.error):
        points.append({"kind": kind, "t_plus_1": round(at, 4), "error": round(value, 6)})
    entry: dict[str, Any] = {
        "label": curve.label,
        "parameters": vars(curve.setting),
        "approximation": APPROXIMATIONS[curve.source],
        "turning_points": points,
        "last": {
            "t_plus_1": float(curve.abscissa[-1]),
            "error": round(float(curve.order.error[-1]), 6),
        },
    }
    if curve.frozen_block:
        entry["frozen"] = f"the {curve.frozen_block} block does not move"
    elif curve.source == "fast_slow":
        entry["distance_from_ridge_asymptotics"] = distance([curve])
    return entry


def distance(curves: Sequence[Curve]) -> dict[str, float]:
    """Greatest difference in error between the curves and the ridge asymptotics, and where."""
    best = {"max_abs_difference": 0.0, "t_plus_1": float("nan")}
    for curve in curves:
        exact = closed_form("", curve.setting, curve.times, source="ridge_asymptotics")
        gap = np.abs(curve.order.error - exact.order.error)
        if gap.max() >= best["max_abs_difference"]:
            best = {
                "max_abs_difference": float(gap.max()),
                "t_plus_1": float(curve.abscissa[gap.argmax()]),
            }
    return best
