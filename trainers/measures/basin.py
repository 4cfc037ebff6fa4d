"""How wide a minimum is: the first crossing of a loss cut along a direction, and volumes from such
crossings along many.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

CROSSED, NEVER, UNDEFINED, AUDIT_DIFFERS = 0, 1, 2, 3
"""Values of the column `status`."""

FIRST_STEP, FIRST_GROWTH = 0.01, 1.5  # of a bracket before any radius is known
START, GROWTH = 1.1, 1.25  # of a bracket that starts at START times the median radius
GUARDS = 4  # points below the bracket's upper end
WIDTH = 1e-3  # relative, of the last bracket
SCAN_POINTS = 240  # of an audit, up to c_max
SCAN_BISECTIONS = 22
AUDIT_TOLERANCE = 0.01

LossAt = Callable[[float], float]
"""Coordinate c > 0 along a direction -> loss in nats."""


@dataclass(frozen=True)
class Crossing:
    """The first coordinate at which the loss exceeds the cut, None without one."""

    radius: float | None
    status: int
    evaluations: int


@dataclass(frozen=True)
class Cut:
    """The loss of the centre, the cut kappa in nats, and where a search ends."""

    base: float
    kappa: float
    c_max: float

    @property
    def is_defined(self) -> bool:
        """Whether the centre lies below the cut."""
        return self.base < self.kappa

    def excess(self, loss: float) -> float:
        """log(loss / kappa), infinite for a loss that is not finite."""
        if not math.isfinite(loss):
            return math.inf
        return math.log(max(loss, 1e-300) / self.kappa)


def first_crossing(loss_at: LossAt, cut: Cut, median: float | None = None) -> Crossing:
    """inf {c > 0 : loss(c) > kappa}, to WIDTH; radius and status as the columns of `radius`.

    median: of the radii found before, where the bracket starts. The bracket grows until its upper
    end is above the cut; GUARDS evenly spaced points below it look for an earlier crossing; then
    Illinois steps on log(loss / kappa), every fourth a bisection, narrow it. A rise and fall
    between two guards is missed: `audit` looks for those.
    """
    if not cut.is_defined:
        return Crossing(None, UNDEFINED, 0)
    search = _Search(loss_at, cut)
    upper = search.grow(median)
    if upper is None:
        return Crossing(None, NEVER, search.evaluations)
    low, high = search.guard(upper)
    return Crossing(search.narrow(low, high), CROSSED, search.evaluations)


def audit(loss_at: LossAt, cut: Cut) -> Crossing:
    """The first crossing by a scan of SCAN_POINTS points, dense near the centre, and bisections."""
    if not cut.is_defined:
        return Crossing(None, UNDEFINED, 0)
    evaluations, low = 0, 0.0
    for share in np.linspace(0, 1, SCAN_POINTS)[1:].tolist():
        high = cut.c_max * share**2
        evaluations += 1
        if not loss_at(high) <= cut.kappa:
            break
        low = high
    else:
        return Crossing(None, NEVER, evaluations)
    for _ in range(SCAN_BISECTIONS):
        middle = (low + high) / 2
        evaluations += 1
        if loss_at(middle) <= cut.kappa:
            low = middle
        else:
            high = middle
    return Crossing(high, CROSSED, evaluations)


def differ(crossing: Crossing, scan: Crossing) -> bool:
    """Whether an audit disagrees with the search by more than AUDIT_TOLERANCE."""
    if crossing.radius is None or scan.radius is None:
        return crossing.status != scan.status
    return abs(crossing.radius - scan.radius) > AUDIT_TOLERANCE * scan.radius


def earlier(crossing: Crossing, scan: Crossing) -> Crossing:
    """Which of a search and its audit crossed first: each can step over a bump that the other
    meets, and the loss is above the cut where either crossed.
    """
    if scan.radius is None:
        return crossing if crossing.radius is not None else scan
    if crossing.radius is None or scan.radius < crossing.radius:
        return scan
    return crossing


End = tuple[float, float]
"""A coordinate, and log(loss / kappa) there."""


class _Search:
    """The steps of `first_crossing` along one direction; counts the evaluations of the loss."""

    def __init__(self, loss_at: LossAt, cut: Cut) -> None:
        self._loss_at, self._cut = loss_at, cut
        self.evaluations = 0

    def _end(self, coordinate: float) -> End:
        self.evaluations += 1
        return coordinate, self._cut.excess(self._loss_at(coordinate))

    def grow(self, median: float | None) -> End | None:
        """The first point above the cut of a growing sequence; None up to c_max."""
        step = FIRST_STEP if median is None else START * median
        growth = FIRST_GROWTH if median is None else GROWTH
        while True:
            end = self._end(min(step, self._cut.c_max))
            if end[1] > 0:
                return end
            if end[0] >= self._cut.c_max:
                return None
            step *= growth

    def guard(self, upper: End) -> tuple[End, End]:
        """The two neighbours among evenly spaced points below `upper` with the first crossing."""
        low = (0.0, self._cut.excess(self._cut.base))
        for number in range(1, GUARDS + 1):
            end = self._end(upper[0] * number / (GUARDS + 1))
            if end[1] > 0:
                return low, end
            low = end
        return low, upper

    def narrow(self, low: End, high: End) -> float:
        """The middle of the bracket when it is narrow enough (Illinois: Dowell & Jarratt 1971)."""
        (a, f_a), (b, f_b) = low, high
        last, step = 0, 0
        while b - a > WIDTH * b:
            step += 1
            point, value = self._end(_next(a, f_a, b, f_b, step))
            if value > 0:
                b, f_b = point, value
                f_a = f_a / 2 if last == 1 else f_a
                last = 1
            else:
                a, f_a = point, value
                f_b = f_b / 2 if last == -1 else f_b
                last = -1
        return (a + b) / 2


def _next(a: float, f_a: float, b: float, f_b: float, step: int) -> float:
    """The next point of the bracket: the secant's, or the middle in every fourth step, where a
    value is infinite, and where the secant hits an end.
    """
    if step % 4 == 0 or not (math.isfinite(f_a) and math.isfinite(f_b)) or f_a == f_b:
        return (a + b) / 2
    point = (a * f_b - b * f_a) / (f_b - f_a)
    margin = WIDTH * b / 4  # a step of less would not narrow the bracket from the other side
    return min(max(point, a + margin), b - margin)


def log_ball(dimensions: int) -> float:
    """ln of the volume of the unit ball of R^n."""
    return dimensions / 2 * math.log(math.pi) - math.lgamma(dimensions / 2 + 1)


def log_volume_term(dimensions: int, multiplier: float, log_det: float) -> float:
    """ln(omega_n mult^n det P): its mean over directions P u, u uniform on the unit sphere, is the
    volume of a star-shaped region in expectation, and a lower bound for few directions.

    multiplier: first crossing along P u in units of P u. log_det: ln det P.
    """
    return log_ball(dimensions) + dimensions * math.log(multiplier) + log_det


@dataclass(frozen=True)
class Ray:
    """A ray from the weights: n, |theta_0|, |v|, and v . theta_0 / |v|."""

    dimensions: int
    weight_norm: float
    length: float
    along: float


def log_gauss_term(ray: Ray, multiplier: float, sigma: float) -> float:
    """ln of the Gaussian measure N(0, sigma^2) of the region, as one ray P u with det P = 1 sees
    it.

    ln integral_0^x1 exp(-x^2 / (2 sigma^2) + b x + c) x^(n-1) dx + ln omega_n + ln n
    - (n/2) ln(2 pi sigma^2) - n ln |v|, with x1 = mult |v|, b = -(v . theta_0) / (sigma^2 |v|),
    c = -|theta_0|^2 / (2 sigma^2) (EleutherAI, basin-volume).
    """
    n, end = ray.dimensions, multiplier * ray.length
    b = -ray.along / sigma**2
    c = -(ray.weight_norm**2) / (2 * sigma**2)
    constant = log_ball(n) + math.log(n) - n / 2 * math.log(2 * math.pi * sigma**2)
    return _log_integral(n, b, sigma, end) + c + constant - n * math.log(ray.length)


@functools.cache
def _quadrature() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """200 Gauss-Legendre nodes on [-1, 1], and their weights."""
    return np.polynomial.legendre.leggauss(200)


def _log_integral(n: int, b: float, sigma: float, end: float) -> float:
    """ln integral_0^end exp(-x^2 / (2 sigma^2) + b x) x^(n-1) dx, by 200 Gauss-Legendre nodes
    around the top of the integrand, which is log-concave.
    """

    def log_integrand(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(-(x**2) / (2 * sigma**2) + b * x + (n - 1) * np.log(x))

    top = (b + math.sqrt(b**2 + 4 * (n - 1) / sigma**2)) * sigma**2 / 2
    middle = min(top, end)
    slope = abs(-middle / sigma**2 + b + (n - 1) / middle)
    width = 12 / math.sqrt(1 / sigma**2 + (n - 1) / middle**2)
    if slope > 0:
        width = min(width, 40 / slope)
    low, high = max(middle - width, 0.0), min(middle + width, end)
    nodes, weights = _quadrature()
    x = low + (high - low) * (nodes + 1) / 2
    return float(special.logsumexp(log_integrand(x), b=weights * (high - low) / 2))
