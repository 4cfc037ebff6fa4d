"""The line between two minima, and the barrier of the loss on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from trainers.config import measure
from trainers.landscape import Measure, Row, loss_columns
from trainers.measures import paths
from trainers.measures.samples import cross_entropy, sum_losses
from trainers.trained import Trained


class Line(Measure):
    """Loss on the straight line between two trained networks; all parameters move."""

    def __init__(self, network: Trained) -> None:
        super().__init__(network)
        assert isinstance(network.cell.trainer, measure.Line)
        settings = network.cell.trainer
        self.places = paths.places_on_line(settings.low, settings.high, settings.points)
        self.units = len(self.places)
        other = network.other_weights(settings.to)
        self.line = paths.Line(network.model, other.arrays)
        self.landscape = network.landscape()
        self.test = network.test_samples()
        self.losses: list[float] = []

    def rows(self, unit: int) -> Iterator[Row]:
        """Training and test loss at one point."""
        t = self.places[unit]
        model = self.network.model
        with self.line.at(t), self.landscape.recalibrated():
            point = self.landscape.here()
            row: Row = {"t": t, **loss_columns(point)}
            if self.test is not None:
                inputs = self.test.inputs
                test = sum_losses(self.test, lambda batch: model(inputs[batch]), cross_entropy)
                row |= {"test_loss": test.loss, "test_wrong": test.wrong}
                row["test_examples"] = len(self.test)
        self.losses.append(point.value)
        yield row

    def facts(self) -> Mapping[str, Any]:
        """Barrier in nats, and distance of the two ends."""
        barrier = paths.barrier(self.places, self.losses)
        return {"barrier": barrier, "distance": self.line.distance}

    def state(self) -> dict[str, Any]:
        """Losses so far."""
        return {"losses": list(self.losses)}

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore what `state` returned."""
        self.losses = list(state["losses"])
