"""Is the end of a training a minimum? Gradient and Hessian of the loss over all training samples.

The eigenvalues come from ARPACK's Lanczos iteration on products of the Hessian with vectors, in
float64 (Pearlmutter 1994 has the product: the gradient of gradient times vector).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from trainers.measures.gradients import gradients
from trainers.measures.vectors import flat
from trainers.seeding import numpy_stream

LARGEST_PROBLEM = 1e9  # parameters times samples; above it the eigenvalues would take too long
TOLERANCE = 1e-2  # relative, of the eigenvalues


@dataclass(frozen=True)
class Minimum:
    """What is measured at the end of a training.

    full_grad_norm: L2 norm of the gradient / sqrt(parameters). lambda_min and lambda_max: extreme
    eigenvalues of the Hessian, None for a problem above LARGEST_PROBLEM or without convergence.
    """

    full_grad_norm: float
    lambda_min: float | None
    lambda_max: float | None


Losses = Callable[[], Iterable[Tensor]]
"""Terms whose sum is the loss, one for a block of samples, each with a graph of its own."""

Blocks = Callable[[], Iterable[tuple[Tensor, Tensor]]]
"""All samples in blocks: network inputs (b, ...), and labels int64 (b,)."""


def measure(model: nn.Module, blocks: Blocks, samples: int, seed: int) -> Minimum:
    """Gradient norm and extreme eigenvalues of the mean cross-entropy of `model` over all samples,
    in evaluation mode and float64; `model` itself is not changed.
    """
    network = copy.deepcopy(model).double().eval()

    def losses() -> Iterator[Tensor]:
        for x_b, y_b in blocks():
            yield functional.cross_entropy(network(x_b.double()), y_b, reduction="sum") / samples

    parameters = [p for p in network.parameters() if p.requires_grad]
    count = sum(parameter.numel() for parameter in parameters)
    norm = float(gradient(parameters, losses).norm()) / count**0.5
    if count * samples > LARGEST_PROBLEM:
        return Minimum(norm, None, None)
    values = extreme_eigenvalues(parameters, losses, seed)
    return Minimum(norm, *(values or (None, None)))


def gradient(parameters: Sequence[Tensor], losses: Losses) -> Tensor:
    """The gradient of the loss as one vector (parameters,)."""
    total = torch.zeros(())
    for loss in losses():
        total = total + flat(gradients(loss, parameters))
    return total


def hessian_product(parameters: Sequence[Tensor], losses: Losses, vector: Tensor) -> Tensor:
    """The Hessian of the loss times `vector`, (parameters,) each."""
    total = torch.zeros_like(vector)
    for loss in losses():
        slope = flat(gradients(loss, parameters, create_graph=True)) @ vector
        total += flat(gradients(slope, parameters))
    return total


def extreme_eigenvalues(
    parameters: Sequence[Tensor], losses: Losses, seed: int
) -> tuple[float, float] | None:
    """The smallest and the largest eigenvalue of the Hessian; None if ARPACK does not converge.

    The result can be repeated: see `lanczos`.
    """
    from scipy.sparse.linalg import ArpackError  # half a second that only this measure needs

    first = parameters[0]

    def product(vector: NDArray[np.float64]) -> NDArray[np.float64]:
        direction = torch.from_numpy(vector.ravel()).to(first.device)
        return hessian_product(parameters, losses, direction).cpu().numpy()

    count = sum(parameter.numel() for parameter in parameters)
    options = {"k": 2, "which": "BE", "tol": TOLERANCE, "return_eigenvectors": False}
    try:
        values = lanczos(product, count, seed, **options)
    except ArpackError:
        return None
    return float(values.min()), float(values.max())


def lanczos(
    product: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    size: int,
    seed: int,
    **options: Any,
) -> Any:
    """What SciPy's eigsh (ARPACK) gives with these options for a symmetric matrix (size, size),
    from its product with a vector (size,).

    All its random vectors come from `seed`: the first one, and one more wherever the iteration has
    found an invariant subspace; a Hessian of low rank has one. Raises ArpackError without
    convergence.
    """
    from scipy.sparse import linalg

    stream = numpy_stream(seed, "eigenvalues")
    start = stream.standard_normal(size)
    matrix = linalg.LinearOperator((size, size), matvec=product, dtype=np.float64)
    return linalg.eigsh(matrix, v0=start, rng=stream, **options)
