"""Spectra of the Hessian: ends, trace and density of trained cells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.landscape import minima
from analysis.landscape.selection import Measures

Array = NDArray[np.float64]

PART = "trainer.part"
FREE = (PART, "trainer.iterations", "trainer.points", "trainer.tolerance")
"""Settings in which measures may differ: ends, probes and densities of one cell belong together."""

SCALED = "_scaled"
"""Ending of columns in filter units: nats, instead of nats per squared parameter."""


@dataclass(frozen=True)
class Density:
    """The spectral density of one trained cell, a mean over Lanczos starts.

    eigenvalues: (points,), increasing. density: (points,), per unit of eigenvalue; its integral is
    1. starts: how many were averaged.
    """

    cell: str
    label: str
    eigenvalues: Array
    density: Array
    starts: int


def densities(measures: Measures, ending: str = "") -> list[Density]:
    """The densities that are measured, in the order of `measures.trained`."""
    value, height = f"eigenvalue{ending}", f"density{ending}"
    rows = measures.rows(value, height).dropna(subset=[value, height])
    result = []
    for cell in measures.trained["cell"].astype(str):
        starts = [start for _, start in rows[rows["of"] == cell].groupby("epoch")]
        if starts:
            result.append(_mean(cell, measures.label(cell), starts, (value, height)))
    return result


def _mean(cell: str, label: str, starts: list[pd.DataFrame], names: tuple[str, str]) -> Density:
    """The mean of several starts at the places of the first."""
    value, height = names
    places = np.sort(starts[0][value].to_numpy(np.float64))
    heights = []
    for start in starts:
        ordered = start.sort_values(value)
        heights.append(np.interp(places, ordered[value], ordered[height]))
    return Density(cell, label, places, np.mean(heights, axis=0), len(starts))


def summary(measures: Measures, ending: str = "") -> pd.DataFrame:
    """One row for each trained cell: cell, label, seed, lambda_max, lambda_min, trace, trace_se
    over `probes`, test_accuracy. NaN where a part is not measured.
    """
    names = [f"{name}{ending}" for name in ("lambda_max", "lambda_min", "trace")]
    rows = measures.rows(*names)
    grouped = rows.groupby("of")
    table = measures.trained_table()
    for name in names[:2]:
        table[name.removesuffix(ending)] = table["cell"].map(grouped[name].first())
    trace = grouped[names[2]]
    table["trace"] = table["cell"].map(trace.mean())
    table["probes"] = table["cell"].map(trace.count()).fillna(0).astype(int)
    table["trace_se"] = table["cell"].map(trace.std(ddof=1) / np.sqrt(trace.count()))
    table["test_accuracy"] = minima.test_accuracy(measures.trained)
    return table
