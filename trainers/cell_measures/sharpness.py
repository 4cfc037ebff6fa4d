"""The sharpness of a minimum: how far the loss rises close to the weights."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from trainers.config import measure
from trainers.landscape import Measure, Row
from trainers.measures import ascent, sharpness


class Sharpness(Measure):
    """The largest rise of the loss nearby, and Keskar's sharpness."""

    def rows(self, unit: int) -> Iterator[Row]:
        """One row."""
        settings = self.network.cell.trainer
        assert isinstance(settings, measure.Sharpness)
        landscape = self.network.landscape()
        rise = ascent.rise(landscape, settings.rho, settings.steps, settings.direction_seed)
        samples, model = self.network.samples, self.network.model

        def loss() -> Tensor:
            sums = []
            for batch in samples.batches():
                losses = landscape.loss(model(samples.inputs[batch]), samples.targets[batch])
                sums.append(losses.sum())
            return torch.stack(sums).sum() / len(samples)

        yield {
            "sharpness_one_step": rise.one_step,
            "sharpness_ascent": rise.ascent,
            "keskar": sharpness.sharpness(list(model.parameters()), loss, settings.direction_seed),
        }
