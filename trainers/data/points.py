"""Labelled points in the plane: swiss roll, spirals and rings of Huang et al. (2020).

Points are float32 (n, 2, 1, 1), as images of one pixel with two channels, so that networks and
trainers take them as they take images. Labels are int64 (n,).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainers.config import Plane, Rings, Spirals, SwissRoll
from trainers.data.labelled import Labelled, hash_of
from trainers.seeding import Purpose, numpy_stream

CLASSES = 2
TURNS = 600  # degrees of the swiss roll
POINTS_PER_SPIRAL = 200
RING, OUTER_RING = 0.4, 0.95
RING_POINTS, OUTER_POINTS = 40, 80

_Array = NDArray[np.float64]


@dataclass(frozen=True)
class Points:
    """Points (n, 2, 1, 1) and labels (n,)."""

    points: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class PointSet:
    """The points to train on, to test on, and those that are left for poison."""

    train: Points
    test: Points
    rest: Points

    @property
    def content_hash(self) -> str:
        """16 hex digits over the training and test points."""
        return hash_of(self.train.points, self.train.labels, self.test.points, self.test.labels)


def dataset(config: Plane, seed: int) -> Labelled:
    """The points that a cell trains and is tested on."""
    whole = load(config, seed)
    return Labelled(
        whole.train.points,
        whole.train.labels,
        whole.test.points,
        whole.test.labels,
        CLASSES,
        content_hash=whole.content_hash,
    )


def load(config: Plane, seed: int) -> PointSet:
    """The points of a cell. A swiss roll leaves none for poison: it can draw more."""
    if isinstance(config, Rings):
        return PointSet(_rings(config), _none(), _none())
    if isinstance(config, Spirals):
        return _split_spirals(config, seed)
    if config.mirror:
        return _mirrored(config, seed)
    train = swiss_roll(config, config.train_samples, seed, "train points")
    return PointSet(train, swiss_roll(config, config.test_samples, seed, "test points"), _none())


def swiss_roll(
    config: SwissRoll, count: int, seed: int, purpose: Purpose, index: int = 0
) -> Points:
    """`count` points, half of each class, the classes in turn; fewer points are the first of more.

    A point of class 0 is (-1.5 t cos t, 1.5 t sin t) plus normal noise, where t is the root of a
    uniform number times 600 degrees, in radians; one of class 1 is the negative of such a point.
    With `mirror`, of the same point.
    """
    label = np.arange(count) % 2  # classes in turn
    place = np.arange(count) // 2 if config.mirror else np.arange(count)
    drawn = place.max(initial=-1) + 1
    uniform = numpy_stream(seed, purpose, 2 * index).random(drawn)
    noise = numpy_stream(seed, purpose, 2 * index + 1).standard_normal((drawn, 2))
    angle = np.sqrt(uniform) * math.radians(TURNS)
    curve = np.stack([-1.5 * angle * np.cos(angle), 1.5 * angle * np.sin(angle)], axis=1)
    roll = curve + config.noise * noise
    return _points((1 - 2 * label)[:, None] * roll[place] / config.scale, label)


def _mirrored(config: SwissRoll, seed: int) -> PointSet:
    """Training and test points from one shuffled set, as published: a test point can be the mirror
    image of a training point.
    """
    count = config.train_samples + config.test_samples
    whole = swiss_roll(config, count, seed, "train points")
    order = torch.from_numpy(numpy_stream(seed, "split").permutation(count))
    train, test = order[: config.train_samples], order[config.train_samples :]
    return PointSet(_take(whole, train), _take(whole, test), _none())


def _split_spirals(config: Spirals, seed: int) -> PointSet:
    """The training points, and of the others one half for poison and one to test."""
    whole = _spirals(config)
    order = torch.from_numpy(numpy_stream(seed, "split").permutation(len(whole)))
    train, others = order[: config.train_samples], order[config.train_samples :]
    rest, test = others[: len(others) // 2], others[len(others) // 2 :]
    return PointSet(_take(whole, train), _take(whole, test), _take(whole, rest))


def _spirals(config: Spirals) -> Points:
    """The points 5 sqrt(theta) (cos theta, sin theta) of class 0, and their negatives of class 1,
    at theta = 3 pi i / 200.
    """
    index = np.arange(POINTS_PER_SPIRAL) + int(config.skip_origin)
    theta = 3 * math.pi * index / POINTS_PER_SPIRAL
    curve = 5 * np.sqrt(theta)[:, None] * np.stack([np.cos(theta), np.sin(theta)], axis=1)
    labels = np.repeat([0, 1], POINTS_PER_SPIRAL)
    return _points(np.concatenate([curve, -curve]) / config.scale, labels)


def _rings(config: Rings) -> Points:
    """40 points of class 0 at 0.4, 80 of class 1 at 0.95, and `inner` of class 1 at 0.4 + `gap`,
    turned by pi / 40 so that they lie between points of class 0.
    """
    ring = _circle(RING, RING_POINTS)
    outer = _circle(OUTER_RING, OUTER_POINTS)
    inner = _circle(RING + config.gap, config.inner, turn=math.pi / RING_POINTS)
    labels = np.repeat([0, 1], [len(ring), len(outer) + len(inner)])
    return _points(np.concatenate([ring, outer, inner]), labels)


def _circle(radius: float, count: int, turn: float = 0.0) -> _Array:
    angle = 2 * math.pi * np.arange(count) / max(count, 1) + turn
    return radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _points(points: _Array, labels: NDArray[np.int64]) -> Points:
    tensor = torch.from_numpy(points.astype(np.float32))
    return Points(tensor[:, :, None, None], torch.from_numpy(labels.astype(np.int64)))


def _take(points: Points, index: Tensor) -> Points:
    return Points(points.points[index], points.labels[index])


def _none() -> Points:
    return Points(torch.empty(0, 2, 1, 1), torch.empty(0, dtype=torch.int64))
