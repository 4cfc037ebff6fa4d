"""Figure 3: trajectories of alignment R and norm Q, and generalization error, for several κ.

    python analysis/fig3.py [--n 110 --d 100 --p 70 --kappa 1 7 12 30 100 1000 100000]

The camera-ready's Figure 4 is the same. Writes STEM.png, STEM.pdf, STEM.csv (the curves) and
STEM.json (what they are).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from analysis.figure import output, style
from analysis.theory import command, plot
from analysis.theory.closed_form import Array
from analysis.theory.curves import Curve, closed_form, record, table
from analysis.theory.setting import Setting

KAPPAS = (1.0, 7.0, 12.0, 30.0, 100.0, 1000.0, 100000.0)
PUBLISHED = command.Published((110, 100, 70), KAPPAS)
COLOURS = ("#4337CD", "#4B62F4", "#4B8FE8", "#52B2CD", "#67C59A", "#A6C859", "#EDB832")
LAST = 1e7  # end of the time axis
PLANE = (0.0, 1.05, 0.0, 1.3)  # R and Q from, to
CELLS, PLANE_MAX = 100, 1.25  # cells a side; end of the colours, error
NOTES = [
    "No randomness and no seeds stand behind this figure.",
    "The published background is 1 - 2R + Q, twice the error of Eq. 6, with colours from 0 to "
    "2.5. Here it is the error itself, ½(1 + σ² - 2R + Q), with colours from 0 to 1.25: the same "
    "shades, numbers that agree with the right panel.",
]


def curves(base: Setting, kappas: Sequence[float], times: Array) -> list[Curve]:
    """One curve for each κ."""
    settings = [replace(base, kappa=kappa) for kappa in kappas]
    return [closed_form(plot.kappa_label(s.kappa), s, times) for s in settings]


def colours(number: int) -> list[str]:
    """The published colours, or as many of a map for other numbers of curves."""
    if number == len(COLOURS):
        return list(COLOURS)
    return [to_hex(colormaps["viridis"](x)) for x in np.linspace(0, 0.9, number)]


def _centres(low: float, high: float) -> Array:
    """The centres of the cells of an axis from `low` to `high`."""
    return np.asarray(low + (high - low) * (np.arange(CELLS) + 0.5) / CELLS)


def background(sigma: float) -> Array:
    """Error ½(1 + σ² - 2R + Q) over the plane, row = Q, column = R, at the centres of the cells."""
    r, q = _centres(*PLANE[:2]), _centres(*PLANE[2:])
    return np.asarray(0.5 * (1 + sigma**2 - 2 * r[None, :] + q[:, None]))


def draw_plane(axes: Axes, trajectories: Sequence[Curve]) -> AxesImage:
    """Trajectories (R, Q), each with a dot at its end, over the error."""
    error = background(trajectories[0].setting.sigma)
    image = axes.imshow(
        error,
        cmap=style.colour_map(),
        vmin=0,
        vmax=PLANE_MAX,
        extent=PLANE,
        origin="lower",
        aspect="auto",
    )
    for curve, colour in zip(trajectories, colours(len(trajectories)), strict=True):
        axes.plot(curve.order.R, curve.order.Q, color=colour, lw=2, label=curve.label)
        axes.plot(curve.order.R[-1], curve.order.Q[-1], "o", color=colour, ms=5)
    axes.set_xlim(*PLANE[:2])
    axes.set_ylim(*PLANE[2:])
    axes.grid(alpha=0.1)
    axes.set_xlabel("Alignment R")
    axes.set_ylabel("Norm Q")
    return image


def draw_error(axes: Axes, trajectories: Sequence[Curve]) -> None:
    """Error over time."""
    plot.draw_errors(axes, trajectories, colours(len(trajectories)), width=2)
    plot.error_axes(axes, LAST, grid=0.1)
    axes.set_xlabel(plot.TIME)
    axes.set_ylabel(plot.MSE_LOSS)


def draw(trajectories: Sequence[Curve]) -> Figure:
    """The figure."""
    place = {"left": 0.055, "right": 0.985, "bottom": 0.13, "top": 0.97, "wspace": 0.14}
    with style.styled():
        figure = Figure(figsize=(13.3, 4))
        left, right = figure.subplots(1, 2, gridspec_kw={"width_ratios": (1.2, 1), **place})
        plane = draw_plane(left, trajectories)
        figure.colorbar(plane, ax=left, pad=0.02, label="error", use_gridspec=False)
        left.legend(loc="lower right")
        draw_error(right, trajectories)
    return figure


def make(options: argparse.Namespace) -> None:
    """Compute, draw and write the figure."""
    times = command.logarithmic(options.times)
    trajectories = curves(command.setting(options, 1.0), options.kappa, times)
    facts = command.record(options, [record(curve) for curve in trajectories], notes=NOTES)
    output.write(options, draw(trajectories), {"": table(trajectories)}, facts)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = command.parser(__doc__, "fig3", PUBLISHED)
    return output.run(make, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
