"""The Hessian of the training loss at trained cells: spectral density, largest eigenvalue, trace.

    python analysis/hessian_spectrum.py logs/NAME [--out figures] [--where seed=0] [--scaled]

At the left the density of one seed: from Lanczos runs, so its shape is an estimate, and single
eigenvalues are not to be read off. At the right largest eigenvalue (dots) and trace (squares, with
standard errors over probes) of all cells against test accuracy. With --scaled in filter units,
which do not change when weights before a batch norm are rescaled. Writes STEM.png, STEM.pdf,
STEM.csv (a row for each cell), STEM_density.csv and STEM.json.
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

from analysis.figure import output, query, style
from analysis.landscape import plot, selection, spectra
from analysis.landscape.spectra import Density

LINEAR = 1e-3  # eigenvalues nearer to zero are drawn on a linear scale
LOWEST = 1e-6  # densities below are not drawn

Colours = Mapping[str, tuple[float, float, float]]


def draw(curves: Sequence[Density], table: pd.DataFrame, unit: str, text: str) -> Figure:
    """Densities at the left, if there are any; eigenvalues and traces at the right."""
    names = list(dict.fromkeys(table["label"]))
    look = dict(zip(names, plot.colours(len(names)), strict=True))
    with style.themed():
        figure = Figure(figsize=(10.0 if curves else 5.6, 4.4), layout="constrained")
        axes = figure.subplots(1, 2 if curves else 1, squeeze=False)[0]
        if curves:
            _densities(axes[0], curves, look, unit)
        _summary(axes[-1], table, look, unit)
        plot.foot(figure, text)
    return figure


def _densities(axes: Axes, curves: Sequence[Density], look: Colours, unit: str) -> None:
    for curve in curves:
        axes.plot(curve.eigenvalues, curve.density, color=look[curve.label], label=curve.label)
    axes.set_yscale("log")
    axes.set_ylim(bottom=LOWEST)
    axes.set_xscale("symlog", linthresh=LINEAR)
    powers = 100.0 ** np.arange(-1, 6)  # matplotlib's own ticks overlap near zero
    axes.xaxis.set_major_locator(FixedLocator([*-powers, 0.0, *powers]))
    axes.set_xlabel(f"eigenvalue ({unit})")
    axes.set_ylabel("density")
    axes.legend(fontsize=8.5, frameon=True)


def _summary(axes: Axes, table: pd.DataFrame, look: Colours, unit: str) -> None:
    for row in table.to_dict("records"):
        x, colour = 100 * row["test_accuracy"], look[row["label"]]
        axes.plot(x, row["lambda_max"], "o", color=colour, ms=6)
        bars: dict[str, Any] = {"yerr": row["trace_se"], "fmt": "s", "ms": 5, "mfc": "white"}
        axes.errorbar(x, row["trace"], color=colour, **bars)
    axes.set_yscale("log")
    axes.set_xlabel("test accuracy (%)")
    axes.set_ylabel(f"largest eigenvalue, trace ({unit})")
    grey: dict[str, Any] = {"color": "0.3", "ls": ""}
    handles = [Line2D([], [], marker="o", label="largest eigenvalue", **grey),
               Line2D([], [], marker="s", mfc="white", label="trace", **grey)]  # fmt: skip
    axes.legend(handles=handles, fontsize=8.5, frameon=True)


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
    lines = []
    for row in table.to_dict("records"):
        lines.append(
            f"{row['label']}, seed {row['seed']}: eigenvalues {row['lambda_min']:.3g} to "
            f"{row['lambda_max']:.3g}, trace {row['trace']:.3g} +- {row['trace_se']:.2g}"
        )
    starts = ""
    if curves:
        count = curves[0].starts
        starts = f"densities from {count} Lanczos {'start' if count == 1 else 'starts'}; "
    text = f"{starts}traces from {int(table['probes'].max())} probes; batch norm: kept"
    record = measures.record(options, {"unit": unit})
    tables = {"": table}
    if curves:
        frames = []
        for curve in curves:
            columns = {"eigenvalue": curve.eigenvalues, "density": curve.density}
            frames.append(pd.DataFrame({"cell": curve.cell, "label": curve.label, **columns}))
        tables["_density"] = pd.concat(frames, ignore_index=True)
    figure = draw(curves, table, unit, text)
    output.write(options, figure, tables, record, lines + measures.messages())


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = selection.parser(__doc__, "hessian_spectrum")
    parser.add_argument("--scaled", action="store_true", help="in filter units")
    return output.run(make, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
