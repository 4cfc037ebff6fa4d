"""Progress measures of modular addition (Nanda et al. 2023, section 5): waves of the logits in
x + y, and how few Fourier components a matrix has.

All functions are of a whole table of logits (p, p, v): left operand, right operand, token. A wave
of frequency k is a combination of cos(2 pi k s / p) and sin(2 pi k s / p), where s = x + y mod p
(or x - y, for subtraction); the waves and the constant are all functions of s.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional


def results(p: int, sign: int) -> Tensor:
    """s = x + sign y mod p of every cell of the table, int64 (p, p)."""
    x = torch.arange(p)
    return (x[:, None] + sign * x[None]) % p


def waves(logits: Tensor, s: Tensor) -> Tensor:
    """Complex coefficients (p // 2 + 1, v) of the waves; the first is the constant.

    The mean of the logits over all cells with the same s, as a Fourier series in s.
    """
    p = len(s)
    sums = torch.zeros(p, logits.shape[2], dtype=torch.float64)
    sums.index_add_(0, s.flatten(), logits.double().flatten(0, 1))
    coefficients: Tensor = torch.fft.rfft(sums / p, dim=0)
    return coefficients


def only(coefficients: Tensor, frequencies: Sequence[int], s: Tensor) -> Tensor:
    """The waves of some frequencies (0 is the constant) as a table (p, p, v)."""
    kept = torch.zeros_like(coefficients)
    kept[list(frequencies)] = coefficients[list(frequencies)]
    values: Tensor = torch.fft.irfft(kept, n=len(s), dim=0)
    return values[s]


def power_shares(coefficients: Tensor, p: int) -> Tensor:
    """Share of each frequency 1 to p // 2 in the variance of all waves, (p // 2,).

    What is the same for all tokens does not change the answer and is left out.
    """
    centred = coefficients - coefficients.mean(dim=1, keepdim=True)
    powers = centred[1:].abs().square().sum(dim=1)
    if p % 2 == 0:  # of p / 2 there is a cosine alone, and its coefficient is twice as large
        powers[-1] /= 2
    return powers / powers.sum()


def key_frequencies(shares: Tensor, least: float) -> list[int]:
    """The frequencies with at least the share `least`, rising; the largest alone if none has."""
    keys = (torch.nonzero(shares >= least).flatten() + 1).tolist()
    return keys or [int(shares.argmax()) + 1]


def loss(logits: Tensor, left: Tensor, right: Tensor, answers: Tensor) -> float:
    """Mean cross-entropy in nats of the table's logits at some rows, (n,) each."""
    return float(functional.cross_entropy(logits[left, right].double(), answers))


def component_norms(matrix: Tensor) -> Tensor:
    """Norms of the Fourier components of a matrix (p, width) over its rows, along cos 1, sin 1,
    cos 2, ..., each as a unit vector times one factor, (p - 1,). The constant is left out.
    """
    series = torch.fft.rfft(matrix.double(), dim=0)[1:]
    norms = torch.stack([series.real.norm(dim=1), series.imag.norm(dim=1)], dim=1).flatten()
    if len(matrix) % 2:
        return norms
    norms[-2] /= 2**0.5  # the cosine of p / 2 is longer than the others
    return norms[:-1]  # and the sine is 0


def gini(values: Tensor) -> float:
    """Gini coefficient of values of at least 0: 0 if all are equal, near 1 if one has all."""
    ordered, _ = values.double().sort()
    count = len(ordered)
    ranks = torch.arange(1, count + 1, dtype=torch.float64)
    weighted = (2 * ranks - count - 1) @ ordered
    return float(weighted / (count * ordered.sum()))
