"""How much of a test-error curve comes from the lag of batch norm's running statistics, and how
much from the weights.

    python benchmarks/batch_norm_lag.py SWEEP [overrides] [--seeds 3]

In evaluation mode batch norm uses running means of about the last ten steps, during which the
weights have changed. In a short training this lag can raise the test error, and lower it again when
the weights settle. This script trains the sweep's configuration without its axes (with the
overrides, in Hydra's grammar) for several seeds. After every epoch it also tests a copy whose
statistics are recomputed over the training images with the current weights. It prints both curves,
means over seeds, and their features: a rise and descent that the second curve shares do not come
from the lag.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

import trainers
from analysis.stats import features as stats
from analysis.stats.verdict import has_double_descent
from launch.sweep import compose
from trainers import config, models, vision
from trainers.checkpoint import Checkpoints
from trainers.config import VisionCell
from trainers.data import augment, images
from trainers.part import Part
from trainers.run import Run

WINDOW, BATCH = 5, 500  # logged epochs, of the smoothing; images


class Probe:
    """The data of a cell and a copy of its model, which gets the weights of every epoch."""

    def __init__(self, cell: VisionCell) -> None:
        data = images.select(images.load(cell.data), cell.data, cell.seed)
        statistics = augment.channel_statistics(data.train_images)
        self.train, self.test = (
            augment.scale(part, cell.data.scaling, *statistics).contiguous(
                memory_format=torch.channels_last
            )
            for part in (data.train_images, data.test_images)
        )
        self.labels = data.test_labels
        self.model = models.build(
            cell.model, self.train.shape[1], self.train.shape[2], data.classes
        )
        self.norms = [
            module for module in self.model.modules() if isinstance(module, torch.nn.BatchNorm2d)
        ]

    @torch.inference_mode()
    def errors(self, weights: dict[str, torch.Tensor]) -> tuple[float, float]:
        """Test error with the running statistics, and with statistics of all training images at
        these weights.
        """
        self.model.load_state_dict(weights)
        running = self._error()
        for norm in self.norms:
            norm.reset_running_stats()
            norm.momentum = None  # a cumulative mean
        self.model.train()
        for part in self.train.split(BATCH):
            self.model(part)
        return running, self._error()

    def _error(self) -> float:
        self.model.eval()
        logits = torch.cat([self.model(part) for part in self.test.split(BATCH)])
        return float((logits.argmax(1) != self.labels).float().mean())


def curves(flat: dict[str, Any]) -> np.ndarray:
    """(2, epochs) test errors of one cell, from the trainer's state after every epoch."""
    cell, errors = config.parse(flat), []
    probe = Probe(cell)

    class Watched(Run):
        def checkpoint_due(self) -> bool:
            return True

        def checkpoint(self, state: dict[str, Any], step: int) -> None:
            errors.append(probe.errors(state["model"]))

    with tempfile.TemporaryDirectory() as name:
        part = Part(Path(name), "w", vision.METRICS)
        trainers.train(
            cell,
            Watched("c", flat, 1, part, Checkpoints(Path(name), "c", 1, "w"), lambda: False, 0),
        )
    return np.array(errors).T


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
        ["hydra/launcher=local", "~axes", seeds, *options.overrides, "run.device=cpu"],
    )
    errors = np.stack([curves(dict(cell.flat)) for cell in cells.cells])
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
