"""Figure 2 (c, d): generalization error over weight decay and training time, and three slices.

    python analysis/fig2_cd.py [--n 120 --d 100 --p 80 --kappa 40 --weight-decay 0.1 8 100]

Writes STEM.png, STEM.pdf, STEM.csv (the whole grid) and STEM.json (what it is).
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figure import heatmap, output, style
from analysis.figure.arguments import finite
from analysis.theory import command, plot
from analysis.theory.closed_form import Array
from analysis.theory.curves import Curve, closed_form, record, table
from analysis.theory.setting import Setting

PUBLISHED = command.Published((120, 100, 80), 40.0, sigma=0.2, weight_decay=None)
SIZE, RATIOS = (13.3, 4.0), (3.0, 1.3)  # inches; widths of the panels
LAST = 1e4  # end of both axes of time
MAP_LIMITS, ERROR_LIMITS = (0.2, 0.45), (0.15, 0.5)
SLICES = (10, 30, 99)
NAMES = ("Large λ", "Intermediate λ", "Small λ")
COLOURS = ("C0", "C1", "C2")
NOTES = [
    "No randomness and no seeds stand behind this figure.",
    "The formula takes singular values ½ for the step size, so that λ acts like 4λ on the "
    "unscaled problem: the axis of weight decay is shifted by log10(4) against a simulation with "
    "that λ.",
    "The published axis labels its first tick 10^0, where λ is 10^-0.1 = 0.79, and its last tick, "
    "λ = 1e-8, as ≈0.0. Here every tick is at the power of ten that it names.",
    "The error contains the label noise of the test labels, ½σ².",
]


def draw_map(axes: Axes, columns: Sequence[Curve]) -> None:
    """Heat map over -log10 λ and t + 1, one column of the grid for each curve."""
    x = -np.log10([curve.setting.weight_decay for curve in columns])
    time = columns[0].abscissa
    window = slice(0, int(np.searchsorted(time, LAST)) + 2)
    values = np.stack([curve.order.error[window] for curve in columns], axis=1)
    mesh = heatmap.draw(axes, heatmap.Grid(x, time[window], values, 1), *MAP_LIMITS)
    if axes.figure is not None and mesh is not None:
        axes.figure.colorbar(mesh, ax=axes, pad=0.02, label="error", use_gridspec=False)
    ticks = range(math.ceil(x[0]), math.floor(x[-1] + 1e-9) + 1)
    axes.set_xticks(list(ticks), [style.power_label(-tick) for tick in ticks])
    style.log_time(axes, LAST, "y")
    axes.set_xlabel("Regularization strength λ")
    axes.set_ylabel("Training time t")


def draw(columns: Sequence[Curve], slices: Sequence[Curve]) -> Figure:
    """The figure: map at the left, slices at the right."""
    place = {"left": 0.062, "right": 0.98, "bottom": 0.145, "top": 0.955, "wspace": 0.08}
    with style.styled():
        figure = Figure(figsize=SIZE)
        left, right = figure.subplots(1, 2, gridspec_kw={"width_ratios": RATIOS, **place})
        draw_map(left, columns)
        plot.draw_errors(right, slices, COLOURS[: len(slices)])
        plot.error_axes(right, LAST, ERROR_LIMITS)
        right.set_xlabel("Training time t")
        right.set_ylabel(plot.MSE_LOSS)
        right.legend(loc="upper right")
    return figure


def decay_curve(options: argparse.Namespace, decay: float, label: str) -> Curve:
    """The curve of one weight decay."""
    setting = Setting(options.n, options.d, options.p, options.kappa, options.sigma, decay)
    return closed_form(label, setting, command.logarithmic(options.times))


def weight_decays(options: argparse.Namespace) -> Array:
    """The weight decays of the map, falling."""
    first, last, number = options.weight_decay
    values = command.logarithmic((-first, -last, number))
    if len(values) < 2 or last <= first:
        raise ValueError(
            "the map needs at least two weight decays, falling: --weight-decay 0.1 8 100"
        )
    return values


def slice_curves(options: argparse.Namespace, decays: Array) -> list[Curve]:
    """The curves of the weight decays whose columns the options name."""
    number, columns = len(decays), options.slices
    if len(columns) > len(NAMES) or any(not -number <= column < number for column in columns):
        raise ValueError(f"slices are {columns}; expected at most three of 0 to {number - 1}")
    curves = []
    for name, column in zip(NAMES, columns, strict=False):
        decay = float(decays[column])
        label = f"{name} ({style.value_label(decay)})"
        curves.append(decay_curve(options, decay, label))
    return curves


def make(options: argparse.Namespace) -> None:
    """Compute, draw and write the figure."""
    decays = weight_decays(options)
    columns = [decay_curve(options, float(decay), f"λ = {decay:.4g}") for decay in decays]
    slices = slice_curves(options, decays)
    facts = command.record(options, [record(curve) for curve in slices], notes=NOTES)
    output.write(options, draw(columns, slices), {"": table(columns)}, facts)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = command.parser(__doc__, "fig2_cd", PUBLISHED)
    add = parser.add_argument
    add(
        "--weight-decay",
        type=finite,
        nargs=3,
        default=(0.1, 8.0, 100),
        metavar=("FIRST", "LAST", "NUMBER"),
        help="-log10 of the largest and smallest λ, and how many (published: 0.1 8 100)",
    )
    help_slices = f"columns of the curves (published: {SLICES})"
    add("--slices", type=int, nargs="+", default=SLICES, help=help_slices)
    return output.run(make, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
