"""Figure 2 (a, b): test error over weight decay and training time, and three of its curves.

    python analysis/fig2_ab.py logs/NAME [--out figures] [--where model.width=64] [--time steps]
    python analysis/fig2_ab.py logs/NAME --beside recalibrated_test_error
    python analysis/fig2_ab.py --published DIR      # DIR has the four published resnet-*.npy

Writes STEM.png, STEM.pdf, STEM.csv (mean, population std, n), STEM_features.csv and STEM.json
(which runs stand behind every column), prints the features, and says whether double descent can be
seen. What is not in the logs is hatched. With --beside, the three curves of another metric are
dashed beside those of --metric, and STEM_beside.csv and STEM_beside_features.csv are written too.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from analysis import store
from analysis.double_descent import published
from analysis.double_descent.early_ends import early_ends
from analysis.double_descent.time_map import MapData, draw
from analysis.figure import names, output, query
from analysis.figure import options as figure_options
from analysis.figure.arguments import documented, finite
from analysis.figure.provenance import (
    Completeness,
    Source,
    check_last,
    completeness,
    curves_of,
    end_text,
    feature_record,
    nothing_logged,
    record,
    summary,
)
from analysis.figure.table_text import table_text
from analysis.stats import seed_curves
from analysis.stats.features import LAST, PUBLISHED_LAST
from analysis.stats.seed_curves import SeedCurves

METRIC, TRAINING = "test_error", "train_error"  # the default of --metric
SHOWN = (
    "n_seeds", "first_minimum", "first_minimum_{time}", "peak", "peak_{time}", "final",
    "interpolation_{time}", "double_descent",
)  # fmt: skip


@dataclass(frozen=True)
class Reduced:
    """What is drawn of the chosen runs.

    data: the curves over seeds at each value of --column, increasing. features: of them, with the
    time of interpolation. state: how complete they are. beside: the curves of --beside, or none.
    """

    data: list[SeedCurves]
    features: pd.DataFrame
    state: Completeness
    beside: list[SeedCurves]


def load(options: argparse.Namespace) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """Runs and curves that the options choose, and notes on the choice."""
    if options.published:
        all_runs, curves = published.read(options.published)
    else:
        all_runs = store.runs(options.folder)
    matching = query.where(all_runs, options.where)
    runs, notes = query.with_number(matching, options.column)
    notes += query.check_axes(runs, options.column)
    if not options.published:
        extra = [f"{options.metric}_std"] if published.is_published(runs) else []
        time = names.TIMES[options.time]
        beside = [options.beside] if options.beside else []
        columns = [options.metric, *beside, TRAINING, time, *extra]
        curves = curves_of(runs, options.folder, list(dict.fromkeys(columns)), time)
    if "note" in runs.columns:
        notes += sorted(set(runs["note"].dropna()))
    return runs, curves, notes


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parsed options; exactly one of the folder and --published is given."""
    parser = documented(__doc__)
    add = parser.add_argument
    add("folder", nargs="?", help="log folder of a sweep, logs/NAME")
    add("--published", metavar="DIR", help="folder with the four published arrays")
    add("--column", default="optim.weight_decay", help="axis from left to right, falling")
    where = "take only these runs"
    add("--where", action="append", default=[], metavar="CONDITION", help=where)
    window = "smoothing of the features, in logged rows (odd)"
    add("--window", type=int, default=11, help=window)
    interpolation = "training error that counts as interpolation"
    add("--interpolation", type=finite, default=0.1, help=interpolation)
    add("--metric", default=METRIC, help=f"column to draw (default: {METRIC})")
    beside = "column whose curves are dashed beside those of --metric"
    add("--beside", metavar="METRIC", help=beside)
    figure_options.add_time(parser)
    output.last_option(parser, default=None)
    figure_options.add(parser, "fig2_ab")
    options = parser.parse_args(argv)
    if bool(options.folder) == bool(options.published):
        parser.error("give either the log folder of a sweep or --published DIR")
    if options.published and options.time != "epochs":
        parser.error("the published arrays have a row an epoch: leave out --time")
    if options.published and options.beside:
        parser.error("the published arrays are of one metric: leave out --beside")
    return options


def choose_last(options: argparse.Namespace, is_published: bool) -> None:
    """Fill in --last: 1, or the published choice for the published arrays."""
    if options.last is None:
        options.last = PUBLISHED_LAST if is_published else LAST


def axis_name(column: str) -> str:
    """What tables call the axis from left to right: lambda is weight decay."""
    return "lambda" if column == "optim.weight_decay" else column.rpartition(".")[2]


def reduce(runs: pd.DataFrame, curves: pd.DataFrame, options: argparse.Namespace) -> Reduced:
    """The curves over seeds with their features.

    Raises FigureError where no run has logged --metric or --beside, or where --last is longer than
    the trainings.
    """
    data = logged_curves(runs, curves, options.metric, options)
    name = axis_name(options.column)
    features = seed_curves.feature_table(data, options.window, name, options.last)
    training = over_time(runs, curves, TRAINING, options)
    times = seed_curves.threshold_table(training, options.interpolation, name)
    times.columns = times.columns.str.replace("threshold", "interpolation")
    over_epochs = seed_curves.seed_curves(runs, curves, options.column, options.metric)
    state = completeness(runs, over_epochs)
    check_last(options.last, state)
    return Reduced(
        data=data,
        features=features.merge(times, on=name, validate="one_to_one"),
        state=state,
        beside=logged_curves(runs, curves, options.beside, options) if options.beside else [],
    )


def over_time(
    runs: pd.DataFrame, curves: pd.DataFrame, metric: str, options: argparse.Namespace
) -> list[SeedCurves]:
    """The curves of a metric over --time, at each value of --column."""
    time = names.TIMES[options.time]
    return seed_curves.seed_curves(runs, curves, options.column, metric, time)


def logged_curves(
    runs: pd.DataFrame, curves: pd.DataFrame, metric: str, options: argparse.Namespace
) -> list[SeedCurves]:
    """`over_time`; FigureError where no run has logged the metric."""
    data = over_time(runs, curves, metric, options)
    if not any(column.cells for column in data):
        raise query.FigureError(nothing_logged(runs, metric))
    return data


def map_data(runs: pd.DataFrame, reduced: Reduced, options: argparse.Namespace) -> MapData:
    """What the figure shows."""
    state = reduced.state
    is_diverged = runs["cell"].astype(str).isin(state.diverged)
    return MapData(
        curves=reduced.data,
        features=reduced.features,
        planned=state.planned_epochs * max(column.per_epoch for column in reduced.data),
        diverged=sorted(set(runs.loc[is_diverged, options.column])),
        metric=options.metric,
        beside=reduced.beside,
        beside_metric=options.beside or "",
    )


def early_ends_of(features: pd.DataFrame, axis: str, time: str) -> list[str]:
    """A note on the columns whose `final` is of an early time."""
    logged = features[features["n_seeds"] > 0]
    if logged.empty:
        return []
    ends = dict(zip(logged[axis], logged[f"last_{time}"].astype(int), strict=True))
    effect = (
        f"final is of the last {time} that all its seeds have, in brackets, and of seeds that "
        "diverged later too"
    )
    return early_ends(ends, axis, time, effect)


def listing(features: pd.DataFrame, options: argparse.Namespace) -> str:
    """The features for the terminal, from left to right of the figure downwards."""
    time = names.TIMES[options.time]
    columns = [axis_name(options.column), *(name.format(time=time) for name in SHOWN)]
    present = [name for name in columns if name in features]
    return table_text(features[present].iloc[::-1])


def make(options: argparse.Namespace) -> None:
    """Query, reduce, draw, write."""
    runs, curves, notes = load(options)
    is_published = published.is_published(runs)
    choose_last(options, is_published)
    reduced = reduce(runs, curves, options)
    figure = draw(map_data(runs, reduced, options), options.column, is_published)
    axis, features, state = axis_name(options.column), reduced.features, reduced.state
    notes += early_ends_of(features, axis, names.TIMES[options.time])
    source = Source(runs, options.published or options.folder, notes)
    facts = record(source, reduced.data, state, options, options.metric)
    facts |= feature_record(options.window, options.time)
    lines = [listing(features, options)]
    tables = {"": seed_curves.tidy(reduced.data, axis), "_features": features}
    verdicts = [summary(features, axis, options.time)]
    if reduced.beside:
        beside = seed_curves.feature_table(reduced.beside, options.window, axis, options.last)
        lines += [f"{options.beside}:", listing(beside, options)]
        verdicts.append(f"{options.beside}: {summary(beside, axis, options.time)}")
        tables |= {"_beside": seed_curves.tidy(reduced.beside, axis), "_beside_features": beside}
        facts["beside"] = options.beside
    lines.append(f"final: {end_text(options.last)}")
    lines += [f"note: {note}" for note in notes]
    lines += [*state.messages(options.folder), *verdicts]
    output.write(options, figure, tables, facts, lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns 0, or 2 with one message if the figure cannot be drawn."""
    options = arguments(argv)
    return output.run(make, options)


if __name__ == "__main__":
    sys.exit(main())
