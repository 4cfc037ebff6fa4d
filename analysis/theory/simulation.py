"""Simulation of the teacher-student model: many seeds, condition numbers and times at once.

The only module of the theory that draws random numbers, each draw from its seed alone. BLAS is held
to one thread: the matrices are small, and idle threads spin (about 4 times the CPU time with two of
them).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

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
    """The same quantities from five streams of their own (PCG64 of [seed, purpose], 0 = Z ... 4 =
    U), so that changing n or the test size leaves the others as they are."""
    shapes: tuple[tuple[int, ...], ...] = ((n, d), (test_size, d), (d,), (n,), (d, d))
    z, z_test, teacher, label_noise, u = (
        np.random.default_rng([seed, purpose]).standard_normal(shape)
        for purpose, shape in enumerate(shapes)
    )
    return Draw(z / np.sqrt(d), z_test / np.sqrt(d), teacher, label_noise, _haar(u))


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


def simulate(
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
) -> Simulation:
    """Students trained on draws of the model, Simulation of arrays (seeds, kappas, *S).

    times, weight_decay: broadcast to S; t in steps. n: samples; d: features, of which p are fast.
    kappas: condition numbers; all of them share the draw of a seed. noise: σ. method, step: see
    `shrinkage`; discrete gradient descent by default, with η = 1/(Λ_max + λ). test_size: test
    inputs for each seed. stream: `published_draw` (default, as the published scripts draw) or
    `independent_draw`, or a function of that signature.

    For each draw and κ, one singular value decomposition gives the weights at all times, ŵ = V k
    Λ⁻¹ Vᵀ Xᵀ y; R, Q and the test error are then linear and quadratic forms in k, with V left out
    by rotation.
    """
    t, decay = np.broadcast_arrays(
        np.asarray(times, np.float64), np.asarray(weight_decay, np.float64)
    )
    scales = singular_values(d, p, kappas)
    if len(seeds) == 0:
        raise ValueError("no seeds; expected at least one")
    results = []
    with threadpool_limits(1):
        for chunk in _chunks(seeds, 8 * len(scales) * d * max(d, t.size)):
            draws = [stream(seed, n, d, test_size) for seed in chunk]
            modes = [_modes(draw, scales, noise) for draw in draws]
            k = shrinkage(
                np.stack([m.values for m in modes]), t.ravel(), decay.ravel(), method, step
            )
            results += [_measure(*each, noise) for each in zip(draws, modes, k, strict=True)]
    parts = [np.stack(part) for part in zip(*results, strict=True)]
    shape = (len(seeds), len(scales), *t.shape)
    alignment, modulated, error, test_error = (part.reshape(shape) for part in parts[:4])
    return Simulation(alignment, modulated, error, test_error, parts[4])


def _chunks(seeds: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    """The seeds in pieces whose arrays of `size` bytes for each seed stay within CHUNK_BYTES."""
    length = max(1, CHUNK_BYTES // size)
    return (seeds[i : i + length] for i in range(0, len(seeds), length))


class _Modes(NamedTuple):
    """Eigenvalues of XᵀX, (kappas, m), and what every mode adds to Fŵ when fully learned, (kappas,
    d, m).
    """

    values: Array
    columns: Array


def _modes(draw: Draw, scales: Array, noise: float) -> _Modes:
    """Decomposition of one draw for every κ, in the basis in which F is the diagonal S.

    ZU = Q₀R₀ once for all κ; then R₀S = A s Bᵀ, so that XᵀX = B s² Bᵀ and Fŵ = S B (k/s) Aᵀ Q₀ᵀ y.
    """
    basis, triangle = np.linalg.qr(draw.z @ draw.u)
    labels = basis.T @ (draw.z @ draw.teacher + noise * draw.label_noise)
    left, values, right = np.linalg.svd(triangle * scales[:, None, :], full_matrices=False)
    values = values * (values > values[:, :1] * np.finfo(np.float64).eps)
    inverse = np.divide(1, values, out=np.zeros_like(values), where=values > 0)
    weights = inverse * (labels @ left)
    return _Modes(values**2, scales[:, :, None] * np.swapaxes(right, -1, -2) * weights[:, None, :])


def _measure(draw: Draw, modes: _Modes, k: Array, noise: float) -> tuple[Array, ...]:
    """R, Q, error and test error of one draw, each (kappas, T), and |w|²/d. k: (kappas, T, m)."""
    d = len(draw.teacher)
    teacher = draw.u.T @ draw.teacher
    student = k @ np.swapaxes(modes.columns, -1, -2)
    alignment, norm = student @ teacher / d, np.einsum("ktd,ktd->kt", student, student) / d
    size = draw.teacher @ draw.teacher / d
    error = 0.5 * (size + noise**2 - 2 * alignment + norm)
    wrong = student - teacher
    moments = draw.u.T @ (draw.z_test.T @ draw.z_test) @ draw.u / len(draw.z_test)
    test_error = 0.5 * (np.einsum("ktd,ktd->kt", wrong @ moments, wrong) + noise**2)
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
