"""Generalization error over time in closed form: the fast-slow formula and the asymptotics of ridge
regression.

Both treat early stopping as a ridge penalty λ̃(t) = λ + 1/t and differ only in which fraction of
each block is left unlearned. `_order` turns those fractions into R, Q and the error. Pure
functions; broadcast as numpy does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis.theory.setting import Setting

Array = NDArray[np.float64]
Block = Literal["fast", "slow"]
# replaces the step size, whose inverse, the largest eigenvalue of XᵀX, is near 4
SCALES = (0.5, 0.5)
FROZEN_AT = (1e-3, 1e8)  # times at which a frozen block is held: ends of the published grid
NEWTON_STEPS = 200  # at most; below 20 unless n = d


class Order(NamedTuple):
    """Alignment R, modulated norm Q, generalization error ½(1 + σ² - 2R + Q), all of one shape."""

    R: Array
    Q: Array
    error: Array


class _Block(NamedTuple):
    """The size of a block of features, and its learned and unlearned fractions, which sum to 1."""

    size: int
    learned: Array
    unlearned: Array


def fast_slow(
    setting: Setting,
    times: ArrayLike,
    frozen_block: Block | None = None,
    *,
    scales: Sequence[float] = SCALES,
    frozen_at: tuple[float, float] = FROZEN_AT,
) -> Order:
    """The paper's fast-slow formula, Eqs. 12 and 14 into Eq. 6.

    times: training times t >= 0 in steps (inf allowed); they broadcast with κ and λ. scales:
    singular values s₁ and κs₂ of the blocks; the paper takes ½ and ½ for what is 1 and 1 in the
    simulation.

    With block sizes p₁ = p, p₂ = d - p, gains g_i = s_i²/d and λ̃ = λ + 1/t, block i is treated as
    if it were alone with n samples: its unlearned fraction u solves
    n = p_i(1 - u) + λ̃(1 - u)/(g_i u). In the paper's letters 1 - u_i = α_i/a_i. Then
    error = ½(σ² + Σ(p_i/d)u_i²) / (1 - Σ p_i(1 - u_i)²/n), the same as the paper's
    ½(1 + σ² - 2R + Q) with no terms that cancel. NaN where that denominator is not positive, which
    happens only for n <= d.

    frozen_block names the block that does not move: "slow" holds it at t = frozen_at[0], which
    leaves the curve of the fast feature alone; "fast" holds it at t = frozen_at[1], which leaves
    that of the slow one.
    """
    if frozen_block not in (None, "fast", "slow"):
        raise ValueError(f"frozen_block is {frozen_block!r}; expected None, 'fast' or 'slow'")
    fast_times = frozen_at[1] if frozen_block == "fast" else times
    slow_times = frozen_at[0] if frozen_block == "slow" else times
    decay, (fast_gain, slow_gain) = setting.weight_decay, _gains(setting, scales)
    fast_size, slow_size = setting.blocks
    fast = _separate_block(_penalty(fast_times, decay), setting.n, fast_size, fast_gain)
    slow = _separate_block(_penalty(slow_times, decay), setting.n, slow_size, slow_gain)
    return _order((fast, slow), setting, _shape(setting, times))


def ridge_asymptotics(
    setting: Setting, times: ArrayLike, *, scales: Sequence[float] = SCALES
) -> Order:
    """Deterministic equivalent of ridge regression with penalty λ̃ = λ + 1/t and two blocks.

    Arguments and broadcasting as in `fast_slow`. Both blocks share one μ, the root of
    n = Σ p_i g_i/(g_i + μ) + λ̃/μ with g_i = s_i²/d; the unlearned fractions are
    u_i = μ/(g_i + μ), and error = ½(σ² + Σ(p_i/d)u_i²) / (1 - Σ p_i(1 - u_i)²/n). Exact as n and d
    grow in proportion. `times` = inf and `scales` = (1, 1) give plain ridge regression with penalty
    λ on ½|y - Xŵ|² + ½λ|ŵ|².
    """
    gains = _gains(setting, scales)
    mu = _shared_root(_penalty(times, setting.weight_decay), setting.n, setting.blocks, gains)
    blocks = [_shared(mu, size, gain) for size, gain in zip(setting.blocks, gains, strict=True)]
    return _order(blocks, setting, _shape(setting, times))


def _shape(setting: Setting, times: ArrayLike) -> tuple[int, ...]:
    """The shape that times, κ and λ broadcast to."""
    arrays = (times, setting.kappa, setting.weight_decay)
    return np.broadcast_shapes(*(np.shape(array) for array in arrays))


def _penalty(times: ArrayLike, weight_decay: ArrayLike) -> Array:
    """The ridge penalty λ̃ = λ + 1/t that stopping at t amounts to; infinite at t = 0."""
    t, decay = np.asarray(times, np.float64), np.asarray(weight_decay, np.float64)
    if np.any(t < 0) or np.any(decay < 0):
        raise ValueError("a time or a weight decay is negative; expected t >= 0 and λ >= 0")
    with np.errstate(divide="ignore"):
        return np.asarray(decay + 1 / t)


def _gains(setting: Setting, scales: Sequence[float]) -> tuple[Array, Array]:
    """Variances s₁²/d and s₂²/d of what the student sees of a fast and of a slow feature."""
    slow_scale = scales[1] / np.asarray(setting.kappa, np.float64)
    return np.asarray(scales[0] ** 2 / setting.d), np.asarray(slow_scale**2 / setting.d)


def _separate_block(penalty: Array, n: int, size: int, gain: Array) -> _Block:
    """Learned and unlearned fraction of a block as if it were alone with n samples.

    With α = n/size and λ_i = penalty/(size·gain), x is the positive root of x² + (1 - α - λ_i)x -
    λ_i = 0 (the paper's a_i - 1), the unlearned fraction is u = λ_i/x and the learned one α/(1 +
    x). x and -u are the two roots: the larger in size comes from the sum that does not cancel, the
    other from their product.
    """
    if size == 0:
        return _Block(0, np.zeros(()), np.ones(()))
    alpha = n / size
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        load = np.where(gain > 0, penalty / (size * gain), np.inf)
        middle = 1 - alpha - load
        larger = (np.hypot(middle, 2 * np.sqrt(load)) + np.abs(middle)) / 2
        smaller = np.where(larger > 0, load / larger, 0.0)
        x, unlearned = np.where(middle < 0, larger, smaller), np.where(middle < 0, smaller, larger)
    unlearned = np.where(np.isinf(load), 1.0, unlearned)
    return _Block(size, alpha / (1 + x), unlearned)


def _shared(mu: Array, size: int, gain: Array) -> _Block:
    """Learned and unlearned fraction of a block at the shared μ (μ = inf: nothing learned)."""
    with np.errstate(invalid="ignore"):
        unlearned = np.where(np.isinf(mu) | (gain == 0), 1.0, mu / (gain + mu))
    return _Block(size, np.where(gain == 0, 0.0, gain / (gain + mu)), unlearned)


def _shared_root(
    penalty: Array, n: int, sizes: tuple[int, int], gains: tuple[Array, Array]
) -> Array:
    """The root μ >= 0 of μ = penalty/n + Σ (p_i/n) g_i μ/(g_i + μ).

    The right side is concave in μ, so Newton's method from above (where its sum is at its bound Σ
    p_i g_i/n) comes down to the root without overshooting.
    """
    weights = [size / n * gain for size, gain in zip(sizes, gains, strict=True)]
    mu = np.asarray(penalty / n + weights[0] + weights[1])
    finite = np.isfinite(mu)
    mu = np.where(finite, mu, 1.0)
    target = np.where(finite, penalty, 0.0) / n
    for _ in range(NEWTON_STEPS):
        ratio = [gain / (gain + mu) for gain in gains]
        excess = mu - target - sum(s / n * r * mu for s, r in zip(sizes, ratio, strict=True))
        slope = 1 - sum(s / n * r**2 for s, r in zip(sizes, ratio, strict=True))
        new = np.maximum(mu - excess / slope, target)
        if np.all(np.abs(new - mu) <= 1e-15 * mu):
            break
        mu = np.where(new > 0, new, np.finfo(np.float64).tiny)
    return np.where(finite, mu, np.inf)


def _order(blocks: Sequence[_Block], setting: Setting, shape: tuple[int, ...]) -> Order:
    """R, Q and error from the unlearned fractions u_i, all sums of terms of one sign.

    With f = Σ p_i(1 - u_i)²/n: R = Σ(p_i/d)(1 - u_i), Q = f(n/d + 1 + σ² - 2R)/(1 - f),
    error = ½(σ² + Σ(p_i/d)u_i²)/(1 - f).
    """
    n, d, variance = setting.n, setting.d, setting.sigma**2
    fit = np.asarray(sum(b.size * b.learned**2 for b in blocks) / n)
    left = np.where(fit < 1, 1 - fit, np.nan)
    alignment = np.asarray(sum(b.size / d * b.learned for b in blocks))
    norm = fit * (n / d + 1 + variance - 2 * alignment) / left
    error = 0.5 * (variance + sum(b.size / d * b.unlearned**2 for b in blocks)) / left
    return Order(*(np.broadcast_to(part, shape).copy() for part in (alignment, norm, error)))
