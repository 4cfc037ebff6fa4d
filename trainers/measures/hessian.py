"""The Hessian of the loss: extreme eigenvalues, estimates of the trace, spectral density.

Products with vectors are those of minimum.hessian_product, in float64; curvlinops' own are wrong
for attention (3.0.1 with torch 2.13: a tenth of the norm), and only its Lanczos run for densities
is used. Every quantity comes twice: of H, per squared parameter, and of S H S in filter units,
where S is the diagonal of directions.filter_sizes and biases and norms do not move.
"""

from __future__ import annotations

import copy
import importlib
import importlib.util
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import linalg
from torch import Tensor, nn

from trainers.measures.directions import Direction
from trainers.measures.minimum import hessian_product, lanczos
from trainers.measures.samples import LossFunction, Samples, cross_entropy
from trainers.measures.vectors import flat, shaped
from trainers.seeding import stream_seed, torch_stream

BUMP_WIDTH, MARGIN = 3.0, 0.05
"""Of a density: kappa, the width of its bumps, and the relative margin around the spectrum (Papyan
2020, section D.2).
"""

EIGENVECTOR_TOLERANCE = 1e-4
"""Of the eigenvalues, relative, where eigenvectors are the axes of a surface."""

Array = NDArray[np.float64]


class CurvatureUnavailable(RuntimeError):
    """The packages for densities are not installed; the message says how to install them."""


@dataclass(frozen=True)
class Ends:
    """Largest and smallest eigenvalue; the largest relative residual |H v - lambda v| / |lambda| of
    the two pairs. None without convergence.
    """

    largest: float | None
    smallest: float | None
    residual: float | None


def is_available() -> bool:
    """Whether curvlinops is installed."""
    return importlib.util.find_spec("curvlinops") is not None


class Hessian:
    """The Hessian H of the mean loss of `model` over samples, in evaluation mode; the model is not
    changed. With `scales` it is S H S, where S is their diagonal.
    """

    def __init__(
        self,
        model: nn.Module,
        samples: Samples,
        scales: Direction | None = None,
        loss: LossFunction = cross_entropy,
    ) -> None:
        self._network = copy.deepcopy(model).double().eval()
        self._parameters = list(self._network.parameters())
        self._samples, self._loss = samples, loss
        self.device, self.dtype = self._parameters[0].device, torch.float64
        size = sum(parameter.numel() for parameter in self._parameters)
        self.shape = (size, size)
        self._scales = None if scales is None else flat(scales).double().to(self.device)
        self.products = 0

    def _losses(self) -> Iterator[Tensor]:
        """Terms whose sum is the mean loss."""
        samples = self._samples
        for batch in samples.batches():
            output = self._network(samples.inputs[batch].double())
            yield self._loss(output, samples.targets[batch]).sum() / len(samples)

    def __matmul__(self, vector: Tensor) -> Tensor:
        """The product with a vector (parameters,)."""
        self.products += 1
        scales = 1.0 if self._scales is None else self._scales
        return scales * hessian_product(self._parameters, self._losses, scales * vector)

    def ends(self, seed: int, tolerance: float) -> Ends:
        """Both ends of the spectrum by ARPACK's Lanczos iteration."""
        options = {"k": 2, "which": "BE", "tol": tolerance}
        try:
            values, vectors = lanczos(self._product, self.shape[0], seed, **options)
        except linalg.ArpackError:
            return Ends(None, None, None)
        residuals = []
        for value, vector in zip(values, vectors.T, strict=True):
            difference = np.linalg.norm(self._product(vector) - value * vector)
            residuals.append(difference / abs(value) if value else difference)
        return Ends(float(values.max()), float(values.min()), float(max(residuals)))

    def steepest(self, count: int, seed: int, length: float) -> list[Direction]:
        """The eigenvectors of the `count` largest eigenvalues, largest first, each as a direction
        of norm `length` on the CPU; with scales, S v for an eigenvector v of S H S.

        The entry of largest size is positive. Raises ArpackError without convergence.
        """
        options = {"k": count, "which": "LA", "tol": EIGENVECTOR_TOLERANCE}
        values, vectors = lanczos(self._product, self.shape[0], seed, **options)
        directions = []
        for index in np.argsort(values)[::-1]:
            vector = torch.from_numpy(vectors[:, index].copy())
            if self._scales is not None:
                vector = vector * self._scales.cpu()
            sign = vector[vector.abs().argmax()].sign()
            scaled = (vector * (sign * length / vector.norm())).float()
            directions.append(shaped(scaled, self._parameters))
        return directions

    def trace_probe(self, seed: int, index: int) -> float:
        """z'Hz for Rademacher vector number `index`: its mean over vectors is the trace
        (Hutchinson 1989).
        """
        stream = torch_stream(seed, "probe", index)
        signs = torch.randint(0, 2, (self.shape[0],), generator=stream).double() * 2 - 1
        vector = signs.to(self.device)
        return float(vector @ (self @ vector))

    def density(
        self, ends: tuple[float, float], points: int, iterations: int, start: tuple[int, int]
    ) -> tuple[list[float], list[float]]:
        """Eigenvalues and spectral density there, from one Lanczos run (Papyan 2020, algorithm 2).

        ends: smallest and largest eigenvalue. start: seed and number of the run, whose first vector
        they decide. The run does not reorthogonalise: its values are no eigenvalues. Raises
        CurvatureUnavailable if curvlinops cannot be imported.
        """
        spectrum = _spectrum()
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(stream_seed(start[0], "lanczos", start[1]))
            run = spectrum.fast_lanczos(self, min(iterations, self.shape[0]))
        estimate = spectrum.lanczos_approximate_spectrum_from_iter
        places, density = estimate(run, ends, points, BUMP_WIDTH, MARGIN)
        return places.tolist(), density.tolist()

    def _product(self, vector: Array) -> Array:
        product = self @ torch.from_numpy(np.ascontiguousarray(vector.ravel())).to(self.device)
        return np.asarray(product.detach().cpu().numpy(), np.float64)


def _spectrum() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of torch.jit.script, in a package
            return importlib.import_module("curvlinops.papyan2020traces.spectrum")
    except ImportError as error:
        raise CurvatureUnavailable(
            f"trainer.part=density: curvlinops cannot be imported ({error}); install it with pip "
            "install --no-deps -r requirements-landscape.txt (its own dependencies would replace "
            "torch)"
        ) from error
