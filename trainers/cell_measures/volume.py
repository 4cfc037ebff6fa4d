"""The volume of a minimum: a lower bound of the weights around it with a loss below a cut."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

from trainers.config import measure
from trainers.landscape import Measure, Row
from trainers.measures import basin, directions
from trainers.measures.basin import Cut, Ray
from trainers.measures.directions import Direction
from trainers.trained import Trained


class Volume(Measure):
    """Terms of a lower bound of the volume below the cut, from one block of random proposals."""

    def __init__(self, network: Trained) -> None:
        super().__init__(network)
        assert isinstance(network.cell.trainer, measure.Volume)
        self.settings = network.cell.trainer
        self.first = self.settings.block * self.units
        self.landscape = network.landscape()
        self.base = network.base_loss()
        self.dimensions = directions.dimensions(network.model)
        self.weight_norm = directions.weight_norm(network.model)
        self.scales = self._scales()
        self.multipliers: list[float] = []

    def _scales(self) -> Direction:
        """The diagonal of P: one factor for every weight, 0 for what does not move."""
        sizes = directions.filter_sizes(self.network.model)
        if self.settings.preconditioner == "filter":
            return sizes
        moving = [(size > 0).float() for size in sizes]
        if self.settings.preconditioner == "none":
            return moving
        samples, damping = self.network.samples, self.settings.damping
        squares = directions.jacobian_squares(self.network.model, samples.inputs)
        return directions.inverse_roots(squares, moving, damping)

    def rows(self, unit: int) -> Iterator[Row]:
        """The term of one proposal."""
        settings, model, index = self.settings, self.network.model, self.first + unit
        proposal = directions.proposal(model, self.scales, settings.direction_seed, index)
        plane = self.landscape.along([proposal])
        length = directions.norm(proposal)
        cut = Cut(self.base, settings.kappa, settings.c_max * self.weight_norm / length)
        median = float(np.median(self.multipliers)) if self.multipliers else None
        crossing = basin.first_crossing(lambda c: plane.at(c).value, cut, median)
        row: Row = {"proposal_norm": length, "status": crossing.status}
        if crossing.status != basin.UNDEFINED:
            # a bound where it never crosses
            multiplier = cut.c_max if crossing.radius is None else crossing.radius
            self.multipliers.append(multiplier)
            row |= {"multiplier": multiplier} | self._terms(proposal, length, multiplier)
        yield {**row, "evaluations": plane.evaluations}

    def _terms(self, proposal: Direction, length: float, multiplier: float) -> Row:
        n = self.dimensions
        log_det = directions.log_det(self.scales)
        weights_now = [p.detach().cpu() for p in self.network.model.parameters()]
        moved = [w if directions.is_weight(w) else torch.zeros_like(w) for w in weights_now]
        along = directions.dot([part.cpu() for part in proposal], moved) / length
        # the Gaussian measure needs P with determinant 1: rescaling P rescales the proposal and,
        # the other way round, the multiplier, and leaves the ray's end where it is
        rescale = math.exp(-log_det / n)
        ray = Ray(n, self.weight_norm, length * rescale, along)
        sigma = self.weight_norm / math.sqrt(n)
        gauss = basin.log_gauss_term(ray, multiplier / rescale, sigma)
        return {
            "log10_term": basin.log_volume_term(n, multiplier, log_det) / math.log(10),
            "log10_prob_gauss": gauss / math.log(10),
            "log10_det": log_det / math.log(10),
        }

    def state(self) -> dict[str, Any]:
        """Multipliers so far."""
        return {"multipliers": list(self.multipliers)}

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore what `state` returned."""
        self.multipliers = list(state["multipliers"])
