"""Compare the runs of the sweep reference_k64 with the published numbers.

    python benchmarks/reference_k64.py logs/reference_k64 [--out figures]

ResNet-18 of width 64, CIFAR-10, 20 % incorrect labels, Adam at 1e-4, no weight decay. The ranges
contain the single runs of Nakkiran et al. (2019) and of a later repetition, with a margin for
seeds. Those two disagree on whether the test error ends below its first minimum, so this is not
checked. The training error is measured during training, augmented and with noisy labels. Prints one
line per number and seed, and writes reference_k64.png, .pdf and .csv: the curves, with the
published ranges of the first minimum and the peak. reference_k64.json has the numbers. The final
error is missing until a run has ended. The exit status is 1 if a number is out of range, 2 if one
is missing.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis import store
from analysis.figure import style
from analysis.stats import features as stats

TRAINING = {20: (0.23, 0.27), 100: (0.025, 0.055)}  # epoch: error
WINDOW = 5  # epochs, of the smoothing before minimum and peak are taken
TEST = {
    "first_minimum": (0.15, 0.175),
    "first_minimum_epoch": (18, 30),
    "peak": (0.235, 0.29),
    "peak_epoch": (55, 90),
    "final": (0.20, 0.225),
}


def numbers(rows: pd.DataFrame, has_ended: bool) -> dict[str, tuple[float, tuple[float, float]]]:
    """The numbers from the rows of one cell (from epoch 1 on), with their expected ranges; NaN for
    what is not known yet.
    """
    training = rows.set_index("epoch")["train_error"]
    values = {
        f"training error @{epoch}": (float(training.get(epoch, np.nan)), TRAINING[epoch])
        for epoch in TRAINING
    }
    tested_rows = rows[rows["test_error"].notna()]
    features = stats.features(
        tested_rows["test_error"].to_numpy(),
        WINDOW,
        tested_rows["epoch"].to_numpy(),
        stats.PUBLISHED_LAST,
    )
    for name, expected in TEST.items():
        is_known = has_ended or name != "final"
        value = float(getattr(features, name)) if is_known else np.nan
        values[f"test {name}"] = (value, expected)
    return values


def records(
    seed: int, values: dict[str, tuple[float, tuple[float, float]]]
) -> list[dict[str, Any]]:
    """The numbers of a seed as entries of the JSON; null for what is not known yet."""
    entries = []
    for name, (value, expected) in values.items():
        is_known = not np.isnan(value)
        entries.append(
            {
                "seed": seed,
                "number": name,
                "value": value if is_known else None,
                "published_range": expected,
            }
        )
    return entries


def draw(curves: pd.DataFrame) -> Figure:
    """Test and training error over the epochs, a line for each run, and the published ranges of the
    first minimum and the peak as boxes.
    """
    with style.styled():
        figure = Figure(figsize=(6.0, 3.8), layout="constrained")
        axes = figure.subplots()
        for metric, colour in (("test_error", "C0"), ("train_error", "C1")):
            label: str | None = metric.replace("_", " ").replace("train", "training")
            for _, rows in curves.groupby("cell", observed=True):
                axes.plot(rows["epoch"], rows[metric], color=colour, lw=1.2, label=label)
                label = None
        label = "published ranges"
        for name in ("first_minimum", "peak"):
            (low, high), (start, end) = TEST[name], TEST[f"{name}_epoch"]
            axes.fill_between([start, end], low, high, color="0.5", alpha=0.35, lw=0, label=label)
            label = None
        axes.set_xscale("log")
        axes.set_xlabel("epoch")
        axes.set_ylabel("error")
        axes.legend()
    return figure


def main() -> int:
    """Print the comparison and draw the curves; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", help="log folder of the sweep, logs/reference_k64")
    parser.add_argument("--out", default="figures", help="folder for the files (default: figures)")
    options = parser.parse_args()
    runs = store.runs(options.folder)
    curves = store.curves(options.folder, ["train_error", "test_error"]).query("epoch > 0")
    outside = unknown = 0
    entries: list[dict[str, Any]] = []
    for _, run in runs.iterrows():
        rows = curves[curves["cell"] == run["cell"]]
        last = int(rows["epoch"].max()) if len(rows) else 0
        print(f"seed {run['seed']}: {last} of {run['trainer.epochs']} epochs")
        has_ended = last >= run["trainer.epochs"]
        values = numbers(rows, has_ended) if last else {}
        entries += records(int(run["seed"]), values)
        for name, (value, (low, high)) in values.items():
            if np.isnan(value):
                verdict = "missing"
                unknown += 1
            elif low <= value <= high:
                verdict = "as expected"
            else:
                verdict = "OUTSIDE"
                outside += 1
            print(f"  {name:24s} {value:8.4g}   {low:g} to {high:g}   {verdict}")
        unknown += not has_ended
    files = [*style.save(draw(curves), options.out, "reference_k64")]
    files.append(Path(options.out) / "reference_k64.csv")
    curves.to_csv(files[-1], index=False)
    files.append(Path(options.out) / "reference_k64.json")
    files[-1].write_text(json.dumps(entries, indent=1) + "\n")
    print("wrote " + ", ".join(str(file) for file in files))
    if outside:
        return 1
    return 2 if unknown else 0


if __name__ == "__main__":
    sys.exit(main())
