"""Figure 5 of Power et al. (2022): best test accuracy for several numbers of outliers.

    python analysis/grok_outliers.py logs/NAME [--out figures] [--where data.operation=x.y]

At the right, the share of outliers whose given answer the last step has learnt: are they memorised?
(A few are right by chance, 1 in as many as there are elements.) Writes STEM.png, STEM.pdf, STEM.csv
and STEM.json.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.figure import Figure

from analysis.figure import output, query, style
from analysis.grokking import best_accuracy, plot
from analysis.grokking import runs as grok

OUTLIERS = "data.outliers"
LABEL = "{:,.0f}".format  # of a number of outliers
METRICS = ("best_test_accuracy", "final_outlier_accuracy")


def values(runs: pd.DataFrame, metric: str) -> pd.Series:
    """A metric of each run; the accuracy on outliers is NaN where there are none."""
    if metric == METRICS[0]:
        return query.numbers(runs, metric)
    outliers = query.numbers(runs, "final_outlier_examples").replace(0, float("nan"))
    return query.numbers(runs, "final_outlier_right") / outliers


def draw(rows: Mapping[str, pd.DataFrame], labels: Sequence[str], budget: str) -> Figure:
    """Test accuracy at the left, accuracy on outliers at the right; `labels` in order."""
    looks = plot.looks(labels, ordered=True)
    titles = (
        f"Best test accuracy within\n{budget} (%)",
        "Outliers memorised\nat the last step (%)",
    )
    with style.themed():
        figure = Figure(figsize=(10.0, 4.2), layout="constrained")
        left, right = figure.subplots(1, 2)
        for axes, metric, title in zip((left, right), METRICS, titles, strict=True):
            best_accuracy.panel(axes, rows[metric], looks, title)
        left.get_legend().remove()
        right.legend(*left.get_legend_handles_labels(), title="Outliers", loc="center")
    return figure


def make(options: argparse.Namespace) -> None:
    """Query, reduce, draw, write."""
    selection = grok.require_finished(grok.select_runs(options, grok.FRACTION, OUTLIERS))
    runs = selection.runs
    labels, order = runs[OUTLIERS].map(LABEL), [LABEL(n) for n in sorted(set(runs[OUTLIERS]))]
    rows = {m: best_accuracy.rows_by_run(runs, labels, values(runs, m), m) for m in METRICS}
    means = {metric: best_accuracy.table(part) for metric, part in rows.items()}
    lines = []
    for metric, part in means.items():
        lines += [metric, best_accuracy.report(part, order)]
    answers = "right at the last step by the answer that they were given"
    record = selection.record(options, best_accuracy.facts(outliers=answers))
    table = pd.concat([part.assign(metric=m) for m, part in means.items()], ignore_index=True)
    figure = draw(rows, order, grok.budget(runs))
    lines += selection.messages(options.folder)
    output.write(options, figure, {"": table}, record, lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    return output.run(make, grok.parser(__doc__, "grok_outliers").parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
