"""Measures of the weights of several epochs: a value over an axis of the training and over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis import store
from analysis.figure import query
from analysis.figure.names import quantity
from analysis.landscape import basins, selection
from analysis.landscape.selection import OF, Measures

Array = NDArray[np.float64]

WEIGHTS = "trainer.weights"
FREE = (WEIGHTS,)
"""Settings in which the measures of one figure differ: the epoch of the weights."""

SHARPNESS, RADIUS = "sharpness", "radius"
COLUMNS: Mapping[str, str] = {SHARPNESS: "sharpness_ascent", RADIUS: "radius"}
"""The metric of each measure that has a place in the figure."""

WITHOUT_RADIUS = (
    "; a cell has no radius where its loss is above the cut: measure later epochs "
    "(trainer.weights) or raise the cut (trainer.kappa)"
)


@dataclass(frozen=True)
class OverTime:
    """One quantity over an axis and time.

    table: a row for each value of the axis and epoch: value, epoch, mean over seeds, seeds (how
    many). by_seed: a row for each seed too, with `result`. planned: the last planned epoch.
    """

    table: pd.DataFrame
    by_seed: pd.DataFrame
    planned: int

    @property
    def values(self) -> list[float]:
        """The values of the axis, rising."""
        return sorted(set(self.table["value"]))


def checked(measures: Measures, column: str) -> Measures:
    """The measures of trained cells with a number in `column`, with notes on those that are left
    out and on axes that change together with it; FigureError if none is left, or another axis
    varies.
    """
    trained, left_out = query.with_number(measures.trained, column, "trained cell")
    axes = trained.drop(columns=[selection.WEIGHTS_AT], errors="ignore")
    notes = (*measures.notes, *left_out, *query.check_axes(axes, column))
    cells = measures.cells[measures.cells[OF].isin(trained["cell"])]
    return replace(measures, cells=cells, trained=trained, notes=notes)


def check_same_trainings(folders: Sequence[Measures]) -> None:
    """Raise FigureError unless all folders measure trainings of one sweep."""
    first = set(folders[0].trained["cell"])
    for measures in folders[1:]:
        cells = set(measures.trained["cell"])
        if not (cells <= first or first <= cells):
            raise query.FigureError(
                f"{measures.folder}: found measures of other trainings than in "
                f"{folders[0].folder}, expected those of the same; draw the folders apart"
            )


def measured(measures: Measures, column: str) -> OverTime:
    """The measure at every epoch of which it has the weights: a mean over rows and blocks, then
    over seeds.

    A radius that is not defined leaves its cell out, and one that is never reached counts as the
    end of the search. Raises FigureError for a measure that is no number of a network, and if no
    cell has a value above 0, which the logarithmic colours show.
    """
    name = str(measures.setting("trainer.name"))
    if name not in COLUMNS:
        raise query.FigureError(
            f"{measures.folder}: found trainer={name}, expected one of {', '.join(COLUMNS)}"
        )
    cells = measures.finished.assign(cell=measures.finished["cell"].astype(str))
    trained = measures.trained.set_index("cell")
    rows = basins.directions(measures) if name == RADIUS else measures.rows(COLUMNS[name])
    result = rows[COLUMNS[name]].astype("float64").groupby(rows["cell"]).mean()
    if not (result > 0).any():
        count = quantity(len(cells), "finished cell")
        raise query.FigureError(
            f"{measures.folder}: found no {name} above 0 in {count}, expected "
            f"one at least{WITHOUT_RADIUS if name == RADIUS else ''}"
        )
    places = pd.DataFrame({
        "value": cells[OF].map(trained[column]).astype(float),
        "epoch": _epochs(cells, trained), "seed": cells[OF].map(trained["seed"]),
        "result": cells["cell"].map(result),
    })  # fmt: skip
    return _over_seeds(places, int(trained["trainer.epochs"].max()))


def _epochs(cells: pd.DataFrame, trained: pd.DataFrame) -> pd.Series:
    """The epoch of the weights of each measure; for final ones that of the last row, which can be
    before the last planned one.
    """
    last = cells[OF].map(query.numbers(trained, "epochs").fillna(trained["trainer.epochs"]))
    listed = pd.to_numeric(cells[WEIGHTS], errors="coerce")
    return listed.fillna(last).astype(int)


def test_errors(measures: Measures, column: str) -> OverTime:
    """The test error of the trained cells at the end of all epochs that were logged."""
    trained = measures.trained.set_index("cell")
    folder = selection.present(measures.folder, str(measures.setting(selection.FOLDER)))
    rows = store.curves(Path(folder), ["epoch", "test_error"], list(trained.index))
    rows = rows[~rows.duplicated(["cell", "epoch"], keep="last")]
    if rows["test_error"].notna().sum() == 0:
        raise query.FigureError(f"{folder}: found no test_error of the trained cells at any epoch")
    cells = rows["cell"].astype(str)
    places = pd.DataFrame({
        "value": cells.map(trained[column]).astype(float), "epoch": rows["epoch"].astype(int),
        "seed": cells.map(trained["seed"]), "result": rows["test_error"].astype("float64"),
    })  # fmt: skip
    return _over_seeds(places, int(trained["trainer.epochs"].max()))


def _over_seeds(places: pd.DataFrame, planned: int) -> OverTime:
    """Means over the seeds of every point that has a result; a seed can have it in blocks."""
    with_result = places.dropna(subset=["result"])
    by_seed = with_result.groupby(["value", "epoch", "seed"])["result"].mean().reset_index()
    grouped = by_seed.groupby(["value", "epoch"])["result"]
    table = grouped.agg(mean="mean", seeds="count").reset_index()
    return OverTime(table, by_seed, planned)


def beside(one: OverTime, other: OverTime) -> pd.DataFrame:
    """The results of two quantities at the points and seeds that have both: value, epoch, seed, x
    and y.
    """
    point = ["value", "epoch", "seed"]
    x = one.by_seed.set_index(point).rename(columns={"result": "x"})
    y = other.by_seed.set_index(point).rename(columns={"result": "y"})
    return x.join(y, how="inner").reset_index()
