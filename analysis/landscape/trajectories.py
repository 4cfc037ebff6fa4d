"""Paths of trainings in the plane of their principal components, and the loss around their ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from analysis.landscape.selection import OF, Measures
from analysis.landscape.surfaces import Surface, surfaces


@dataclass(frozen=True)
class Trajectory:
    """The snapshots of one trained cell, by epoch, and the surface in their plane if it is
    measured.

    snapshots: columns epoch, x, y (in units of `surfaces.PATH_UNIT`; the end of the training is at
    the origin), off_plane (distance from the plane, relative to that from the end), loss (nats),
    wrong and examples, of the snapshot itself. explained: shares of the variance of the path along
    the two components.
    """

    cell: str
    label: str
    snapshots: pd.DataFrame
    explained: tuple[float, float]
    surface: Surface | None = None


def trajectories(paths: Measures, planes: Measures | None = None) -> list[Trajectory]:
    """A trajectory for each trained cell whose path is measured, with its surface of `planes`."""
    names = ("x", "y", "off_plane", "loss", "wrong", "examples")
    rows = paths.rows(*names, "snapshot_epoch", "explained_x", "explained_y")
    surface_of = {}
    if planes is not None:
        surface_of = {surface.cell: surface for surface in surfaces(planes)}
    result = []
    for cell in paths.trained["cell"].astype(str):
        if not (paths.finished[OF] == cell).any():
            continue
        path = rows[rows["of"] == cell].sort_values("snapshot_epoch", ignore_index=True)
        first = path.iloc[0]
        trajectory = Trajectory(
            cell=cell,
            label=paths.label(cell),
            snapshots=path[list(names)].assign(epoch=path["snapshot_epoch"].astype(int)),
            explained=(float(first["explained_x"]), float(first["explained_y"])),
            surface=surface_of.get(cell),
        )
        result.append(trajectory)
    return result


def table(trajectories: Sequence[Trajectory]) -> pd.DataFrame:
    """A row for each snapshot of each cell."""
    frames = []
    for trajectory in trajectories:
        frame = trajectory.snapshots.copy()
        frame.insert(0, "cell", trajectory.cell)
        frame.insert(1, "label", trajectory.label)
        frames.append(frame)
    return pd.concat(frames, ignore_index=True)
