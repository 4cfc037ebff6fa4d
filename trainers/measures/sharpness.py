"""The sharpness of the minimum that a training has reached."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import optimize

from trainers.measures.gradients import gradients
from trainers.measures.vectors import flat, shaped
from trainers.seeding import torch_stream

DIRECTIONS = 10
SIZE = 1e-3
ITERATIONS = 10


def sharpness(
    parameters: Sequence[torch.Tensor], loss: Callable[[], torch.Tensor], seed: int
) -> float:
    """Sharpness phi of the minimum at `parameters` (Keskar et al. 2017, metric 2.1), in percent.

    phi = (max f - f) / (1 + f) * 100, where f is `loss()` and the maximum is over x + A z. A has
    DIRECTIONS random columns, and |z_i| <= SIZE * (|(A^+ x)_i| + 1). L-BFGS-B searches for it with
    ITERATIONS iterations. The parameters keep their values.
    """
    start = [p.detach().clone() for p in parameters]
    x = flat(start).double().cpu()
    stream = torch_stream(seed, "sharpness")
    a = torch.randn(len(x), DIRECTIONS, dtype=torch.float64, generator=stream)
    coordinates = torch.linalg.lstsq(a, x[:, None]).solution[:, 0]
    bound = (SIZE * (coordinates.abs() + 1)).numpy()

    def negative(z: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        with torch.no_grad():
            moved = shaped(x + a @ torch.from_numpy(z), parameters)
            for parameter, values in zip(parameters, moved, strict=True):
                parameter.copy_(values)
        with torch.enable_grad():
            value = loss()
            gradient = flat(gradients(value, parameters)).double().cpu()
        return -value.item(), -(a.T @ gradient).numpy()

    bounds = list(zip(-bound, bound, strict=True))
    origin = np.zeros(DIRECTIONS)
    try:
        before = -negative(origin)[0]
        optimum = optimize.minimize(
            negative,
            origin,
            jac=True,
            method="L-BFGS-B",
            bounds=bounds,
            options={"maxiter": ITERATIONS},
        )
    finally:
        with torch.no_grad():
            torch._foreach_copy_(list(parameters), start)
    return (max(-float(optimum.fun), before) - before) / (1 + before) * 100
