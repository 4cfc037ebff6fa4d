"""Check that the fast code trains like a plain loop: curves of both at equal settings, for several
seeds.

    python benchmarks/vision_agreement.py [--quick | --gpu] [--data DIR] [--seeds 5] [--out figures]

The plain loop is that of benchmarks/plain.py; it has the same images, labels and noise, but draws
its own initial weights, order and crops, so two curves of one seed differ like those of two seeds.
Ours is trained in every number format that the device has. On a CPU: a five-layer CNN on 2,000
images of four classes of CIFAR-10 averaged down to 16x16, augmented; with --gpu: ResNet-18 on the
whole set.

Writes vision_agreement.png, .pdf and .csv, and prints for each format the difference between the
means over seeds, in its standard errors: the root mean square over epochs (about 1 for equal
trainings, for any number of seeds), and the largest. The last lines are `ratio NAME VALUE`, that
root mean square. Exit status 1 if one is above 3, or if the means over seeds and epochs differ by
over 0.05.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import torch
from matplotlib.figure import Figure
from plain import Samples, epochs

import trainers
from analysis.figure import style
from analysis.stats import features
from launch.sweep import compose
from trainers import config, precision, vision
from trainers.checkpoint import Checkpoints
from trainers.data import images, label_noise
from trainers.part import Part
from trainers.run import Run

METRICS = ("test_error", "train_error")
LIMIT = 3.0  # standard errors, root mean square over epochs
LARGEST = 0.05  # error rate, of the means over the epochs
SMALL = [
    "model=cnn",
    "model.width=8",
    "data.classes=4",
    "data.train_samples=2000",
    "data.test_samples=1000",
    "data.downscale=2",
    "optim.lr=1e-3",
    "trainer.eval_batch_size=250",
]
WHOLE = ["model=resnet18_pre", "model.width=16", "optim.lr=3e-4"]


def ours(flat: dict[str, Any]) -> list[dict[str, float]]:
    """The rows of one cell from the trainer."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kind in ("curves", "runs"):
            (folder / kind).mkdir()
        part = Part(folder, "w", vision.METRICS)
        run = Run("c", flat, 1, part, Checkpoints(folder, "c", 1, "w"), lambda: False, 1e9)
        trainers.train(config.parse(flat), run)
        run.close("done")
        rows = pq.read_table(folder / "curves", columns=["epoch", *METRICS]).to_pylist()
    return [row for row in rows if row["epoch"] > 0]


def plain(flat: dict[str, Any]) -> list[dict[str, float]]:
    """The rows of the same cell from the plain loop."""
    cell = config.parse(flat)
    data = images.select(images.load(cell.data), cell.data, cell.seed)
    noisy = label_noise.apply(data.train_labels, cell.data.label_noise, data.classes, cell.seed)
    torch.manual_seed(1_000_000 + cell.seed)
    train = Samples(data.train_images, noisy.labels, cell.data.augment)
    test = Samples(data.test_images, data.test_labels, augment=False)
    loop = epochs(cell, train, test, data.classes, precision.device(cell.run.device))
    errors = itertools.islice(loop, cell.trainer.epochs)
    return [
        {"epoch": i, "train_error": train_error, "test_error": test_error}
        for i, (train_error, test_error) in enumerate(errors, start=1)
    ]


def collect(options: argparse.Namespace) -> pd.DataFrame:
    """Columns way, seed, epoch, test_error, train_error; the ways alternate, seed after seed."""
    device = "cuda" if options.gpu else "cpu"
    overrides = [
        "hydra/launcher=local",
        "~axes",
        "+axes={data.label_noise.rate:[0.2]}",
        "data.augment=true",
        f"seeds=[{','.join(map(str, range(options.seeds)))}]",
        f"trainer.epochs={options.epochs}",
        "trainer.eval_train=never",
        f"run.device={device}",
        *(WHOLE if options.gpu else SMALL),
    ]
    overrides += [f"data.root={options.data}"] if options.data else []
    formats = ("float32", "bfloat16", "float16") if options.gpu else ("float32", "bfloat16")
    frames = []
    for cell in compose.expand_sweep("reference_k64", overrides).cells:
        flat = dict(cell.flat)
        ways = {"plain": plain(flat)}
        ways |= {f"ours {name}": ours(flat | {"trainer.precision": name}) for name in formats}
        frames += [
            pd.DataFrame(rows).assign(way=way, seed=flat["seed"]) for way, rows in ways.items()
        ]
        print(f"seed {flat['seed']} is done", file=sys.stderr)
    return pd.concat(frames, ignore_index=True)


@dataclasses.dataclass(frozen=True)
class Agreement:
    """Distance of two sets of curves: root mean square and largest over epochs of the difference of
    their means, in standard errors of that difference; and the difference of the means over seeds
    and epochs, an error rate."""

    rms: float
    largest: float
    shift: float


def agreement(first: np.ndarray, second: np.ndarray) -> Agreement:
    """The agreement of curves (seeds, epochs). The standard error is pooled over 5 epochs: with few
    seeds, that of a single epoch is too noisy.
    """
    variance = first.var(axis=0, ddof=1) / len(first) + second.var(axis=0, ddof=1) / len(second)
    error = np.sqrt(features.smooth(variance, window=5))
    difference = first.mean(axis=0) - second.mean(axis=0)
    distance = difference / error
    return Agreement(
        float(np.sqrt((distance**2).mean())),
        float(np.abs(distance).max()),
        float(difference.mean()),
    )


def curves(frame: pd.DataFrame, way: str, metric: str) -> np.ndarray:
    """(seeds, epochs) of one way."""
    wide = frame[frame["way"] == way].pivot(index="seed", columns="epoch", values=metric)
    return wide.to_numpy(np.float64)


def draw(frame: pd.DataFrame) -> Figure:
    """Mean curves of every way with a band of one standard deviation over seeds."""
    with style.styled():
        figure = Figure(figsize=(9.0, 3.6), layout="constrained")
        for axes, metric in zip(figure.subplots(1, 2), METRICS, strict=True):
            for way in frame["way"].unique():
                values = curves(frame, way, metric)
                x, mean, spread = (
                    np.arange(1, values.shape[1] + 1),
                    values.mean(axis=0),
                    values.std(axis=0, ddof=1),
                )
                (line,) = axes.plot(x, mean, lw=1.6, label=f"{way} (n = {len(values)})")
                axes.fill_between(
                    x, mean - spread, mean + spread, color=line.get_color(), alpha=0.15, lw=0
                )
            axes.set_xlabel("epoch")
            axes.set_ylabel(metric.replace("_", " "))
        axes.legend()
    return figure


def main() -> int:
    """Train, print the table and the ratios, and draw; returns 1 if something does not agree."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--quick", action="store_true", help="about a minute on two cores: fewer seeds and epochs"
    )
    parser.add_argument(
        "--gpu", action="store_true", help="ResNet-18 on the whole of CIFAR-10, on the first GPU"
    )
    parser.add_argument("--data", help="data.root: where CIFAR-10 is (default: REDESCENT_CIFAR10)")
    parser.add_argument("--seeds", type=int, help="seeds of each way (default: 5; quick: 3)")
    parser.add_argument("--epochs", type=int, help="epochs (default: 15; quick: 6)")
    parser.add_argument(
        "--out", default="figures", help="folder for the files written (default: figures)"
    )
    options = parser.parse_args()
    options.seeds = options.seeds or (3 if options.quick else 5)
    options.epochs = options.epochs or (6 if options.quick else 15)
    frame = collect(options)
    files = [
        *style.save(draw(frame), options.out, "vision_agreement"),
        Path(options.out) / "vision_agreement.csv",
    ]
    frame[["way", "seed", "epoch", *METRICS]].to_csv(files[-1], index=False)
    print("plain against    metric       rms, se  largest, se  difference of means")
    ratios, disagrees = [], False
    for way in frame["way"].unique()[1:]:
        for metric in METRICS:
            comparison = agreement(curves(frame, way, metric), curves(frame, "plain", metric))
            disagrees |= comparison.rms > LIMIT or abs(comparison.shift) > LARGEST
            print(
                f"{way:16s} {metric:11s} {comparison.rms:8.2f} {comparison.largest:12.2f} "
                f"{comparison.shift:20.4f}"
            )
            ratios.append(f"ratio agreement_{way.replace(' ', '_')}_{metric} {comparison.rms:.2f}")
    print(
        "they do NOT agree within their spread" if disagrees else "they agree within their spread"
    )
    print("wrote " + ", ".join(str(file) for file in files))
    print("\n".join(ratios))
    return int(disagrees)


if __name__ == "__main__":
    sys.exit(main())
