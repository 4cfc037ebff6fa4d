"""Model-wise double descent: test and training error over width, for each rate of label noise.

    python analysis/model_wise.py logs/NAME [--out figures] [--where optim.weight_decay=0]

Writes STEM.png, STEM.pdf, STEM.csv (errors at the end and at the best epoch, mean and population
std over seeds), STEM_features.csv (the peak over widths) and STEM.json (which runs stand behind
every point), prints the table, and says whether double descent can be seen. Widths without a
finished run are hatched.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.double_descent import axis_sweep
from analysis.double_descent.axis_sweep import Choice
from analysis.figure import heatmap, names, output, query, style
from analysis.figure.provenance import (
    BAND,
    criterion_text,
    diverged_text,
    end_label,
    interval_text,
    summary,
)
from analysis.figure.table_text import table_text

SIZE = (6.6, 5.0)  # inches
BEST = "each seed's lowest test error over its epochs, chosen on the test set, which flatters it"


@dataclass(frozen=True)
class Line:
    """How a curve is drawn: its column of the table, label in the legend, colour and dashes."""

    column: str
    label: str
    colour: tuple[float, ...]
    dashes: str = "-"


def draw(table: pd.DataFrame, choice: Choice, diverged: Sequence[float] = ()) -> Figure:
    """Test error (a) and training error (b) over width, a colour for each value of the second axis.

    table: from `axis_sweep.end_table`. diverged: widths at which a run diverged, marked by a cross.
    """
    by, axis, end = choice.by, choice.column, end_label(choice.last)
    with style.styled():
        figure = Figure(figsize=SIZE, layout="constrained")
        top, bottom = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": (2, 1)})
        groups = list(table.groupby(by))
        for index, (value, group) in enumerate(groups):
            colour = style.colour_map()(0.85 * index / max(len(groups) - 1, 1))
            label = f"{names.name(by)} {value:g}"
            at_end = f"{label}, {end} (n = {seeds(group)})"
            best = f"{label}, at the best epoch"
            draw_error(top, group, axis, Line("test_end", at_end, colour))
            draw_error(top, group, axis, Line("test_best", best, colour, "--"))
            draw_error(bottom, group, axis, Line("train_end", label, colour))
        for axes in (top, bottom):
            width_axis(axes, table, axis)
            style.mark_diverged(axes, diverged, axes.get_ylim()[0])
        top.set_ylabel(names.name(choice.metric))
        bottom.set_ylabel(names.name(choice.training))
        style.letter((top, bottom))
        bottom.set_xlabel(names.name(axis))
        top.legend(loc="lower center", bbox_to_anchor=(0.5, 1.09), ncols=len(groups), fontsize=7)
    return figure


def width_axis(axes: Axes, table: pd.DataFrame, axis: str) -> None:
    """A logarithmic axis with a tick at every width; widths without a finished run are hatched."""
    ticks = sorted(table[axis].unique())
    axes.set_xscale("log")
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    hatch(axes, table.groupby(axis)["n_seeds"].max())


def seeds(group: pd.DataFrame) -> str:
    """Seeds behind a curve, as "3" or "1-3" where it changes with the width."""
    low, high = int(group["n_seeds"].min()), int(group["n_seeds"].max())
    return str(high) if low == high else f"{low}–{high}"


def draw_error(axes: Axes, group: pd.DataFrame, axis: str, line: Line) -> None:
    """One curve with a band of one standard error over seeds where there is more than one."""
    x = group[axis].to_numpy(np.float64)
    mean = group[line.column].to_numpy(np.float64)
    std = group[f"{line.column}_std"].to_numpy(np.float64)
    band = std / np.sqrt(np.maximum(group["n_seeds"] - 1, 1))
    axes.plot(x, mean, line.dashes, marker="o", ms=3.5, lw=1.8, color=line.colour, label=line.label)
    axes.fill_between(x, mean - band, mean + band, color=line.colour, alpha=0.2, lw=0)


def hatch(axes: Axes, counts: pd.Series) -> None:
    """Hatches the widths (index of `counts`) without a finished run."""
    borders = 10 ** heatmap.edges(np.log10(counts.index.to_numpy(np.float64)))
    for left, right, count in zip(borders[:-1], borders[1:], counts, strict=True):
        if not count:
            axes.axvspan(left, right, fill=False, hatch=style.HATCH, lw=0)


def nothing_finished(data: axis_sweep.AxisSweep) -> str:
    """Why there is no end of a training to draw, as one line."""
    diverged, total = len(data.state.diverged), len(data.runs)
    if diverged == total:
        return f"{diverged_text(diverged)}; there is no error at the end to draw; lower optim.lr"
    return (
        f"none of the {total} chosen runs is at its last epoch yet ({diverged} diverged); wait, or "
        "`redescent resume`. analysis/width_noise.py draws what has been logged so far"
    )


def make(options: argparse.Namespace) -> None:
    """Query, reduce, draw, write."""
    choice = axis_sweep.choice_of(options)
    data = axis_sweep.load(options.folder, choice)
    table = axis_sweep.end_table(data, options.interpolation)
    if not table["n_seeds"].any():
        raise query.FigureError(nothing_finished(data))
    peaks = axis_sweep.peak_table(data)
    facts = data.provenance(options) | {
        "best": BEST,
        "interval": interval_text("curve over widths"),
        "band": BAND,
        "double_descent_criterion": criterion_text("widths"),
    }
    lines = [table_text(table)]
    lines += [f"note: {note}" for note in data.notes]
    lines += [*data.state.messages(options.folder), summary(peaks, options.by, "widths")]
    figure = draw(table, choice, data.diverged()[choice.column].tolist())
    output.write(options, figure, {"": table, "_features": peaks}, facts, lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns 0, or 2 with one message if the figure cannot be drawn."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    axis_sweep.arguments(parser, "model_wise")
    parser.add_argument(
        "--interpolation",
        type=float,
        default=0.1,
        help="training error that counts as interpolation",
    )
    options = parser.parse_args(argv)
    return output.run(make, options)


if __name__ == "__main__":
    sys.exit(main())
