"""The path of a training, and the line between two networks, in the space of all parameters."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from trainers.config.reader import quantity
from trainers.measures.directions import Direction, like
from trainers.measures.vectors import shaped

Array = NDArray[np.float64]
Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class PrincipalPlane:
    """Snapshots of a training in the plane of their first two principal components.

    components: unit vectors (2, parameters). coordinates: <theta_t - theta_T, component> (k, 2)
    divided by `width`, the largest of them. off_plane: distance from the plane, relative to the
    distance from theta_T (k,). explained: share of the variance of the path along each component.
    """

    components: Array
    width: float
    coordinates: list[tuple[float, float]]
    off_plane: list[float]
    explained: tuple[float, float]

    def axes(self, model: nn.Module) -> list[Direction]:
        """The components as directions; a coordinate of 1 is `width` along them."""
        vectors = torch.from_numpy(self.components * self.width)
        parameters = list(model.parameters())
        return [like(model, shaped(vector, parameters)) for vector in vectors]


def principal_plane(model: nn.Module, snapshots: Sequence[Arrays]) -> PrincipalPlane:
    """The plane of a path that ends in the weights of `model`.

    The components of the centred differences theta_t - theta_T come from their Gram matrix, of the
    size of the number of snapshots (Li et al. 2018, section 7). Raises ValueError for less than
    three snapshots.
    """
    if len(snapshots) < 3:
        raise ValueError(
            f"the path has {quantity(len(snapshots), 'snapshot')}, expected at least 3; train with "
            "trainer.weights_at=log"
        )
    end = _flat({name: value.detach().cpu().numpy() for name, value in model.named_parameters()})
    names = [name for name, _ in model.named_parameters()]
    differences = np.stack([_flat({n: arrays[n] for n in names}) - end for arrays in snapshots])
    components, shares = _principal_components(differences - differences.mean(0))
    projections = differences @ components.T
    signs = np.where(projections[0] < 0, -1.0, 1.0)  # the path begins at positive coordinates
    components, projections = components * signs[:, None], projections * signs
    lengths = np.linalg.norm(differences, axis=1)
    off = np.linalg.norm(differences - projections @ components, axis=1)
    relative = np.divide(off, lengths, out=np.zeros_like(off), where=lengths > 0)
    width = float(np.abs(projections).max()) or 1.0
    return PrincipalPlane(
        components=components,
        width=width,
        coordinates=[(float(x), float(y)) for x, y in projections / width],
        off_plane=relative.tolist(),
        explained=(float(shares[0]), float(shares[1])),
    )


def _principal_components(centred: Array) -> tuple[Array, Array]:
    """The first two principal components (2, parameters) of centred rows (k, parameters), zeros for
    one without variance; and the shares of all in the variance, (k,).
    """
    values, vectors = np.linalg.eigh(centred @ centred.T)
    values, vectors = values[::-1].clip(0), vectors[:, ::-1]
    components = np.zeros((2, centred.shape[1]))
    for index in range(2):
        if values[index] > values[0] * 1e-12:
            components[index] = vectors[:, index] @ centred / np.sqrt(values[index])
    return components, values / (values.sum() or 1.0)


def _flat(arrays: Arrays) -> Array:
    return np.concatenate([np.asarray(array, np.float64).ravel() for array in arrays.values()])


class Line:
    """The networks (1 - t) theta_a + t theta_b; theta_a is what `model` has now.

    Running statistics are interpolated like the parameters; variances are at least 0.
    """

    def __init__(self, model: nn.Module, other: Arrays) -> None:
        self._tensors: list[tuple[str, Tensor, Tensor, Tensor]] = []
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                end = torch.empty_like(value).copy_(torch.from_numpy(np.array(other[name])))
                self._tensors.append((name, value, value.clone(), end))
        parameters = {name for name, _ in model.named_parameters()}
        squares = []
        for name, _, start, end in self._tensors:
            if name in parameters:
                squares.append((end.double() - start.double()).square().sum())
        self.distance = float(sum(squares)) ** 0.5

    @contextlib.contextmanager
    def at(self, t: float) -> Iterator[None]:
        """The model at `t`, with its own weights again at the end."""
        with torch.no_grad():
            for name, value, start, end in self._tensors:
                value.copy_(torch.lerp(start, end, t))
                if name.endswith("running_var"):
                    value.clamp_(min=0.0)
        try:
            yield
        finally:
            with torch.no_grad():
                for _, value, start, _ in self._tensors:
                    value.copy_(start)


def places_on_line(low: float, high: float, points: int) -> list[float]:
    """`points` evenly spaced values from `low` to `high`, with 0 and 1 among them."""
    even = [low + (high - low) * index / (points - 1) for index in range(points)]
    snapped = [round(t) if abs(t - round(t)) < 1e-9 else t for t in even]
    return sorted({*map(float, snapped), 0.0, 1.0})


def barrier(places: Sequence[float], losses: Sequence[float]) -> float:
    """The largest of L(t) - (1 - t) L(0) - t L(1) for t in [0, 1], in nats; at least 0.

    A loss that is no number counts as infinite.
    """
    finite = [math.inf if math.isnan(loss) else loss for loss in losses]
    by_place = dict(zip(places, finite, strict=True))
    start, end = by_place[0.0], by_place[1.0]
    rises = [loss - (1 - t) * start - t * end for t, loss in by_place.items() if 0.0 <= t <= 1.0]
    return max(rises)
