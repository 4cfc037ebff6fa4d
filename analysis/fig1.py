"""Figure 1: generalization error of a fast and a slow feature, each alone, and of both together.

    python analysis/fig1.py [--n 150 --d 100 --p 70 --kappa 100] [--out figures]

The camera-ready version has --n 130. Writes STEM.png, STEM.pdf, STEM.csv (the curves) and STEM.json
(what they are).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figure import output, style
from analysis.theory import command, plot
from analysis.theory.closed_form import Array
from analysis.theory.curves import Curve, closed_form, record, table
from analysis.theory.setting import Setting

PUBLISHED = command.Published(sizes=(150, 100, 70), kappa=100.0)
LAST = 1e5  # end of the time axis
COLOURS = ("#0076BA", "#FF9300", "#353535")
NOTES = [
    "The curve of one feature is the formula with the other block frozen, not a model without it: "
    "the fast curve holds the slow block at t = 0.001, the slow curve holds the fast block at t = "
    "1e8.",
    "No randomness and no seeds stand behind this figure.",
]


def curves(setting: Setting, times: Array) -> list[Curve]:
    """The fast feature alone, the slow one alone, and both."""
    return [
        closed_form("Fast feature", setting, times, "slow"),
        closed_form("Slow feature", setting, times, "fast"),
        closed_form("Both features", setting, times),
    ]


def draw_pair(upper: Axes, lower: Axes, curves_of_panel: Sequence[Curve]) -> None:
    """The two features above, both together below."""
    for axes, part in ((upper, slice(0, 2)), (lower, slice(2, 3))):
        plot.draw_errors(axes, curves_of_panel[part], COLOURS[part])
        plot.error_axes(axes, LAST)
    lower.set_xlabel(plot.TIME)


def draw(curves_to_draw: Sequence[Curve]) -> Figure:
    """The figure, two rows."""
    with style.styled():
        figure = Figure(figsize=(7, 7))
        place = {"left": 0.1, "right": 0.97, "top": 0.97, "bottom": 0.08}
        upper, lower = figure.subplots(2, 1, gridspec_kw=place)
        draw_pair(upper, lower, curves_to_draw)
        for axes in (upper, lower):
            axes.set_ylabel(plot.MSE)
            axes.legend(loc="upper right")
    return figure


def make(options: argparse.Namespace) -> None:
    """Compute, draw and write the figure."""
    setting = command.setting(options, options.kappa)
    curves_to_draw = curves(setting, command.logarithmic(options.times))
    facts = command.record(options, [record(curve) for curve in curves_to_draw], notes=NOTES)
    output.write(options, draw(curves_to_draw), {"": table(curves_to_draw)}, facts)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = command.parser(__doc__, "fig1", PUBLISHED)
    return output.run(make, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
