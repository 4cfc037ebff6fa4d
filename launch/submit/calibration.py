"""The cells of a calibration: short runs of the smallest and largest cells of a sweep, to estimate
what it costs and check that it starts.

They run through the sweep's own launcher, as a separate sweep in `logs/NAME/calibration`. They are
never results of the sweep; its cost is estimated from their times.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from launch.cost import rates
from launch.errors import UserError
from launch.plan import identity
from launch.plan.plan import CALIBRATION
from launch.sweep.adaptive import calibration_cells
from launch.sweep.reading import needs_trained_cell
from launch.sweep.request import (
    AUTO,
    CALIBRATION_EPOCHS,
    CALIBRATION_STEPS,
    Cell,
    Concurrency,
    Policy,
    Request,
)

MOST = 16
"""At most this many cells are calibrated: the smallest and largest of each family."""


def calibration_request(
    request: Request,
    epochs: int = CALIBRATION_EPOCHS,
    steps: int = CALIBRATION_STEPS,
    count: int | None = None,
) -> Request:
    """The calibration of a sweep: `count` copies of each of its extremes, trained together in one
    task.

    Without a count, the number comes from the packing, or is one if the packing sets none.
    """
    number = count or fixed_concurrency(request.packing.at_a_time)
    cells = []
    calibrated = calibrated_cells(request)
    for cell in smallest_and_largest(calibrated):
        if needs_trained_cell(cell.flat):
            cells += _measures_like(cell, calibrated, number or 1)
        else:
            cells += _copies(_shortened(cell, epochs, steps), number or 1)
    return replace(
        request,
        name=CALIBRATION,
        logs=request.folder,
        cells=cells,
        again=(),  # a condition on the cells of the sweep
        searches=(),
        packing=replace(request.packing, cells=number or 1, at_a_time=number),
        policy=Policy(),
    )


def calibrated_cells(request: Request) -> Sequence[Cell]:
    """The cells from which a calibration takes the smallest and largest.

    A search has no cells before its first results: the ends of its first round stand for them.
    """
    return request.cells or calibration_cells(request.searches)


def smallest_and_largest(cells: Sequence[Cell]) -> list[Cell]:
    """The smallest and largest cell of each family by `model.width`; at most MOST.

    The cells of a family share all settings that affect the speed, except the width. If there are
    more than MOST, evenly spaced ones are taken.
    """
    ends = _ends_of_families(cells)
    places = np.linspace(0, len(ends) - 1, min(MOST, len(ends))).round().astype(int)
    return [ends[place] for place in np.unique(places)]


def covers_all_families(cells: Sequence[Cell]) -> bool:
    """Whether `smallest_and_largest` includes every family of these cells."""
    return len(_ends_of_families(cells)) <= MOST


def _ends_of_families(cells: Sequence[Cell]) -> list[Cell]:
    """The smallest and largest cell of each family, by width."""
    if not cells:
        return []
    flats = pd.DataFrame([dict(cell.flat) for cell in cells])
    width = pd.Series(0, flats.index)
    if rates.WIDTH in flats:
        width = pd.to_numeric(flats[rates.WIDTH])
    rows: set[int] = set()
    families = rates.width_families(flats)
    for family in np.unique(families):
        members = np.flatnonzero(families == family)
        widths = width.to_numpy()[members]
        rows |= {int(members[widths.argmin()]), int(members[widths.argmax()])}
    return [cells[row] for row in sorted(rows, key=lambda row: (width[row], row))]


def fixed_concurrency(at_a_time: int | Literal["auto"] | None) -> Concurrency:
    """How many copies a calibration without a count trains at a time; None for one per core."""
    return 1 if at_a_time == AUTO else at_a_time


def _copies(flat: Mapping[str, Any], count: int) -> list[Cell]:
    """Copies that train at the same time. No two counts share a seed: 0; 1, 2; 3, 4, 5."""
    first = count * (count - 1) // 2
    flats = [{**flat, "seed": seed} for seed in range(first, first + count)]
    return [Cell(identity.cell_id(flat), flat) for flat in flats]


def _measures_like(cell: Cell, cells: Sequence[Cell], count: int) -> list[Cell]:
    """Measures as fast as `cell`, to run at the same time: blocks of the sweep as they are.

    A measure has the seed of its trained cell, so copies cannot have seeds of their own. No two
    counts share a cell, if the sweep has enough.
    """
    group, groups = rates.speed_groups(flats_of([cell]), flats_of(cells))
    like = [other for other, number in zip(cells, groups, strict=True) if number == group[0]]
    first = count * (count - 1) // 2
    unshared = like[first : first + count]
    return unshared if len(unshared) == count else like[:count]


def _shortened(cell: Cell, epochs: int, steps: int) -> dict[str, Any]:
    key, most = "trainer.epochs", epochs
    if cell.flat.get("trainer.steps") is not None:
        key, most = "trainer.steps", steps
    if key not in cell.flat:
        raise UserError(
            f"calibrate: the trainer {cell.flat['trainer.name']} has neither trainer.epochs nor "
            "trainer.steps, so its trainings cannot be shortened; submit a few cells instead"
        )
    return {**cell.flat, key: min(most, cell.flat[key])}


def flats_of(cells: Sequence[Cell]) -> pd.DataFrame:
    """The configurations of cells as a table."""
    return pd.DataFrame([dict(cell.flat) for cell in cells])
