"""What each eigendirection of the training inputs has learned after t steps: descent, flow, ridge,
or a schedule.

With XᵀX = VΛVᵀ the student's weights are ŵ(t) = V k Λ⁻¹ Vᵀ Xᵀ y; this module gives the diagonal k,
"shrinkage", 0 at the start and Λ/(Λ + λ) at the end. Pure functions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Custom = Callable[[Array, Array, Array], Array]
"""k of a method of the caller's: (eigenvalues (..., m), times (T,), weight_decay (T,)) ->
(..., T, m).
"""

Method = Literal["descent", "flow", "ridge"] | Custom
NEGLIGIBLE = 1e-17  # a penalty below this changes no double


def shrinkage(
    eigenvalues: Array,
    times: Array,
    weight_decay: Array,
    method: Method = "descent",
    step: float | None = None,
) -> Array:
    """k(t) of every mode, shape (..., T, m).

    eigenvalues: Λ of XᵀX, (..., m). times: t in steps, (T,). weight_decay: λ at each of them, (T,).
    step: η; None is 1/(Λ_max + λ), as in the paper.

    method is one of these, or a function of the first three arguments:

    * "descent": k = (1 - (1 - ηλ - ηΛ)^t) Λ/(Λ + λ), Eq. 9 (D of the paper). A t that is no integer
      takes |1 - ηλ - ηΛ|^t.
    * "flow": k = (1 - exp(-η(Λ + λ)t)) Λ/(Λ + λ), its limit of small steps.
    * "ridge": k = Λ/(Λ + λ + 1/t), the penalty that stopping at t amounts to; η plays no part.
    """
    if callable(method):
        return method(eigenvalues, times, weight_decay)
    values, t, decay = eigenvalues[..., None, :], times[:, None], weight_decay[:, None]
    if method == "ridge":
        with np.errstate(divide="ignore"):
            return _ratio(values, values + decay + 1 / t)
    rate = _step(eigenvalues, decay, step) * (values + decay)
    if method == "flow":
        progress = -np.expm1(-rate * t)
    elif method == "descent":
        progress = _progress(rate, t)
    else:
        raise ValueError(f"method is {method!r}; expected 'descent', 'flow', 'ridge' or a function")
    return progress * _ratio(values, values + decay)


def scheduled(strength: Callable[[Array], Array], step: float | None = None) -> Custom:
    """Method of descent under a penalty on Q whose strength changes with time.

    The loss is ½|y - Xŵ|² + ½α(i)|Xŵ|² + ½λ|ŵ|², |Xŵ|² being Q as the training sample shows it. The
    penalty shares the eigenvectors of XᵀX, so every mode goes by its own k ← k - η((1 + α(i))Λk +
    λk - Λ). strength: α of steps 0, 1, ... as an array. From where α has fallen below 1e-17 for
    good, the closed form continues. Times are whole steps; λ is one number.
    """

    def method(eigenvalues: Array, times: Array, weight_decay: Array) -> Array:
        decay = float(weight_decay[0])
        if np.any(weight_decay != decay) or np.any(times != np.round(times)) or np.any(times < 0):
            raise ValueError(
                "a schedule needs whole times >= 0 and one weight decay for all of them"
            )
        eta = _step(eigenvalues, np.full((1, 1), decay), step)[..., 0, :]
        alpha = strength(np.arange(int(times.max(initial=0)), dtype=np.float64))
        return _run(eigenvalues, eta, decay, alpha, times.astype(int))

    return method


def _run(
    eigenvalues: Array, eta: Array, decay: float, alpha: Array, times: NDArray[np.int_]
) -> Array:
    """The recursion of `scheduled`, recorded at `times`: (..., T, m)."""
    result = np.empty((*eigenvalues.shape[:-1], len(times), eigenvalues.shape[-1]))
    drive = eta * eigenvalues
    loss = 1 - drive - eta * decay
    k, factor = np.zeros_like(drive), np.empty_like(drive)
    active = int(np.flatnonzero(alpha > NEGLIGIBLE).max(initial=-1)) + 1
    now = 0
    for index in np.argsort(times, kind="stable"):
        for i in range(now, min(int(times[index]), active)):
            np.multiply(drive, -alpha[i], out=factor)
            factor += loss
            k *= factor
            k += drive
        now = max(now, min(int(times[index]), active))
        rest = float(times[index] - now)
        end = _ratio(eigenvalues, eigenvalues + decay)
        result[..., index, :] = end - (end - k) * (1 - _progress(1 - loss, np.array(rest)))
    return result


def _step(eigenvalues: Array, decay: Array, step: float | None) -> Array:
    """The step size, broadcastable to (..., T, m)."""
    if step is not None:
        return np.full((1, 1), step)
    return np.asarray(1 / (eigenvalues.max(axis=-1)[..., None, None] + decay))


def _progress(rate: Array, t: Array) -> Array:
    """1 - (1 - rate)^t without cancellation for small rates; |1 - rate|^t where t is no integer."""
    with np.errstate(divide="ignore", invalid="ignore"):
        size = np.log(np.abs(1 - rate), where=rate >= 0.5, out=np.log1p(-np.minimum(rate, 0.5)))
        power = np.where(t == 0, 0.0, size * t)
    odd = (rate > 1) & (t % 2 == 1)
    return np.asarray(np.where(odd, 1 + np.exp(power), -np.expm1(power)))


def _ratio(value: Array, total: Array) -> Array:
    """value/total, 0 where the value is 0 (a direction that holds no data learns nothing)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(value == 0, 0.0, value / total))
