"""Decision boundaries of trained cells on inputs in the plane, side by side.

    python analysis/decision_boundary.py logs/NAME [--out figures] [--where seed=0]

A panel for each trained cell, at one seed. The colour is the class that the net answers, and its
strength the probability; the black line is the boundary. Dots are training samples that are right,
crosses those that are wrong. Writes STEM.png, STEM.pdf, STEM.csv (a row for each panel) and
STEM.json.

The figure follows Huang et al. (2020), "Understanding Generalization through Visualizations"
(arXiv 1906.03291).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy.special import expit

from analysis.figure import output, query, style
from analysis.landscape import boundary, labels, minima, plot, selection
from analysis.landscape.boundary import Boundary


def draw(panels: Sequence[Boundary], titles: Sequence[str], text: str) -> Figure:
    """The boundaries of the unmoved weights, on equal axes. titles: below the labels."""
    with style.styled():
        figure, axes = plot.panels(len(panels))
        for panel, plane, title in zip(axes, panels, titles, strict=True):
            draw_boundary(panel, plane, plane.centre)
            panel.set_title(labels.title(plane.label, title), fontsize=10)
        plot.label_outer(axes, "first input", "second input")
        plot.foot(figure, text)
        if not panels[0].points.empty:
            axes[0].legend(handles=_handles(), fontsize=7, loc="lower left", handletextpad=0.2)
    return figure


def draw_boundary(axes: Axes, plane: Boundary, frame: int) -> None:
    """One frame: probability of class 1 as colour, the boundary, the training samples."""
    margin = plane.margins[frame]
    extent = float(plane.places[-1])
    ends = [plot.CLASSES[0], "white", plot.CLASSES[1]]
    colours = LinearSegmentedColormap.from_list("classes", ends)
    axes.imshow(
        expit(margin),
        extent=(-extent, extent, -extent, extent),
        origin="lower",
        cmap=colours,
        vmin=0,
        vmax=1,
        alpha=0.75,
        interpolation="bilinear",
    )
    if np.nanmin(margin) < 0 < np.nanmax(margin):
        axes.contour(plane.places, plane.places, margin, [0.0], colors="black", linewidths=1.0)
    if frame == plane.centre:
        draw_points(axes, plane.points)
    axes.set_xlim(-extent, extent)
    axes.set_ylim(-extent, extent)


def draw_points(axes: Axes, points: pd.DataFrame) -> None:
    """Training samples: dots where the net is right, crosses where it is wrong."""
    right = (points["margin"] > 0) == (points["label"] == 1)
    for label, colour in enumerate(plot.CLASSES):
        own = points["label"] == label
        dots, crosses = points[own & right], points[own & ~right]
        axes.scatter(dots["x"], dots["y"], s=7, color=colour, edgecolor="black", linewidth=0.4)
        axes.scatter(crosses["x"], crosses["y"], s=18, color=colour, marker="x", linewidth=1.2)


def _handles() -> list[Line2D]:
    handles = []
    for label, colour in enumerate(plot.CLASSES):
        style_of: dict[str, Any] = {"marker": "o", "ls": "", "ms": 3.5, "mec": "black", "mew": 0.4}
        handles.append(Line2D([], [], color=colour, label=f"class {label}", **style_of))
    return handles


def table(panels: Sequence[Boundary], measures: selection.Measures) -> pd.DataFrame:
    """One row for each panel: accuracies, loss, and the share of the plane of class 1."""
    trained = measures.trained.assign(test_accuracy=minima.test_accuracy(measures.trained))
    accuracy = trained.set_index("cell")["test_accuracy"]
    rows = []
    for plane in panels:
        frame = plane.frames[plane.frames["frame"] == plane.centre]
        rows.append({
            "cell": plane.cell, "label": plane.label,
            "train_accuracy": float(frame["accuracy"].iloc[0]),
            "train_loss": float(frame["loss"].iloc[0]),
            "test_accuracy": float(accuracy[plane.cell]),
            "share_of_class_1": float((plane.margins[plane.centre] > 0).mean()),
        })  # fmt: skip
    return pd.DataFrame(rows)


def make(options: argparse.Namespace) -> None:
    """Query, reduce, draw, write."""
    loaded = selection.load(options.folder, "boundary", options.where)
    measures = selection.one_seed(selection.require_finished(loaded))
    panels = boundary.boundaries(measures)
    if not panels:
        raise query.FigureError("no boundary of the drawn seed is measured; choose --where seed=N")
    rows = table(panels, measures)
    titles, lines = [], []
    for row in rows.to_dict("records"):
        titles.append(labels.test_accuracy(row["test_accuracy"]))
        lines.append(f"{row['label']}: train {100 * row['train_accuracy']:.1f} %, {titles[-1]}")
    samples = int(measures.setting("data.train_samples") or 0)
    text = f"{samples:,} training samples; colour: probability of class 1; black: the boundary"
    record = measures.record(options, {"boundary": "logit of class 1 minus that of class 0 is 0"})
    figure = draw(panels, titles, text)
    output.write(options, figure, {"": rows}, record, lines + measures.messages())


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    return output.run(make, selection.parser(__doc__, "decision_boundary").parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
