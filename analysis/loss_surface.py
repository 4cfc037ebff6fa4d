"""Loss around trained cells, in a plane of two filter-normalised directions, on common levels.

    python analysis/loss_surface.py logs/NAME [--out figures] [--where seed=0] [--kappa 0.1]

A panel for each trained cell, at one seed. The directions are the same numbers in all panels; the
unit is the norm of the weights. The thick line is the cut kappa; grey is above the cap of the
measure, hatched is not measured yet. Writes STEM.png, STEM.pdf, STEM.csv (all points) and
STEM.json.

The figure follows Huang et al. (2020), "Understanding Generalization through Visualizations"
(arXiv 1906.03291), and Li et al. (2018), "Visualizing the Loss Landscape of Neural Nets".
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.contour import ContourSet
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from analysis.figure import output, query, style
from analysis.figure.arguments import finite
from analysis.landscape import labels, minima, plot, selection, surfaces
from analysis.landscape.surfaces import Surface

DARK = 2  # labelled levels on dark colours
ABOVE = surfaces.HIGHEST + 1.0  # log10 loss that is drawn where the loss is capped


def draw(panels: Sequence[Surface], titles: Sequence[str], kappa: float, text: str) -> Figure:
    """The surfaces side by side, with one set of levels and one colour bar.

    titles: below the labels. text: at the foot.
    """
    with style.styled():
        figure, axes = plot.panels(len(panels), bar=0.9)
        filled = None
        for panel, surface, title in zip(axes, panels, titles, strict=True):
            filled = draw_surface(panel, surface, kappa) or filled
            panel.set_title(labels.title(surface.label, title), fontsize=10)
        if filled is not None:
            bar = figure.colorbar(filled, ax=axes, shrink=0.85, pad=0.02)
            bar.set_label("loss (nats)")
            bar.set_ticks(range(surfaces.LOWEST, surfaces.HIGHEST + 1))
            powers = FuncFormatter(lambda value, _: style.power_label(value))
            bar.ax.yaxis.set_major_formatter(powers)
            if has_cut(panels, kappa):
                bar.ax.axhline(np.log10(kappa), color="white", lw=2)
        plot.label_outer(axes, "first direction", "second direction")
        plot.foot(figure, text)
    return figure


def has_cut(panels: Sequence[Surface], kappa: float) -> bool:
    """Whether the loss of a panel is below the cut in one place and above it in another."""
    for surface in panels:
        values = surface.log_loss(ABOVE)
        if (values < np.log10(kappa)).any() and (values > np.log10(kappa)).any():
            return True
    return False


def draw_surface(axes: Axes, surface: Surface, kappa: float) -> ContourSet | None:
    """One surface; None if nothing of it is measured."""
    values, levels = np.ma.masked_invalid(surface.log_loss(ABOVE)), surfaces.levels()
    grid = (surface.x, surface.y, values)
    filled = None
    if not values.mask.all():
        filled = axes.contourf(*grid, levels, cmap=plot.loss_colours(), extend="both")
        lines: dict[str, Any] = {"colors": "black", "linewidths": 0.25, "linestyles": "solid"}
        drawn = axes.contour(*grid, levels, **lines)
        decades = [level for level in drawn.levels if level % 1 == 0 and level < surfaces.HIGHEST]
        for colour, shown in (("white", decades[:DARK]), ("black", decades[DARK:])):
            axes.clabel(drawn, shown, fmt=style.power_label, fontsize=6, colors=colour)
        thick: dict[str, Any] = {"colors": "white", "linewidths": 1.5, "linestyles": "solid"}
        axes.contour(*grid, [np.log10(kappa)], **thick)
    outline = [patheffects.withStroke(linewidth=2.5, foreground="black")]
    axes.plot(0, 0, "+", color="white", ms=6, mew=1.0, path_effects=outline)
    plot.hatch_rows(axes, surface.y, surface.missing)
    axes.set_xlim(surface.x[0], surface.x[-1])
    axes.set_ylim(surface.y[0], surface.y[-1])
    axes.set_aspect("equal")
    return filled


def caption(measures: selection.Measures, panels: Sequence[Surface], kappa: float) -> str:
    """The cells and settings behind the panels."""
    examples = sorted({surface.examples for surface in panels})
    samples = ", ".join(f"{count:,}" for count in examples)
    cut = f"white line: {kappa:g} nats" if has_cut(panels, kappa) else ""
    is_capped = any(surface.capped.any() for surface in panels)
    grey = f"grey: above {measures.setting('trainer.cap'):g} nats" if is_capped else ""
    parts = [
        f"mean cross-entropy on {samples} clean training samples",
        cut,
        measures.batch_norm(),
        f"unit: {surfaces.unit(measures)}",
        grey,
    ]
    return "; ".join(filter(None, parts))


def make(options: argparse.Namespace) -> None:
    """Query, reduce, draw, write."""
    loaded = selection.load(options.folder, "surface", options.where)
    measures = selection.one_seed(selection.require_finished(loaded))
    panels = surfaces.surfaces(measures)
    if not panels:
        raise query.FigureError("no surface of the drawn seed is measured; choose --where seed=N")
    trained = measures.trained
    accuracy = dict(zip(trained["cell"], minima.test_accuracy(trained), strict=True))
    titles, lines = [], []
    for surface in panels:
        share = surface.share_below(options.kappa)
        titles.append(labels.test_accuracy(accuracy[surface.cell]))
        lines.append(
            f"{surface.label}: {100 * share:.1f} % of the points have a loss below "
            f"{options.kappa:g} nats; {titles[-1]}"
        )
    figure = draw(panels, titles, options.kappa, caption(measures, panels, options.kappa))
    record = measures.record(options, surfaces.facts(measures, options.kappa))
    lines += measures.messages()
    output.write(options, figure, {"": surfaces.table(panels)}, record, lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = selection.parser(__doc__, "loss_surface")
    parser.add_argument("--kappa", type=finite, default=0.1, help="nats: the cut (default: 0.1)")
    return output.run(make, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
