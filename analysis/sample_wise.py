"""Sample-wise double descent: test and training error over the training samples, for each width.

    python analysis/sample_wise.py logs/NAME [--out figures] [--where data.label_noise.rate=0.2]

Says at which widths more training samples raise the test error, from how many to how many, and by
how much (Nakkiran et al. 2019, section 7). Writes STEM.png, STEM.pdf, STEM.csv (errors at the end
and at the best epoch, mean and population std over seeds), STEM_rises.csv (of each width the
largest rise, its interval over seeds, and the interpolation threshold) and STEM.json (the rises,
and which runs stand behind every point). Sample counts without a finished run are hatched.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis.double_descent import axis_sweep, error_lines
from analysis.double_descent.axis_sweep import AxisSweep, Choice
from analysis.double_descent.error_lines import Line, draw_error
from analysis.figure import names, output, query, style
from analysis.figure.arguments import finite
from analysis.figure.provenance import BAND, end_label
from analysis.stats import more_data, seed_curves
from analysis.stats.seed_curves import SeedCurves
from analysis.stats.verdict import FLOOR

SIZE = (6.6, 5.6)  # inches
SAMPLES, WIDTH = "data.train_samples", "model.width"
TRAINING = "train_error"  # says what is fitted, whatever --metric is
BAR: dict[str, Any] = {"lw": 4, "solid_capstyle": "butt"}
CRITERION = (
    f"more data hurts where the largest rise of the error at the end is above {FLOOR}, and its "
    f"{more_data.LEVEL:.0%} interval above 0: Tukey's, for all pairs of sample counts at once, "
    "with the seeds as blocks; one seed has no interval; a loss is taken in its logarithm"
)


def rise_table(data: AxisSweep, ends: pd.DataFrame, level: float) -> pd.DataFrame:
    """One row per value of the second axis: its largest rise over samples, and its threshold.

    ends: from `axis_sweep.end_table`. Columns: the second axis; n_seeds; from_samples, to_samples;
    rise, rise_low, rise_high (of a loss, factors of its geometric mean); more_data_hurts;
    threshold_samples, at which the training error crosses `level`. Values without finished runs
    have NaN.
    """
    by, axis = data.choice.by, data.choice.column
    training = {value: group.dropna(subset="train_end") for value, group in ends.groupby(by)}
    rows = []
    for curves in axis_sweep.as_seed_curves(data):
        fitted = training[curves.value]
        threshold = float("nan")
        if len(fitted):
            threshold = more_data.interpolation_threshold(fitted["train_end"], fitted[axis], level)
        row = {
            by: curves.value,
            **_rise_row(curves, is_loss(data.choice)),
            "threshold_samples": threshold,
        }
        rows.append(row)
    return pd.DataFrame(rows)


def is_loss(choice: Choice) -> bool:
    """Whether the metric is a loss, whose spread grows with it: its rises are then factors."""
    return choice.metric.endswith("_loss")


def _rise_row(curves: SeedCurves, as_factor: bool) -> dict[str, Any]:
    """The largest rise at one value of the second axis, over the seeds that have every count."""
    if not curves.cells:
        return {"n_seeds": 0, "more_data_hurts": False}
    seeds, has_values = seed_curves.complete_block(curves.values)
    values = curves.values[seeds][:, has_values]
    rise = more_data.largest_rise(np.log(values) if as_factor else values, curves.x[has_values])
    bounds = np.array([rise.height, rise.low, rise.high])
    height, low, high = (np.exp(bounds) if as_factor else bounds).tolist()
    return {
        "n_seeds": len(seeds),
        "from_samples": rise.start,
        "to_samples": rise.stop,
        "rise": height,
        "rise_low": low,
        "rise_high": high,
        "more_data_hurts": rise.hurts,
    }


def sentence(row: dict[str, Any], choice: Choice, level: float) -> str:
    """One line about one width: whether more data hurts, and what is fitted."""
    head = f"{names.name(choice.by)} {row[choice.by]:g}: "
    if not row["n_seeds"]:
        return f"{head}no finished run"
    return f"{head}{_rise_text(row, choice)}; {_threshold_text(row, choice, level)}"


def _rise_text(row: dict[str, Any], choice: Choice) -> str:
    """Where more data hurts and by how much, or the largest rise that is no evidence of it."""
    span = f"from {row['from_samples']:g} to {row['to_samples']:g} training samples"
    if row["from_samples"] == row["to_samples"]:
        return f"the {names.name(choice.metric)} never rises with more data"
    if row["n_seeds"] == 1:
        change = "by a factor of" if is_loss(choice) else "by"
        return f"one seed, so no interval; it rises {change} {row['rise']:.3f} {span}"
    interval = f"{more_data.LEVEL:.0%} interval {row['rise_low']:.3f} to {row['rise_high']:.3f}"
    sign = "x" if is_loss(choice) else "+"
    evidence = f"{names.name(choice.metric)} {sign}{row['rise']:.3f}, {interval}"
    if row["more_data_hurts"]:
        return f"more data hurts {span} ({evidence})"
    return f"no rise beyond the spread over seeds; the largest is {span} ({evidence})"


def _threshold_text(row: dict[str, Any], choice: Choice, level: float) -> str:
    """Up to how many samples the training set is fitted."""
    threshold = row["threshold_samples"]
    what = f"{names.name(choice.training)} {level:g}"
    if np.isnan(threshold):
        return f"{what} is exceeded at the smallest count already"
    if np.isinf(threshold):
        return f"{what} is never exceeded"
    return f"{what} is exceeded from {threshold:.0f} samples on"


def draw(
    ends: pd.DataFrame,
    rises: pd.DataFrame,
    choice: Choice,
    level: float,
    diverged: Sequence[float] = (),
) -> Figure:
    """Test error (a) and training error (b) over samples, a colour for each width.

    ends, rises: from `axis_sweep.end_table` and `rise_table`. diverged: sample counts at which a
    run diverged, marked by a cross.
    """
    by, axis = choice.by, choice.column
    with style.styled():
        figure = Figure(figsize=SIZE, layout="constrained")
        top, bottom = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": (2, 1)})
        top.margins(y=0.12)  # room for the bars of `mark_rise`
        groups = list(ends.groupby(by))
        for index, (value, group) in enumerate(groups):
            colour = error_lines.colour(index, len(groups))
            label = f"{names.name(by)} {value:g} (n = {error_lines.seeds(group)})"
            draw_error(top, group, axis, Line("test_end", label, colour))
            draw_error(top, group, axis, Line("test_best", "", colour, "--"))
            draw_error(bottom, group, axis, Line("train_end", label, colour))
            row = rises[rises[by] == value].iloc[0]
            mark_rise(top, row, index, colour)
            mark_threshold((top, bottom), row["threshold_samples"], colour)
        for axes in (top, bottom):
            error_lines.log_axis(axes, ends, axis)
            style.mark_diverged(axes, diverged, axes.get_ylim()[0])
        bottom.axhline(level, color="0.5", lw=0.8, ls=":")
        top.set_ylabel(names.name(choice.metric))
        bottom.set_ylabel(names.name(choice.training))
        bottom.set_xlabel(names.name(axis))
        style.letter((top, bottom))
        legend(figure, top, end_label(choice.last))
    return figure


def mark_rise(axes: Axes, row: pd.Series, index: int, colour: tuple[float, ...]) -> None:
    """A bar at the upper edge over the sample counts between which more data hurts."""
    if row["more_data_hurts"]:
        span, height = [row["from_samples"], row["to_samples"]], 0.97 - 0.03 * index
        place = axes.get_xaxis_transform()
        axes.plot(span, [height] * 2, color=colour, transform=place, **BAR)


def mark_threshold(panels: Sequence[Axes], samples: float, colour: tuple[float, ...]) -> None:
    """A dotted vertical line at the interpolation threshold, if the counts reach it."""
    if np.isfinite(samples):
        for axes in panels:
            axes.axvline(samples, color=colour, lw=1.2, ls=":", zorder=0)


def legend(figure: Figure, axes: Axes, end: str) -> None:
    """The widths by colour, and what dashes, dots and bars are, above the panels."""
    handles, _ = axes.get_legend_handles_labels()
    grey = "0.4"
    handles += [
        Line2D([], [], color=grey, lw=1.8, label=end),
        Line2D([], [], color=grey, lw=1.8, ls="--", label="at the best epoch"),
        Line2D([], [], color=grey, lw=1.2, ls=":", label="interpolation threshold"),
        Line2D([], [], color=grey, label="more data hurts", **BAR),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=4, fontsize=7)


def make(options: argparse.Namespace) -> None:
    """Query, reduce, draw, write."""
    choice = replace(axis_sweep.choice_of(options), training_metric=TRAINING)
    data = axis_sweep.with_verdict_notes(axis_sweep.load(options.folder, choice))
    ends = axis_sweep.end_table(data, options.interpolation)
    if not ends["n_seeds"].any():
        raise query.FigureError(error_lines.nothing_finished(data))
    rises = rise_table(data, ends, options.interpolation)
    records = [dict(zip(rises.columns, row, strict=True)) for row in rises.to_numpy(object)]
    facts = data.provenance(options) | {
        "best": error_lines.BEST,
        "band": BAND,
        "interpolation": options.interpolation,
        "more_data_hurts_criterion": CRITERION,
        "rises": [_with_words(record) for record in records],
    }
    lines = [ends.to_string(index=False, float_format="{:.4g}".format)]
    lines += [f"note: {note}" for note in data.notes]
    lines += data.state.messages(options.folder, choice.points)
    lines += [sentence(row, choice, options.interpolation) for row in records]
    lines.append(CRITERION)
    diverged = data.diverged()[choice.column].tolist()
    figure = draw(ends, rises, choice, options.interpolation, diverged)
    output.write(options, figure, {"": ends, "_rises": rises}, facts, lines)


def _with_words(record: dict[str, Any]) -> dict[str, Any]:
    """A row of the table with words for a threshold above every count, which JSON cannot hold."""
    if record["threshold_samples"] == float("inf"):
        return record | {"threshold_samples": "above every count"}
    return record


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns 0, or 2 with one message if the figure cannot be drawn."""
    parser = axis_sweep.parser(__doc__, "sample_wise", SAMPLES, WIDTH)
    parser.add_argument(
        "--interpolation",
        type=finite,
        default=0.1,
        help="training error at the interpolation threshold (default: 0.1, as published)",
    )
    options = parser.parse_args(argv)
    return output.run(make, options)


if __name__ == "__main__":
    sys.exit(main())
