"""Figure 6 of Power et al. (2022): test accuracy against the sharpness of the minimum, over seeds.

    python analysis/grok_sharpness.py logs/NAME [--out figures]

Needs runs with trainer.sharpness=true (of Keskar et al. 2017, in the last row). Writes STEM.png,
STEM.pdf, STEM.csv and STEM.json with Spearman's rank correlation.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from scipy import stats as scipy_stats

from analysis.figure import output, query, style
from analysis.figure.names import none_of, quantity
from analysis.grokking import plot
from analysis.grokking import runs as grok

PUBLISHED = "published (20 seeds, S5 products, 70 % of the data): rho -0.795, p 1.4e-5"
SHARPNESS = (
    "Keskar et al. (2017), metric 2.1: 10 random directions, size 1e-3, of the training loss"
)
LEAST = 3  # runs, for a correlation
RESAMPLES = 1000
INTERVAL = f"of rho: 95 % bootstrap percentile interval over runs, {RESAMPLES} resamples, seed 0"


@dataclass(frozen=True)
class Correlation:
    """Spearman's rho, its 95 % interval and its two-sided p of `n` runs; NaN if either value never
    changes.
    """

    rho: float
    p: float
    n: int
    low: float = np.nan
    high: float = np.nan

    def __str__(self) -> str:
        if np.isnan(self.rho):
            return f"Spearman's rho undefined, {quantity(self.n, 'run')}"
        interval = f"[{self.low:.3f}, {self.high:.3f}]"
        return (
            f"Spearman's rho {self.rho:.3f} {interval}, p {self.p:.2g}, {quantity(self.n, 'run')}"
        )


def table(runs: pd.DataFrame) -> pd.DataFrame:
    """seed, cell, sharpness (%) and final test_accuracy of each finished run that has both."""
    columns = {
        "seed": runs["seed"],
        "cell": runs["cell"].astype(str),
        "sharpness": query.numbers(runs, "final_sharpness"),
        "test_accuracy": query.numbers(runs, "final_test_accuracy"),
    }
    finite = pd.DataFrame(columns).replace([np.inf, -np.inf], np.nan).dropna()
    return finite.sort_values("seed", ignore_index=True)


def correlation(rows: pd.DataFrame) -> Correlation:
    """Spearman's correlation of sharpness and test accuracy."""
    columns = rows[["sharpness", "test_accuracy"]]
    if len(rows) < LEAST or (columns.nunique() < 2).any():
        return Correlation(np.nan, np.nan, len(rows))
    result = scipy_stats.spearmanr(columns["sharpness"], columns["test_accuracy"])
    low, high = interval(columns.to_numpy(np.float64))
    return Correlation(float(result.statistic), float(result.pvalue), len(rows), low, high)


def interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """The bootstrap interval of Spearman's rho of two columns (runs, 2).

    Resamples in which a column never changes have no rho and are left out.
    """
    random = np.random.default_rng(0)
    draws = []
    for chosen in random.integers(0, len(values), (RESAMPLES, len(values))):
        sample = values[chosen]
        if (np.ptp(sample, axis=0) > 0).all():
            ranks = scipy_stats.rankdata(sample, axis=0)
            draws.append(np.corrcoef(ranks, rowvar=False)[0, 1])
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(low), float(high)


def draw(rows: pd.DataFrame, result: Correlation) -> Figure:
    """A point for each run."""
    percent = rows.assign(test_accuracy=100 * rows["test_accuracy"])
    with style.themed():
        figure = Figure(figsize=(5.2, 4.2), layout="constrained")
        axes = figure.subplots()
        colour = plot.COLOURS[0]
        sns.scatterplot(percent, x="sharpness", y="test_accuracy", color=colour, s=40, ax=axes)
        axes.set_xlabel("sharpness φ (%)")
        axes.xaxis.set_major_locator(MaxNLocator(4))
        axes.set_ylabel("test accuracy (%)")
        axes.set_title(str(result))
    return figure


def make(options: argparse.Namespace) -> None:
    """Query, reduce, draw, write."""
    selection = grok.require_finished(grok.select_runs(options))
    rows = table(selection.finished)
    if rows.empty:
        raise query.FigureError(
            f"{none_of(len(selection.finished), 'finished run')} has a sharpness; "
            f"submit with trainer.sharpness=true{grok.of_diverged(selection.runs)}"
        )
    result = correlation(rows)
    facts = {
        "correlation": asdict(result),
        "interval": INTERVAL,
        "published": PUBLISHED,
        "sharpness": SHARPNESS,
    }
    lines = [str(result), PUBLISHED, *selection.messages(options.folder)]
    record = selection.record(options, facts)
    output.write(options, draw(rows, result), {"": rows}, record, lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    return output.run(make, grok.parser(__doc__, "grok_sharpness").parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
