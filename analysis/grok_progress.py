"""Progress measures of modular addition under the accuracy curves (Nanda et al. 2023, Figure 7).

    python analysis/grok_progress.py logs/NAME [--out figures] [--where seed=1]

NAME is a sweep of trainer=progress. Of one training, from the top: accuracy; loss, with the
restricted loss (key frequencies alone, all rows of the table) and the excluded loss (without them,
training rows); the share of each frequency in the waves of the logits, key ones in colour; Gini
coefficients of the Fourier spectra. Writes STEM.png, STEM.pdf, STEM.csv (one row a snapshot),
STEM_frequencies.csv and STEM.json.
"""

from __future__ import annotations

import math
import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import store
from analysis.figure import output, query, style
from analysis.grokking import step_curves
from analysis.landscape import selection
from analysis.landscape.selection import Measures

SIZE = (6.0, 9.6)  # inches
HEIGHTS = (0.8, 1.3, 1, 0.7)  # of the panels
LOSSES = {  # column: label, colour, line
    "train_loss": ("train", step_curves.COLOURS["train"], "-"),
    "test_loss": ("test", step_curves.COLOURS["test"], "-"),
    "restricted_loss": ("restricted, all rows", "#0072B2", "--"),
    "excluded_loss": ("excluded, train", "#CC79A7", "--"),
}
GINI = {
    "gini_embedding": ("embedding", "#5B4A9E", "-"),
    "gini_output": ("hidden units to logits", "#E69F00", "-"),
}
LOSS_SHOWN = 1e-6  # nats, where the axis ends: below it, float32 rounding decides


@dataclass(frozen=True)
class Progress:
    """What is drawn of one training.

    curves: step, train_accuracy, test_accuracy. snapshots: step and the columns of LOSSES and GINI.
    frequencies: step, frequency, power_share, is_key. p: the modulus.
    """

    curves: pd.DataFrame
    snapshots: pd.DataFrame
    frequencies: pd.DataFrame
    p: int

    @property
    def keys(self) -> list[int]:
        """The key frequencies, rising."""
        chosen = self.frequencies["frequency"][self.frequencies["is_key"] == 1]
        return sorted(set(chosen.astype(int)))


def load(options: Namespace) -> tuple[Measures, Progress]:
    """The one measure of a training that the options choose, with its rows and curves.

    Raises StoreError without logs, FigureError if none is done or several trainings are left.
    """
    loaded = selection.load(options.folder, "progress", options.where)
    measures = selection.one_seed(selection.require_finished(loaded))
    if len(measures.trained) > 1:
        raise query.FigureError(
            f"found {len(measures.trained)} trainings that differ in {', '.join(measures.axes)}; "
            "expected one, choose it with --where"
        )
    selection.require_finished(measures)
    training = measures.trained.iloc[0]
    rows = measures.rows("snapshot_step", *LOSSES, *GINI, "frequency", "power_share", "is_key")
    first = rows[rows["step"] == 0]
    steps = dict(zip(first["epoch"], first["snapshot_step"].astype(int), strict=True))
    rows = rows.assign(step=rows["epoch"].map(steps))
    frequencies = rows[rows["frequency"].notna()]
    folder = selection.present(options.folder, str(measures.setting(selection.FOLDER)))
    columns = ["step", "train_accuracy", "test_accuracy"]
    curves = store.curves(Path(folder), columns, [str(training["cell"])])
    return measures, Progress(
        curves.sort_values("step", ignore_index=True),
        first.assign(step=first["snapshot_step"].astype(int))[["step", *LOSSES, *GINI]],
        frequencies[["step", "frequency", "power_share", "is_key"]].astype({"frequency": int}),
        int(training["data.modulus"]),
    )


def halved(data: Progress, column: str) -> int | None:
    """The first snapshot's step from which on a loss stays below half of ln p, which is the loss of
    a guess; None if the last is not below.
    """
    is_above = data.snapshots[column] >= math.log(data.p) / 2
    if is_above.iloc[-1]:
        return None
    below = data.snapshots["step"][is_above[::-1].cumsum() == 0]
    return int(below.min())


def draw(data: Progress, label: str) -> Figure:
    """Four panels over one axis of steps."""
    with style.themed():
        figure = Figure(figsize=SIZE, layout="constrained")
        accuracy, loss, share, gini = figure.subplots(4, 1, sharex=True, height_ratios=HEIGHTS)
        draw_accuracy(accuracy, data)
        draw_lines(loss, data.snapshots, LOSSES)
        loss.set_yscale("log")
        loss.set_ylim(bottom=max(loss.get_ylim()[0], LOSS_SHOWN))
        draw_shares(share, data)
        draw_lines(gini, data.snapshots, GINI)
        style.log_time(gini, float(data.snapshots["step"].max()), "x")
        accuracy.set(ylabel="Accuracy (%)", ylim=(-2, 102), title=label)
        loss.set_ylabel("Loss (nats)")
        share.set(ylabel="Share of the waves (%)", ylim=(-2, 102))
        gini.set(ylabel="Gini coefficient", ylim=(0, 1), xlabel="Optimiser steps")
        places = {accuracy: "center left", loss: "lower left", share: "upper right",
                  gini: "upper left"}  # fmt: skip
        for axes, place in places.items():
            axes.legend(loc=place, framealpha=0.9, fontsize=8)
    return figure


def draw_accuracy(axes: Axes, data: Progress) -> None:
    """Accuracy on both splits, in percent."""
    for split in ("train", "test"):
        values = 100 * data.curves[f"{split}_accuracy"]
        axes.plot(data.curves["step"], values, color=step_curves.COLOURS[split], label=split)


def draw_lines(axes: Axes, snapshots: pd.DataFrame, lines: dict[str, tuple[str, str, str]]) -> None:
    """One line for each of the named columns."""
    for column, (label, colour, line) in lines.items():
        axes.plot(snapshots["step"], snapshots[column], ls=line, color=colour, label=label)


def draw_shares(axes: Axes, data: Progress) -> None:
    """The share of each frequency in percent, key ones in colour and named."""
    number = 0
    for frequency in sorted(set(data.frequencies["frequency"])):
        rows = data.frequencies[data.frequencies["frequency"] == frequency]
        share = 100 * rows["power_share"]
        if frequency in data.keys:
            axes.plot(rows["step"], share, color=f"C{number % 10}", label=f"k = {frequency}")
            number += 1
        else:
            axes.plot(rows["step"], share, color="0.7", lw=0.6, zorder=1)


def first_steps(data: Progress) -> dict[str, int | None]:
    """For each loss the step from which on it stays below half of ln p; None if it does not."""
    columns = ("train_loss", "restricted_loss", "test_loss")
    return {column: halved(data, column) for column in columns}


def sentences(data: Progress) -> list[str]:
    """The key frequencies, and when each loss falls for good, in words."""
    last = data.frequencies[data.frequencies["step"] == data.frequencies["step"].max()]
    share = 100 * last["power_share"][last["is_key"] == 1].sum()
    keys = ", ".join(map(str, data.keys))
    lines = [
        f"key frequencies {keys} of {data.p // 2}: {share:.1f} % of the power of the waves at the "
        "end"
    ]
    for column, step in first_steps(data).items():
        when = "not at the end" if step is None else f"from step {step:,} on"
        lines.append(f"{column.replace('_', ' ')} below half of ln p: {when}")
    end = data.snapshots.iloc[-1]
    lines.append(
        f"at the end: excluded loss {end['excluded_loss']:.3g} nats, Gini coefficients "
        f"{end['gini_embedding']:.2f} (embedding) and {end['gini_output']:.2f} (hidden units to "
        "logits)"
    )
    return lines


def make(options: Namespace) -> None:
    """Query, reduce, draw, write."""
    measures, data = load(options)
    training = measures.trained.iloc[0]
    label = f"{training['data.operation']} mod {data.p}, seed {training['seed']}"
    lines = sentences(data)
    record = measures.record(options, {"progress": lines, "first_steps": first_steps(data)})
    tables = {"": data.snapshots, "_frequencies": data.frequencies}
    output.write(options, draw(data, label), tables, record, [*lines, *measures.messages()])


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    return output.run(make, selection.parser(__doc__, "grok_progress").parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
