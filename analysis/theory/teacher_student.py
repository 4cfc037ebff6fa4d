"""The teacher-student model's public functions, in one place.

Model. A latent input z ~ N(0, I_d / d) is seen by the student as x = Fᵀz, F = U S Vᵀ, with U and V
orthogonal and S diagonal: `p` singular values 1 ("fast") and d - p of them 1/κ ("slow"). The
teacher labels y = z·w + σε, with w ~ N(0, I_d) and ε ~ N(0, 1). The student's weights ŵ start at 0
and descend ½|y - Xŵ|² + ½λ|ŵ|² on n examples.

Order parameters: R = wᵀFŵ/d (alignment), Q = |Fŵ|²/d (modulated norm). Generalization error, paper
Eq. 6: error = ½(1 + σ² - 2R + Q), half the mean squared error on labels with the same noise as the
training labels. It is dimensionless (the teacher's signal has variance 1), and so are R and Q. Time
is counted in steps of the step size.

| function            | what it is                                                  | limits       |
|---------------------|-------------------------------------------------------------|--------------|
| `fast_slow`         | the paper's closed form (Eqs. 12, 14): blocks as if alone   | approximate  |
| `ridge_asymptotics` | deterministic equivalent of the same ridge problem          | n, d → ∞     |
| `exact_trace`       | average over teachers and label noise for one draw (Eq. 9)  | one draw     |
| `simulate`          | descent, flow or ridge on many seeds                        | finite seeds |
| `descend`           | explicit steps, to check the others                         | slow         |
"""

from __future__ import annotations

from analysis.theory.closed_form import Order, fast_slow, ridge_asymptotics
from analysis.theory.setting import Setting
from analysis.theory.simulation import (
    Draw,
    Draws,
    Simulation,
    descend,
    independent_draw,
    modulation,
    published_draw,
    simulate,
)
from analysis.theory.spectrum import Method, scheduled, shrinkage
from analysis.theory.trace import exact_trace, trace_over_draws

__all__ = [
    "Draw",
    "Draws",
    "Method",
    "Order",
    "Setting",
    "Simulation",
    "descend",
    "exact_trace",
    "fast_slow",
    "independent_draw",
    "modulation",
    "published_draw",
    "ridge_asymptotics",
    "scheduled",
    "shrinkage",
    "simulate",
    "trace_over_draws",
]
