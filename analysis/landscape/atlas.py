"""A trained sweep with whatever was measured of its cells, as values for one page.

Every scale is that of all cells together, so that panels of two cells can be compared.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit

from analysis import store
from analysis.figure import query
from analysis.landscape import basins, boundary, labels, minima, selection, spectra, surfaces
from analysis.landscape.selection import Measures

Array = NDArray[np.float64]
Values = dict[str, dict[str, Any]]
"""By trained cell: what the page draws of one measure."""

BINS = 30
"""Bars of a histogram of radii, even in the logarithm."""

MOST_POINTS = 100
"""Rows and columns of a boundary on the page; finer ones are thinned."""

FREE: Mapping[str, Sequence[str]] = {
    "surface": (),
    "radius": (),
    "curvature": spectra.FREE,
    "boundary": (),
}
"""The measures that have a place on the page, and the settings in which each may differ."""


@dataclass(frozen=True)
class Atlas:
    """All that the page draws, as JSON values.

    axis: name of the axis below the sweep, `is_log` its scale. quantity: what the values of the
    cells are, test error or, for data without a test set, training loss. cells: for each trained
    cell id, label, seed, x and value. measures: by name, then by cell. scales: ranges of the
    panels, the same for all cells. sources: log folder of each measure. notes: what is left out,
    and why.
    """

    sweep: str
    axis: str
    is_log: bool
    quantity: str
    cells: Sequence[Mapping[str, Any]]
    measures: Mapping[str, Values]
    scales: Mapping[str, Any]
    sources: Mapping[str, str]
    notes: Sequence[str]


def collect(folder: str, where: Sequence[str], axis: str | None) -> Atlas:
    """The finished cells of a trained sweep, and the measures of them in the folders beside it.

    axis: column for the horizontal axis; by default the first in which the cells differ. Raises
    StoreError without logs, and FigureError if no chosen cell is done.
    """
    quantity, runs = _finished(folder, where)
    names = [name for name in query.axes(runs) if name not in ("seed", selection.WEIGHTS_AT)]
    axis = axis or next(iter(names), "seed")
    if axis not in runs:
        raise query.FigureError(
            f"--axis {axis}: no such column; the sweep's axes are\n"
            f"{query.listing(query.axes(runs))}"
        )
    x = [labels.plain(value) for value in runs[axis]]
    measured = _measured(Path(folder), set(runs["cell"].astype(str)))
    scales = _ranges(measured.values) | _count_radii(measured.values.get("radius", {}))
    return Atlas(
        sweep=Path(folder).resolve().name,
        axis=labels.axis(axis),
        is_log=_is_log(x),
        quantity=quantity,
        cells=_cells(runs, names, x),
        measures=measured.values,
        scales=scales,
        sources=measured.sources,
        notes=measured.notes,
    )


def _finished(folder: str, where: Sequence[str]) -> tuple[str, pd.DataFrame]:
    """What is drawn of the trainings, and the chosen ones that are done and have it, as `value`."""
    runs = store.runs(folder)
    _check_trained(folder, runs)
    runs = query.where(runs, where)
    runs = runs[runs["status"] == "done"]
    if runs.empty:
        raise query.FigureError(f"{folder}: none of the chosen trainings is done")
    quantity, values = _quantity(runs)
    return quantity, runs.assign(value=values)[values.notna()]


def _check_trained(folder: str, runs: pd.DataFrame) -> None:
    """FigureError if the folder holds measures, with the folder of the trainings."""
    if selection.OF not in runs or runs[selection.OF].isna().all():
        return
    names = sorted(set(runs[selection.FOLDER].dropna().astype(str)))
    beside = ", ".join(str(Path(folder).parent / Path(name).name) for name in names)
    raise query.FigureError(
        f"{folder}: found measures of the cells of {beside}, expected trainings; give that folder"
    )


def _is_log(values: Sequence[Any]) -> bool:
    """Whether the values are positive numbers that span a factor of 50 or more."""
    if not all(isinstance(value, int | float) for value in values):
        return False
    least, largest = float(min(values)), float(max(values))
    return least > 0 and largest / least >= 50


def _quantity(runs: pd.DataFrame) -> tuple[str, pd.Series]:
    """What is drawn of the trainings: the test error if one of them has it, else the loss."""
    errors = 1 - minima.test_accuracy(runs)
    if errors.notna().any():
        return "test error", errors
    losses = query.numbers(runs, "final_train_eval_loss")
    if losses.isna().all():
        raise query.FigureError("the trainings have neither a test error nor a training loss")
    return "training loss (nats)", losses


def _cells(runs: pd.DataFrame, names: Sequence[str], x: Sequence[Any]) -> list[dict[str, Any]]:
    """The trained cells, those of low values of the axes first."""
    result = []
    for place, row in zip(x, runs.to_dict("records"), strict=True):
        result.append({
            "id": str(row["cell"]), "label": labels.point(row, names), "seed": int(row["seed"]),
            "x": place if isinstance(place, int | float) else labels.text(place),
            "value": float(row["value"]),
        })  # fmt: skip
    return result


@dataclass(frozen=True)
class _Measured:
    """The measures of an atlas: values and log folders by name, and notes on those left out."""

    values: dict[str, Values]
    sources: dict[str, str]
    notes: list[str]


def _measured(folder: Path, cells: set[str]) -> _Measured:
    """What is measured of these trained cells in the folders beside theirs."""
    values: dict[str, Values] = {}
    sources: dict[str, str] = {}
    notes: list[str] = []
    for source, measures in _measures_beside(folder, cells, notes):
        name = str(measures.setting("trainer.name"))
        if name in values:
            notes.append(f"{source.name}: left out, since {sources[name]} has {name} too")
            continue
        by_cell = _VALUES[name](measures)
        values[name] = {str(cell): value for cell, value in by_cell.items() if value}
        sources[name] = source.name
    return _Measured(values, sources, notes)


def _measures_beside(
    folder: Path, cells: set[str], notes: list[str]
) -> Iterator[tuple[Path, Measures]]:
    """Each measure of these trained cells in a folder beside theirs; adds notes on the others."""
    for path, runs in selection.measuring_beside(folder, cells):
        for name in sorted(set(runs["trainer.name"].dropna()) & set(FREE)):
            try:
                measures = selection.load(str(path), name, free=FREE[name])
                yield path, selection.require_finished(measures)
            except query.FigureError as error:
                problem, *_ = query.one_line(error).partition("; choose one")  # of the trainings
                notes.append(f"{path.name}: left out: {problem}")


def _surfaces(measures: Measures) -> Values:
    result = {}
    for surface in surfaces.surfaces(measures):
        heights = np.clip(surface.log_loss(surfaces.HIGHEST), surfaces.LOWEST, surfaces.HIGHEST)
        result[surface.cell] = {
            "x": _rounded(surface.x),
            "y": _rounded(surface.y),
            "z": _rounded(heights),
            "wrong": _rounded(surface.wrong),
            "examples": surface.examples,
        }
    return result


def _radii(measures: Measures) -> Values:
    """Radii that are reached, of each cell; how many are not, and the mean with these at the end
    of the search.
    """
    rows = basins.directions(measures)
    table = basins.radii(measures).set_index("cell")
    means, never = table["mean"], table["never"]
    result = {}
    for cell, drawn in rows.groupby("of"):
        mean = float(means[str(cell)])
        reached = drawn.loc[drawn["status"] != basins.NEVER, "radius"].dropna()
        result[str(cell)] = {"radii": reached.tolist(), "mean": labels.plain(mean),
                             "m": len(drawn), "never": int(never[str(cell)])}  # fmt: skip
    return result


def _curvatures(measures: Measures) -> Values:
    table = spectra.summary(measures).set_index("cell")
    result: Values = {}
    for cell, row in table.iterrows():
        result[str(cell)] = {"lambda_max": labels.plain(row["lambda_max"]),
                             "trace": labels.plain(row["trace"])}  # fmt: skip
    for curve in spectra.densities(measures):
        result[curve.cell] |= {"eigenvalues": [float(f"{v:.4g}") for v in curve.eigenvalues],
                               "density": [float(f"{v:.4g}") for v in curve.density]}  # fmt: skip
    return result


def _boundaries(measures: Measures) -> Values:
    result = {}
    for plane in boundary.boundaries(measures):
        step = math.ceil(len(plane.places) / MOST_POINTS)
        probability = expit(plane.margins[plane.centre][::step, ::step])
        points = plane.points[["x", "y", "label"]].to_numpy(np.float64)
        result[plane.cell] = {
            "places": _rounded(plane.places[::step]),
            "z": _rounded(probability),
            "points": _rounded(points),
        }
    return result


_VALUES: Mapping[str, Callable[[Measures], Values]] = {
    "surface": _surfaces,
    "radius": _radii,
    "curvature": _curvatures,
    "boundary": _boundaries,
}


def _rounded(values: Array) -> list[Any]:
    """Nested lists of values with three decimals; null for what is not measured."""
    rounded = np.round(values.astype(np.float64), 3).astype(object)
    rounded[~np.isfinite(values)] = None
    return list(rounded.tolist())


def _ranges(measures: Mapping[str, Values]) -> dict[str, Any]:
    """Ranges of losses, eigenvalues and densities that hold those of all cells."""
    ranges: dict[str, Any] = {"loss": [surfaces.LOWEST, surfaces.HIGHEST + 0.05]}
    curvatures = measures.get("curvature", {}).values()
    spectra_of_cells = [cell for cell in curvatures if "density" in cell]
    if spectra_of_cells:
        eigenvalues = np.concatenate([cell["eigenvalues"] for cell in spectra_of_cells])
        ranges["eigenvalue"] = [float(eigenvalues.min()), float(eigenvalues.max())]
        ranges["density"] = max(max(cell["density"]) for cell in spectra_of_cells)
    return ranges


def _count_radii(by_cell: Values) -> dict[str, Any]:
    """Replace the radii of each cell by their histogram, whose bins all cells share.

    Returns the centres of the bins as `radius`, and the largest count as `count`.
    """
    cells = by_cell.values()
    radii = np.concatenate([[], *(cell["radii"] for cell in cells)])
    if not radii.size:
        return {}
    edges = np.geomspace(radii.min() / 1.01, radii.max() * 1.01, BINS + 1)
    largest = 0
    for cell in cells:
        counts = np.histogram(cell.pop("radii"), edges)[0]
        cell["counts"] = counts.tolist()
        largest = max(largest, int(counts.max()))
    return {"radius": np.sqrt(edges[1:] * edges[:-1]).tolist(), "count": largest}
