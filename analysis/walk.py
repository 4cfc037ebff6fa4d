"""Loss and accuracy on the straight line between two trained cells, over seeds.

    python analysis/walk.py logs/NAME [--out figures] [--where seed=0,1]

Above the clean training loss, below it the accuracies on the training set (dashed) and on the test
set. Lines are means over seeds (of the logarithm, for the loss), bands their range. Dotted lines
mark the two cells. Writes STEM.png, STEM.pdf, STEM.csv (all points) and STEM.json with barriers:
the largest rise of the loss above the chord between its ends.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.figure import output, style
from analysis.landscape import plot, selection, walks
from analysis.landscape.walks import Walk


def draw(lines: Sequence[Walk], text: str) -> Figure:
    """Loss above, accuracies below, on one axis of places."""
    with style.themed():
        figure = Figure(figsize=(6.4, 6.0), layout="constrained")
        upper, lower = figure.subplots(2, 1, sharex=True)
        for walk, colour in zip(lines, sns.color_palette("colorblind", len(lines)), strict=True):
            _band(upper, walk.t, np.log10(walk.loss), colour)
            _band(lower, walk.t, 100 * walk.train, colour, "--")
            _band(lower, walk.t, 100 * walk.test, colour)
        for axes in (upper, lower):
            for place in (0, 1):
                axes.axvline(place, color="0.4", ls=":", lw=1)
        _powers(upper)
        upper.set_ylabel("clean training loss (nats)")
        lower.set_ylabel("accuracy (%)")
        lower.set_xlabel("place on the line (0: first cell, 1: second)")
        lower.set_xlim(lines[0].t[0], lines[0].t[-1])
        _legends(upper, lower, lines)
        plot.foot(figure, text)
    return figure


def _band(
    axes: Axes, t: walks.Array, values: walks.Array, colour: tuple[float, ...], line: str = "-"
) -> None:
    """Mean over seeds, and their range. values: (seeds, points)."""
    if np.isnan(values).all():
        return
    axes.plot(t, values.mean(axis=0), line, color=colour, lw=1.6)
    axes.fill_between(t, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.2, lw=0)


def _powers(axes: Axes) -> None:
    """Label an axis of log10 by powers of ten."""
    low, high = axes.get_ylim()
    exponents = range(int(np.floor(low)), int(np.ceil(high)) + 1)
    axes.set_yticks(list(exponents), [style.power_label(exponent) for exponent in exponents])
    axes.set_ylim(low, high)


def _legends(upper: Axes, lower: Axes, lines: Sequence[Walk]) -> None:
    colours = sns.color_palette("colorblind", len(lines))
    handles = []
    for walk, colour in zip(lines, colours, strict=True):
        handles.append(Line2D([], [], color=colour, label=walk.label))
    upper.legend(handles=handles, fontsize=8.5, frameon=True)
    styles = [Line2D([], [], color="0.3", ls="--", label="training set"),
              Line2D([], [], color="0.3", label="test set")]  # fmt: skip
    lower.legend(handles=styles, fontsize=8.5, frameon=True, loc="lower left")


def make(options: argparse.Namespace) -> None:
    """Query, reduce, draw, write."""
    measures = selection.require_finished(selection.load(options.folder, "line", options.where))
    lines = walks.walks(measures)
    seeds = sorted({seed for walk in lines for seed in walk.seeds})
    spread = f"{len(seeds)} seeds: mean and range" if len(seeds) > 1 else "1 seed"
    text = "; ".join(filter(None, [spread, "all parameters move", measures.batch_norm()]))
    facts = {
        "barriers": {walk.label: walk.barriers.tolist() for walk in lines},
        "distances": {walk.label: walk.distances.tolist() for walk in lines},
    }
    sentences = [walk.sentence() for walk in lines]
    record = measures.record(options, facts)
    figure = draw(lines, text)
    output.write(options, figure, {"": walks.table(lines)}, record, sentences + measures.messages())


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    return output.run(make, selection.parser(__doc__, "walk").parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
