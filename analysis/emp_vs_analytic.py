"""Simulated students by gradient flow beside the trace formula, and beside the fast-slow formula.

    python analysis/emp_vs_analytic.py [--seeds 1000] [--kappa 1 100 10000] [--method flow]

Seeds 0, 1, ... draw as the published script does. Writes STEM.png, STEM.pdf, STEM.csv (means,
population std, seeds) and STEM.json (what is drawn, and how far the curves are apart). About 12 s
of CPU for 1000 seeds.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from analysis.figure import output, style
from analysis.figure.arguments import finite
from analysis.theory import averages, command, plot
from analysis.theory.averages import Array, Average
from analysis.theory.curves import APPROXIMATIONS, closed_form
from analysis.theory.simulation import Draws, independent_draw, published_draw, simulate
from analysis.theory.trace import trace_over_draws

LAST = 1e5
PUBLISHED = command.Published((150, 100, 70), (1.0, 100.0, 10000.0))
STREAMS = {"published": published_draw, "independent": independent_draw}
TEST, TRACE, POPULATION = "test_set", "trace_formula", "population_with_unit_teacher"
TRACE_AT_TEST_TIMES, FORMULA = "trace_formula_at_test_times", "fast_slow"
NAMES = {"flow": "Gradient flow", "descent": "Gradient descent"}
NOTES = [
    "Times beyond the end of the axis are left out.",
    "Dashed: half the mean squared error on the test inputs of each seed; bars are ± half a "
    "population std over seeds, at every second time.",
    "The published left panel calls its solid curve exact (Eq. 9), but draws the simulated "
    "students once more, with |w|²/d replaced by 1 in their population error, which leaves an "
    "offset of ½(1 - mean|w|²/d) that never decays. Here the solid curve is the trace formula, "
    "averaged over the same draws of X and F. The published one is in the CSV as "
    + POPULATION
    + ".",
    "The published simulation is labelled gradient descent and computes gradient flow, "
    "(exp(-ηΛt), η = 1/Λ_max); so does this one by default, labelled as what it is. --method "
    "descent takes (1 - ηΛ)^t.",
]


def series(options: argparse.Namespace) -> dict[str, list[Average]]:
    """All averages by name, one for each κ."""
    test_times, times = command.logarithmic(options.test_times), command.logarithmic(options.times)
    times = times[times <= LAST]
    setting = command.setting(options, options.kappa)
    draws = Draws(range(options.seeds), options.test_size, STREAMS[options.stream])
    all_times, split = np.concatenate([test_times, times]), len(test_times)
    students = simulate(setting, all_times, draws, options.method)
    trace = trace_over_draws(setting, all_times, draws, options.method).error
    unit_error = 0.5 * (1 + setting.sigma**2 - 2 * students.R + students.Q)
    errors = {
        TEST: (test_times, students.test_error[..., :split]),
        TRACE: (times, trace[..., split:]),
        TRACE_AT_TEST_TIMES: (test_times, trace[..., :split]),
        POPULATION: (times, unit_error[..., split:]),
    }
    curves = {}
    for name, (at, values) in errors.items():
        curves[name] = averages.over_seeds(name, setting.kappas, at, values)
    return {**curves, FORMULA: closed_forms(options, times)}


def closed_forms(options: argparse.Namespace, times: Array) -> list[Average]:
    """The fast-slow formula for each κ."""
    settings = [command.setting(options, kappa) for kappa in options.kappa]
    curves = [closed_form(plot.kappa_label(s.kappa), s, times) for s in settings]
    return [averages.formula(FORMULA, curve) for curve in curves]


def draw(curves: dict[str, list[Average]], method: str) -> Figure:
    """The same simulation in both panels, with the trace formula and with the fast-slow formula."""
    name = NAMES[method]
    kappas = [plot.kappa_label(average.kappa) for average in curves[TEST]]
    panels = {
        TRACE: (f"{name} vs exact average over teachers", "Trace formula (Eq. 9), same draws"),
        FORMULA: (f"{name} vs approximate analytical results", "Fast-slow formula (Eqs. 12, 14)"),
    }
    place = {"left": 0.05, "right": 0.985, "bottom": 0.13, "top": 0.92, "wspace": 0.13}
    with style.styled():
        figure = Figure(figsize=(13.3, 4))
        both = figure.subplots(1, 2, gridspec_kw=place)
        for axes, (series_name, (title, label)) in zip(both, panels.items(), strict=True):
            plot.draw_bars(axes, curves[TEST])
            plot.draw_lines(axes, curves[series_name])
            plot.error_axes(axes, LAST)
            axes.set_title(title)
            axes.set_xlabel(plot.TIME)
            axes.set_ylabel(plot.MSE)
            plot.legend(axes, kappas, {name: "--", label: "-"})
    return figure


def make(options: argparse.Namespace) -> None:
    """Simulate, draw and write the figure."""
    plot.check_kappas(options.kappa)
    curves = series(options)
    pairs = zip(curves[TEST], curves.pop(TRACE_AT_TEST_TIMES), strict=True)
    sources = {
        TEST: APPROXIMATIONS["simulation"],
        TRACE: APPROXIMATIONS["exact_trace"],
        FORMULA: APPROXIMATIONS["fast_slow"],
    }
    points = []
    for average in curves[TEST]:
        points += averages.turning_points(average)
    facts = command.record(
        options,
        sources,
        turning_points_of_test_set=points,
        random_stream=" ".join(str(STREAMS[options.stream].__doc__).split()),
        greatest_gap_test_set_to_trace_formula=[averages.greatest_gap(*pair) for pair in pairs],
        notes=NOTES,
    )
    tables = {"": averages.table(average for group in curves.values() for average in group)}
    output.write(options, draw(curves, options.method), tables, facts)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = command.parser(__doc__, "emp_vs_analytic", PUBLISHED)
    add = parser.add_argument
    command.add_draws(parser, seeds=1000)
    add(
        "--test-times",
        type=finite,
        nargs=3,
        default=(-3, 5, 50),
        metavar=("FIRST", "LAST", "NUMBER"),
        help="times of the simulation, as --times (published: -3 5 50)",
    )
    help_method = "published: flow, though labelled descent"
    add("--method", choices=tuple(NAMES), default="flow", help=help_method)
    help_stream = "random stream (default: published)"
    add("--stream", choices=tuple(STREAMS), default="published", help=help_stream)
    return output.run(make, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
