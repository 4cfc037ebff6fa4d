"""Variants of Figure 3: trajectories and errors for other numbers of samples and of fast features.

    python analysis/fig3_variants.py [--variants 110,100,70 150,100,70 ...] [--kappa 1 7 12 ...]

A variant is N,D,P: samples, features, fast features. Writes STEM.png, STEM.pdf, STEM.csv and
STEM.json.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from matplotlib.figure import Figure

from analysis import fig3
from analysis.figure import output, style
from analysis.theory import command
from analysis.theory.curves import Curve, record, table

PUBLISHED = command.Published(sizes=None, kappa=fig3.KAPPAS)
VARIANTS = [(110, 100, 70), (150, 100, 70), (110, 100, 30), (120, 100, 90)]  # n, d, p


def draw(variants: Sequence[Sequence[Curve]]) -> Figure:
    """The figure: a column for each variant, trajectories above, errors below."""
    columns = len(variants)
    width = 3.4 * columns + 0.9
    place = {
        "left": 0.62 / width,
        "right": 1 - 0.9 / width,
        "top": 0.95,
        "bottom": 0.08,
        "wspace": 0.17,
        "hspace": 0.2,
    }
    with style.styled():
        figure = Figure(figsize=(width, 6.6))
        axes = figure.subplots(2, columns, squeeze=False, gridspec_kw=place)
        for upper, lower, variant in zip(*axes, variants, strict=True):
            image = fig3.draw_plane(upper, variant)
            fig3.draw_error(lower, variant)
            # a given place saves a search among the ticks
            upper.set_title(variant[0].setting.title, y=1.0)
        for panel in axes[:, 1:].flat:
            panel.set_ylabel("")
        axes[0, -1].legend(loc="lower right", fontsize=8)
        bar = figure.add_axes((1 - 0.75 / width, 0.56, 0.16 / width, 0.39))
        figure.colorbar(image, cax=bar, label="error")
    return figure


def make(options: argparse.Namespace) -> None:
    """Compute, draw and write the figure."""
    times = command.logarithmic(options.times)
    settings = command.settings(options, 1.0)
    variants = [fig3.curves(setting, options.kappa, times) for setting in settings]
    curves = [curve for drawn in variants for curve in drawn]
    facts = command.record(options, [record(curve) for curve in curves], notes=fig3.NOTES)
    output.write(options, draw(variants), {"": table(curves)}, facts)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = command.parser(__doc__, "fig3_variants", PUBLISHED)
    command.add_variants(parser, VARIANTS, "the published four")
    return output.run(make, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
