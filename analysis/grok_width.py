"""Model-wise double descent of transformers on operation tables: error and loss over width.

    python analysis/grok_width.py logs/NAME [--out figures] [--where data.train_fraction=0.5]

A column of panels for every level of label noise (data.outliers, data.outlier_size). Writes
STEM.png, STEM.pdf, STEM.csv and STEM.json, and says whether the errors rise and fall again with
width.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, NullLocator

from analysis.figure import output, query, style
from analysis.figure.looks import Look
from analysis.grokking import labels, plot, step_curves
from analysis.grokking import runs as grok
from analysis.stats import features, seed_curves
from analysis.stats.verdict import Criterion, has_double_descent

WIDTH, NOISE = "model.width", ("data.outliers", "data.outlier_size")


@dataclass(frozen=True)
class Quantity:
    """A curve of the figure: its panel, its column in the runs table, its label and look."""

    panel: str
    column: str
    label: str
    look: Look

    def values(self, runs: pd.DataFrame) -> pd.Series:
        """Of each finished run: an error in % or a loss in nats."""
        values = grok.finished_values(runs, query.numbers(runs, self.column), self.column)
        return 100 * (1 - values) if self.panel == "error" else values


_TEST, _TRAIN = (to_rgb(step_curves.COLOURS[split]) for split in ("test", "train"))
CURVES = {
    "final_test": ("test, last step", Look(_TEST, "o", "-")),
    "best_test": ("test, best step", Look(_TEST, "s", "--")),
    "final_train": ("train, last step", Look(_TRAIN, "^", ":")),
}


def _quantities() -> tuple[Quantity, ...]:
    """The curves of both panels."""
    quantities = []
    for panel, metric in (("error", "accuracy"), ("loss", "loss")):
        for name, (label, look) in CURVES.items():
            quantities.append(Quantity(panel, f"{name}_{metric}", label, look))
    return tuple(quantities)


QUANTITIES = _quantities()
LABELS = {"error": "error (%)", "loss": "loss (nats)"}
FLOORS = {"error": 1.0, "loss": 0.05}  # % and nats; a rise or descent below it counts as none


def rows_by_run(runs: pd.DataFrame) -> pd.DataFrame:
    """Columns noise, model.width, quantity, panel, label and value of each run and quantity."""
    levels = noise(runs)
    parts = []
    for q in QUANTITIES:
        columns = {"noise": levels, WIDTH: runs[WIDTH], "value": q.values(runs)}
        names = {"quantity": q.column, "panel": q.panel, "label": q.label}
        parts.append(pd.DataFrame(columns).assign(**names))
    return pd.concat(parts, ignore_index=True)


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """Columns noise, model.width, those of `grok.over_seeds`, and quantity."""
    parts = []
    for quantity, part in rows.groupby("quantity", sort=False):
        parts.append(grok.over_seeds(part, ["noise", WIDTH]).assign(quantity=quantity))
    return pd.concat(parts, ignore_index=True)


def noise(runs: pd.DataFrame) -> pd.Series:
    """The level of label noise of each run, in words."""
    rows = runs[list(NOISE)].to_dict("records")
    return pd.Series([labels.noise(row) for row in rows], index=runs.index)


def levels(runs: pd.DataFrame) -> list[str]:
    """The levels of noise in their order, none first."""
    return list(dict.fromkeys(noise(runs.sort_values(list(NOISE)))))


def verdict(runs: pd.DataFrame, quantity: Quantity) -> str:
    """Whether the quantity rises and falls again over width, of runs of one noise level.

    Seeds and widths are those of the largest block without gaps.
    """
    rows = runs.assign(value=quantity.values(runs))
    wide = rows.pivot(index="seed", columns=WIDTH, values="value")
    values = wide.to_numpy(np.float64)
    if not np.isfinite(values).any():
        return "nothing finished"
    seeds, mask = seed_curves.complete_block(values)
    block, widths = values[seeds][:, mask], wide.columns.to_numpy()[mask]
    criterion, places = Criterion(FLOORS[quantity.panel]), np.arange(1, len(widths) + 1)
    shape = has_double_descent(block, 1, places, last=1, criterion=criterion)
    if not shape.double_descent:
        return f"does not rise and fall again over width: {shape.reason}"
    top = features.features(block.mean(axis=0), 1, last=1).peak_epoch
    return f"rises and falls again over width, peak at {widths[int(top) - 1]}: {shape.reason}"


def draw(rows: pd.DataFrame, names: Sequence[str]) -> Figure:
    """Rows of panels for error and loss, columns for levels of noise."""
    widths = sorted(set(rows[WIDTH]))
    with style.themed():
        figure = Figure(figsize=(4.2 * len(names) + 1.0, 6.4), layout="constrained")
        grid = figure.subplots(2, len(names), sharex=True, sharey="row", squeeze=False)
        for name, (upper, lower) in zip(names, grid.T, strict=True):
            level = rows[rows["noise"] == name]
            draw_panel(upper, level, "error")
            draw_panel(lower, level, "loss")
            upper.set_title(name[0].upper() + name[1:])
            lower.set_xlabel("width (d_model)")
            width_axis(lower, widths)
        for axes in grid.flat[1:]:
            axes.get_legend().remove()
        grid[0, 0].set_ylim(-2, 102)
        grid[1, 0].set_ylim(bottom=0)
        sns.move_legend(grid[0, 0], "best", title=None)
    return figure


def draw_panel(axes: Axes, rows: pd.DataFrame, panel: str) -> None:
    """Final and best test values and final training values over width."""
    panel_rows = rows[rows["panel"] == panel]
    looks = {q.label: q.look for q in QUANTITIES if q.panel == panel}
    plot.curves(axes, panel_rows, WIDTH, looks)
    plot.hatch_without_value(axes, panel_rows, WIDTH)
    axes.set_ylabel(LABELS[panel])


def width_axis(axes: Axes, widths: Sequence[int]) -> None:
    """A logarithmic axis with a tick at every width, or at the powers of two of many."""
    axes.set_xscale("log")
    axes.set_xlim(widths[0] / 1.2, widths[-1] * 1.2)
    powers = [w for w in widths if math.log2(w).is_integer()]
    tick_widths = powers if len(widths) > 8 and len(powers) > 2 else widths
    axes.set_xticks(tick_widths, [f"{w:g}" for w in tick_widths])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_minor_formatter(NullFormatter())


def make(options: argparse.Namespace) -> None:
    """Query, reduce, draw, write."""
    selection = grok.require_finished(grok.select_runs(options, WIDTH, *NOISE))
    runs = selection.runs
    rows, names = rows_by_run(runs), levels(runs)
    verdicts: dict[str, dict[str, str]] = {}
    for name in names:
        level = runs[noise(runs) == name]
        tests = [q for q in QUANTITIES if "test" in q.column]
        verdicts[name] = {q.column: verdict(level, q) for q in tests}
    lines = []
    for name, sentences in verdicts.items():
        lines += [f"{name}: {quantity}: {text}" for quantity, text in sentences.items()]
    facts = {
        "spread": plot.SPREAD,
        "unfinished": "left out",
        "verdicts": verdicts,
        "best": "lowest loss and highest accuracy of all logged steps, each at its own step",
        "train": "with the answers given to outliers; redrawn labels are not in it",
    }
    lines += selection.messages(options.folder)
    record = selection.record(options, facts)
    output.write(options, draw(rows, names), {"": table(rows)}, record, lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    return output.run(make, grok.parser(__doc__, "grok_width").parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
