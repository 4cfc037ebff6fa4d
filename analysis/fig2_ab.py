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

import pandas as pd

from analysis import store
from analysis.double_descent import published
from analysis.double_descent.early_ends import early_ends
from analysis.double_descent.time_map import MapData, draw
from analysis.figure import names, output, query
from analysis.figure import options as figure_options
from analysis.figure.arguments import finite
from analysis.figure.provenance import (
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
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", help="log folder of a sweep, logs/NAME")
    parser.add_argument("--published", metavar="DIR", help="folder with the four published arrays")
    parser.add_argument(
        "--column", default="optim.weight_decay", help="axis from left to right, falling"
    )
    parser.add_argument(
        "--where", action="append", default=[], metavar="CONDITION", help="take only these runs"
    )
    parser.add_argument(
        "--window", type=int, default=11, help="smoothing of the features, in logged rows (odd)"
    )
    parser.add_argument(
        "--interpolation",
        type=finite,
        default=0.1,
        help="training error that counts as interpolation",
    )
    parser.add_argument("--metric", default=METRIC, help=f"column to draw (default: {METRIC})")
    beside = "column whose curves are dashed beside those of --metric"
    parser.add_argument("--beside", metavar="METRIC", help=beside)
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


def features_of(
    runs: pd.DataFrame,
    curves: pd.DataFrame,
    data: Sequence[SeedCurves],
    options: argparse.Namespace,
) -> pd.DataFrame:
    """The features of each column, with the time of interpolation."""
    name = axis_name(options.column)
    features = seed_curves.feature_table(data, options.window, name, options.last)
    training = seed_curves.seed_curves(
        runs, curves, options.column, TRAINING, names.TIMES[options.time]
    )
    times = seed_curves.threshold_table(training, options.interpolation, name)
    times.columns = times.columns.str.replace("threshold", "interpolation")
    return features.merge(times, on=name, validate="one_to_one")


def beside_of(
    runs: pd.DataFrame, curves: pd.DataFrame, options: argparse.Namespace
) -> list[SeedCurves]:
    """The curves of --beside, empty without it; FigureError where no run has logged the metric."""
    if not options.beside:
        return []
    data = seed_curves.seed_curves(
        runs, curves, options.column, options.beside, names.TIMES[options.time]
    )
    if not any(column.cells for column in data):
        raise query.FigureError(nothing_logged(runs, options.beside))
    return data


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


def make(options: argparse.Namespace) -> None:
    """Query, reduce, draw, write."""
    runs, curves, notes = load(options)
    is_published = published.is_published(runs)
    choose_last(options, is_published)
    time, axis = names.TIMES[options.time], axis_name(options.column)
    data = seed_curves.seed_curves(runs, curves, options.column, options.metric, time)
    if not any(column.cells for column in data):
        raise query.FigureError(nothing_logged(runs, options.metric))
    features = features_of(runs, curves, data, options)
    state = completeness(
        runs, seed_curves.seed_curves(runs, curves, options.column, options.metric)
    )
    check_last(options.last, state)
    is_diverged = runs["cell"].astype(str).isin(state.diverged)
    planned = state.planned_epochs * max(column.per_epoch for column in data)
    diverged = sorted(set(runs.loc[is_diverged, options.column]))
    beside = beside_of(runs, curves, options)
    contents = MapData(
        curves=data,
        features=features,
        planned=planned,
        diverged=diverged,
        metric=options.metric,
        beside=beside,
        beside_metric=options.beside or "",
    )
    figure = draw(contents, options.column, is_published)
    notes += early_ends_of(features, axis, time)
    source = Source(runs, options.published or options.folder, notes)
    facts = record(source, data, state, options, options.metric)
    facts |= feature_record(options.window, options.time)
    shown = [axis, *(name.format(time=time) for name in SHOWN)]
    lines = [table_text(features[shown].iloc[::-1])]
    tables = {"": seed_curves.tidy(data, axis), "_features": features}
    verdicts = [summary(features, axis, options.time)]
    if beside:
        features_beside = seed_curves.feature_table(beside, options.window, axis, options.last)
        shown_beside = [name for name in shown if name in features_beside]
        lines += [f"{options.beside}:", table_text(features_beside[shown_beside].iloc[::-1])]
        verdicts.append(f"{options.beside}: {summary(features_beside, axis, options.time)}")
        tables |= {
            "_beside": seed_curves.tidy(beside, axis),
            "_beside_features": features_beside,
        }
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
