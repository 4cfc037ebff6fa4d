"""Model-wise double descent: test and training error over width, for each rate of label noise.

    python analysis/model_wise.py logs/NAME [--out figures] [--where optim.weight_decay=0]

Writes STEM.png, STEM.pdf, STEM.csv (errors at the end and at the best epoch, mean and population
std over seeds), STEM_features.csv (the peak over widths) and STEM.json (which runs stand behind
every point), prints the table, and says whether double descent can be seen. Widths without a
finished run are hatched.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from analysis.double_descent import axis_sweep, error_lines
from analysis.double_descent.axis_sweep import Choice
from analysis.double_descent.error_lines import Line, draw_error
from analysis.figure import names, output, query, style
from analysis.figure.arguments import finite
from analysis.figure.provenance import (
    BAND,
    criterion_text,
    end_label,
    interval_text,
    summary,
)
from analysis.figure.table_text import table_text

SIZE = (6.6, 5.0)  # inches
LEGEND_COLUMNS = 2  # more are wider than the page
HANDLE_LENGTH = 4  # of the font size; shorter ones have no dash beside their marker


def draw(table: pd.DataFrame, choice: Choice, diverged: Sequence[float] = ()) -> Figure:
    """Test error (a) and training error (b) over width, a colour for each value of the second axis.

    table: from `axis_sweep.end_table`. diverged: widths at which a run diverged, marked by a cross.
    """
    by, axis, end = choice.by, choice.column, end_label(choice.last)
    with style.styled():
        groups = list(table.groupby(by))
        legend_rows = math.ceil(len(groups) / LEGEND_COLUMNS) * 2
        figure = Figure(figsize=(SIZE[0], SIZE[1] + 0.15 * legend_rows), layout="constrained")
        top, bottom = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": (2, 1)})
        for index, (value, group) in enumerate(groups):
            colour = error_lines.colour(index, len(groups))
            label = f"{names.name(by)} {value:g}"
            at_end = f"{label}, {end} (n = {error_lines.seeds(group)})"
            best = f"{label}, at the best epoch"
            draw_error(top, group, axis, Line("test_end", at_end, colour))
            draw_error(top, group, axis, Line("test_best", best, colour, "--"))
            draw_error(bottom, group, axis, Line("train_end", label, colour))
        for axes in (top, bottom):
            error_lines.log_axis(axes, table, axis)
            style.mark_diverged(axes, diverged, axes.get_ylim()[0])
        top.set_ylabel(names.name(choice.metric))
        bottom.set_ylabel(names.name(choice.training))
        style.letter((top, bottom))
        bottom.set_xlabel(names.name(axis))
        columns = min(len(groups), LEGEND_COLUMNS)
        figure.legend(
            *top.get_legend_handles_labels(),
            loc="outside upper center",
            ncols=columns,
            fontsize=7,
            handlelength=HANDLE_LENGTH,
        )
    return figure


def make(options: argparse.Namespace) -> None:
    """Query, reduce, draw, write."""
    choice = axis_sweep.choice_of(options)
    data = axis_sweep.with_verdict_notes(axis_sweep.load(options.folder, choice))
    table = axis_sweep.end_table(data, options.interpolation)
    if not table["n_seeds"].any():
        raise query.FigureError(error_lines.nothing_finished(data))
    peaks = axis_sweep.peak_table(data)
    facts = data.provenance(options) | {
        "best": error_lines.BEST,
        "interval": interval_text(f"curve over {choice.points}"),
        "band": BAND,
        "double_descent_criterion": criterion_text(choice.points),
    }
    lines = [table_text(table)]
    lines += [f"note: {note}" for note in data.notes]
    lines += data.state.messages(options.folder, choice.points)
    lines.append(summary(peaks, options.by, choice.points))
    figure = draw(table, choice, data.diverged()[choice.column].tolist())
    output.write(options, figure, {"": table, "_features": peaks}, facts, lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns 0, or 2 with one message if the figure cannot be drawn."""
    parser = axis_sweep.parser(__doc__, "model_wise")
    parser.add_argument(
        "--interpolation",
        type=finite,
        default=0.1,
        help="training error that counts as interpolation",
    )
    options = parser.parse_args(argv)
    return output.run(make, options)


if __name__ == "__main__":
    sys.exit(main())
