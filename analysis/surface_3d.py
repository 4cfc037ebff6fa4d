"""Loss around trained cells as surfaces that can be turned: one HTML page that needs no network.

    python analysis/surface_3d.py logs/NAME [--out figures] [--where seed=0] [--kappa 0.1]

A panel for each trained cell, at one seed. The height is log10 of the loss; all panels have one
camera, one range and one scale of colours. The slider moves the cut below which a surface is
painted as its basin. Writes STEM.html with plotly's JavaScript inside (5 MB), and STEM.json.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.figure import output, query, style
from analysis.figure.arguments import finite
from analysis.figure.provenance import diverged_text
from analysis.landscape import labels, minima, plot, selection, surfaces
from analysis.landscape.surfaces import Surface

CUTS = (-3.0, -2.5, -2.0, -1.5, -1.0, -0.5, 0.0, 0.5)
"""log10 of the cuts that the slider offers, beside that of the option."""

CEILING = surfaces.HIGHEST + 0.05
HEIGHT = 560  # pixels
BASIN = "#1F8A55"
LINKED = """
const page = document.getElementById('{plot_id}');
let copying = false;
page.on('plotly_relayout', (change) => {
  if (copying) return;
  const moved = Object.keys(change).find((key) => /^scene\\d*\\.camera/.test(key));
  if (!moved) return;
  const camera = page.layout[moved.split('.')[0]].camera;
  const update = {};
  for (const key of Object.keys(page.layout)) {
    if (/^scene\\d*$/.test(key)) update[key + '.camera'] = camera;
  }
  copying = true;
  Plotly.relayout(page, update).then(() => { copying = false; });
});
"""
"""JavaScript: the camera of one panel becomes that of all."""


def heights(surface: Surface) -> NDArray[np.float64]:
    """log10 loss between the lowest level and the cap; None where nothing is measured."""
    values = surface.log_loss(CEILING)
    clipped: NDArray[np.float64] = np.clip(values, surfaces.LOWEST, CEILING)
    return clipped


def colours(cut: float) -> list[list[Any]]:
    """A scale of colours over all heights that is green below the cut, in log10 nats."""
    low, high = surfaces.LOWEST, CEILING
    place = float(np.clip((cut - low) / (high - low), 1e-6, 1 - 1e-6))
    scale: list[list[Any]] = [[0.0, BASIN], [place, BASIN]]
    for share in np.linspace(place, 1.0, 12):
        red, green, blue, _ = style.colour_map()(share)
        colour = f"rgb({255 * red:.0f},{255 * green:.0f},{255 * blue:.0f})"
        scale.append([float(share), colour])
    return scale


def page(panels: Sequence[Surface], titles: Sequence[str], kappa: float, text: str) -> Any:
    """The plotly figure of all panels. titles: one for each; text: below them."""
    from plotly.subplots import make_subplots

    kinds = [[{"type": "surface"}] * len(panels)]
    figure = make_subplots(1, len(panels), specs=kinds, subplot_titles=list(titles))
    for number, surface in enumerate(panels, start=1):
        figure.add_trace(_trace(surface), row=1, col=number)
    axis = {"range": [surfaces.LOWEST, CEILING], "title": {"text": "log10 loss (nats)"}}
    scene = {
        "xaxis": {"title": {"text": "first direction"}},
        "yaxis": {"title": {"text": "second direction"}},
        "zaxis": axis,
        "aspectmode": "cube",
        "camera": {"eye": {"x": 1.5, "y": -1.5, "z": 0.9}},
    }
    figure.update_scenes(**scene)
    figure.update_layout(
        title={"text": text, "font": {"size": 13}},
        height=HEIGHT,
        margin={"l": 10, "r": 10, "t": 90, "b": 90},
        coloraxis=_colour_axis(kappa),
        sliders=[_slider(kappa)],
    )
    return figure


def _trace(surface: Surface) -> Any:
    """One surface, with coordinates, loss, wrong answers and cell where the pointer is."""
    from plotly.graph_objects import Surface as Trace

    details = np.stack([surface.loss, surface.wrong], axis=-1)
    return Trace(
        x=surface.x,
        y=surface.y,
        z=heights(surface),
        customdata=details,
        coloraxis="coloraxis",
        name=surface.label,
        hovertemplate=(
            "a %{x:.3f}, b %{y:.3f}<br>loss %{customdata[0]:.3g} nats, %{customdata[1]:.0f} of "
            f"{surface.examples} wrong<br>{surface.label}, {surface.cell[:11]}<extra></extra>"
        ),
    )


def _colour_axis(kappa: float) -> dict[str, Any]:
    ticks = list(range(surfaces.LOWEST, surfaces.HIGHEST + 1))
    return {
        "cmin": surfaces.LOWEST,
        "cmax": CEILING,
        "colorscale": colours(float(np.log10(kappa))),
        "colorbar": {"title": {"text": "loss (nats)"}, "tickvals": ticks,
                     "ticktext": [f"10<sup>{tick}</sup>" for tick in ticks]},
    }  # fmt: skip


def _slider(kappa: float) -> dict[str, Any]:
    """The slider of the cut: each step replaces the colours that all panels share."""
    cuts = sorted({*CUTS, float(np.log10(kappa))})
    steps = []
    for cut in cuts:
        change = {"coloraxis.colorscale": colours(cut)}
        steps.append({"label": f"{10**cut:.3g}", "method": "relayout", "args": [change]})
    return {
        "active": cuts.index(float(np.log10(kappa))),
        "currentvalue": {"prefix": "green: loss below ", "suffix": " nats"},
        "pad": {"t": 30},
        "steps": steps,
    }


def make(options: argparse.Namespace) -> None:
    """Query, reduce, draw, write."""
    loaded = selection.load(options.folder, "surface", options.where)
    measures = selection.one_seed(selection.require_finished(loaded))
    panels = surfaces.surfaces(measures)
    if not 0 < len(panels) <= plot.ROW:
        raise query.FigureError(
            f"{len(panels)} surfaces to draw, expected 1 to {plot.ROW}; choose trained cells with "
            "--where"
        )
    trained = measures.trained
    accuracy = dict(zip(trained["cell"], minima.test_accuracy(trained), strict=True))
    titles = []
    for surface in panels:
        second = labels.test_accuracy(accuracy[surface.cell])
        titles.append(labels.title(surface.label, second, ", "))
    parts = [
        f"Loss on {panels[0].examples:,} clean training samples",
        measures.batch_norm(),
        f"unit: {surfaces.unit(measures)}",
    ]
    if measures.diverged:
        parts.append(diverged_text(len(measures.diverged)))
    figure = page(panels, titles, options.kappa, "; ".join(filter(None, parts)))
    folder = style.output_folder(options.out)
    html, record = folder / f"{options.name}.html", folder / f"{options.name}.json"
    figure.write_html(html, include_plotlyjs=True, post_script=LINKED, full_html=True)
    facts = measures.record(options, surfaces.facts(measures, options.kappa))
    output.write_record(record, facts)
    for line in measures.messages():
        print(line)
    print(f"wrote {html}, {record}")


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = selection.parser(__doc__, "surface_3d", is_page=True)
    parser.add_argument("--kappa", type=finite, default=0.1, help="nats: the cut (default: 0.1)")
    return output.run(make, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
