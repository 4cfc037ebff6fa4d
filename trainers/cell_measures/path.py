"""The path of a training: its snapshots in the plane of their principal components."""

from __future__ import annotations

from collections.abc import Iterator

from trainers import weights
from trainers.landscape import Measure, Row
from trainers.measures import paths


class Path(Measure):
    """The snapshots of a training in the plane of their first two principal components."""

    def rows(self, unit: int) -> Iterator[Row]:
        """One row for each snapshot; loss and wrong answers are those of the training."""
        _, snapshots = weights.read_path(self.network.folder, self.network.cell.trainer.of)
        plane = paths.principal_plane(self.network.model, [s.arrays for s in snapshots])
        for number, snapshot in enumerate(snapshots):
            x, y = plane.coordinates[number]
            yield {
                "step": number,
                "x": x,
                "y": y,
                "off_plane": plane.off_plane[number],
                "loss": snapshot.result.loss,
                "wrong": snapshot.result.wrong,
                "examples": len(self.network.data.train),
                "snapshot_epoch": snapshot.epoch,
                "explained_x": plane.explained[0],
                "explained_y": plane.explained[1],
            }
