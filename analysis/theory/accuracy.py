"""How far the approximations of the figures are from what is exact, as tables.

    python -m analysis.theory.accuracy [--seeds 100]

Prints three tables: the fast-slow formula against the exact asymptotics of the same ridge problem;
both, and stopping early itself, against the trace formula of gradient flow; the trace formula
against students on test inputs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from analysis.figure.arguments import documented, positive
from analysis.theory.closed_form import Order, fast_slow, ridge_asymptotics
from analysis.theory.curves import closed_form, distance, turning_points
from analysis.theory.setting import Setting
from analysis.theory.simulation import Draws, simulate
from analysis.theory.trace import trace_over_draws

Array = NDArray[np.float64]
TIMES: Array = 10 ** np.linspace(-3, 8, 300)
SETTINGS = {
    "fig1": Setting(150, 100, 70, 100),
    "fig1, camera-ready": Setting(130, 100, 70, 100),
    "fig1_variants": Setting(300, 280, 70, 100),
    "fig2_cd, λ = 1e-8": Setting(120, 100, 80, 40, 0.2, 1e-8),
    "fig2_cd, λ = 10^-2.49": Setting(120, 100, 80, 40, 0.2, 10**-2.4939394),
    "fig3, κ = 30": Setting(110, 100, 70, 30),
    "fig3, κ = 100": Setting(110, 100, 70, 100),
    "fig3_variants": Setting(120, 100, 90, 100),
}


def asymptotic_rows(settings: dict[str, Setting]) -> list[str]:
    """Fast-slow against ridge asymptotics: greatest difference, where, and the first maximum of
    both.
    """
    head = f"{'figure':24s} max |Δerror|   at t + 1   maximum fast-slow    maximum asymptotics"
    lines = [head]
    for name, setting in settings.items():
        formula = closed_form("", setting, TIMES)
        exact = closed_form("", setting, TIMES, source="ridge_asymptotics")
        gap = distance([formula])
        tops = [_maximum(curve.abscissa, curve.order.error) for curve in (formula, exact)]
        numbers = f"{gap['max_abs_difference']:12.4f} {gap['t_plus_1']:10.3g}"
        lines.append(f"{name:24s} {numbers}   {tops[0]:18s}   {tops[1]}")
    return lines


def _maximum(abscissa: Array, error: Array) -> str:
    """The first maximum as text."""
    tops = [(at, value) for kind, at, value in turning_points(abscissa, error) if kind == "maximum"]
    return f"{tops[0][1]:.4f} @ {tops[0][0]:.0f}" if tops else "none"


def descent_rows(setting: Setting, seeds: Sequence[int], grid: Iterable[float]) -> list[str]:
    """Errors over time of descent, flow, ridge at λ + Λ_max/t, its asymptotics, and fast-slow.

    The step size is 1/Λ_max of each draw. Averages over teachers in closed form, over the same
    draws of X and F.
    """
    times, draws = np.array(list(grid)), Draws(seeds)
    top = (np.sqrt(setting.n / setting.d) + np.sqrt(_fast_share(setting))) ** 2
    columns = (
        _average(trace_over_draws(setting, times, draws, "descent")),
        _average(trace_over_draws(setting, times, draws, "flow")),
        _average(trace_over_draws(setting, times / top, draws, "ridge")),
        ridge_asymptotics(setting, times).error,
        fast_slow(setting, times).error,
    )
    head = f"κ = {setting.kappa:g}, {setting.title}; Λ_max near {top:.2f}"
    lines = [
        f"{head}, for which the formulas take 4",
        "     t + 1   descent flow    ridge at λ + Λ_max/t   asymptotics at λ + 4/t   fast-slow",
    ]
    for t, *values in zip(times, *columns, strict=True):
        lines.append(f"{t + 1:10.4g}   " + _descent_row(values))
    return lines


def _descent_row(values: Sequence[float]) -> str:
    """The errors of one time, below their headings."""
    widths = (8, 8, 23, 25, 6)
    return "".join(f"{value:<{width}.4f}" for value, width in zip(values, widths, strict=True))


def _fast_share(setting: Setting) -> float:
    """Share of the features that decide the largest eigenvalue: all of them at κ = 1, the fast ones
    otherwise.
    """
    return 1.0 if setting.kappa == 1 else setting.p / setting.d


def _average(order: Order) -> Array:
    """Mean error over the draws of the only κ."""
    return np.asarray(order.error[:, 0].mean(axis=0))


def sampling_rows(setting: Setting, seeds: Sequence[int], grid: Iterable[float]) -> list[str]:
    """Students on test inputs against the trace formula for the same draws.

    The difference is also in standard errors of its mean.
    """
    times, draws = np.array(list(grid)), Draws(seeds)
    students = simulate(setting, times, draws, "flow")
    trace = trace_over_draws(setting, times, draws, "flow")
    gap = students.test_error - trace.error
    errors = gap.std(axis=0, ddof=1) / np.sqrt(len(seeds))
    lines = ["       κ   max |mean difference|   in standard errors"]
    for i, kappa in enumerate(setting.kappas):
        at = int(np.abs(gap[:, i].mean(axis=0)).argmax())
        mean = abs(float(gap[:, i, at].mean()))
        lines.append(f"{kappa:8g}   {mean:21.4f}   {mean / errors[i, at]:18.2f}")
    return lines


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; prints the tables."""
    parser = documented(__doc__)
    help_seeds = "draws of X and F, from seed 0 (default: 100)"
    parser.add_argument("--seeds", type=positive, default=100, help=help_seeds)
    seeds = range(parser.parse_args(argv).seeds)
    grid, setting = 10.0 ** np.arange(0, 5.5, 0.5), SETTINGS["fig1"]
    print("1. Fast-slow formula against the exact asymptotics of ridge regression at λ + 1/t")
    print("\n".join(asymptotic_rows(SETTINGS)))
    print(f"\n2. Descent, flow and ridge, {len(seeds)} draws of X and F, averaged over teachers")
    print("\n".join(descent_rows(setting, seeds, grid)))
    print(f"\n3. Students on 1000 test inputs against the trace formula, {len(seeds)} seeds")
    print("\n".join(sampling_rows(replace(setting, kappa=(1, 100, 10000)), seeds, grid)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
