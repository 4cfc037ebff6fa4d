"""The radius of a minimum: how far its weights can move along random directions before the loss
crosses a cut.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from trainers.config import measure
from trainers.landscape import Measure, Row
from trainers.measures import basin, directions
from trainers.measures.basin import Crossing, Cut
from trainers.measures.surface import Plane
from trainers.trained import Trained

log = logging.getLogger(__name__)


class Radius(Measure):
    """Distance to the first crossing of a loss cut, along one block of random directions."""

    def __init__(self, network: Trained) -> None:
        super().__init__(network)
        assert isinstance(network.cell.trainer, measure.Radius)
        self.settings = network.cell.trainer
        self.first = self.settings.block * self.units
        self.landscape = network.landscape()
        base = network.base_loss()
        kappa = self.settings.kappa + (base if self.settings.above_base else 0.0)
        self.cut = Cut(base, kappa, self.settings.c_max)
        # of each direction so far, by the full scan where this crosses before the search
        self.radii: list[float | None] = []
        self.statuses: list[int] = []

    def rows(self, unit: int) -> Iterator[Row]:
        """The radius along one direction; the search starts near the median of those before."""
        settings, model, index = self.settings, self.network.model, self.first + unit
        direction = directions.draw(model, settings.directions, settings.direction_seed, index)
        plane = self.landscape.along([direction])
        crossings = [radius for radius in self.radii if radius is not None]
        median = float(np.median(crossings)) if crossings else None
        crossing = basin.first_crossing(lambda c: plane.at(c).value, self.cut, median)
        row: Row = {"radius": crossing.radius, "status": crossing.status}
        if crossing.radius is not None:
            row["radius_l2"] = crossing.radius * directions.norm(direction)
        if index % settings.audit_every == 0 and self.cut.is_defined:
            scan = self._scan(plane)
            row["audit_radius"] = scan.radius
            if basin.differ(crossing, scan):
                row["status"] = basin.AUDIT_DIFFERS
                message = "direction %d: radius %s, and %s by the full scan"
                log.warning(message, index, crossing.radius, scan.radius)
                crossing = basin.earlier(crossing, scan)
        self.radii.append(crossing.radius)
        self.statuses.append(crossing.status)
        yield {**row, "evaluations": plane.evaluations}

    def _scan(self, plane: Plane) -> Crossing:
        """The first crossing by a scan of the whole direction."""
        limit = self.cut.kappa
        return basin.audit(lambda c: plane.at(c, above=limit).value, self.cut)

    def facts(self) -> Mapping[str, Any]:
        """Aggregates over the directions that crossed the cut, and shares of those that did not."""
        radii = np.array([radius for radius in self.radii if radius is not None])
        shares = {
            "undefined": self.statuses.count(basin.UNDEFINED) / len(self.statuses),
            "never": self.statuses.count(basin.NEVER) / len(self.statuses),
        }
        if not len(radii):
            return shares
        low, median, high = np.quantile(radii, [0.05, 0.5, 0.95]).tolist()
        return {
            **shares,
            "radius_mean": float(radii.mean()),
            "radius_median": median,
            "radius_sd": float(radii.std(ddof=1)) if len(radii) > 1 else None,
            "radius_q05": low,
            "radius_q95": high,
        }

    def state(self) -> dict[str, Any]:
        """Radii and statuses so far."""
        return {"radii": list(self.radii), "statuses": list(self.statuses)}

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore what `state` returned."""
        self.radii, self.statuses = list(state["radii"]), list(state["statuses"])
