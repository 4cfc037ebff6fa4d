"""Random directions in the space of a network's weights, of the size of its weights.

A filter is a slice of a weight tensor (two or more dimensions) along its first index. Biases, the
parameters of norms and running statistics do not move. A direction is a list of tensors, one per
parameter in the order of `parameters()`, on the CPU and then moved: so it is the same on every
device, and the same numbers are drawn for every network of one shape.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from trainers.measures.gradients import gradients
from trainers.seeding import torch_stream

Direction = list[Tensor]


def is_weight(parameter: Tensor) -> bool:
    """Whether a parameter is a tensor of weights, which has filters."""
    return parameter.dim() >= 2


def draw(
    model: nn.Module, kind: Literal["filter", "scaled", "gaussian"], seed: int, index: int
) -> Direction:
    """Direction number `index` of the stream of `seed`.

    With g standard normal, w a filter of k entries and n the sum of k over filters whose norm is
    not zero: filter: g |w| / |g|, so that every filter is as long as that of the weights (Li et al.
    2018). scaled: |w| / sqrt(k) times u, uniform on the unit sphere of R^n. gaussian: g.
    """
    if kind == "scaled":
        return proposal(model, filter_sizes(model), seed, index)
    normal = _normal(model, seed, index)
    if kind == "gaussian":
        return like(model, normal)
    weights = [p.detach().cpu() for p in model.parameters()]
    return like(model, [_as_long_as(w, g) for w, g in zip(weights, normal, strict=True)])


def filter_sizes(model: nn.Module) -> Direction:
    """|w| / sqrt(k) for every entry of every filter w of k entries, on the CPU; 0 for what does not
    move.
    """
    sizes = []
    for parameter in model.parameters():
        size = torch.zeros(parameter.shape)
        if is_weight(parameter):
            norm_f = _filter_norms(parameter.detach().cpu())
            size += norm_f / parameter[0].numel() ** 0.5
        sizes.append(size)
    return sizes


def dimensions(model: nn.Module) -> int:
    """Entries of all filters whose norm is not zero."""
    return sum(int((size > 0).sum()) for size in filter_sizes(model))


def weight_norm(model: nn.Module) -> float:
    """L2 norm of all tensors of weights."""
    return norm([p.detach() for p in model.parameters() if is_weight(p)])


def proposal(model: nn.Module, scales: Direction, seed: int, index: int) -> Direction:
    """P u for the diagonal P = `scales` and u uniform on the unit sphere of its entries that are
    not 0; u is direction number `index` of the stream of `seed`.
    """
    normal = _normal(model, seed, index)
    moved = [g * (s != 0) for s, g in zip(scales, normal, strict=True)]
    return like(model, [s * u for s, u in zip(scales, unit(moved), strict=True)])


def log_det(scales: Direction) -> float:
    """ln of the product of all entries of a diagonal that are not 0."""
    return float(sum(part[part != 0].double().log().sum() for part in scales))


def jacobian_squares(model: nn.Module, inputs: Tensor) -> Direction:
    """Mean over the samples of the squared gradients of all logits, for every parameter, on the
    CPU: the diagonal of J'J / samples, with a backward pass a sample and logit.
    """
    parameters = list(model.parameters())
    totals = [torch.zeros(p.shape, dtype=torch.float64) for p in parameters]
    for sample in torch.split(inputs, 1):
        logits = model(sample)[0]
        for logit in logits:
            if not logit.requires_grad:
                continue
            of_logit = gradients(logit, parameters, retain_graph=True)
            for total, gradient in zip(totals, of_logit, strict=True):
                total += gradient.double().square().cpu()
    return [total / len(inputs) for total in totals]


def inverse_roots(squares: Direction, moving: Direction, damping: float) -> Direction:
    """1 / (sqrt(a) + e), where e is `damping` times the largest root, scaled to product 1, for the
    entries that move.
    """
    roots = [a.sqrt() * m for a, m in zip(squares, moving, strict=True)]
    largest = max(float(root.max()) for root in roots) or 1.0
    added = damping * largest
    scales = [(m / (root + added)).double() for root, m in zip(roots, moving, strict=True)]
    count = sum(int((m > 0).sum()) for m in moving)
    factor = math.exp(-log_det(scales) / count)
    return [(scale * factor).float() for scale in scales]


def norm(direction: Direction) -> float:
    """L2 norm, summed in float64."""
    squares = [float(part.double().square().sum()) for part in direction]
    return math.sqrt(sum(squares))


def dot(one: Direction, other: Direction) -> float:
    """Inner product, summed in float64."""
    pairs = zip(one, other, strict=True)
    return float(sum((a.double() * b.double()).sum() for a, b in pairs))


def unit(direction: Direction) -> Direction:
    """The direction divided by its norm."""
    length = norm(direction)
    return [part / length for part in direction]


def _normal(model: nn.Module, seed: int, index: int) -> Direction:
    """Standard normal weights, on the CPU, from number `index` of the stream of `seed`; zeros for
    what does not move.
    """
    stream = torch_stream(seed, "direction", index)
    normal = []
    for parameter in model.parameters():
        if is_weight(parameter):
            normal.append(torch.randn(parameter.shape, generator=stream))
        else:
            normal.append(torch.zeros(parameter.shape))
    return normal


def _as_long_as(weight: Tensor, normal: Tensor) -> Tensor:
    """`normal` with every filter as long as that of `weight`."""
    if not is_weight(weight):
        return normal
    return normal * (_filter_norms(weight) / _filter_norms(normal))


def _filter_norms(weight: Tensor) -> Tensor:
    """Norms of the filters, in a shape that multiplies the tensor: (f, 1, ...)."""
    norms: Tensor = torch.linalg.vector_norm(weight.flatten(1).double(), dim=1)
    return norms.float().view(-1, *[1] * (weight.dim() - 1))


def like(model: nn.Module, parts: Direction) -> Direction:
    """The parts with the device and the memory layout of the parameters."""
    pairs = zip(parts, model.parameters(), strict=True)
    return [torch.empty_like(parameter).copy_(part) for part, parameter in pairs]
