"""Camera-ready Figure 3: gradient descent against the trace formula, ridge regression against the
fast-slow formula.

    python analysis/fig_trace_vs_ridge.py [--seeds 100] [--kappa 1 50 100000] [--out figures]

Seeds 0, 1, ... draw as the published script does. Writes STEM.png, STEM.pdf, STEM.csv (means,
population std, seeds) and STEM.json (what is drawn, and how far the curves are apart).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from analysis.figure import style
from analysis.theory import averages, output, plot
from analysis.theory.averages import Average
from analysis.theory.closed_form import SCALES, fast_slow, ridge_asymptotics
from analysis.theory.curves import APPROXIMATIONS
from analysis.theory.simulation import simulate
from analysis.theory.trace import trace_over_draws

LAST = 1e6
KAPPAS = (1.0, 50.0, 100000.0)
DESCENT, TRACE, RIDGE = "gradient_descent_test_set", "trace_formula", "ridge_test_set"
FORMULA, PUBLISHED, EXACT = "fast_slow_same_penalty", "fast_slow_as_published", "ridge_asymptotics"
NOTES = [
    "Dashed: mean over seeds of half the mean squared test error; bands are ± half a population "
    "std over seeds.",
    "The solid curves of the left panel are the trace formula averaged over the draws of the same "
    "seeds.",
    "The published right panel compares ridge regression at penalty 2(λ + 1/t) with a formula in "
    "which λ₁ is halved "
    "and λ₂ is not, so the fast block has that same penalty and the slow block twice as much. The "
    "solid curves here "
    "have the penalty of the simulation in both blocks; the published ones are dotted.",
    "The published right axis is labelled inverse ridge coefficient 1/λ but runs over t + 1; its "
    "penalty is 2/t.",
]


def series(options: argparse.Namespace) -> dict[str, list[Average]]:
    """All averages by name, one for each κ."""
    times, factor, decay = (
        output.logarithmic(options.times),
        options.penalty_factor,
        options.weight_decay,
    )
    problem = (options.n, options.d, options.p, options.kappa, range(options.seeds), options.sigma)
    descent = simulate(times, *problem, decay, "descent", test_size=options.test_size)
    trace = trace_over_draws(times, *problem, decay, "descent", test_size=options.test_size)
    ridge = simulate(times / factor, *problem, factor * decay, "ridge", test_size=options.test_size)
    return {
        DESCENT: averages.over_seeds(DESCENT, options.kappa, times, descent.test_error),
        TRACE: averages.over_seeds(TRACE, options.kappa, times, trace.error),
        RIDGE: averages.over_seeds(RIDGE, options.kappa, times, ridge.test_error),
        **{name: closed_forms(name, options) for name in (FORMULA, PUBLISHED, EXACT)},
    }


def closed_forms(name: str, options: argparse.Namespace) -> list[Average]:
    """One closed form for each κ. A ridge penalty of `factor` times λ + 1/t is a singular value of
    factor^-½.
    """
    times, scale = output.logarithmic(options.times), options.penalty_factor**-0.5
    scales = {PUBLISHED: (SCALES[0] * 2**0.5, SCALES[1])}.get(name, (scale, scale))
    function = ridge_asymptotics if name == EXACT else fast_slow
    sizes = (options.n, options.d, options.p)
    found = []
    for kappa in options.kappa:
        error = function(
            times, *sizes, kappa, options.sigma, options.weight_decay, scales=scales
        ).error
        found.append(Average(name, kappa, times, error, np.full_like(error, np.nan), 0))
    return found


def draw(found: dict[str, list[Average]], factor: float) -> Figure:
    """The figure: descent and trace formula at the left, ridge and closed forms at the right."""
    kappas = [plot.kappa_label(a.kappa) for a in found[DESCENT]]
    with style.styled():
        figure = Figure(figsize=(11.4, 3.4))
        place = {"left": 0.06, "right": 0.985, "bottom": 0.15, "top": 0.97, "wspace": 0.17}
        left, right = figure.subplots(1, 2, gridspec_kw=place)
        averages.draw_bands(left, found[DESCENT])
        averages.draw_lines(left, found[TRACE])
        averages.legend(left, kappas, {"Gradient descent": "--", "Trace formula": "-"})
        averages.draw_bands(right, found[RIDGE])
        averages.draw_lines(right, found[FORMULA])
        averages.draw_lines(right, found[PUBLISHED], ":", 1.2)
        averages.legend(
            right,
            kappas,
            {"Ridge regression": "--", "Fast-slow formula": "-", "… as published": ":"},
        )
        for axes in (left, right):
            plot.error_axes(axes, LAST)
            axes.set_ylabel(plot.MSE)
        left.set_xlabel("Training time t + 1")
        right.set_xlabel(f"t + 1, with ridge penalty {factor:g}(λ + 1/t)")
    return figure


def make(options: argparse.Namespace) -> None:
    """Simulates, draws and writes the figure."""
    if not 1 <= len(options.kappa) <= len(averages.COLOURS):
        raise ValueError(
            f"{len(options.kappa)} condition numbers; expected 1 to {len(averages.COLOURS)}"
        )
    found = series(options)
    caption: dict[str, Any] = {
        "curves": {DESCENT: APPROXIMATIONS["simulation"], TRACE: APPROXIMATIONS["exact_trace"],
                   FORMULA: APPROXIMATIONS["fast_slow"], EXACT: APPROXIMATIONS["ridge_asymptotics"] + " (CSV only)"},
        "greatest_gaps": {
            f"{a} to {b}": [averages.greatest_gap(*pair) for pair in zip(found[a], found[b], strict=True)]
            for a, b in ((DESCENT, TRACE), (RIDGE, FORMULA), (RIDGE, PUBLISHED), (RIDGE, EXACT))
        },
        "notes": NOTES,
    }  # fmt: skip
    output.write(
        draw(found, options.penalty_factor),
        options,
        averages.table(a for f in found.values() for a in f),
        caption,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = output.parser(
        __doc__, "fig_trace_vs_ridge", sizes=(150, 100, 60), kappa=KAPPAS, times=(-3, 6, 100)
    )
    add = parser.add_argument
    add("--seeds", type=int, default=100, help="number of seeds, from 0 (published: 100)")
    add("--test-size", type=int, default=1000, help="test inputs for each seed (published: 1000)")
    add(
        "--penalty-factor",
        type=float,
        default=2.0,
        help="ridge penalty over λ + 1/t (published: 2)",
    )
    return output.run(make, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
