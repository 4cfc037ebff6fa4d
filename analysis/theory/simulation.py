"""Simulation of the teacher-student model: many seeds, condition numbers and times at once.

The only module of the theory that draws random numbers, each draw from its seed alone. BLAS is held
to one thread: the matrices are small, and idle threads spin (about 4 times the CPU time with two of
them).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from analysis.theory.setting import Setting
from analysis.theory.spectrum import Method, shrinkage

Array = NDArray[np.float64]
CHUNK_BYTES = 2**22  # of the largest array held for the seeds of a chunk


class Draw(NamedTuple):
    """The random numbers of one seed.

    z: (n, d) and z_test: (m, d), standard normal over sqrt(d); teacher: (d,), standard normal;
    label_noise: (n,), standard normal, to be scaled by σ; u: (d, d), Haar orthogonal. The right
    factor V of F is left out: it rotates ŵ and cancels from every quantity.
    """

    z: Array
    z_test: Array
    teacher: Array
    label_noise: Array
    u: Array


class Simulation(NamedTuple):
    """One entry for every seed, κ and time: R, Q, error, test_error of shape (seeds, kappas,
    *times); norm: (seeds,).

    error: ½(|w|²/d + σ² - 2R + Q), the exact error of that student on new inputs; its mean over
    teachers is that of ½(1 + σ² - 2R + Q). test_error: half the mean squared error on z_test, plus
    σ²/2. norm: |w|²/d.
    """

    R: Array
    Q: Array
    error: Array
    test_error: Array
    norm: Array


Stream = Callable[[int, int, int, int], Draw]  # (seed, n, d, test size)


def published_draw(seed: int, n: int, d: int, test_size: int) -> Draw:
    """The published scripts' random stream: numpy's legacy generator (Mersenne Twister, polar
    method) with `seed`.

    Order: Z (n×d), Z_test (test_size×d), w (d), label noise (n, also where σ = 0), then the d×d
    normals of U, which is the Q of their QR decomposition with the signs of R's diagonal. V would
    come last and is not drawn.
    """
    stream = np.random.RandomState(seed)
    z, z_test = (stream.standard_normal((rows, d)) / np.sqrt(d) for rows in (n, test_size))
    teacher, label_noise = stream.standard_normal(d), stream.standard_normal(n)
    return Draw(z, z_test, teacher, label_noise, _haar(stream.standard_normal((d, d))))


def independent_draw(seed: int, n: int, d: int, test_size: int) -> Draw:
    """A draw from five streams of their own (PCG64 of [seed, purpose], 0 = Z ... 4 = U), so that
    changing n or the test size leaves the others as they are.
    """
    shapes: tuple[tuple[int, ...], ...] = ((n, d), (test_size, d), (d,), (n,), (d, d))
    normals = []
    for purpose, shape in enumerate(shapes):
        normals.append(np.random.default_rng([seed, purpose]).standard_normal(shape))
    z, z_test, teacher, label_noise, u = normals
    return Draw(z / np.sqrt(d), z_test / np.sqrt(d), teacher, label_noise, _haar(u))


@dataclass(frozen=True)
class Draws:
    """Which random numbers a simulation takes: seeds, test inputs for each seed, random stream.

    test_size counts also where no test input is used, because the published stream draws the test
    inputs before U. stream: `published_draw`, `independent_draw` or a function like them.
    """

    seeds: Sequence[int]
    test_size: int = 1000
    stream: Stream = published_draw

    def __post_init__(self) -> None:
        if len(self.seeds) == 0:
            raise ValueError("no seeds; expected at least one")

    def of(self, setting: Setting) -> Iterator[Draw]:
        """The draws for the sizes of a setting, one for each seed."""
        for seed in self.seeds:
            yield self.stream(seed, setting.n, setting.d, self.test_size)


def _haar(normals: Array) -> Array:
    """A Haar orthogonal matrix from a square matrix of normals."""
    q, r = np.linalg.qr(normals)
    return np.asarray(q * np.sign(np.diagonal(r)))


def singular_values(d: int, p: int, kappas: ArrayLike) -> Array:
    """Diagonal of S for each κ, (kappas, d): p ones, then 1/κ."""
    values = np.ones((np.size(kappas), d))
    values[:, p:] = 1 / np.reshape(np.asarray(kappas, np.float64), (-1, 1))
    return values


def modulation(u: Array, p: int, kappas: ArrayLike) -> Array:
    """Modulation matrices F = U S for each κ, (kappas, d, d)."""
    return np.asarray(u * singular_values(u.shape[0], p, kappas)[:, None, :])


def times_and_decay(setting: Setting, times: ArrayLike) -> tuple[Array, Array]:
    """Times and weight decay as arrays of the shape that they broadcast to."""
    arrays = (np.asarray(times, np.float64), np.asarray(setting.weight_decay, np.float64))
    t, decay = np.broadcast_arrays(*arrays)
    return t, decay


def simulate(
    setting: Setting,
    times: ArrayLike,
    draws: Draws,
    method: Method = "descent",
    step: float | None = None,
) -> Simulation:
    """Students of all seeds and condition numbers at all times.

    times: t >= 0 in steps, broadcast with λ. method, step: see `shrinkage`; discrete gradient
    descent with η = 1/(Λ_max + λ) by default.

    For each draw and κ, one singular value decomposition gives the weights at all times,
    ŵ = V k Λ⁻¹ Vᵀ Xᵀ y; R, Q and the test error are then linear and quadratic forms in k, with V
    left out by rotation.
    """
    t, decay = times_and_decay(setting, times)
    scales = singular_values(setting.d, setting.p, setting.kappas)
    results = []
    with threadpool_limits(1):
        for chunk in _chunks(draws, 8 * len(scales) * setting.d * max(setting.d, t.size)):
            chunk_draws = list(chunk.of(setting))
            modes = [_modes(draw, scales, setting.sigma) for draw in chunk_draws]
            values = np.stack([mode.values for mode in modes])
            k = shrinkage(values, t.ravel(), decay.ravel(), method, step)
            for parts in zip(chunk_draws, modes, k, strict=True):
                results.append(_measure(*parts, setting.sigma))
    measures = [np.stack(part) for part in zip(*results, strict=True)]
    shape = (len(draws.seeds), len(scales), *t.shape)
    alignment, modulated, error, test_error = (part.reshape(shape) for part in measures[:4])
    return Simulation(alignment, modulated, error, test_error, measures[4])


def _chunks(draws: Draws, size: int) -> Iterator[Draws]:
    """The draws in pieces whose arrays of `size` bytes for each seed stay within CHUNK_BYTES."""
    length = max(1, CHUNK_BYTES // size)
    for i in range(0, len(draws.seeds), length):
        yield replace(draws, seeds=draws.seeds[i : i + length])


class _Modes(NamedTuple):
    """Eigenvalues of XᵀX, (kappas, m), and what every mode adds to Fŵ when fully learned, (kappas,
    d, m).
    """

    values: Array
    columns: Array


def _modes(draw: Draw, scales: Array, sigma: float) -> _Modes:
    """Decomposition of one draw for every κ, in the basis in which F is the diagonal S.

    ZU = Q₀R₀ once for all κ; then R₀S = A s Bᵀ, so that XᵀX = B s² Bᵀ and Fŵ = S B (k/s) Aᵀ Q₀ᵀ y.
    """
    basis, triangle = np.linalg.qr(draw.z @ draw.u)
    labels = basis.T @ (draw.z @ draw.teacher + sigma * draw.label_noise)
    left, values, right = np.linalg.svd(triangle * scales[:, None, :], full_matrices=False)
    values = values * (values > values[:, :1] * np.finfo(np.float64).eps)
    inverse = np.divide(1, values, out=np.zeros_like(values), where=values > 0)
    weights = inverse * (labels @ left)
    return _Modes(values**2, scales[:, :, None] * np.swapaxes(right, -1, -2) * weights[:, None, :])


def _measure(draw: Draw, modes: _Modes, k: Array, sigma: float) -> tuple[Array, ...]:
    """R, Q, error and test error of one draw, each (kappas, T), and |w|²/d. k: (kappas, T, m)."""
    d = len(draw.teacher)
    teacher = draw.u.T @ draw.teacher
    student = k @ np.swapaxes(modes.columns, -1, -2)
    alignment, norm = student @ teacher / d, np.einsum("ktd,ktd->kt", student, student) / d
    size = draw.teacher @ draw.teacher / d
    error = 0.5 * (size + sigma**2 - 2 * alignment + norm)
    wrong = student - teacher
    moments = draw.u.T @ (draw.z_test.T @ draw.z_test) @ draw.u / len(draw.z_test)
    test_error = 0.5 * (np.einsum("ktd,ktd->kt", wrong @ moments, wrong) + sigma**2)
    return alignment, norm, error, test_error, np.asarray(size)


def descend(
    x: Array, y: Array, steps: int, step: float | None = None, weight_decay: float = 0.0
) -> Array:
    """Explicit gradient descent ŵ ← ŵ - η(Xᵀ(Xŵ - y) + λŵ) from 0: the weights after 0, 1, ...,
    steps, (steps + 1, d).

    x: (n, d) inputs as the student sees them. y: (n,) labels. step: η, None is 1/(Λ_max + λ). For
    checks.
    """
    eta = step if step is not None else 1 / (np.linalg.norm(x, 2) ** 2 + weight_decay)
    weights = np.zeros((steps + 1, x.shape[1]))
    for i in range(steps):
        weights[i + 1] = weights[i] - eta * (x.T @ (x @ weights[i] - y) + weight_decay * weights[i])
    return weights
