"""The loss of a network at weights that are moved along directions.

A point is theta_0 + sum of c_i d_i. Weights are copied before every move, never moved back, so that
the centre stays bit-equal.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from trainers.measures.directions import Direction
from trainers.measures.folding import fold
from trainers.measures.recalibration import batch_norms, recompute
from trainers.measures.samples import LossFunction, Point, Samples, cross_entropy, sum_losses


class Landscape:
    """The loss of `model` on fixed samples, in evaluation mode, around the weights it has now.

    bn: kept evaluates with the running statistics as trained; recalibrated computes them at every
    point, as means over the batches of the same samples, each with the weight of its samples. The
    model is left as it was.
    """

    def __init__(
        self,
        model: nn.Module,
        samples: Samples,
        bn: Literal["kept", "recalibrated"] = "kept",
        loss: LossFunction = cross_entropy,
    ) -> None:
        self.model, self.samples, self.loss = model.eval(), samples, loss
        self.norms = batch_norms(model)
        self.recalibrates = bn == "recalibrated" and bool(self.norms)

    def here(self) -> Point:
        """The loss at the weights and running statistics that the model has now."""
        return sum_losses(self.samples, self._outputs, self.loss)

    def along(self, directions: Sequence[Direction], folds: bool = True) -> Plane:
        """The points that these directions span. With `folds` the fast way where it applies."""
        if folds and not self.recalibrates and directions:
            folded = fold(self.model, directions, self.samples)
            if folded is not None:
                return Plane(self, folded.outputs)
        moves = _Moves(self.model, directions)
        return Plane(self, lambda coordinates: self._moved_outputs(moves, coordinates))

    @contextlib.contextmanager
    def moved(
        self, directions: Sequence[Direction], coordinates: Sequence[float]
    ) -> Iterator[nn.Module]:
        """The model itself at these coordinates, with the weights as trained again at the end."""
        with self._moved_outputs(_Moves(self.model, directions), coordinates):
            yield self.model

    def _outputs(self, batch: slice) -> Tensor:
        result: Tensor = self.model(self.samples.inputs[batch])
        return result

    @contextlib.contextmanager
    def _moved_outputs(
        self, moves: _Moves, coordinates: Sequence[float]
    ) -> Iterator[Callable[[slice], Tensor]]:
        moves.set(coordinates)
        try:
            with self.recalibrated():
                yield self._outputs
        finally:
            moves.reset()

    @contextlib.contextmanager
    def recalibrated(self) -> Iterator[None]:
        """Running statistics of the present weights if the landscape asks for it; those as trained
        again at the end.
        """
        if not self.recalibrates:
            yield
            return
        kept = [copy.deepcopy(norm.state_dict()) for norm in self.norms]
        momenta = [norm.momentum for norm in self.norms]
        try:
            inputs = self.samples.inputs
            recompute(self.model, (inputs[batch] for batch in self.samples.batches()))
            yield
        finally:
            self.model.eval()
            for norm, state, momentum in zip(self.norms, kept, momenta, strict=True):
                norm.load_state_dict(state)
                norm.momentum = momentum


OutputsAt = Callable[
    [Sequence[float]], contextlib.AbstractContextManager[Callable[[slice], Tensor]]
]


class Plane:
    """The points of a landscape along some directions."""

    def __init__(self, landscape: Landscape, outputs_at: OutputsAt) -> None:
        self._landscape, self._outputs_at = landscape, outputs_at
        self.evaluations = 0

    def at(self, *coordinates: float, above: float | None = None) -> Point:
        """The loss at these coordinates.

        With `above` the evaluation ends as soon as the mean must be above it; the point then has no
        loss. That is exact, since losses are not negative.
        """
        self.evaluations += 1
        with torch.inference_mode(), self._outputs_at(coordinates) as outputs:
            landscape = self._landscape
            return sum_losses(landscape.samples, outputs, landscape.loss, above)


class _Moves:
    """Writes moved weights into the parameters of a model, and the first ones back."""

    def __init__(self, model: nn.Module, directions: Sequence[Direction]) -> None:
        self._parameters: list[Tensor] = list(model.parameters())
        self._base = [p.detach().clone() for p in self._parameters]
        self._directions = directions

    @torch.no_grad()
    def set(self, coordinates: Sequence[float]) -> None:
        torch._foreach_copy_(self._parameters, self._base)
        for coordinate, direction in zip(coordinates, self._directions, strict=True):
            torch._foreach_add_(self._parameters, direction, alpha=coordinate)

    @torch.no_grad()
    def reset(self) -> None:
        torch._foreach_copy_(self._parameters, self._base)


def grid(points: int, span: float, spacing: Literal["linear", "square", "quintic"]) -> list[float]:
    """`points` coordinates over [-span, span], symmetric about 0; square and quintic are denser
    around it.
    """
    power = {"linear": 1, "square": 2, "quintic": 5}[spacing]
    half = points // 2
    shares = [index / half if half else 0.0 for index in range(-half, half + 1)]
    return [span * abs(share) ** power * (1 if share >= 0 else -1) for share in shares]
