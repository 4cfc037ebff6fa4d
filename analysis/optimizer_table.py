"""Test accuracy of one network with different optimisers, as a table with intervals over seeds.

    python analysis/optimizer_table.py logs/NAME [--out figures] [--where optim.lr=0.01]

NAME is a sweep over optimisers, such as optimizers_table. A row for each optimiser with its rate,
best first: test accuracy in full, training accuracy hollow; bars are 95 % t intervals over seeds.
Writes STEM.png, STEM.pdf, STEM.csv (a row for each optimiser) and STEM.json.

The table follows Huang et al. (2020), "Understanding Generalization through Visualizations"
(arXiv 1906.03291), table 1.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from analysis.figure import names, output, style
from analysis.landscape import plot, scores, selection
from analysis.landscape.scores import Scores

AXES = ("optim.",)
NAMES = {
    "sgd": "SGD", "nesterov": "Nesterov", "adam": "Adam", "adamw": "AdamW", "rmsprop": "RMSprop",
    "amsgrad": "AMSGrad", "adamax": "AdaMax", "adagrad": "Adagrad", "adadelta": "Adadelta",
    "asgd": "ASGD", "shampoo": "Shampoo", "soap": "SOAP",
}  # fmt: skip


def name(row: Mapping[Any, Any]) -> str:
    """The optimiser of a training, with its rate and momentum."""
    optimiser = str(row["optim.name"])
    momentum = row.get("optim.momentum")
    text = f"{NAMES.get(optimiser, optimiser)} {float(row['optim.lr']):g}"
    return f"{text}, momentum {momentum:g}" if momentum and pd.notna(momentum) else text


def draw(table: Scores, text: str) -> Figure:
    """A row for each optimiser."""
    with style.themed():
        height = 1.6 + 0.34 * len(table.table)
        figure = Figure(figsize=(7.2, height), layout="constrained")
        axes = figure.subplots()
        scores.points(axes, table.table, "train", {"color": "0.55", "mfc": "white"})
        scores.points(axes, table.table, "test", {"color": "#4477AA"})
        low, high = axes.get_xlim()
        axes.set_xlim(max(low, 0), min(high, 100))  # t intervals of few seeds can leave it
        axes.set_xlabel("accuracy (%)")
        axes.legend(fontsize=8.5, frameon=True)
        plot.foot(figure, text)
    return figure


def make(options: argparse.Namespace) -> None:
    """Query, reduce, draw, write."""
    loaded = scores.load(options, name, AXES)
    table = loaded.table
    ties = int((table["test_high"] >= table["test_low"].iloc[0]).sum())
    lines = [*loaded.sentences(), *loaded.notes]
    if table["seeds"].min() > 1:
        reach = "reaches" if ties == 1 else "reach"
        lines.append(
            f"{ties} of {names.quantity(len(table), 'interval')} {reach} that of the best optimiser"
        )
    text = f"means over {names.quantities(table['seeds'], 'seed')}, bars: 95 % t intervals"
    output.write(options, draw(loaded, text), {"": table}, loaded.record(options), lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    return output.run(make, selection.parser(__doc__, "optimizer_table").parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
