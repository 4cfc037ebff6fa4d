"""The exact average over teachers and label noise for a given draw of the inputs (paper Eq. 9 into
Eq. 6).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from analysis.theory.closed_form import Order
from analysis.theory.simulation import Stream, modulation, published_draw
from analysis.theory.spectrum import Method, shrinkage

Array = NDArray[np.float64]


def exact_trace(
    times: ArrayLike,
    z: Array,
    f: Array,
    noise: float = 0.0,
    weight_decay: ArrayLike = 0.0,
    method: Method = "descent",
    *,
    step: float | None = None,
) -> Order:
    """R, Q and error averaged over w ~ N(0, I_d) and the label noise, for given latent inputs and
    modulation.

    times, weight_decay: broadcast to a shape (S). z: latent inputs, (n, d), rows of variance 1/d.
    f: modulation matrices, (..., d, d), such as one for each κ. method, step: see `shrinkage`;
    discrete gradient descent by default, "flow" for gradient flow. Returns arrays of shape (...,
    S).

    With X = ZF = U₁ s Vᵀ, Λ = s², F̃ = FV and K = diag(k), k the shrinkage: R = (1/d) Tr K and Q =
    (1/d) Tr(AᵀA) + (σ²/d) Tr(BᵀB) with A = F̃KF̃⁻¹ and B = F̃KΛ^-½. F̃ is not inverted: H = s⁻¹U₁ᵀZ
    is its inverse where n >= d, and also right where n < d. As K is diagonal, each time takes
    O(d²): Q = (1/d) kᵀ[(F̃ᵀF̃) ∘ (HHᵀ)]k + (σ²/d) Σ k²/Λ (F̃ᵀF̃)_ii. Z enters through the triangle
    R₀ of Z = Q₀R₀ alone.
    """
    t, decay = np.broadcast_arrays(
        np.asarray(times, np.float64), np.asarray(weight_decay, np.float64)
    )
    d = z.shape[1]
    triangle = np.linalg.qr(z, mode="r")
    left, values, right = np.linalg.svd(triangle @ f, full_matrices=False)
    values = values * (values > values[..., :1] * np.finfo(np.float64).eps)
    inverse = np.divide(1, values, out=np.zeros_like(values), where=values > 0)
    k = shrinkage(values**2, t.ravel(), decay.ravel(), method, step)
    seen = f @ np.swapaxes(right, -1, -2)
    rows = inverse[..., None] * (np.swapaxes(left, -1, -2) @ triangle)
    overlap = np.swapaxes(seen, -1, -2) @ seen
    pairs = overlap * (rows @ np.swapaxes(rows, -1, -2))
    label = np.einsum("...ii->...i", overlap) * inverse**2
    alignment = k.sum(axis=-1) / d
    norm = (
        np.sum((k @ pairs) * k, axis=-1) + noise**2 * np.sum(k**2 * label[..., None, :], axis=-1)
    ) / d
    shape = (*f.shape[:-2], *t.shape)
    error = 0.5 * (1 + noise**2 - 2 * alignment + norm)
    return Order(alignment.reshape(shape), norm.reshape(shape), error.reshape(shape))


def trace_over_draws(
    times: ArrayLike,
    n: int,
    d: int,
    p: int,
    kappas: Sequence[float],
    seeds: Sequence[int],
    noise: float = 0.0,
    weight_decay: ArrayLike = 0.0,
    method: Method = "descent",
    *,
    step: float | None = None,
    test_size: int = 1000,
    stream: Stream = published_draw,
) -> Order:
    """`exact_trace` for the draws of `simulate` with the same arguments, arrays of shape (seeds,
    kappas, *S).

    `test_size` counts because the published stream draws the test inputs before U.
    """
    orders = []
    with threadpool_limits(1):
        for seed in seeds:
            draw = stream(seed, n, d, test_size)
            orders.append(
                exact_trace(
                    times,
                    draw.z,
                    modulation(draw.u, p, kappas),
                    noise,
                    weight_decay,
                    method,
                    step=step,
                )
            )
    return Order(*(np.stack(part) for part in zip(*orders, strict=True)))
