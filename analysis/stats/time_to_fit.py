"""How the steps that a training needs to fit n samples grow with n, from fits and failures.

Model: log T = a + b log n + noise, normal noise of standard deviation sigma. A fit is known to lie
between the check before it and the check that noticed it, a failure only to come after its last
step. Where the learning rate is constant, a run is a prefix of a longer one, so the curve gives n50
at every budget up to the one trained. Beyond it b changes: `TimeToFit.n50` refuses.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special

Array = NDArray[np.float64]
CHECKS = 10 ** (1 / 12)  # ratio of the steps of neighbouring checks
EXPONENT, EXPONENT_STD = 2.3, 0.7  # normal prior of b
NOISE, NOISE_STD = 0.35, 0.5  # log-normal prior of sigma
MIN_FITS = 3
DIFFERENCE = 1e-3  # of the second derivatives


@dataclass(frozen=True)
class TimeToFit:
    """The most probable line, and the normal approximation of its posterior.

    parameters: log T at log n = centre, b, log sigma. covariance: (3, 3), of the same. budget: the
    largest number of steps trained.
    """

    centre: float
    parameters: Array
    covariance: Array
    budget: float

    @property
    def exponent(self) -> float:
        """b."""
        return float(self.parameters[1])

    @property
    def noise(self) -> float:
        """sigma, of log T."""
        return float(np.exp(self.parameters[2]))

    def n50(self, steps: ArrayLike) -> Array:
        """The n that half of the trainings fit within `steps` steps; shape of `steps`.

        Raises ValueError for more steps than were trained.
        """
        budgets = np.asarray(steps, np.float64)
        if (budgets > self.budget * (1 + 1e-9)).any():
            raise ValueError(
                f"{budgets.max():g} steps: trainings had at most {self.budget:g}, and beyond "
                "them the line overestimates"
            )
        level, exponent, _ = self.parameters
        line: Array = np.exp(self.centre + (np.log(budgets) - level) / exponent)
        return line


def fit(n: ArrayLike, steps: ArrayLike, fitted: ArrayLike) -> TimeToFit | None:
    """The line through trainings on n samples; None with fewer than three fits.

    n, steps, fitted: (trainings,). steps: of the check that noticed the fit, or the last step of a
    training that did not fit.
    """
    samples, times = np.log(np.asarray(n, np.float64)), np.log(np.asarray(steps, np.float64))
    success = np.asarray(fitted, bool)
    if success.sum() < MIN_FITS:
        return None
    centre = float(samples[success].mean())

    def loss(parameters: Array) -> float:
        return _negative_log_posterior(parameters, samples - centre, times, success)

    start = np.array([times[success].mean(), EXPONENT, np.log(NOISE)])
    best = optimize.minimize(loss, start, method="Nelder-Mead", options={"maxiter": 2000})
    covariance = np.asarray(np.linalg.pinv(_hessian(loss, best.x)), np.float64)
    return TimeToFit(centre, best.x, covariance, float(np.exp(times.max())))


def _negative_log_posterior(
    parameters: Array, samples: Array, times: Array, success: NDArray[np.bool_]
) -> float:
    """Minus the log posterior of level, exponent and log noise."""
    level, exponent, log_noise = parameters
    noise = np.exp(np.clip(log_noise, -5, 5))
    distance = (times - level - exponent * samples) / noise
    later = special.log_ndtr(-distance[~success])
    upper = special.log_ndtr(distance[success])
    lower = special.log_ndtr(distance[success] - np.log(CHECKS) / noise)
    within = upper + np.log(-np.expm1(np.minimum(lower - upper, -1e-12)))
    prior = ((exponent - EXPONENT) / EXPONENT_STD) ** 2
    prior += ((log_noise - np.log(NOISE)) / NOISE_STD) ** 2
    return float(prior / 2 - later.sum() - within.sum())


def _hessian(loss: Callable[[Array], float], at: Array) -> Array:
    """Second derivatives by central differences, (3, 3)."""
    size = len(at)
    steps = np.eye(size) * DIFFERENCE
    second = np.empty((size, size))
    for i in range(size):
        for j in range(size):
            total = 0.0
            for sign_i, sign_j in itertools.product((1, -1), (1, -1)):
                corner = at + sign_i * steps[i] + sign_j * steps[j]
                total += sign_i * sign_j * loss(corner)
            second[i, j] = total / (4 * DIFFERENCE**2)
    return second
