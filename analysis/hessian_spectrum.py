"""The Hessian of the training loss at trained cells: spectral density, largest eigenvalue, trace.

    python analysis/hessian_spectrum.py logs/NAME [--out figures] [--where seed=0] [--scaled]

NAME is a sweep of trainer=curvature with trainer.part: [ends, probe, density] in its axes; a figure
of fewer parts shows what they measure. At the left the density of one seed: from Lanczos runs, so
its shape is an estimate, and single eigenvalues are not to be read off. At the right largest
eigenvalue (dots) and trace (squares, with standard errors over probes) of all cells against test
accuracy. With --scaled in filter units, which do not change when weights before a batch norm are
rescaled. Writes STEM.png, STEM.pdf, STEM.csv (a row for each cell), STEM_density.csv and STEM.json.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator

from analysis.figure import names, output, query, style
from analysis.landscape import plot, selection, spectra
from analysis.landscape.spectra import Density

LINEAR = 1e-3  # eigenvalues nearer to zero are drawn on a linear scale
LOWEST = 1e-6  # densities below are not drawn
MARKS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "lambda_max": ("largest eigenvalue", {"marker": "o"}),
    "trace": ("trace", {"marker": "s", "mfc": "white"}),
}
"""Name and marker of the columns at the right."""

Colours = Mapping[str, tuple[float, float, float]]


def draw(curves: Sequence[Density], table: pd.DataFrame, unit: str, text: str) -> Figure:
    """Densities at the left, if there are any; eigenvalues and traces at the right."""
    names = list(dict.fromkeys(table["label"]))
    look = dict(zip(names, plot.colours(len(names)), strict=True))
    with style.themed():
        figure = Figure(figsize=(11.0 if curves else 6.6, 4.4), layout="constrained")
        axes = figure.subplots(1, 2 if curves else 1, squeeze=False)[0]
        if curves:
            _densities(axes[0], curves, look, unit)
        marks = _summary(axes[-1], table, look, unit)
        handles = marks if len(marks) > 1 else []
        if len(names) > 1:
            handles += [Line2D([], [], color=look[name], lw=4, label=name) for name in names]
        if handles:
            figure.legend(handles=handles, loc="outside right center", fontsize=8.5, frameon=True)
        plot.foot(figure, text)
    return figure


def _densities(axes: Axes, curves: Sequence[Density], look: Colours, unit: str) -> None:
    for curve in curves:
        axes.plot(curve.eigenvalues, curve.density, color=look[curve.label])
    axes.set_yscale("log")
    axes.set_ylim(bottom=LOWEST)
    axes.set_xscale("symlog", linthresh=LINEAR)
    powers = 100.0 ** np.arange(-1, 6)  # matplotlib's own ticks overlap near zero
    axes.xaxis.set_major_locator(FixedLocator([*-powers, 0.0, *powers]))
    axes.set_xlabel(f"eigenvalue ({unit})")
    axes.set_ylabel(f"density (1 / ({unit}))")


def _summary(axes: Axes, table: pd.DataFrame, look: Colours, unit: str) -> list[Line2D]:
    """What is measured of the two, over test accuracy; returns legend entries of the marks."""
    for row in table.to_dict("records"):
        x, colour = 100 * row["test_accuracy"], look[row["label"]]
        axes.plot(x, row["lambda_max"], "o", color=colour, ms=6)
        bars: dict[str, Any] = {"yerr": row["trace_se"], "fmt": "s", "ms": 5, "mfc": "white"}
        axes.errorbar(x, row["trace"], color=colour, **bars)
    axes.set_yscale("log")
    axes.set_xlabel("test accuracy (%)")
    drawn = {name: MARKS[name] for name in MARKS if table[name].notna().any()}
    axes.set_ylabel(f"{', '.join(label for label, _ in drawn.values())} ({unit})")
    handles = []
    for label, look_of in drawn.values():
        handles.append(Line2D([], [], label=label, color="0.3", ls="", **look_of))
    return handles


def sentences(table: pd.DataFrame) -> list[str]:
    """What is measured of each cell, and which part of the measure is missing."""
    lines = []
    for row in table.to_dict("records"):
        texts = []
        if pd.notna(row["lambda_max"]):
            texts.append(f"eigenvalues {row['lambda_min']:.3g} to {row['lambda_max']:.3g}")
        if pd.notna(row["trace"]):
            error = f" +- {row['trace_se']:.2g}" if row["probes"] > 1 else ", one probe"
            texts.append(f"trace {row['trace']:.3g}{error}")
        text = ", ".join(texts) or "neither eigenvalues nor trace measured"
        lines.append(f"{row['label']}, seed {row['seed']}: {text}")
    for column, part in (("lambda_max", "ends"), ("trace", "probe")):
        if table[column].isna().all():
            lines.append(f"{MARKS[column][0]} not measured: add trainer.part={part} to the sweep")
    return lines


def caption(measures: selection.Measures, curves: Sequence[Density], table: pd.DataFrame) -> str:
    """How densities and traces were measured; empty if neither is."""
    parts = []
    if curves:
        starts = names.quantities((curve.starts for curve in curves), "Lanczos start")
        parts.append(f"densities from {starts}")
    if table["trace"].notna().any():
        probes = table["probes"][table["trace"].notna()]
        parts.append(f"traces from {names.quantities(probes.tolist(), 'probe')}")
    return "; ".join(filter(None, [*parts, measures.batch_norm()]))


def make(options: argparse.Namespace) -> None:
    """Query, reduce, draw, write."""
    ending = spectra.SCALED if options.scaled else ""
    unit = "nats" if options.scaled else "nats / parameter²"
    loaded = selection.load(options.folder, "curvature", options.where, spectra.FREE)
    measures = selection.require_finished(loaded)
    table = spectra.summary(measures, ending)
    if table[["lambda_max", "trace"]].isna().all(axis=None):
        raise query.FigureError(
            "neither largest eigenvalues nor traces are measured; add trainer.part=ends and "
            "trainer.part=probe to the sweep"
        )
    curves = spectra.densities(selection.one_seed(measures), ending)
    record = measures.record(options, {"unit": unit})
    tables = {"": table}
    if curves:
        frames = []
        for curve in curves:
            columns = {"eigenvalue": curve.eigenvalues, "density": curve.density}
            frames.append(pd.DataFrame({"cell": curve.cell, "label": curve.label, **columns}))
        tables["_density"] = pd.concat(frames, ignore_index=True)
    figure = draw(curves, table, unit, caption(measures, curves, table))
    output.write(options, figure, tables, record, sentences(table) + measures.messages())


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = selection.parser(__doc__, "hessian_spectrum")
    parser.add_argument("--scaled", action="store_true", help="in filter units")
    return output.run(make, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
