"""The decision boundary of a network on two-dimensional inputs, also as its weights move."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from trainers import trained
from trainers.config import measure
from trainers.landscape import Measure, Row, loss_columns
from trainers.measures import directions, hessian
from trainers.measures.surface import grid
from trainers.trained import Trained


class Boundary(Measure):
    """Logit differences on a grid of two-dimensional inputs, frame by frame along a direction."""

    def __init__(self, network: Trained) -> None:
        super().__init__(network)
        assert isinstance(network.cell.trainer, measure.Boundary)
        self.settings = settings = network.cell.trainer
        trained.check_plane(network)
        self.coordinates = grid(settings.frames, settings.amplitude, "quintic")
        self.direction = directions.draw(network.model, "filter", settings.direction_seed, 0)
        self.sizes = directions.filter_sizes(network.model)
        self.landscape = network.landscape()
        self.inputs = trained.input_grid(network, settings.points, settings.extent)

    def rows(self, unit: int) -> Iterator[Row]:
        """One row for the frame, then one for each point of the grid; for the weights themselves
        also one for each sample.
        """
        coordinate, points = self.coordinates[unit], self.settings.points
        with self.landscape.moved([self.direction], [coordinate]) as model:
            point = self.landscape.here()
            margins = _margins(model, self.inputs, self.network.samples.batch)
            largest = self._largest_eigenvalue()
        assert point.wrong is not None  # it is counted where the loss has no limit
        right = 1 - point.wrong / self.examples
        frame: Row = {"frame": unit, "c": coordinate, "accuracy": right, **loss_columns(point)}
        del frame["wrong"]
        yield {**frame, "lambda_max_scaled": largest}
        for place, margin in enumerate(margins):
            y_index, x_index = divmod(place, points)
            position = {"step": 1 + place, "frame": unit, "x_index": x_index, "y_index": y_index}
            yield {**position, "margin": margin}
        if unit == self.units // 2:
            yield from self._samples(1 + len(margins))

    def _samples(self, step: int) -> Iterator[Row]:
        """One row for each sample of the measure; the first is at `step`."""
        network = self.network
        margins = _margins(network.model, network.samples.inputs, network.samples.batch)
        labels = network.samples.targets.tolist()
        places = trained.plane_points(network)
        for (x, y), label, margin in zip(places, labels, margins, strict=True):
            sample = {"point_x": x, "point_y": y, "point_label": label, "margin": margin}
            yield {"step": step, **sample}
            step += 1

    def _largest_eigenvalue(self) -> float | None:
        """Of the Hessian at the present weights, in filter units of the trained ones; None for a
        single frame, which `curvature` measures.
        """
        if self.units == 1:
            return None
        operator = hessian.Hessian(self.network.model, self.network.samples, self.sizes)
        return operator.ends(self.settings.direction_seed, 1e-3).largest


@torch.inference_mode()
def _margins(model: nn.Module, inputs: Tensor, batch: int) -> list[float]:
    """Logit of class 1 minus that of class 0 for every input."""
    margins: list[float] = []
    for block in torch.split(inputs, batch):
        logits = model(block)
        margins += (logits[:, 1] - logits[:, 0]).tolist()
    return margins
