"""How much of a test-error curve comes from the lag of batch norm's running statistics, and how
much from the weights.

    python benchmarks/batch_norm_lag.py SWEEP [overrides] [--seeds 3]

In evaluation mode batch norm uses running means of about the last ten steps, during which the
weights have changed. In a short training this lag can raise the test error, and lower it again when
the weights settle. This script trains the sweep's configuration without its axes (with the
overrides, in Hydra's grammar) for several seeds, with `trainer.recalibrate`: after every epoch the
test is repeated with statistics recomputed over the training images at the current weights. It
prints both curves, means over seeds, and their features: a rise and descent that the second curve
shares do not come from the lag.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import trainers
from analysis.stats import features as stats
from analysis.stats.verdict import has_double_descent
from launch.sweep import compose
from trainers import config, vision
from trainers.checkpoint import Checkpoints
from trainers.part import Part
from trainers.run import Run

WINDOW = 5  # logged epochs, of the smoothing
CHANGES = {
    "run.device": "cpu",
    "trainer.eval_batch_size": 500,  # images, also of the blocks that give the statistics
    "trainer.eval_test": "every",
    "trainer.recalibrate": 1_000_000,  # all training images
    "trainer.step_rows_per_decade": None,
}


class Watched(Run):
    """A run that keeps its rows, and no file."""

    rows: list[dict[str, Any]]

    def log(self, **values: Any) -> None:  # type: ignore[override]
        """Keep a row."""
        self.rows.append(values)

    def checkpoint(self, state: dict[str, Any], step: int) -> None:
        """Keep nothing."""


def curves(flat: dict[str, Any]) -> NDArray[np.float64]:
    """(2, epochs) test errors of one cell, with running and with recomputed statistics."""
    with tempfile.TemporaryDirectory() as name:
        part = Part(Path(name), "w", vision.METRICS)
        run = Watched("c", flat, 1, part, Checkpoints(Path(name), "c", 1, "w"), lambda: False, 1e9)
        run.rows = []
        trainers.train(config.parse(flat), run)
    names = ("test_error", "recalibrated_test_error")
    return np.array([[row[name] for row in run.rows[1:]] for name in names])


def main() -> None:
    """Train, and print the curves and their features."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sweep")
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_intermixed_args()
    seeds = f"seeds=[{','.join(map(str, range(options.seeds)))}]"
    cells = compose.expand_sweep(
        options.sweep,
        ["hydra/launcher=local", "~axes", seeds, *options.overrides],
    )
    errors = np.stack([curves({**cell.flat, **CHANGES}) for cell in cells.cells])
    means = errors.mean(axis=0)
    print(
        f"{cells.name}, {len(errors)} seeds: mean test error\nepoch  running statistics  recomputed"
    )
    for epoch, (running, recomputed) in enumerate(means.T, start=1):
        print(f"{epoch:5d} {running:19.4f} {recomputed:11.4f}")
    for name, curve in zip(
        ("running statistics", "taken anew"), errors.swapaxes(0, 1), strict=True
    ):
        features, verdict = (
            stats.features(curve.mean(axis=0), WINDOW, last=stats.PUBLISHED_LAST),
            has_double_descent(curve, WINDOW, last=stats.PUBLISHED_LAST),
        )
        print(
            f"{name}: first minimum {features.first_minimum:.3f} at "
            f"{features.first_minimum_epoch}, peak "
            f"{features.peak:.3f} at {features.peak_epoch}, end {features.final:.3f}; "
            f"{'double descent' if verdict.double_descent else 'no double descent'} "
            f"({verdict.reason})"
        )


if __name__ == "__main__":
    sys.exit(main())
