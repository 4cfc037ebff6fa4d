"""Compare the runs of the sweep reference_k64 with the published numbers.

    python benchmarks/reference_k64.py logs/reference_k64

ResNet-18 of width 64, CIFAR-10, 20 % incorrect labels, Adam at 1e-4, no weight decay. The ranges
contain the single runs of Nakkiran et al. (2019) and of a later repetition, with a margin for
seeds. Those two disagree on whether the test error ends below its first minimum, so this is not
checked. The training error is measured during training, augmented and with noisy labels. Prints one
line per number and seed; the exit status is 1 if a number is out of range, 2 if one is missing.
"""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd

from analysis import store
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


def numbers(rows: pd.DataFrame) -> dict[str, tuple[float, tuple[float, float]]]:
    """The numbers from the rows of one cell (from epoch 1 on), with their expected ranges."""
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
    return values | {f"test {name}": (float(getattr(features, name)), TEST[name]) for name in TEST}


def main() -> int:
    """Print the comparison; returns the exit status."""
    folder = sys.argv[1] if len(sys.argv) == 2 else sys.exit(__doc__)
    runs = store.runs(folder)
    curves = store.curves(folder, ["train_error", "test_error"]).query("epoch > 0")
    outside = unknown = 0
    for _, run in runs.iterrows():
        rows = curves[curves["cell"] == run["cell"]]
        last = int(rows["epoch"].max()) if len(rows) else 0
        print(f"seed {run['seed']}: {last} of {run['trainer.epochs']} epochs")
        for name, (value, (low, high)) in (numbers(rows) if last else {}).items():
            if np.isnan(value):
                verdict = "missing"
                unknown += 1
            elif low <= value <= high:
                verdict = "as expected"
            else:
                verdict = "OUTSIDE"
                outside += 1
            print(f"  {name:24s} {value:8.4g}   {low:g} to {high:g}   {verdict}")
        unknown += last < run["trainer.epochs"]
    if outside:
        return 1
    return 2 if unknown else 0


if __name__ == "__main__":
    sys.exit(main())
