"""Bad minima around the path of a good training: the networks in the plane, and their distances.

    python analysis/minefield.py logs/NAME [--out figures] [--where seed=0] [--perplexity 30]

NAME is a sweep whose trainings start from the weights that others had on their way. At the left all
networks, by t-SNE of their weights and biases: the path of the good training in red, its end a
star, the bad minima in blue by their test accuracy, hollow if they are wrong on a training sample.
t-SNE keeps neighbours and no distances: these are at the right. Writes STEM.png, STEM.pdf, STEM.csv
(a row for each network) and STEM.json.

The figure follows Huang et al. (2020), "Understanding Generalization through Visualizations"
(arXiv 1906.03291), figure 1; theirs leaves out points far from the others, this one none.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from analysis.figure import output, provenance, style
from analysis.figure.arguments import finite
from analysis.figure.names import quantity
from analysis.landscape import minefield, plot, selection
from analysis.landscape.minefield import BAD, END, GOOD, Minefield

BLUES = colormaps["Blues_r"].resampled(256)
LIGHTEST = 0.75  # of the colours: lighter ones are hard to see on white


def draw(field: Minefield, places: minefield.Array, text: str) -> Figure:
    """The networks in the plane at the left, distances over the epochs at the right."""
    with style.themed():
        figure = Figure(figsize=(10.6, 4.6), layout="constrained")
        left, right = figure.subplots(1, 2)
        _networks(left, field, places)
        _distances(right, field)
        entries = left.get_legend_handles_labels()
        figure.legend(*entries, loc="outside upper left", ncols=4, fontsize=8.5)
        plot.foot(figure, text)
    return figure


def _networks(axes: Axes, field: Minefield, places: minefield.Array) -> None:
    """Places of all networks (networks, 2) with the accuracies of the bad ones as colours."""
    path = field.of_kind(GOOD)
    x, y = places[path.index].T
    reds = colormaps["Reds"](np.linspace(1 - LIGHTEST, 1, len(path)))
    axes.plot(x, y, color="0.8", lw=0.8, zorder=1)
    axes.scatter(x, y, s=22, c=reds, zorder=2, label="good training")
    end = places[field.of_kind(END).index[0]]
    axes.plot(*end, "*", color="#B2182B", mec="black", ms=15, zorder=4, label="its end")
    bad = field.of_kind(BAD)
    accuracy = 100 * bad["test_accuracy"]
    low, high = float(accuracy.min()), float(accuracy.max())
    norm = Normalize(low, low + max(high - low, 1.0) / LIGHTEST)
    colours = BLUES(norm(accuracy.to_numpy()))
    fits = (bad["train_accuracy"] == 1).to_numpy()
    x, y = places[bad.index].T
    faces = np.where(fits[:, None], colours, 1.0)
    axes.scatter(x, y, s=30, c=faces, edgecolors=colours, linewidths=1.3, zorder=3)
    axes.scatter([], [], s=30, color=BLUES(0.3), label="bad minimum")
    if not fits.all():
        axes.scatter([], [], s=30, c="white", edgecolors="0.4", label="wrong on a training sample")
    bar = axes.figure.colorbar(ScalarMappable(norm, BLUES), ax=axes, pad=0.02)
    bar.ax.set_ylim(low, max(high, low + 1.0))
    bar.set_label("test accuracy of the bad minima (%)")
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title("t-SNE of weights and biases", fontsize=10)


def _distances(axes: Axes, field: Minefield) -> None:
    path, bad = field.of_kind(GOOD), field.of_kind(BAD)
    axes.plot(bad["epoch"], bad["from_start"], "o", color=BLUES(0.2), ms=5,
              label="bad minimum to its start")  # fmt: skip
    axes.plot(path["epoch"], path["from_end"], color="#B2182B", label="good training to its end")
    axes.plot(path["epoch"], path["step"], color="0.5", lw=1.2, label="one red point to the next")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("epoch of the good training")
    axes.set_ylabel("distance (norm of all weights)")
    axes.legend(fontsize=8.5, frameon=True)


def sentences(field: Minefield) -> list[str]:
    """What the figure shows, in numbers."""
    bad, end, path = field.of_kind(BAD), field.of_kind(END).iloc[0], field.of_kind(GOOD)
    (place,) = field.of_kind(END).index
    norm = float(np.linalg.norm(field.vectors[place]))
    fits = int((bad["train_accuracy"] == 1).sum())
    return [
        f"good training, seed {field.seed}: train {100 * end['train_accuracy']:.1f} %, test "
        f"{100 * end['test_accuracy']:.1f} %, norm of the weights {norm:.3g}",
        f"{quantity(len(bad), 'bad minimum', 'bad minima')}, {fits} of them right on all "
        f"training samples: train {100 * bad['train_accuracy'].median():.1f} %, test "
        f"{100 * bad['test_accuracy'].median():.1f} % (medians)",
        f"median distance of a bad minimum from its start {bad['from_start'].median():.3g}, from "
        f"the good end {bad['from_end'].median():.3g}; between neighbours on the path "
        f"{path['step'].median():.3g}",
    ]


def make(options: argparse.Namespace) -> None:
    """Query, reduce, draw, write."""
    field = minefield.load(options.folder, options.where)
    places = minefield.embedding(field.vectors, options.perplexity)
    count, dimension = field.vectors.shape
    components = min(minefield.COMPONENTS, count, dimension)
    text = (
        f"{count} networks of {dimension:,} weights and biases; PCA to {components} dimensions, "
        f"t-SNE with perplexity {min(options.perplexity, (count - 1) / 3):.3g}; seed {field.seed}"
    )
    table = field.networks.assign(x=places[:, 0], y=places[:, 1])
    lines = sentences(field)
    lines += [f"note: {note}" for note in field.notes]
    lines += minefield.missing(field.runs, options.folder)
    source = provenance.Source(field.runs, options.folder, field.notes)
    cells = sorted(set(field.networks["cell"].astype(str)))
    facts = {"embedding": text, "seed": field.seed, "distances": lines[:3], "cells": cells}
    record = provenance.origin(source, options) | facts
    output.write(options, draw(field, places, text), {"": table}, record, lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = selection.parser(__doc__, "minefield")
    perplexity = "of t-SNE; at most a third of the networks (default: 30)"
    parser.add_argument("--perplexity", type=finite, default=30.0, help=perplexity)
    return output.run(make, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
