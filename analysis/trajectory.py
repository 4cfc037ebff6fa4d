"""Paths of trainings in the plane of their first two principal components.

    python analysis/trajectory.py logs/NAME [--surface logs/NAME] [--out figures] [--where seed=0]

NAME is a sweep of trainer=path; --surface names one of trainer=surface with trainer.plane=pca on
the same trained cells, whose contours are drawn below the paths. A panel for each trained cell, at
one seed. Dots are snapshots, coloured by their own loss: the contours are those of the plane, and a
snapshot that lies off it can have another loss. The cross is the end of the training. Writes
STEM.png, STEM.pdf, STEM.csv (a row for each snapshot) and STEM.json.

The figure follows Li et al. (2018), "Visualizing the Loss Landscape of Neural Nets" (arXiv
1712.09913), section 7.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from analysis.figure import output, query, style
from analysis.landscape import labels, plot, selection, surfaces, trajectories
from analysis.landscape.trajectories import Trajectory

SCALE = Normalize(surfaces.LOWEST, surfaces.HIGHEST)
"""Of log10 loss, for contours and dots alike, the same in every figure."""


def draw(panels: Sequence[Trajectory], text: str) -> Figure:
    """The paths side by side, with one scale of colours."""
    with style.styled():
        figure, axes = plot.panels(len(panels), bar=0.9)
        for panel, path in zip(axes, panels, strict=True):
            draw_path(panel, path)
            first, second = (100 * share for share in path.explained)
            shares = f"{first:.0f} % and {second:.0f} % of the path"
            panel.set_title(labels.title(path.label, shares), fontsize=10)
        bar = figure.colorbar(ScalarMappable(SCALE, plot.loss_colours()), ax=axes, pad=0.02)
        bar.set_label("loss (nats)")
        bar.ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: style.power_label(value)))
        bar.set_ticks(range(surfaces.LOWEST, surfaces.HIGHEST + 1))
        plot.label_outer(axes, "first component", "second component")
        plot.foot(figure, text)
    return figure


def draw_path(axes: Axes, path: Trajectory) -> None:
    """One path, over the contours of its plane if they are measured."""
    if path.surface is not None:
        values = np.ma.masked_invalid(path.surface.log_loss(surfaces.HIGHEST + 1.0))
        place = (path.surface.x, path.surface.y, values, surfaces.levels())
        axes.contourf(*place, cmap=plot.loss_colours(), norm=SCALE, extend="both")
        axes.contour(*place, colors="black", linewidths=0.25, linestyles="solid")
        plot.hatch_rows(axes, path.surface.y, path.surface.missing)
    rows = path.snapshots
    loss = np.log10(np.maximum(rows["loss"].to_numpy(np.float64), surfaces.FLOOR))
    look: dict[str, Any] = {
        "cmap": plot.loss_colours(),
        "norm": SCALE,
        "edgecolors": "black",
        "linewidths": 0.6,
    }
    axes.plot(rows["x"], rows["y"], color="white", lw=2.2, zorder=3)
    axes.plot(rows["x"], rows["y"], color="0.25", lw=1.0, zorder=3)
    axes.scatter(rows["x"], rows["y"], s=26, c=loss, zorder=4, **look)
    for index in (0, len(rows) - 1):
        epoch = int(rows["epoch"].iloc[index])
        axes.annotate(f"{epoch}", (rows["x"].iloc[index], rows["y"].iloc[index]), fontsize=7,
                      xytext=(5, 5), textcoords="offset points", zorder=5)  # fmt: skip
    axes.plot(0, 0, "x", color="black", ms=7, mew=1.6, zorder=5)
    axes.set_aspect("equal")


def sentences(panels: Sequence[Trajectory]) -> list[str]:
    """What the plane shows of each path, in numbers."""
    lines = []
    for path in panels:
        rows = path.snapshots
        lines.append(
            f"{path.label}: {len(rows)} snapshots, epochs {rows['epoch'].min()} to "
            f"{rows['epoch'].max()}; {100 * sum(path.explained):.0f} % of the variance in the "
            f"plane; off the plane by up to {100 * rows['off_plane'].max():.0f} % of the distance "
            f"from the end; loss {rows['loss'].iloc[0]:.3g} to {rows['loss'].iloc[-1]:.3g} nats"
        )
    return lines


def make(options: argparse.Namespace) -> None:
    """Query, reduce, draw, write."""
    loaded = selection.load(options.folder, "path", options.where)
    paths = selection.one_seed(selection.require_finished(loaded))
    planes = None
    if options.surface:
        planes = selection.load(options.surface, "surface", options.where)
        if planes.setting("trainer.plane") != "pca":
            raise query.FigureError(
                f"--surface {options.surface}: found trainer.plane="
                f"{planes.setting('trainer.plane')}, expected pca: the plane of the path"
            )
    panels = trajectories.trajectories(paths, planes)
    contours = "contours: loss in the plane; " if planes is not None else ""
    text = (
        f"{contours}dots: snapshots, coloured by their own loss; cross: the end of the training; "
        f"unit: {surfaces.PATH_UNIT}"
    )
    lines = sentences(panels)
    record = paths.record(options, {"paths": lines, "surface": options.surface})
    messages = paths.messages() + (planes.messages() if planes is not None else [])
    tables = {"": trajectories.table(panels)}
    output.write(options, draw(panels, text), tables, record, lines + messages)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = selection.parser(__doc__, "trajectory")
    surface = "log folder of a sweep of trainer=surface with trainer.plane=pca"
    parser.add_argument("--surface", metavar="FOLDER", help=surface)
    return output.run(make, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
