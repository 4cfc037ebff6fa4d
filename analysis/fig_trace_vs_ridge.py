"""Camera-ready Figure 3: descent against the trace formula, ridge against the fast-slow formula.

    python analysis/fig_trace_vs_ridge.py [--seeds 100] [--kappa 1 50 100000] [--out figures]

Seeds 0, 1, ... draw as the published script does. Writes STEM.png, STEM.pdf, STEM.csv (means,
population std, seeds) and STEM.json (what is drawn, and how far the curves are apart).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace

from matplotlib.figure import Figure

from analysis.figure import output, style
from analysis.figure.arguments import finite
from analysis.theory import averages, command, plot
from analysis.theory.averages import Average
from analysis.theory.closed_form import SCALES, fast_slow, ridge_asymptotics
from analysis.theory.curves import APPROXIMATIONS
from analysis.theory.simulation import Draws, simulate
from analysis.theory.trace import trace_over_draws

LAST = 1e6
PUBLISHED_VALUES = command.Published((150, 100, 60), (1.0, 50.0, 100000.0), times=(-3, 6, 100))
DESCENT, TRACE, RIDGE = "gradient_descent_test_set", "trace_formula", "ridge_test_set"
FORMULA, PUBLISHED, EXACT = "fast_slow_same_penalty", "fast_slow_as_published", "ridge_asymptotics"
NOTES = [
    "Dashed: mean over seeds of half the mean squared test error; bands are ± half a population "
    "std over seeds.",
    "The solid curves of the left panel are the trace formula averaged over the draws of the same "
    "seeds.",
    "The published right panel compares ridge regression at penalty 2(λ + 1/t) with a formula in "
    "which λ₁ is halved and λ₂ is not, so the fast block has that same penalty and the slow block "
    "twice as much. The solid curves here have the penalty of the simulation in both blocks; the "
    "published ones are dotted.",
    "The published right axis is labelled inverse ridge coefficient 1/λ but runs over t + 1; its "
    "penalty is 2/t.",
]


def series(options: argparse.Namespace) -> dict[str, list[Average]]:
    """All averages by name, one for each κ."""
    times, factor = command.logarithmic(options.times), options.penalty_factor
    setting = command.setting(options, options.kappa)
    penalised = replace(setting, weight_decay=factor * options.weight_decay)
    draws = Draws(range(options.seeds), options.test_size)
    errors = {
        DESCENT: simulate(setting, times, draws).test_error,
        TRACE: trace_over_draws(setting, times, draws).error,
        RIDGE: simulate(penalised, times / factor, draws, "ridge").test_error,
    }
    curves = {}
    for name, values in errors.items():
        curves[name] = averages.over_seeds(name, setting.kappas, times, values)
    for name in (FORMULA, PUBLISHED, EXACT):
        curves[name] = closed_forms(name, options)
    return curves


def closed_forms(name: str, options: argparse.Namespace) -> list[Average]:
    """One closed form for each κ.

    A ridge penalty of `factor` times λ + 1/t amounts to singular values of factor^-½.
    """
    times, scale = command.logarithmic(options.times), options.penalty_factor**-0.5
    scales = (SCALES[0] * 2**0.5, SCALES[1]) if name == PUBLISHED else (scale, scale)
    formula = ridge_asymptotics if name == EXACT else fast_slow
    curves = []
    for kappa in options.kappa:
        error = formula(command.setting(options, kappa), times, scales=scales).error
        curves.append(averages.without_spread(name, kappa, times, error))
    return curves


def draw(curves: dict[str, list[Average]], factor: float) -> Figure:
    """The figure: descent and trace formula at the left, ridge and closed forms at the right."""
    kappas = [plot.kappa_label(average.kappa) for average in curves[DESCENT]]
    place = {"left": 0.06, "right": 0.985, "bottom": 0.15, "top": 0.97, "wspace": 0.17}
    with style.styled():
        figure = Figure(figsize=(11.4, 3.4))
        left, right = figure.subplots(1, 2, gridspec_kw=place)
        plot.draw_bands(left, curves[DESCENT])
        plot.draw_lines(left, curves[TRACE])
        plot.legend(left, kappas, {"Gradient descent": "--", "Trace formula": "-"})
        plot.draw_bands(right, curves[RIDGE])
        plot.draw_lines(right, curves[FORMULA])
        plot.draw_lines(right, curves[PUBLISHED], ":", 1.2)
        lines = {"Ridge regression": "--", "Fast-slow formula": "-", "… as published": ":"}
        plot.legend(right, kappas, lines)
        for axes in (left, right):
            plot.error_axes(axes, LAST)
            axes.set_ylabel(plot.MSE)
        left.set_xlabel("Training time t + 1")
        right.set_xlabel(f"t + 1, with ridge penalty {factor:g}(λ + 1/t)")
    return figure


def greatest_gaps(curves: dict[str, list[Average]]) -> dict[str, list[dict[str, float]]]:
    """Where each simulation and a curve that is to describe it differ most, for each κ."""
    gaps = {}
    for a, b in ((DESCENT, TRACE), (RIDGE, FORMULA), (RIDGE, PUBLISHED), (RIDGE, EXACT)):
        pairs = zip(curves[a], curves[b], strict=True)
        gaps[f"{a} to {b}"] = [averages.greatest_gap(*pair) for pair in pairs]
    return gaps


def make(options: argparse.Namespace) -> None:
    """Simulate, draw and write the figure."""
    plot.check_kappas(options.kappa)
    curves = series(options)
    sources = {
        DESCENT: APPROXIMATIONS["simulation"],
        TRACE: APPROXIMATIONS["exact_trace"],
        FORMULA: APPROXIMATIONS["fast_slow"],
        EXACT: APPROXIMATIONS["ridge_asymptotics"] + " (CSV only)",
    }
    facts = command.record(options, sources, greatest_gaps=greatest_gaps(curves), notes=NOTES)
    tables = {"": averages.table(average for group in curves.values() for average in group)}
    output.write(options, draw(curves, options.penalty_factor), tables, facts)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = command.parser(__doc__, "fig_trace_vs_ridge", PUBLISHED_VALUES)
    command.add_draws(parser, seeds=100)
    help_factor = "ridge penalty over λ + 1/t (published: 2)"
    parser.add_argument("--penalty-factor", type=finite, default=2.0, help=help_factor)
    return output.run(make, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
