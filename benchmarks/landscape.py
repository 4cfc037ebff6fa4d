"""Time loss surfaces and radii beside the usual way: at every point, write all weights and go
through a DataLoader.

    python benchmarks/landscape.py [--quick] [--rounds 5]

Three networks with random weights and images: a small CNN on 8x8 digits, a CNN on 16x16 colour
images, and a fully connected network on 32x32 colour images (wide inputs). The usual way decodes
every image at every visit (PIL image, tensor, scaling), in batches of 128, without workers. Both
ways evaluate the same random points of a 51x51 grid in turns, on one thread; the seconds are those
of a whole surface, scaled from these points, with what ours prepares once. A radius is one
direction: the usual way evaluates 100 points along it, ours searches for the first crossing.

Prints a table of medians with their spread, the largest relative difference of the losses, and one
line `ratio NAME VALUE` for each headline figure.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

from trainers.config import CNN5, MLP
from trainers.measures import basin, directions
from trainers.measures.basin import Cut
from trainers.measures.directions import Direction
from trainers.measures.samples import Samples
from trainers.measures.surface import Landscape, grid
from trainers.models import cnn, mlp

POINTS = 51  # of a side of the surface
SCAN = 100  # points along a direction of the usual way
SPAN = 0.5
RISE = 0.1  # nats above the centre: the cut of the radii


class Pictures(Dataset[tuple[Tensor, int]]):
    """Images that are decoded and scaled at every visit."""

    def __init__(self, pixels_nhwc: np.ndarray, labels: Sequence[int]) -> None:
        self.pixels, self.labels = pixels_nhwc, labels

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        pixels = self.pixels[index]
        image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
        array = np.asarray(image, np.float32).reshape(pixels.shape) / 255
        tensor = torch.from_numpy(array).permute(2, 0, 1)
        return (tensor - 0.5) / 0.25, self.labels[index]


@dataclass(frozen=True)
class Case:
    """A network, its images, and how many points a turn evaluates."""

    name: str
    model: nn.Module
    pictures: Pictures
    points: int

    def samples(self) -> Samples:
        """All images as one tensor."""
        pairs = [self.pictures[i] for i in range(len(self.pictures))]
        inputs = torch.stack([x for x, _ in pairs]).contiguous(memory_format=torch.channels_last)
        return Samples(inputs, torch.tensor([y for _, y in pairs]), 250)


def case(name: str, channels: int, size: int, count: int, points: int) -> Case:
    """One of the three cases; batch norms have the statistics of some batches."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (count, size, size, channels), dtype=np.uint8)
    if name == "wide inputs":
        model: nn.Module = mlp.build(MLP("mlp", 256, 2, "relu"), channels, size, 10)
    else:
        width = 8 if channels == 1 else 16
        model = cnn.build(CNN5("cnn5", width), channels, size, 10)
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    built = Case(name, model, Pictures(pixels, [i % 10 for i in range(count)]), points)
    with torch.no_grad():
        for _ in range(3):
            model(built.samples().inputs[:200])
    model.eval()
    return built


def usual(built: Case, axes: list[Direction], places: Sequence[Sequence[float]]) -> list[float]:
    """Losses at the places, with the weights written anew and a DataLoader at each."""
    loader = DataLoader(built.pictures, batch_size=128)
    base = [p.detach().clone() for p in built.model.parameters()]
    losses = []
    for place in places:
        for index, parameter in enumerate(built.model.parameters()):
            change = sum(c * axis[index] for c, axis in zip(place, axes, strict=True))
            parameter.data = base[index] + change
        total = 0.0
        with torch.no_grad():
            for inputs, labels in loader:
                total += functional.cross_entropy(built.model(inputs), labels).item() * len(labels)
        losses.append(total / len(built.pictures))
    for parameter, value in zip(built.model.parameters(), base, strict=True):
        parameter.data = value
    return losses


@dataclass(frozen=True)
class Turn:
    """CPU seconds of a whole measure the usual way and ours, and how far the results differ."""

    usual: float
    ours: float
    difference: float


def timed(work: Callable[[], list[float]]) -> tuple[float, list[float]]:
    """CPU seconds of a call, and its result."""
    began = time.process_time()
    result = work()
    return time.process_time() - began, result


def surface_turn(built: Case, number: int) -> Turn:
    """The same random points of the grid both ways."""
    axes = [directions.draw(built.model, "filter", number, index) for index in (0, 1)]
    coordinates = grid(POINTS, SPAN, "linear")
    rng = np.random.default_rng(number)
    places = rng.choice(coordinates, (built.points, 2)).tolist()
    samples = built.samples()
    began = time.process_time()
    plane = Landscape(built.model, samples).along(axes)
    preparation = time.process_time() - began
    scale = POINTS**2 / built.points
    own_seconds, own = timed(lambda: [plane.at(*place).value for place in places])
    usual_seconds, losses = timed(lambda: usual(built, axes, places))
    relative = np.abs(np.array(own) / np.array(losses) - 1).max()
    return Turn(usual_seconds * scale, preparation + own_seconds * scale, float(relative))


def radius_turn(built: Case, number: int) -> Turn:
    """One direction: a search here, some of the SCAN points of a grid there."""
    direction = directions.draw(built.model, "filter", number, 2)
    landscape = Landscape(built.model, built.samples())
    base = landscape.centre().value
    plane = landscape.along([direction])
    cut = Cut(base, base + RISE, 4.0)

    def search() -> list[float]:
        crossing = basin.first_crossing(lambda c: plane.at(c).value, cut, 0.3)
        return [crossing.radius or cut.c_max]

    own_seconds, (radius,) = timed(search)
    count = min(built.points, SCAN)
    places = [[radius * k / count] for k in range(count)]
    usual_seconds, _ = timed(lambda: usual(built, [direction], places))
    return Turn(usual_seconds * SCAN / count, own_seconds, 0.0)


def report(name: str, turns: list[Turn]) -> float:
    """Print a row of the table; returns the median ratio."""
    ratios = [turn.usual / turn.ours for turn in turns]
    columns = []
    for values in ([t.usual for t in turns], [t.ours for t in turns], ratios):
        spread = f"({min(values):.3g} to {max(values):.3g})"
        columns.append(f"{statistics.median(values):9.3g} {spread:<18}")
    difference = max(turn.difference for turn in turns)
    print(f"{name:<28} {' '.join(columns)} {difference:.0e}", flush=True)
    return statistics.median(ratios)


def main() -> None:
    """Run both ways in turns and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer images and points: a minute")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each case")
    options = parser.parse_args()
    torch.set_num_threads(1)
    count, points, rounds = (200, 3, 2) if options.quick else (1000, 12, options.rounds)
    cases = {
        "cnn": case("CNN, digits 8x8", 1, 8, 300, 4 * points),
        "cifar": case("CNN, colour 16x16", 3, 16, count, points),
        "wide": case("wide inputs", 3, 32, count, points),
    }
    print(f"{platform.machine()}, {os.cpu_count()} cores, 1 thread, torch {torch.__version__}")
    print(f"medians of {rounds} turns (least to most), CPU seconds")
    print(f"{'':<28} {'usual way':<28} {'ours':<28} {'ratio':<28} difference")
    ratios = {}
    for key, built in cases.items():
        surface = [surface_turn(built, number) for number in range(rounds)]
        ratios[f"surface_{key}"] = report(f"{built.name}, surface", surface)
        radius = [radius_turn(built, number) for number in range(rounds)]
        ratios[f"radius_{key}"] = report(f"{built.name}, one radius", radius)
    for name, ratio in ratios.items():
        print(f"ratio {name} {ratio:.2f}")
    print(f"ratio radius {statistics.median(v for k, v in ratios.items() if 'radius' in k):.2f}")


if __name__ == "__main__":
    main()
