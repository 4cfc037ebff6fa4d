"""The curvature of the loss: eigenvalues, trace and spectral density of its Hessian."""

from __future__ import annotations

from collections.abc import Iterator

from trainers.config import measure
from trainers.landscape import Measure, Row
from trainers.measures import directions, hessian
from trainers.trained import Trained


class Curvature(Measure):
    """Ends of the Hessian's spectrum, a probe of its trace, or a Lanczos run for its density."""

    def __init__(self, network: Trained) -> None:
        super().__init__(network)
        assert isinstance(network.cell.trainer, measure.Curvature)
        self.settings = network.cell.trainer
        self.first = self.settings.block
        model, samples = network.model, network.samples
        sizes = directions.filter_sizes(model)
        self.hessians = {
            "": hessian.Hessian(model, samples),
            "_scaled": hessian.Hessian(model, samples, sizes),
        }

    def rows(self, unit: int) -> Iterator[Row]:
        """One row, or one for each value of the density."""
        if self.settings.part == "density":
            yield from self._density()
            return
        row = self._ends() if self.settings.part == "ends" else self._probe()
        yield {**row, "products": sum(h.products for h in self.hessians.values())}

    def _ends(self) -> Row:
        row: Row = {}
        residuals = []
        for suffix, operator in self.hessians.items():
            ends = operator.ends(self.settings.direction_seed, self.settings.tolerance)
            row |= {f"lambda_max{suffix}": ends.largest, f"lambda_min{suffix}": ends.smallest}
            residuals.append(ends.residual)
        finite = [residual for residual in residuals if residual is not None]
        return {**row, "residual": max(finite, default=None)}

    def _probe(self) -> Row:
        seed, block = self.settings.direction_seed, self.settings.block
        return {f"trace{s}": h.trace_probe(seed, block) for s, h in self.hessians.items()}

    def _density(self) -> Iterator[Row]:
        settings = self.settings
        rows: list[Row] = [{"step": number} for number in range(settings.points)]
        for suffix, operator in self.hessians.items():
            ends = operator.ends(settings.direction_seed, settings.tolerance)
            if ends.smallest is None or ends.largest is None:
                continue
            places, density = operator.density(
                (ends.smallest, ends.largest),
                settings.points,
                settings.iterations,
                (settings.direction_seed, settings.block),
            )
            for row, place, value in zip(rows, places, density, strict=True):
                row |= {f"eigenvalue{suffix}": place, f"density{suffix}": value}
        yield from rows
