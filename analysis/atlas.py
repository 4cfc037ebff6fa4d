"""A trained sweep and the landscapes of its cells: one HTML page that needs no network.

    python analysis/atlas.py logs/NAME [--out figures] [--where seed=0] [--axis model.width]

NAME is a sweep of trainings. At the left its test errors (training losses where there is no test
set) over an axis, and below them mean radius and largest eigenvalue over the same axis; at the
right whatever was measured of the cell under the pointer: a loss surface that can be turned, the
radii, the spectrum of the Hessian, the decision boundary, on scales that all cells share. The
measures are those in the log folders beside NAME.

Writes STEM.html with plotly's JavaScript inside (5 MB), and STEM.json.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from html import escape
from pathlib import Path

from analysis.figure import output, style
from analysis.figure.names import quantity
from analysis.landscape import atlas, selection
from analysis.landscape.atlas import Atlas

TEMPLATE = Path(atlas.__file__).with_name("atlas.html")


def page(contents: Atlas) -> str:
    """The page, with its data and plotly's JavaScript inside."""
    from plotly.offline import get_plotlyjs

    data = json.dumps(dataclasses.asdict(contents), allow_nan=False, ensure_ascii=False)
    text = TEMPLATE.read_text().replace("TITLE", escape(f"{contents.sweep} and its landscapes"))
    # "<" is the only character that could end the element in which the data stand
    text = text.replace("DATA", data.replace("<", "\\u003c"), 1)
    return text.replace("PLOTLY", get_plotlyjs(), 1)


def make(options: argparse.Namespace) -> None:
    """Query, reduce, write."""
    contents = atlas.collect(options.folder, options.where, options.axis)
    folder = style.output_folder(options.out)
    html, record = folder / f"{options.name}.html", folder / f"{options.name}.json"
    html.write_text(page(contents))
    facts = {
        "figure": options.name,
        "source": options.folder,
        "where": list(options.where),
        "notes": list(contents.notes),
        "measures": dict(contents.sources),
        "cells": [dict(cell) for cell in contents.cells],
    }
    output.write_record(record, facts)
    for name, values in contents.measures.items():
        cells = quantity(len(contents.cells), "cell")
        print(f"{name}: {len(values)} of {cells}, {contents.sources[name]}")
    for note in contents.notes:
        print(f"note: {note}")
    print(f"wrote {html}, {record}")


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = selection.parser(__doc__, "atlas", is_page=True)
    axis = "column for the horizontal axis (default: the first axis of the sweep)"
    parser.add_argument("--axis", metavar="COLUMN", help=axis)
    return output.run(make, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
