"""Variants of Figure 1: other numbers of samples and of fast features, side by side.

    python analysis/fig1_variants.py [--variants 150,100,70 120,100,70 ...] [--kappa 100]

A variant is N,D,P: samples, features, fast features. Writes STEM.png, STEM.pdf, STEM.csv and
STEM.json.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from matplotlib.figure import Figure

from analysis import fig1
from analysis.figure import output, style
from analysis.theory import command, plot
from analysis.theory.curves import Curve, record, table

PUBLISHED = command.Published(sizes=None, kappa=100.0)
VARIANTS = [  # n, d, p
    (150, 100, 70),
    (120, 100, 70),
    (150, 100, 80),
    (300, 280, 50),
    (300, 280, 70),
]
NOTES = [
    *fig1.NOTES,
    "The published picture has four variants and titles the fourth (300, 280, 50), but its curves "
    "are those of p = 70 (minimum 0.431, maximum 0.477; p = 50 has 0.451 and 0.484). Both are "
    "drawn here, each under its own sizes.",
]


def draw(variants: Sequence[Sequence[Curve]]) -> Figure:
    """The figure: a column for each variant."""
    columns = len(variants)
    with style.styled():
        figure = Figure(figsize=(3.3 * columns + 0.5, 6.2))
        left = 0.75 / (3.3 * columns + 0.5)
        place = {
            "left": left,
            "right": 0.99,
            "top": 0.94,
            "bottom": 0.09,
            "wspace": 0.12,
            "hspace": 0.12,
        }
        axes = figure.subplots(
            2, columns, sharex=True, sharey=True, squeeze=False, gridspec_kw=place
        )
        for upper, lower, variant in zip(*axes, variants, strict=True):
            fig1.draw_pair(upper, lower, variant)
            # a given place saves a search among the ticks
            upper.set_title(variant[0].setting.title, y=1.0)
        for row in axes:
            row[0].set_ylabel(plot.MSE)
            row[0].legend(loc="upper right")
    return figure


def make(options: argparse.Namespace) -> None:
    """Compute, draw and write the figure."""
    times = command.logarithmic(options.times)
    settings = command.settings(options, options.kappa)
    variants = [fig1.curves(setting, times) for setting in settings]
    curves = [curve for drawn in variants for curve in drawn]
    facts = command.record(options, [record(curve) for curve in curves], notes=NOTES)
    output.write(options, draw(variants), {"": table(curves)}, facts)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = command.parser(__doc__, "fig1_variants", PUBLISHED)
    command.add_variants(parser, VARIANTS, "the published four, and what the fourth shows")
    return output.run(make, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
