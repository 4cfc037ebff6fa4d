"""The largest rise of the loss in a ball around the weights (Foret et al. 2021)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trainers.measures.gradients import gradients
from trainers.measures.surface import Landscape
from trainers.seeding import torch_stream


@dataclass(frozen=True)
class Rise:
    """Rise of the loss in nats: after one step along its slope, and the largest in an ascent."""

    one_step: float
    ascent: float


def rise(landscape: Landscape, rho: float, steps: int, seed: int) -> Rise:
    """max over |e| <= rho of L(theta_0 + e) - L(theta_0), from below; all parameters move.

    one_step: e = rho g / |g|, which means little at a minimum. ascent: `steps` steps of rho / 2
    along the normalised gradient from a fixed random point of the sphere, each put back into the
    ball; the best point counts. The weights are those of before afterwards.
    """
    parameters: list[Tensor] = list(landscape.model.parameters())
    base = [p.detach().clone() for p in parameters]
    ball = _Ball(landscape, parameters, base, rho)
    try:
        start, slope = ball.loss([torch.zeros_like(p) for p in base])
        after_one, _ = ball.loss(_scaled(slope, rho))
        best, place = 0.0, _random(base, rho, seed)
        for _ in range(steps):
            value, slope = ball.loss(place)
            best = max(best, value - start)
            step = _scaled(slope, rho / 2)
            place = ball.inside([e + s for e, s in zip(place, step, strict=True)])
        value, _ = ball.loss(place)
        best = max(best, value - start)
    finally:
        with torch.no_grad():
            torch._foreach_copy_(parameters, base)
    return Rise(after_one - start, best)


class _Ball:
    """The loss within a distance `rho` of the weights theta_0, which are in `base`."""

    def __init__(
        self, landscape: Landscape, parameters: list[Tensor], base: list[Tensor], rho: float
    ) -> None:
        self._landscape, self._parameters, self._base = landscape, parameters, base
        self._rho = rho

    def loss(self, place: Sequence[Tensor]) -> tuple[float, list[Tensor]]:
        """Mean loss and its gradient at theta_0 + `place`."""
        with torch.no_grad():
            torch._foreach_copy_(self._parameters, self._base)
            torch._foreach_add_(self._parameters, list(place))
        total, gradient = 0.0, [torch.zeros_like(p) for p in self._base]
        for part in self._losses():
            total += float(part.detach())
            torch._foreach_add_(gradient, gradients(part, self._parameters))
        return total, gradient

    def _losses(self) -> Iterator[Tensor]:
        landscape = self._landscape
        samples = landscape.samples
        for batch in samples.batches():
            output = landscape.model(samples.inputs[batch])
            losses = landscape.loss(output, samples.targets[batch])
            yield losses.double().sum() / len(samples)

    def inside(self, place: list[Tensor]) -> list[Tensor]:
        """`place` itself, or the point of the sphere in its direction."""
        return place if _length(place) <= self._rho else _scaled(place, self._rho)


def _random(base: Sequence[Tensor], rho: float, seed: int) -> list[Tensor]:
    stream = torch_stream(seed, "ascent")
    normal = [torch.randn(p.shape, generator=stream) for p in base]
    return _scaled([n.to(p.device) for n, p in zip(normal, base, strict=True)], rho)


def _scaled(parts: Sequence[Tensor], length: float) -> list[Tensor]:
    """The vector with another length; 0 stays 0."""
    factor = length / max(_length(parts), 1e-30)
    return [part * factor for part in parts]


def _length(parts: Sequence[Tensor]) -> float:
    squares = torch.stack([part.double().square().sum() for part in parts])
    return math.sqrt(float(squares.sum()))
