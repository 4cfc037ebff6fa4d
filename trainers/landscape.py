"""Measures of trained cells: a loop over units of work, each with rows of its own.

    redescent submit minima_small_radius

`trainer.of` names the trained cell. Its weights are checked before anything is measured. A unit is
a direction, a row of a grid, a point or a frame; a measure that is stopped continues with the next
unit, and gives the same rows. The measures are in trainers/cell_measures, one a file, and their
mathematics is in trainers/measures.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any

from trainers import precision, trained
from trainers.config import MeasureCell, imported
from trainers.measures import directions
from trainers.measures.samples import Point
from trainers.run import Outcome, Run
from trainers.trained import Trained

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
        gpu=precision.gpu_name(network.device),
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


def loss_columns(point: Point) -> Row:
    """Columns `loss` and `wrong`; a loss that is no number is null."""
    is_number = point.loss is not None and not math.isnan(point.loss)
    columns: Row = {"loss": point.loss if is_number else None, "wrong": point.wrong}
    return columns
