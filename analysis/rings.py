"""Decision boundaries between rings: how wide the margin is that a net leaves around the inner one.

    python analysis/rings.py logs/NAME [--out figures] [--where seed=0]

NAME is a sweep of trainer=boundary on data=rings. A panel for each number and gap of the inner
points, at one seed, as in analysis/decision_boundary.py; the title has the distance of the boundary
from the centre along 360 rays. Writes STEM.png, STEM.pdf, STEM.csv (a row for each panel) and
STEM.json.

The figure follows Huang et al. (2020), "Understanding Generalization through Visualizations"
(arXiv 1906.03291), figure 8.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis import decision_boundary
from analysis.figure import output, query, style
from analysis.figure.names import quantity
from analysis.landscape import boundary, margins, plot, selection
from analysis.landscape.boundary import Boundary

INNER, GAP = "data.inner", "data.gap"
MOST = 24  # panels


def load(options: argparse.Namespace) -> selection.Measures:
    """The finished boundaries of one seed; FigureError if they are not of rings."""
    measures = selection.require_finished(selection.load(options.folder, "boundary", options.where))
    if query.numbers(measures.trained, INNER).isna().any():
        kinds = ", ".join(sorted(set(measures.trained["data.name"])))
        raise query.FigureError(
            f"{options.folder}: found data {kinds}, expected rings; analysis/decision_boundary.py "
            "draws other data"
        )
    return selection.one_seed(measures)


def table(panels: Sequence[Boundary], measures: selection.Measures) -> pd.DataFrame:
    """One row for each panel: inner points and gap, the boundary's distance from the centre
    (median, q05 and q95 over rays), `epochs` of the training, clean loss and wrong answers.
    """
    runs = {str(run["cell"]): run for run in measures.trained.to_dict("records")}
    rows = []
    for plane in panels:
        run, radii = runs[plane.cell], margins.ray_radii(plane)
        low, median, high = np.nanquantile(radii, [0.05, 0.5, 0.95])
        rows.append({
            "cell": plane.cell, "inner": int(run[INNER]), "gap": float(run[GAP]),
            "median": float(median), "q05": float(low), "q95": float(high),
            "rays_without_boundary": int(np.isnan(radii).sum()), "epochs": int(run["epochs"]),
            "clean_loss": float(run["final_train_eval_loss"]),
            "wrong": int(run["final_train_eval_wrong"]),
        })  # fmt: skip
    return pd.DataFrame(rows)


def draw(panels: Sequence[Boundary], rows: pd.DataFrame, text: str) -> Figure:
    """The boundaries on equal axes, with what the table says of them."""
    with style.styled():
        figure, axes = plot.panels(len(panels), most=MOST)
        for panel, plane, row in zip(axes, panels, rows.to_dict("records"), strict=True):
            decision_boundary.draw_boundary(panel, plane, plane.centre)
            count = quantity(row["inner"], "point")
            points = f"{count} at {row['gap']:g}" if row["inner"] else "no points"
            span = f"{row['median']:.3f} ({row['q05']:.3f} to {row['q95']:.3f})"
            panel.set_title(f"{points}, {row['wrong']} wrong\nboundary at {span}", fontsize=8.5)
        plot.label_outer(axes, "first input", "second input")
        plot.foot(figure, text)
    return figure


def make(options: argparse.Namespace) -> None:
    """Query, reduce, draw, write."""
    measures = load(options)
    panels = boundary.boundaries(measures)
    if not panels:
        raise query.FigureError("no boundary of the drawn seed is measured; choose --where seed=N")
    ordered = measures.trained.sort_values([INNER, GAP], ascending=[True, False])
    places = {str(cell): place for place, cell in enumerate(ordered["cell"])}
    panels.sort(key=lambda plane: places[plane.cell])
    rows = table(panels, measures)
    text = (
        "points of the outer class at a distance from the inner ring; boundary: distance from the "
        "centre along 360 rays, median and 5 to 95 %; black: the boundary; crosses: wrong"
    )
    lines = []
    for row in rows.to_dict("records"):
        lines.append(
            f"{quantity(row['inner'], 'inner point')} at {row['gap']:g}: boundary at "
            f"{row['median']:.3f} ({row['q05']:.3f} to {row['q95']:.3f}), {row['wrong']} wrong, "
            f"loss {row['clean_loss']:.2g} nats after {quantity(row['epochs'], 'epoch')}"
        )
    record = measures.record(options, {"rays": 360, "table": rows.to_dict("records")})
    figure = draw(panels, rows, text)
    output.write(options, figure, {"": rows}, record, lines + measures.messages())


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    return output.run(make, selection.parser(__doc__, "rings").parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
