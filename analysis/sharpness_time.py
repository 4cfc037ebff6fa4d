"""Test error, sharpness and radius over training time and weight decay, side by side.

    python analysis/sharpness_time.py logs/NAME [logs/NAME ...] [--column optim.weight_decay]

Each NAME is a sweep of trainer=sharpness or trainer=radius with an axis trainer.weights: the epochs
of which the trainings kept weights. The first panel is the test error of these trainings at all
epochs, the others one measure each, on a logarithmic scale of colours; means over seeds. Nothing
measured is hatched. Prints rank correlations of each measure with the test error over all points,
and over those of the last epoch. Writes STEM.png, STEM.pdf, STEM.csv and STEM.json.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from analysis.double_descent import time_map
from analysis.figure import heatmap, names, output, query, style
from analysis.landscape import basins, labels, over_time, plot, selection
from analysis.landscape.over_time import OverTime

TITLES: Mapping[str, str] = {
    "test_error": "test error",
    over_time.SHARPNESS: "sharpness (nats)",
    over_time.RADIUS: "radius (unit: norm of the weights)",
}


@dataclass(frozen=True)
class Panel:
    """One quantity of the figure; the colours of measures are logarithmic."""

    name: str
    data: OverTime

    @property
    def is_log(self) -> bool:
        """Whether the colours follow the logarithm of the values."""
        return self.name != "test_error"

    def frame(self) -> pd.DataFrame:
        """The table with what the colours show in `mean`."""
        table = self.data.table
        if self.is_log:
            table = table[table["mean"] > 0]
            return table.assign(mean=np.log10(table["mean"]))
        return table


def draw(panels: Sequence[Panel], column: str, text: str) -> Figure:
    """The maps side by side on the same axes."""
    values = sorted({value for panel in panels for value in panel.data.values})
    positions = time_map.positions(np.array(values))
    with style.styled():
        figure = Figure(figsize=(0.8 + 4.4 * len(panels), 4.2), layout="constrained")
        maps = figure.subplots(1, len(panels), squeeze=False)[0].tolist()
        for axes, panel in zip(maps, panels, strict=True):
            draw_map(axes, panel, dict(zip(values, positions, strict=True)))
            axes.set_xlabel(labels.axis(column))
        style.letter(maps)
        maps[0].set_ylabel(names.name("epoch"))
        plot.foot(figure, text)
    return figure


def draw_map(axes: Axes, panel: Panel, places: Mapping[float, float]) -> None:
    """One map; `places` are the positions of the values of the axis."""
    frame = panel.frame()
    x = sorted(places.values())
    grid = heatmap.grid(frame.assign(x=frame["value"].map(places)), x, panel.data.planned)
    drawn = frame[frame["epoch"] >= 1]  # the axis begins there
    low, high = heatmap.limits(drawn["mean"], 0.25 if panel.is_log else 0.01)
    width = time_map.column_width(np.array(x))
    mesh = heatmap.draw(axes, grid, low, high, width)
    if mesh is not None:
        bar = heatmap.colour_bar([mesh], axes, TITLES[panel.name])
        if panel.is_log:
            shown = FuncFormatter(lambda value, _: style.value_label(float(f"{10**value:.2g}")))
            bar.ax.yaxis.set_major_formatter(shown)
    ticks = time_map.ticks(np.array(list(places)), np.array(list(places.values())))
    borders = heatmap.edges(grid.x, width)
    axes.set_xlim(borders[0], borders[-1])
    axes.set_xticks(list(ticks), list(ticks.values()))
    style.log_time(axes, panel.data.planned, "y")


def sentences(panels: Sequence[Panel]) -> list[str]:
    """Rank correlations of each measure with the test error."""
    lines = []
    for panel in panels[1:]:
        both = over_time.beside(panel.data, panels[0].data)
        last = both[both["epoch"] == both["epoch"].max()]
        for where, points in (("all epochs", both), (f"epoch {both['epoch'].max()}", last)):
            spearman = basins.correlations(points, "x", "y")[0]
            lines.append(f"{panel.name} and test error, {where}: {spearman}")
    return lines


def load(options: argparse.Namespace) -> list[selection.Measures]:
    """The measures of every folder; FigureError if a folder has none with a place in the figure."""
    result = []
    for folder in options.folders:
        trainers = selection.measures_of(folder)
        name = next((name for name in over_time.COLUMNS if name in trainers), None)
        if name is None:
            raise query.FigureError(
                f"{folder}: found trainers {', '.join(sorted(trainers))}, expected one of "
                f"{', '.join(over_time.COLUMNS)}"
            )
        measures = selection.load(folder, name, options.where, over_time.FREE)
        result.append(selection.require_finished(measures))
    over_time.check_same_trainings(result)
    return result


def _samples(loaded: Sequence[selection.Measures]) -> str:
    """How many training samples each kind of measure takes: "measures on 500", if all take those,
    or "sharpness on 500, radius on 200".
    """
    images: dict[str, object] = {}
    for measures in loaded:
        kind = str(measures.setting("trainer.name"))
        images[kind] = measures.setting("trainer.images") or measures.setting("data.train_samples")
    if len(set(images.values())) == 1:
        return f"measures on {next(iter(images.values()))}"
    return ", ".join(f"{kind} on {count}" for kind, count in images.items())


def make(options: argparse.Namespace) -> None:
    """Query, reduce, draw, write."""
    column = options.column
    loaded = [over_time.checked(measures, column) for measures in load(options)]
    panels = [Panel("test_error", over_time.test_errors(loaded[0], column))]
    lines: list[str] = []
    for measures in loaded:
        data = over_time.measured(measures, column)
        panels.append(Panel(str(measures.setting("trainer.name")), data))
        lines += measures.messages()
    seeds = pd.concat([panel.data.table["seeds"] for panel in panels[1:]])
    parts = [
        f"means over {names.quantities(seeds, 'seed')}",
        f"{_samples(loaded)} training samples, labels as trained",
        loaded[0].batch_norm(),
    ]
    text = "; ".join(filter(None, parts))
    frames = [panel.data.table.assign(quantity=panel.name) for panel in panels]
    correlations = sentences(panels)
    records = [measures.record(options, {}) for measures in loaded]
    record = {"correlations": correlations, "measures": records}
    table = pd.concat(frames, ignore_index=True)
    output.write(options, draw(panels, column, text), {"": table}, record, correlations + lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = selection.parser(__doc__, "sharpness_time", many=True)
    column = "axis of the trainings from left to right, falling (default: optim.weight_decay)"
    parser.add_argument("--column", default="optim.weight_decay", help=column)
    return output.run(make, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
