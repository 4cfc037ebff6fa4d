"""The surface of the loss: its values on a grid in a plane around the weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from trainers import weights
from trainers.config import measure
from trainers.landscape import Measure, Row, loss_columns
from trainers.measures import directions, hessian, paths
from trainers.measures.directions import Direction
from trainers.measures.surface import grid
from trainers.trained import Trained


class Surface(Measure):
    """Loss on some rows of a square grid in a plane around the weights."""

    def __init__(self, network: Trained) -> None:
        super().__init__(network)
        assert isinstance(network.cell.trainer, measure.Surface)
        self.settings = settings = network.cell.trainer
        self.first = settings.block * measure.ROWS_PER_BLOCK
        self.coordinates = grid(settings.points, settings.span, settings.spacing)
        self.axes = self._axes()
        self.plane = network.landscape().along(self.axes)

    def _axes(self) -> list[Direction]:
        settings, model = self.settings, self.network.model
        if settings.plane == "pca":
            _, snapshots = weights.read_path(self.network.folder, settings.of)
            return paths.principal_plane(model, [s.arrays for s in snapshots]).axes(model)
        if settings.plane == "eigenvector":
            sizes = directions.filter_sizes(model)
            operator = hessian.Hessian(model, self.network.samples, sizes)
            length = directions.weight_norm(model)
            axes = operator.steepest(2, settings.direction_seed, length)
            return [directions.like(model, axis) for axis in axes]
        seed = settings.direction_seed
        return [directions.draw(model, settings.plane, seed, index) for index in (0, 1)]

    def rows(self, unit: int) -> Iterator[Row]:
        """One row of the grid: y is fixed, x runs."""
        y = self.coordinates[self.first + unit]
        for column, x in enumerate(self.coordinates):
            point = self.plane.at(x, y, above=self.settings.cap)
            place: Row = {"step": column, "x": x, "y": y}
            yield {**place, "capped": int(point.loss is None), **loss_columns(point)}

    def facts(self) -> Mapping[str, Any]:
        """Cosine of the angle between the two directions."""
        first, second = self.axes
        lengths = directions.norm(first) * directions.norm(second)
        return {"cosine": directions.dot(first, second) / lengths if lengths else None}
