"""A network as a sequence of layers whose weights are moved along directions, computed quickly.

With running statistics as trained, a batch norm is folded into the convolution before it: weight
w k and bias (b - mean) k + shift, k = scale / sqrt(variance + eps), which is linear in w. The first
layer is linear in its weights too, so it is computed once for theta_0 and once for each direction.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainers.measures.directions import Direction
from trainers.measures.samples import Samples

STEM_BYTES = 512 * 2**20
"""Most memory for the outputs of the first layer; above it the layer is computed at every point."""


@dataclass(frozen=True)
class _Layer:
    """A linear layer of a sequence, its weight and bias at theta_0 and along each direction.

    Batch norm is folded into both: with kept statistics it multiplies by a constant and adds one.
    """

    module: nn.Conv2d | nn.Linear
    weight: list[Tensor]
    bias: list[Tensor]

    def at(self, coordinates: Sequence[float]) -> Callable[[Tensor], Tensor]:
        """The layer with the weights of these coordinates."""
        weight, bias = (combine(terms, coordinates) for terms in (self.weight, self.bias))
        return _function(self.module, weight, bias)


def combine(terms: Sequence[Tensor], coordinates: Sequence[float]) -> Tensor:
    """terms[0] + sum of coordinates[i] terms[i + 1]."""
    total = terms[0]
    for coordinate, term in zip(coordinates, terms[1:], strict=True):
        total = torch.add(total, term, alpha=coordinate)
    return total


def _function(
    module: nn.Conv2d | nn.Linear, weight: Tensor, bias: Tensor | None
) -> Callable[[Tensor], Tensor]:
    if isinstance(module, nn.Linear):
        return lambda x: functional.linear(x, weight, bias)
    return lambda x: functional.conv2d(
        x, weight, bias, module.stride, module.padding, module.dilation, module.groups
    )


class Folded:
    """A sequence of layers with batch norms folded and the first linear layer computed once."""

    def __init__(self, steps: Sequence[nn.Module | _Layer], samples: Samples) -> None:
        self._steps, self._samples = steps, samples
        self._first = next(i for i, step in enumerate(steps) if isinstance(step, _Layer))
        self._stem = self._stem_outputs()

    def _stem_outputs(self) -> list[list[Tensor]] | None:
        """Outputs of the first layer, batch by batch, for theta_0 and each direction; None if they
        take too much memory.
        """
        layer = self._steps[self._first]
        assert isinstance(layer, _Layer)
        outputs, used = [], 0
        with torch.inference_mode():
            for batch in self._samples.batches():
                x = self._before(self._samples.inputs[batch])
                pairs = zip(layer.weight, layer.bias, strict=True)
                outputs.append([_function(layer.module, w, b)(x) for w, b in pairs])
                used += sum(output.nbytes for output in outputs[-1])
                if used > STEM_BYTES:
                    return None
        return outputs

    def _before(self, x: Tensor) -> Tensor:
        for step in self._steps[: self._first]:
            assert isinstance(step, nn.Module)
            x = step(x)
        return x

    @contextlib.contextmanager
    def outputs(self, coordinates: Sequence[float]) -> Iterator[Callable[[slice], Tensor]]:
        """A function from positions of samples to the network's outputs at these coordinates."""
        functions: list[Callable[[Tensor], Tensor]] = []
        for step in self._steps:
            functions.append(step.at(coordinates) if isinstance(step, _Layer) else step)
        size = self._samples.batch

        def of(batch: slice) -> Tensor:
            if self._stem is None:
                x, rest = self._samples.inputs[batch], functions
            else:
                x = combine(self._stem[batch.start // size], coordinates)
                rest = functions[self._first + 1 :]
            for function in rest:
                x = function(x)
            return x

        yield of


def fold(model: nn.Module, directions: Sequence[Direction], samples: Samples) -> Folded | None:
    """`model` as a sequence with folded batch norms; None if it is no sequence of plain layers, or
    a direction moves a norm.
    """
    modules, moves = list(_leaves(model)), _by_parameter(model, directions)
    if not all(_is_plain(module, moves) for module in modules):
        return None
    steps: list[nn.Module | _Layer] = []
    for module in modules:
        if isinstance(module, nn.Conv2d | nn.Linear):
            steps.append(_layer(module, moves))
        elif isinstance(module, nn.BatchNorm2d):
            previous = steps[-1] if steps else None
            if not isinstance(previous, _Layer) or _is_moved(module, moves):
                return None
            steps[-1] = _with_norm(previous, module)
        else:
            steps.append(module)
    if not any(isinstance(step, _Layer) for step in steps):
        return None
    return Folded(steps, samples)


_PLAIN = (nn.Flatten, nn.ReLU, nn.LeakyReLU, nn.Tanh, nn.Sigmoid, nn.GELU, nn.SiLU, nn.Identity,
          nn.MaxPool2d)  # fmt: skip


def _leaves(module: nn.Module) -> Iterator[nn.Module]:
    """The modules of nested sequences in their order."""
    if not isinstance(module, nn.Sequential):
        yield module
        return
    for child in module:
        yield from _leaves(child)


def _is_plain(module: nn.Module, moves: Mapping[int, Sequence[Tensor]]) -> bool:
    """Whether `_layer` and `_with_norm` compute what a module does: a subclass, an option that they
    ignore, or a weight that is computed from others may do something else.
    """
    if isinstance(module, nn.BatchNorm2d):
        has_statistics = module.running_mean is not None
        return type(module) is nn.BatchNorm2d and module.affine and has_statistics
    if isinstance(module, nn.Conv2d | nn.Linear):
        is_ours = type(module).__module__.startswith(("torch.", "trainers."))
        is_zero_padded = getattr(module, "padding_mode", "zeros") == "zeros"
        return is_ours and is_zero_padded and id(module.weight) in moves
    return type(module) in _PLAIN or not _has_state(module)


def _has_state(module: nn.Module) -> bool:
    return any(True for _ in module.parameters()) or any(True for _ in module.buffers())


def _by_parameter(model: nn.Module, directions: Sequence[Direction]) -> dict[int, list[Tensor]]:
    """The parts of the directions by the identity of their parameter."""
    moves: dict[int, list[Tensor]] = {}
    for index, parameter in enumerate(model.parameters()):
        moves[id(parameter)] = [direction[index] for direction in directions]
    return moves


def _layer(module: nn.Conv2d | nn.Linear, moves: Mapping[int, Sequence[Tensor]]) -> _Layer:
    weight = [module.weight.detach(), *moves[id(module.weight)]]
    if module.bias is None:
        zero = torch.zeros(len(module.weight), device=module.weight.device)
        return _Layer(module, weight, [zero] * len(weight))
    return _Layer(module, weight, [module.bias.detach(), *moves[id(module.bias)]])


def _is_moved(norm: nn.BatchNorm2d, moves: Mapping[int, Sequence[Tensor]]) -> bool:
    return any(bool(part.any()) for p in norm.parameters() for part in moves[id(p)])


def _with_norm(layer: _Layer, norm: nn.BatchNorm2d) -> _Layer:
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None
    assert variance is not None
    factor = norm.weight.detach() / torch.sqrt(variance + norm.eps)
    shift = norm.bias.detach() - mean * factor
    shape = (-1, *[1] * (layer.weight[0].dim() - 1))
    weight = [part * factor.view(shape) for part in layer.weight]
    bias = [part * factor for part in layer.bias]
    return _Layer(layer.module, weight, [bias[0] + shift, *bias[1:]])
