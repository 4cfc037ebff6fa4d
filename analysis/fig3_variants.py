"""Variants of Figure 3: trajectories and errors for other numbers of samples and of fast features.

    python analysis/fig3_variants.py [--variants 110,100,70 150,100,70 ...] [--kappa 1 7 12 ...] [--out figures]

A variant is N,D,P: samples, features, fast features. Writes STEM.png, STEM.pdf, STEM.csv and
STEM.json.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from matplotlib.figure import Figure

from analysis import fig3
from analysis.figure import style
from analysis.theory import output
from analysis.theory.curves import Curve, Setting, record, table

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
        for upper, lower, drawn in zip(*axes, variants, strict=True):
            image = fig3.draw_plane(upper, drawn)
            fig3.draw_error(lower, drawn)
            upper.set_title(
                drawn[0].setting.title, y=1.0
            )  # a given place saves a search among the ticks
        for panel in axes[:, 1:].flat:
            panel.set_ylabel("")
        axes[0, -1].legend(loc="lower right", fontsize=8)
        bar = figure.add_axes((1 - 0.75 / width, 0.56, 0.16 / width, 0.39))
        figure.colorbar(image, cax=bar, label="error")
    return figure


def make(options: argparse.Namespace) -> None:
    """Computes, draws and writes the figure."""
    times = output.logarithmic(options.times)
    settings = [
        Setting(n, d, p, 1.0, options.sigma, options.weight_decay) for n, d, p in options.variants
    ]
    variants = [fig3.curves(setting, options.kappa, times) for setting in settings]
    every = [curve for drawn in variants for curve in drawn]
    output.write(
        draw(variants),
        options,
        table(every),
        {"curves": [record(c) for c in every], "notes": fig3.NOTES},
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = output.parser(__doc__, "fig3_variants", sizes=None, kappa=fig3.KAPPAS)
    parser.add_argument("--variants", type=output.sizes, nargs="+", default=VARIANTS, metavar="N,D,P",
                        help="sizes to draw (default: the published four)")  # fmt: skip
    return output.run(make, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
