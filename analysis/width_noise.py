"""Test error over width and training time, and over width and label noise at the end: heat maps.

    python analysis/width_noise.py logs/NAME [--out figures] [--at 0.2] [--time steps]

Writes STEM.png, STEM.pdf, STEM_time.csv and STEM_noise.csv (the two maps: mean, population std, n)
and STEM.json (which runs stand behind every column). What is not in the logs is hatched: in the
left map epochs that are not logged, in the right one widths and rates without a finished run.
Widths and rates that the sweep leaves out are blank.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.double_descent import axis_sweep
from analysis.double_descent.axis_sweep import AxisSweep, SweepGroup
from analysis.double_descent.early_ends import common_ends, early_ends
from analysis.figure import heatmap, names, output, query, style
from analysis.figure import options as figure_options
from analysis.figure.arguments import finite
from analysis.figure.provenance import end_label, nothing_logged
from analysis.stats import seed_curves
from analysis.stats.seed_curves import first_time

SIZE, RATIOS = (13.3, 4.0), (1.5, 1.0)  # inches; widths of the panels


def draw(data: AxisSweep, group: SweepGroup, ends: pd.DataFrame) -> Figure:
    """The figure: (a) `group` over width and time, (b) `ends` over both axes."""
    axis, by, last = data.choice.column, data.choice.by, data.choice.last
    value = names.name(data.choice.metric)
    time = time_grid(data, group)
    noise, levels = noise_grid(ends, by, axis)
    vmin, vmax = heatmap.limits(np.concatenate([time.values.ravel(), noise.values.ravel()]))
    with style.styled():
        figure = Figure(figsize=SIZE, layout="constrained")
        left, right = figure.subplots(1, 2, gridspec_kw={"width_ratios": RATIOS})
        mesh = heatmap.draw(left, time, vmin, vmax)
        meshes = [mesh, heatmap.draw(right, noise, vmin, vmax)]
        style.log_time(left, time.planned, "y", first_time(group.test))
        left.set_ylabel(names.name(group.test[0].x_name))
        left.set_title(f"{value}, {names.name(by)} {group.value:g}")
        right.set_ylim(0.5, len(levels) + 0.5)
        right.set_yticks(range(1, len(levels) + 1), [f"{level:g}" for level in levels])
        right.set_ylabel(names.name(by))
        right.set_title(f"{value}, {end_label(last)}")
        style.letter((left, right))
        mark_diverged(left, right, data.diverged(), group.value, levels)
        for axes in (left, right):
            label_widths(axes, sorted(ends[axis].unique()), axis)
        drawn = [mesh for mesh in meshes if mesh is not None]
        if drawn:
            heatmap.colour_bar(drawn, [left, right], value)
    return figure


def mark_diverged(
    left: Axes, right: Axes, diverged: pd.DataFrame, shown: float, levels: Sequence[float]
) -> None:
    """Crosses on both maps; `diverged` has width and second axis, `shown` is that of the left."""
    width, level = (diverged.iloc[:, column].to_numpy(np.float64) for column in (0, 1))
    bottom = left.get_ylim()[0]
    style.mark_diverged(left, np.log2(width[np.isclose(level, shown, atol=0)]), bottom)
    ranks = [1.0 + levels.index(value) for value in level]
    style.mark_diverged(right, np.log2(width), ranks)


def time_grid(data: AxisSweep, group: SweepGroup) -> heatmap.Grid:
    """Mean of the metric over width (log2) and time."""
    frame = seed_curves.tidy(group.test, "width")
    frame = frame.assign(x=np.log2(frame["width"]))
    x = [float(np.log2(column.value)) for column in group.test]
    planned = data.state.planned_epochs * max(column.per_epoch for column in group.test)
    return heatmap.grid(frame, x, planned, time=group.test[0].x_name)


def noise_grid(ends: pd.DataFrame, by: str, axis: str) -> tuple[heatmap.Grid, list[float]]:
    """Mean at the end over width (log2) and rank of `by`; and the values of `by`."""
    wide = ends.pivot(index=by, columns=axis, values="test_end")
    ranks = np.arange(1, len(wide) + 1, dtype=np.float64)
    x = np.log2(wide.columns.to_numpy(np.float64))
    is_planned = ends.pivot(index=by, columns=axis, values="n_seeds").notna().to_numpy()
    grid = heatmap.Grid(x, ranks, wide.to_numpy(np.float64), len(wide), ~is_planned)
    return grid, [float(level) for level in wide.index]


def label_widths(axes: Axes, values: Sequence[float], axis: str) -> None:
    """Ticks at the widths themselves, on an axis of their logarithm."""
    axes.set_xticks([float(np.log2(value)) for value in values], [f"{value:g}" for value in values])
    axes.set_xlabel(names.name(axis))


def choose(groups: Sequence[SweepGroup], at: float | None, by: str) -> SweepGroup:
    """The group at `at`, by default the one with the largest value; FigureError without one."""
    if at is None:
        return groups[-1]
    for group in groups:
        if np.isclose(group.value, at, atol=0):
            return group
    values = ", ".join(f"{group.value:g}" for group in groups)
    raise query.FigureError(f"--at {at:g}: found {by} {values}")


def make(options: argparse.Namespace) -> None:
    """Query, reduce, draw, write."""
    data = axis_sweep.load(options.folder, axis_sweep.choice_of(options))
    group = choose(data.groups, options.at, options.by)
    if not any(column.cells for column in group.test):
        runs = data.runs[np.isclose(data.runs[options.by], group.value, atol=0)]
        raise query.FigureError(
            f"{options.by} {group.value:g}: {nothing_logged(runs, options.metric)}; --at draws "
            "another value"
        )
    time = names.TIMES[options.time]
    group = axis_sweep.over_time(data, group, options.folder, time)
    last = f"the last {time} that all seeds have, in brackets"
    effect = f"after {last}, the left map has fewer or none"
    early = early_ends(common_ends(group.test), options.column, time, effect)
    data = replace(data, notes=[*data.notes, *early])
    table = axis_sweep.end_table(data, 0.0)
    ends = table[[options.by, options.column, "test_end", "test_end_std", "n_seeds"]]
    figure = draw(data, group, table)
    tables = {"_time": seed_curves.tidy(group.test, options.column), "_noise": ends}
    facts = data.provenance(options) | {"left": {options.by: group.value}}
    lines = [f"note: {note}" for note in data.notes]
    lines += data.state.messages(options.folder)
    output.write(options, figure, tables, facts, lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns 0, or 2 with one message if the figure cannot be drawn."""
    parser = axis_sweep.parser(__doc__, "width_noise")
    figure_options.add_time(parser)
    help_at = "value of the second axis in the left map (default: the largest)"
    parser.add_argument("--at", type=finite, help=help_at)
    options = parser.parse_args(argv)
    return output.run(make, options)


if __name__ == "__main__":
    sys.exit(main())
