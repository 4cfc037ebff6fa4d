"""The exact average over teachers and label noise for given inputs (paper Eq. 9 into Eq. 6)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from analysis.theory.closed_form import Order
from analysis.theory.setting import Setting
from analysis.theory.simulation import Draw, Draws, modulation, times_and_decay
from analysis.theory.spectrum import Method, shrinkage

Array = NDArray[np.float64]


def exact_trace(
    setting: Setting,
    times: ArrayLike,
    draw: Draw,
    method: Method = "descent",
    step: float | None = None,
) -> Order:
    """R, Q and error averaged over w ~ N(0, I_d) and the label noise, for the inputs of a draw.

    The result has shape (kappas, *S), S being what times and λ broadcast to. Of the draw, only the
    latent inputs Z and U count. method, step: see `shrinkage`; "flow" for gradient flow.

    With F = US, X = ZF = U₁ s Vᵀ, Λ = s², F̃ = FV and K = diag(k), k the shrinkage: R = (1/d) Tr K
    and Q = (1/d) Tr(AᵀA) + (σ²/d) Tr(BᵀB) with A = F̃KF̃⁻¹ and B = F̃KΛ^-½. F̃ is not inverted:
    H = s⁻¹U₁ᵀZ is its inverse where n >= d, and also right where n < d. As K is diagonal, each time
    takes O(d²): Q = (1/d) kᵀ[(F̃ᵀF̃) ∘ (HHᵀ)]k + (σ²/d) Σ k²/Λ (F̃ᵀF̃)_ii. Z enters only through the
    triangle R₀ of Z = Q₀R₀.
    """
    t, decay = times_and_decay(setting, times)
    z, f, variance = draw.z, modulation(draw.u, setting.p, setting.kappas), setting.sigma**2
    d = z.shape[1]
    triangle = np.linalg.qr(z, mode="r")
    left, values, right = np.linalg.svd(triangle @ f, full_matrices=False)
    values = values * (values > values[..., :1] * np.finfo(np.float64).eps)
    inverse = np.divide(1, values, out=np.zeros_like(values), where=values > 0)
    k = shrinkage(values**2, t.ravel(), decay.ravel(), method, step)
    basis = f @ np.swapaxes(right, -1, -2)
    rows = inverse[..., None] * (np.swapaxes(left, -1, -2) @ triangle)
    overlap = np.swapaxes(basis, -1, -2) @ basis
    pairs = overlap * (rows @ np.swapaxes(rows, -1, -2))
    label = np.einsum("...ii->...i", overlap) * inverse**2
    alignment = k.sum(axis=-1) / d
    of_teacher = np.sum((k @ pairs) * k, axis=-1)
    of_noise = np.sum(k**2 * label[..., None, :], axis=-1)
    norm = (of_teacher + variance * of_noise) / d
    shape = (*f.shape[:-2], *t.shape)
    error = 0.5 * (1 + variance - 2 * alignment + norm)
    return Order(alignment.reshape(shape), norm.reshape(shape), error.reshape(shape))


def trace_over_draws(
    setting: Setting,
    times: ArrayLike,
    draws: Draws,
    method: Method = "descent",
    step: float | None = None,
) -> Order:
    """`exact_trace` for the draws of `simulate`, arrays of shape (seeds, kappas, *S)."""
    with threadpool_limits(1):
        orders = [exact_trace(setting, times, draw, method, step) for draw in draws.of(setting)]
    return Order(*(np.stack(part) for part in zip(*orders, strict=True)))
