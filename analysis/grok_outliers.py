"""Figure 5 of Power et al. (2022): best test accuracy over the train fraction for numbers of
outliers.

    python analysis/grok_outliers.py logs/NAME [--out figures] [--where data.operation=x.y]

At the right, the share of outliers whose given answer the last step has learnt: are they memorised?
(A few are right by chance, 1 in as many as there are elements.) Writes STEM.png, STEM.pdf, STEM.csv
and STEM.json.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from analysis.figure import output, style
from analysis.grokking import best_accuracy, plot
from analysis.grokking import runs as grok

OUTLIERS = "data.outliers"
METRICS = ("best_test_accuracy", "final_outlier_accuracy")


def values(runs: pd.DataFrame, metric: str) -> pd.Series:
    """A metric of each run; the accuracy on outliers is NaN where there are none."""
    if metric == METRICS[0]:
        return grok.numeric_column(runs, metric)
    return grok.numeric_column(runs, "final_outlier_right") / grok.numeric_column(
        runs, "final_outlier_examples"
    ).replace(0, float("nan"))


def draw(found: pd.DataFrame, labels: Sequence[str], budget: str) -> Figure:
    """Test accuracy at the left, accuracy on outliers at the right; `labels` by the number of
    outliers.
    """
    palette = plot.colours(len(labels), ordered=True)
    titles = (
        f"Best test accuracy within\n{budget} (%)",
        "Outliers memorised\nat the last step (%)",
    )
    with style.styled():
        figure = Figure(figsize=(10.0, 4.2), layout="constrained")
        for axes, metric, title in zip(figure.subplots(1, 2), METRICS, titles, strict=True):
            best_accuracy.panel(axes, found[found["metric"] == metric], labels, palette, title)
        figure.axes[1].legend(
            *figure.axes[0].get_legend_handles_labels(), title="Outliers", loc="center"
        )
    return figure


def make(options: argparse.Namespace) -> None:
    """Query, reduce, draw, save."""
    selection = grok.require_finished(grok.select_runs(options, grok.FRACTION, OUTLIERS))
    runs = selection.runs
    labels = runs[OUTLIERS].map("{:,.0f}".format)
    parts = [
        best_accuracy.table(selection, labels, values(runs, m)).assign(metric=m) for m in METRICS
    ]
    found = pd.concat(parts, ignore_index=True)
    order = [f"{n:,.0f}" for n in sorted(set(runs[OUTLIERS]))]
    facts = best_accuracy.facts(
        outliers="right at the last step by the answer that they were given"
    )
    lines = [
        line
        for m, part in zip(METRICS, parts, strict=True)
        for line in (m, *best_accuracy.report(part, order))
    ]
    grok.write(options, draw(found, order, grok.budget(runs)), {"": found}, selection, facts, lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    return output.run(make, grok.parser(__doc__, "grok_outliers").parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
