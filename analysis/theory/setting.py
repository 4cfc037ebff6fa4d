"""The parameters of the teacher-student model, which all of its functions take first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Setting:
    """n samples, d features of which p are fast, condition number κ, label noise σ, weight decay λ.

    kappa is at least 1 (inf: slow features are never learned). In the closed forms kappa and
    weight_decay may be arrays that broadcast with the times. In a simulation kappa may be a
    sequence, an axis of the result, and weight_decay broadcasts with the times.
    """

    n: int
    d: int
    p: int
    kappa: Any
    sigma: float = 0.0
    weight_decay: Any = 0.0

    def __post_init__(self) -> None:
        if self.n < 1 or self.d < 1 or not 0 <= self.p <= self.d:
            raise ValueError(
                f"n = {self.n}, d = {self.d}, p = {self.p}; "
                "expected n >= 1 samples and 0 <= p <= d features"
            )

    @property
    def title(self) -> str:
        """The three sizes as text for a title."""
        return f"(n, d, p) = ({self.n}, {self.d}, {self.p})"

    @property
    def kappas(self) -> Sequence[float]:
        """The condition numbers as a sequence, also where there is only one."""
        return [self.kappa] if np.ndim(self.kappa) == 0 else self.kappa

    @property
    def blocks(self) -> tuple[int, int]:
        """The numbers of fast and of slow features."""
        return self.p, self.d - self.p
