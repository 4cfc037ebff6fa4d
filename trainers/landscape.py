"""Measures of trained cells: a loop over units of work, each with rows of its own.

    redescent submit minima_small_radius

`trainer.of` names the trained cell. Its weights are checked before anything is measured. A unit is
a direction, a row of a grid, a point or a frame; a measure that is stopped continues with the next
unit, and gives the same rows. The mathematics is in trainers/measures.
"""

from __future__ import annotations

import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainers import trained, weights
from trainers.config import MeasureCell, imported
from trainers.config import measure as settings
from trainers.measures import ascent, basin, directions, hessian, paths, sharpness
from trainers.measures.basin import Crossing, Cut, Ray
from trainers.measures.directions import Direction
from trainers.measures.samples import Point, cross_entropy, sum_losses
from trainers.measures.surface import Plane, grid
from trainers.run import Outcome, Run
from trainers.trained import Trained

log = logging.getLogger(__name__)

Row = dict[str, Any]


def train(cell: MeasureCell, run: Run) -> Outcome:
    """Measure the trained cell that `cell` names, from the newest checkpoint or from the start.

    Returns "done", or "stopped" (a checkpoint was written between two units). Raises what
    `trained.load` raises.
    """
    network = trained.load(cell)
    measure: Measure = imported(cell.trainer.measure)(network)
    data_hash = network.data.facts["data_hash"]
    run.add_facts(
        data_hash=data_hash,
        of_data_hash=network.owner.data_hash,
        of_code=network.owner.code,
        norm_weights=directions.weight_norm(network.model),
        dimensions=directions.dimensions(network.model),
        parameters=sum(p.numel() for p in network.model.parameters()),
        gpu=torch.cuda.get_device_name(network.device) if network.device.type == "cuda" else None,
    )
    return _loop(measure, run, data_hash)


def _loop(measure: Measure, run: Run, data_hash: str) -> Outcome:
    """The remaining units of a measure."""
    state = run.restore({"data_hash": data_hash})
    unit, logged = (state["unit"], state["logged"]) if state else (0, 0)
    if state:
        measure.load(state["measure"])
    while unit < measure.units:
        if run.should_stop():
            run.checkpoint(_state(measure, unit, logged, data_hash), logged)
            return "stopped"
        for row in measure.rows(unit):
            step = row.pop("step", 0)
            examples = row.pop("examples", measure.examples)
            run.log(epoch=measure.first + unit, step=step, examples=examples, **row)
            logged += 1
        unit += 1
        if run.checkpoint_due():
            run.checkpoint(_state(measure, unit, logged, data_hash), logged)
    run.add_facts(**measure.facts())
    return "done"


def _state(measure: Measure, unit: int, logged: int, data_hash: str) -> dict[str, Any]:
    """All that the next unit depends on."""
    return {"unit": unit, "logged": logged, "measure": measure.state(), "data_hash": data_hash}


class Measure(ABC):
    """One measure of a trained network: its units, their rows, and facts of the whole."""

    first = 0
    """Number of the first unit in the whole measure."""

    def __init__(self, network: Trained) -> None:
        self.network = network
        self.units = network.cell.trainer.units
        self.examples = len(network.samples)

    @abstractmethod
    def rows(self, unit: int) -> Iterator[Row]:
        """The rows of a unit, with their columns, and `step` where it is not 0."""

    def facts(self) -> Mapping[str, Any]:
        """Columns of the runs table, once all units are done."""
        return {}

    def state(self) -> dict[str, Any]:
        """What later units depend on, as plain values."""
        return {}

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore what `state` returned."""
        assert not state


class Radius(Measure):
    """Distance to the first crossing of a loss cut, along one block of random directions."""

    def __init__(self, network: Trained) -> None:
        super().__init__(network)
        assert isinstance(network.cell.trainer, settings.Radius)
        self.settings = network.cell.trainer
        self.first = self.settings.block * self.units
        self.landscape = network.landscape()
        base = _base_loss(network)
        kappa = self.settings.kappa + (base if self.settings.above_base else 0.0)
        self.cut = Cut(base, kappa, self.settings.c_max)
        self.radii: list[float | None] = []
        self.statuses: list[int] = []

    def rows(self, unit: int) -> Iterator[Row]:
        """The radius along one direction; the search starts near the median of those before."""
        own, index = self.settings, self.first + unit
        direction = directions.draw(self.network.model, own.directions, own.direction_seed, index)
        plane = self.landscape.along([direction])
        crossings = [radius for radius in self.radii if radius is not None]
        median = float(np.median(crossings)) if crossings else None
        crossing = basin.first_crossing(lambda c: plane.at(c).value, self.cut, median)
        row: Row = {"radius": crossing.radius, "status": crossing.status}
        if crossing.radius is not None:
            row["radius_l2"] = crossing.radius * directions.norm(direction)
        if index % own.audit_every == 0 and self.cut.is_defined:
            row |= self._audit(plane, crossing, index)
        self.radii.append(crossing.radius)
        self.statuses.append(crossing.status)
        yield {**row, "evaluations": plane.evaluations}

    def _audit(self, plane: Plane, crossing: Crossing, index: int) -> Row:
        """The radius by a scan of the whole direction, and the status where it is another one."""
        limit = self.cut.kappa
        scan = basin.audit(lambda c: plane.at(c, above=limit).value, self.cut)
        row: Row = {"audit_radius": scan.radius}
        if basin.differ(crossing, scan):
            row["status"] = basin.AUDIT_DIFFERS
            message = "direction %d: radius %s, and %s by the full scan"
            log.warning(message, index, crossing.radius, scan.radius)
        return row

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


class Volume(Measure):
    """Terms of a lower bound of the volume below the cut, from one block of random proposals."""

    def __init__(self, network: Trained) -> None:
        super().__init__(network)
        assert isinstance(network.cell.trainer, settings.Volume)
        self.settings = network.cell.trainer
        self.first = self.settings.block * self.units
        self.landscape = network.landscape()
        self.base = _base_loss(network)
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
        own, model = self.settings, self.network.model
        proposal = directions.proposal(model, self.scales, own.direction_seed, self.first + unit)
        plane = self.landscape.along([proposal])
        length = directions.norm(proposal)
        cut = Cut(self.base, own.kappa, own.c_max * self.weight_norm / length)
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


class Surface(Measure):
    """Loss on some rows of a square grid in a plane around the weights."""

    def __init__(self, network: Trained) -> None:
        super().__init__(network)
        assert isinstance(network.cell.trainer, settings.Surface)
        self.settings = own = network.cell.trainer
        self.first = own.block * settings.ROWS_PER_BLOCK
        self.coordinates = grid(own.points, own.span, own.spacing)
        self.axes = self._axes()
        self.plane = network.landscape().along(self.axes)

    def _axes(self) -> list[Direction]:
        own, model = self.settings, self.network.model
        if own.plane == "pca":
            _, snapshots = weights.read_path(self.network.folder, own.of)
            return paths.principal_plane(model, [s.arrays for s in snapshots]).axes(model)
        if own.plane == "eigenvector":
            sizes = directions.filter_sizes(model)
            operator = hessian.Hessian(model, self.network.samples, sizes)
            length = directions.weight_norm(model)
            axes = operator.steepest(2, own.direction_seed, length)
            return [directions.like(model, axis) for axis in axes]
        return [directions.draw(model, own.plane, own.direction_seed, index) for index in (0, 1)]

    def rows(self, unit: int) -> Iterator[Row]:
        """One row of the grid: y is fixed, x runs."""
        y = self.coordinates[self.first + unit]
        for column, x in enumerate(self.coordinates):
            point = self.plane.at(x, y, above=self.settings.cap)
            yield {"step": column, "x": x, "y": y, "capped": int(point.loss is None)} | _columns(
                point
            )

    def facts(self) -> Mapping[str, Any]:
        """Cosine of the angle between the two directions."""
        first, second = self.axes
        lengths = directions.norm(first) * directions.norm(second)
        return {"cosine": directions.dot(first, second) / lengths if lengths else None}


class Line(Measure):
    """Loss on the straight line between two trained networks; all parameters move."""

    def __init__(self, network: Trained) -> None:
        super().__init__(network)
        assert isinstance(network.cell.trainer, settings.Line)
        own = network.cell.trainer
        self.places = paths.places_on_line(own.low, own.high, own.points)
        self.units = len(self.places)
        other = network.other_weights(own.to)
        self.line = paths.Line(network.model, other.arrays)
        self.landscape = network.landscape()
        self.test = network.test_samples()
        self.losses: list[float] = []

    def rows(self, unit: int) -> Iterator[Row]:
        """Training and test loss at one point."""
        t = self.places[unit]
        model = self.network.model
        with self.line.at(t), self.landscape.recalibrated():
            point = self.landscape.centre()
            row: Row = {"t": t, **_columns(point)}
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


class Boundary(Measure):
    """Logit differences on a grid of two-dimensional inputs, frame by frame along a direction."""

    def __init__(self, network: Trained) -> None:
        super().__init__(network)
        assert isinstance(network.cell.trainer, settings.Boundary)
        self.settings = own = network.cell.trainer
        trained.check_plane(network)
        self.coordinates = grid(own.frames, own.amplitude, "quintic")
        self.direction = directions.draw(network.model, "filter", own.direction_seed, 0)
        self.sizes = directions.filter_sizes(network.model)
        self.landscape = network.landscape()
        self.inputs = trained.input_grid(network, own.points, own.extent)

    def rows(self, unit: int) -> Iterator[Row]:
        """One row for the frame, then one for each point of the grid; for the weights themselves
        also one for each sample.
        """
        coordinate, points = self.coordinates[unit], self.settings.points
        with self.landscape.moved([self.direction], [coordinate]) as model:
            point = self.landscape.centre()
            margins = _margins(model, self.inputs, self.network.samples.batch)
            largest = self._largest_eigenvalue()
        assert point.wrong is not None  # it is counted where the loss has no limit
        right = 1 - point.wrong / self.examples
        frame: Row = {"frame": unit, "c": coordinate, "accuracy": right, **_columns(point)}
        del frame["wrong"]
        yield {**frame, "lambda_max_scaled": largest}
        for place, margin in enumerate(margins):
            y_index, x_index = divmod(place, points)
            yield {
                "step": 1 + place,
                "frame": unit,
                "x_index": x_index,
                "y_index": y_index,
                "margin": margin,
            }
        if unit == self.units // 2:
            yield from self._samples(1 + len(margins))

    def _samples(self, step: int) -> Iterator[Row]:
        """One row for each sample of the measure; the first is at `step`."""
        network = self.network
        margins = _margins(network.model, network.samples.inputs, network.samples.batch)
        labels = network.samples.targets.tolist()
        places = trained.plane_points(network)
        for (x, y), label, margin in zip(places, labels, margins, strict=True):
            yield {
                "step": step,
                "point_x": x,
                "point_y": y,
                "point_label": label,
                "margin": margin,
            }
            step += 1

    def _largest_eigenvalue(self) -> float | None:
        """Of the Hessian at the present weights, in filter units of the trained ones; None for a
        single frame, which `curvature` measures.
        """
        if self.units == 1:
            return None
        operator = hessian.Hessian(self.network.model, self.network.samples, self.sizes)
        return operator.ends(self.settings.direction_seed, 1e-3).largest


class Curvature(Measure):
    """Ends of the Hessian's spectrum, a probe of its trace, or a Lanczos run for its density."""

    def __init__(self, network: Trained) -> None:
        super().__init__(network)
        assert isinstance(network.cell.trainer, settings.Curvature)
        self.settings = network.cell.trainer
        self.first = self.settings.block
        sizes = directions.filter_sizes(network.model)
        self.hessians = {
            suffix: hessian.Hessian(network.model, network.samples, scales)
            for suffix, scales in (("", None), ("_scaled", sizes))
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
        own = self.settings
        rows: list[Row] = [{"step": number} for number in range(own.points)]
        for suffix, operator in self.hessians.items():
            ends = operator.ends(own.direction_seed, own.tolerance)
            if ends.smallest is None or ends.largest is None:
                continue
            places, density = operator.density(
                (ends.smallest, ends.largest),
                own.points,
                own.iterations,
                (own.direction_seed, own.block),
            )
            for row, place, value in zip(rows, places, density, strict=True):
                row |= {f"eigenvalue{suffix}": place, f"density{suffix}": value}
        yield from rows


class Sharpness(Measure):
    """The largest rise of the loss nearby, and Keskar's sharpness."""

    def rows(self, unit: int) -> Iterator[Row]:
        """One row."""
        own = self.network.cell.trainer
        assert isinstance(own, settings.Sharpness)
        landscape = self.network.landscape()
        rise = ascent.rise(landscape, own.rho, own.steps, own.direction_seed)
        samples, model = self.network.samples, self.network.model

        def loss() -> Tensor:
            parts = [
                landscape.loss(model(samples.inputs[batch]), samples.targets[batch]).sum()
                for batch in samples.batches()
            ]
            return torch.stack(parts).sum() / len(samples)

        yield {
            "sharpness_one_step": rise.one_step,
            "sharpness_ascent": rise.ascent,
            "keskar": sharpness.sharpness(list(model.parameters()), loss, own.direction_seed),
        }


@torch.inference_mode()
def _margins(model: torch.nn.Module, inputs: Tensor, batch: int) -> list[float]:
    """Logit of class 1 minus that of class 0 for every input."""
    margins: list[float] = []
    for block in torch.split(inputs, batch):
        logits = model(block)
        margins += (logits[:, 1] - logits[:, 0]).tolist()
    return margins


def _base_loss(network: Trained) -> float:
    """The loss of the weights on the samples of the measure, infinite for NaN."""
    landscape = network.landscape()
    with landscape.recalibrated():
        loss = landscape.centre().value
    return loss if math.isfinite(loss) else math.inf


def _columns(point: Point) -> Row:
    """Columns `loss` and `wrong`; a loss that is no number is null."""
    is_number = point.loss is not None and not math.isnan(point.loss)
    columns: Row = {"loss": point.loss if is_number else None, "wrong": point.wrong}
    return columns
