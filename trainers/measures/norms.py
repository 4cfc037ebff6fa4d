"""What is measured of a transformer beside its answers: the norms of its parts, and the sharpness
of its minimum.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import optimize
from torch import nn

from trainers.seeding import torch_stream

PARTS = {
    "embedding": "token and position embeddings",
    "attention": "the attention's matrices and biases",
    "feedforward": "the feed-forward networks' matrices and biases",
    "layernorm": "the layer norms' scales and shifts",
    "output": "the output's matrix and bias; absent where it is the embedding",
}


def norms(model: nn.Module) -> dict[str, float]:
    """L2 norm of all parameters, `weight_norm`, and of each part of PARTS that the model has,
    `norm_PART`.
    """
    named = [(_part(name), parameter.detach()) for name, parameter in model.named_parameters()]
    each = (
        torch.stack(torch._foreach_norm([parameter for _, parameter in named]))
        .double()
        .square()
        .tolist()
    )
    squares: dict[str, float] = {}
    for (part, _), square in zip(named, each, strict=True):
        squares[part] = squares.get(part, 0.0) + square
    return {"weight_norm": sum(each) ** 0.5} | {
        f"norm_{part}": square**0.5 for part, square in squares.items()
    }


def _part(name: str) -> str:
    words = {
        "norm": "layernorm",
        "attention": "attention",
        "qkv": "attention",
        "feedforward": "feedforward",
    }
    found = next((part for word, part in words.items() if word in name), None)
    return found or ("output" if name.startswith("output") else "embedding")


def sharpness(
    parameters: Sequence[torch.Tensor],
    loss: Callable[[], torch.Tensor],
    seed: int,
    directions: int = 10,
    size: float = 1e-3,
    iterations: int = 10,
) -> float:
    """Sharpness phi of the minimum that `parameters` are in (Keskar et al. 2017, metric 2.1), in %.

    phi = (max f - f) / (1 + f) * 100, where f is `loss()` and the maximum is over x + A z, with
    `directions` random columns in A and |z_i| <= size * (|(A^+ x)_i| + 1); found by L-BFGS-B in so
    many iterations. The parameters are as they were afterwards.
    """
    start = [p.detach().clone() for p in parameters]
    x = torch.cat([p.flatten() for p in start]).double().cpu()
    a = torch.randn(
        len(x), directions, dtype=torch.float64, generator=torch_stream(seed, "sharpness")
    )
    inside = torch.linalg.lstsq(a, x[:, None]).solution[:, 0]
    bound = (size * (inside.abs() + 1)).numpy()

    def negative(z: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        with torch.no_grad():
            moved = torch.split(x + a @ torch.from_numpy(z), [p.numel() for p in start])
            for parameter, values in zip(parameters, moved, strict=True):
                parameter.copy_(values.view_as(parameter))
        with torch.enable_grad():
            value = loss()
            gradient = torch.autograd.grad(value, list(parameters))
        flat = torch.cat([g.flatten() for g in gradient]).double().cpu()
        return -value.item(), -(a.T @ flat).numpy()

    try:
        before = -negative(np.zeros(directions))[0]
        found = optimize.minimize(
            negative, np.zeros(directions), jac=True, method="L-BFGS-B",
            bounds=list(zip(-bound, bound, strict=True)), options={"maxiter": iterations},
        )  # fmt: skip
    finally:
        with torch.no_grad():
            torch._foreach_copy_(list(parameters), start)
    return (max(-float(found.fun), before) - before) / (1 + before) * 100
