"""How far the decision boundary of a net in the plane is from the training samples.

The boundary is where the logit difference on the grid of a boundary measure changes sign, linear
between two neighbours of the grid; margins much smaller than its spacing are not resolved.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.interpolate import RegularGridInterpolator
from scipy.spatial import cKDTree

from analysis.figure import query
from analysis.landscape import minima
from analysis.landscape.boundary import Boundary, boundaries
from analysis.landscape.selection import Measures

Array = NDArray[np.float64]

STEPS = 2000
"""Places along a ray at which the class is looked up."""


def crossings(boundary: Boundary) -> Array:
    """Points of the boundary of the unmoved weights, (points, 2); none if one class has the whole
    grid.
    """
    margin, places = boundary.margins[boundary.centre], boundary.places
    x, y = np.meshgrid(places, places)
    parts = []
    for first, second in ((np.s_[:, :-1], np.s_[:, 1:]), (np.s_[:-1], np.s_[1:])):
        a, b = margin[first], margin[second]
        changes = (a > 0) != (b > 0)
        share = a[changes] / (a[changes] - b[changes])
        start = np.stack([x[first][changes], y[first][changes]], axis=1)
        end = np.stack([x[second][changes], y[second][changes]], axis=1)
        parts.append(start + share[:, None] * (end - start))
    return np.concatenate(parts)


def sample_margins(boundary: Boundary) -> Array:
    """Distance of each training sample from the boundary, (samples,), negative where the net is
    wrong; NaN without a boundary.
    """
    points = boundary.points
    line = crossings(boundary)
    if not len(line):
        return np.full(len(points), np.nan)
    distance, _ = cKDTree(line).query(points[["x", "y"]].to_numpy(np.float64))
    return np.asarray(np.where(is_right(points), distance, -distance), np.float64)


def is_right(points: pd.DataFrame) -> pd.Series:
    """Whether the net is right on each training sample."""
    return (points["margin"] > 0) == (points["label"] == 1)


@dataclass(frozen=True)
class Pairs:
    """Each training sample with the nearest one of the other class.

    The boundary crosses the line between the two, so `margin`, the smaller of their distances from
    the boundary, is at most `widest`, half of their distance. Both (samples,).
    """

    margin: Array
    widest: Array


def pairs(boundary: Boundary) -> Pairs:
    """The pairs of a boundary with samples of both classes."""
    places = boundary.points[["x", "y"]].to_numpy(np.float64)
    label, own = boundary.points["label"].to_numpy(), sample_margins(boundary)
    margin, widest = np.full((2, len(places)), np.nan)
    for first in (0, 1):
        mine, others = np.flatnonzero(label == first), np.flatnonzero(label != first)
        distance, nearest = cKDTree(places[others]).query(places[mine])
        margin[mine] = np.minimum(own[mine], own[others][nearest])
        widest[mine] = distance / 2
    return Pairs(margin, widest)


def ray_radii(boundary: Boundary, rays: int = 360) -> Array:
    """Distance from the origin to the first boundary along each of `rays` even directions, (rays,);
    NaN along rays that meet none inside the grid.
    """
    places = boundary.places
    margin_at = RegularGridInterpolator((places, places), boundary.margins[boundary.centre])
    angles = np.linspace(0, 2 * np.pi, rays, endpoint=False)
    radii = np.linspace(0, places[-1], STEPS)
    x, y = np.outer(radii, np.cos(angles)), np.outer(radii, np.sin(angles))
    classes = margin_at(np.stack([y, x], axis=-1)) > 0  # (steps, rays)
    changes = classes[1:] != classes[:-1]
    first = radii[1:][changes.argmax(axis=0)]
    return np.where(changes.any(axis=0), first, np.nan)


def table(measures: Measures) -> pd.DataFrame:
    """One row for each trained cell whose boundary is measured.

    cell, label, seed, the axes; mean, q05 and q95 of the margin over pairs of training samples, in
    units of the inputs; widest, the mean of the widest margins; share, the mean of margin over
    widest, at most 1; fits, whether no training sample is wrong; wrong, how many are;
    test_accuracy, 0 to 1.
    """
    trained = measures.trained.set_index("cell")
    seed, test, fits = trained["seed"], minima.test_accuracy(trained), minima.fits(trained)
    rows = []
    for boundary in boundaries(measures):
        _check_samples(boundary)
        pair = pairs(boundary)
        low, high = np.quantile(pair.margin, [0.05, 0.95])
        rows.append({
            "cell": boundary.cell, "label": boundary.label, "seed": int(seed[boundary.cell]),
            **{axis: trained.loc[boundary.cell, axis] for axis in measures.axes},
            "mean": float(pair.margin.mean()), "q05": float(low), "q95": float(high),
            "widest": float(pair.widest.mean()),
            "share": float((pair.margin / pair.widest).mean()), "fits": bool(fits[boundary.cell]),
            "wrong": int((~is_right(boundary.points)).sum()),
            "test_accuracy": float(test[boundary.cell]),
        })  # fmt: skip
    return pd.DataFrame(rows)


def _check_samples(boundary: Boundary) -> None:
    """Raise FigureError for a boundary without samples of both classes."""
    if boundary.points.empty:
        raise query.FigureError(
            f"the boundary of {boundary.cell} has no samples: an earlier version measured it; "
            "measure it again"
        )
    if boundary.points["label"].nunique() < 2:
        raise query.FigureError(
            f"all training samples of {boundary.cell} are of one class, and a margin needs both"
        )
