"""A linear classifier on many features beside a network: both fit, and one generalises.

    python analysis/linear_vs_net.py logs/NAME [--out figures]

NAME is a sweep over models, such as linear_vs_net. For each model the accuracy on the training set
and on the test set; bars are 95 % t intervals over seeds. Writes STEM.png, STEM.pdf, STEM.csv (a
row for each model) and STEM.json.

The figure follows Huang et al. (2020), "Understanding Generalization through Visualizations"
(arXiv 1906.03291), figure 2.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from analysis.figure import names, output, style
from analysis.landscape import plot, scores, selection
from analysis.landscape.scores import Scores

AXES = ("model.",)
NAMES = {"quadratic": "linear, on products of pixels", "resnet18": "ResNet-18", "cnn5": "CNN",
         "mlp": "MLP", "vgg13": "VGG-13", "resnet20": "ResNet-20"}  # fmt: skip


def name(row: Mapping[Any, Any]) -> str:
    """The model of a training."""
    model = str(row["model.name"])
    width = row.get("model.width")
    text = NAMES.get(model, model)
    return f"{text} of width {width:g}" if width and pd.notna(width) else text


def draw(table: Scores, text: str) -> Figure:
    """Two bars for each model."""
    means = table.table.melt("name", ["train_mean", "test_mean"], "set", "accuracy")
    means["set"] = means["set"].map({"train_mean": "training set", "test_mean": "test set"})
    with style.themed():
        figure = Figure(figsize=(1.8 + 2.0 * len(table.table), 4.2), layout="constrained")
        axes = figure.subplots()
        means["accuracy"] *= 100
        sns.barplot(means, x="name", y="accuracy", hue="set", palette=["0.7", "#4477AA"], ax=axes)
        for place, row in enumerate(table.table.to_dict("records")):
            for shift, which in ((-0.2, "train"), (0.2, "test")):
                mean, high = 100 * row[f"{which}_mean"], 100 * row[f"{which}_high"]
                half = high - mean if pd.notna(high) else 0.0
                axes.errorbar(place + shift, mean, half, color="black", capsize=3, lw=1.2)
                axes.annotate(f"{mean:.1f}", (place + shift, 2), ha="center", fontsize=9)
        axes.set_ylim(0, 104)
        axes.set_xlabel("")
        axes.set_ylabel("accuracy (%)")
        sns.move_legend(axes, "lower center", bbox_to_anchor=(0.5, 1.0), ncol=2, title=None)
        plot.foot(figure, text)
    return figure


def make(options: argparse.Namespace) -> None:
    """Query, reduce, draw, write."""
    loaded = scores.load(options, name, AXES)
    counts = []
    for row in loaded.table.to_dict("records"):
        counts.append(f"{row['name']}: {row['parameters']:,} parameters")
    seeds = names.quantities(loaded.table["seeds"], "seed")
    text = f"{'; '.join(counts)}; means over {seeds}, bars: 95 % t intervals"
    lines = [*loaded.sentences(), *loaded.notes]
    output.write(options, draw(loaded, text), {"": loaded.table}, loaded.record(options), lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    return output.run(make, selection.parser(__doc__, "linear_vs_net").parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
