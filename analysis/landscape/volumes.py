"""Lower bounds of the volume of basins, from the terms of many proposals (Huang et al. 2020).

The volume of a star-shaped basin is the mean of omega_n mult^n det P over random directions, for
any preconditioner P. A mean of few such terms is decided by the largest and lies far below: a bound
that grows with their number m. So it is always given with m, and bounds compare only at equal m, n,
cut and samples.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from scipy.special import logsumexp

from analysis.figure import query
from analysis.landscape import minima
from analysis.landscape.basins import NEVER, UNDEFINED
from analysis.landscape.selection import Measures

PRECONDITIONER, DAMPING = "trainer.preconditioner", "trainer.damping"
FREE = (PRECONDITIONER, DAMPING)
"""Settings in which the measures may differ: the largest bound counts."""


def log10_mean(log10_values: np.ndarray) -> float:
    """log10 of the mean of powers of ten. log10_values: (m,)."""
    natural = np.asarray(log10_values, np.float64) * math.log(10)
    return float((logsumexp(natural) - math.log(len(natural))) / math.log(10))


def volumes(measures: Measures) -> pd.DataFrame:
    """One row for each trained cell and preconditioner.

    cell, label, seed, preconditioner; log10_volume, in parameters; log10_volume_scaled, in the
    coordinates of the preconditioner; log10_gauss, of the Gaussian measure; terms_sd of log10
    terms; m proposals, `never` of them without a crossing; largest, whether the bound is that of
    the cell; test_accuracy and minimum as for radii. Bounds are NaN if the loss is above the cut.

    Raises FigureError if the cells differ in their number of weights or of training samples.
    """
    _check_comparable(measures)
    rows = measures.rows("log10_term", "log10_prob_gauss", "log10_det", "status")
    names = dict(zip(measures.finished["cell"].astype(str), _names(measures.finished), strict=True))
    rows = rows.assign(preconditioner=rows["cell"].map(names))
    records = []
    for (cell, name), terms in rows.groupby(["of", "preconditioner"]):
        records.append({"cell": cell, "preconditioner": name, **_bounds(terms)})
    table = _trained(measures).merge(pd.DataFrame(records), on="cell")
    _check_counts(table)
    best = table.groupby("cell")["log10_volume"].transform("max")
    return table.assign(largest=table["log10_volume"] == best)


def _names(cells: pd.DataFrame) -> list[str]:
    """Preconditioners in words; the damping matters to the Jacobian's alone."""
    names = []
    for row in cells.to_dict("records"):
        name = str(row[PRECONDITIONER])
        names.append(f"{name} {row[DAMPING]:g}" if name == "jacobian" else name)
    return names


def _bounds(terms: pd.DataFrame) -> dict[str, float]:
    """The bounds from the terms of one cell and preconditioner."""
    counts = {"m": len(terms), "never": int((terms["status"] == NEVER).sum())}
    if (terms["status"] == UNDEFINED).any():
        names = ("log10_volume", "log10_volume_scaled", "log10_gauss", "terms_sd")
        return {**dict.fromkeys(names, math.nan), **counts}
    values = terms["log10_term"].to_numpy(np.float64)
    volume = log10_mean(values)
    return {
        "log10_volume": volume,
        "log10_volume_scaled": volume - float(terms["log10_det"].iloc[0]),
        "log10_gauss": log10_mean(terms["log10_prob_gauss"].to_numpy(np.float64)),
        "terms_sd": float(values.std(ddof=1)) if len(values) > 1 else math.nan,
        **counts,
    }


def _trained(measures: Measures) -> pd.DataFrame:
    """A row for each trained cell, with its test accuracy and whether it is a minimum."""
    trained, kappa = measures.trained, float(measures.setting("trainer.kappa"))
    table = measures.trained_table()
    table["test_accuracy"] = minima.test_accuracy(trained)
    table["minimum"] = minima.is_minimum(trained, kappa)
    return table


def _check_comparable(measures: Measures) -> None:
    """FigureError if volumes are of different numbers of weights or samples."""
    for name, column in (("weights", "dimensions"), ("training samples", "data.train_samples")):
        values = sorted(set(query.numbers(measures.finished, column).dropna()))
        if len(values) > 1:
            shown = ", ".join(f"{value:,.0f}" for value in values)
            raise query.FigureError(
                f"volumes of different numbers of {name} cannot be compared: {shown}; choose one "
                "kind of trained cells with --where"
            )


def _check_counts(table: pd.DataFrame) -> None:
    """FigureError if cells have different numbers of proposals: more give a larger bound."""
    for name, rows in table.groupby("preconditioner"):
        counts = sorted(set(rows["m"]))
        if len(counts) > 1:
            shown = ", ".join(str(count) for count in counts)
            raise query.FigureError(
                f"bounds from different numbers of proposals cannot be compared: {name} has "
                f"{shown}; wait until all blocks are done, or choose some with "
                "--where trainer.block=0,1"
            )
