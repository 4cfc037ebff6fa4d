"""Simulated students against theory: gradient flow beside the trace formula, and beside the
fast-slow formula.

    python analysis/emp_vs_analytic.py [--seeds 1000] [--kappa 1 100 10000] [--method flow] [--out figures]

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

from analysis.figure import style
from analysis.theory import averages, output, plot
from analysis.theory.averages import Average
from analysis.theory.curves import APPROXIMATIONS, closed_form
from analysis.theory.simulation import independent_draw, published_draw, simulate
from analysis.theory.trace import trace_over_draws

LAST = 1e5
KAPPAS = (1.0, 100.0, 10000.0)
STREAMS = {"published": published_draw, "independent": independent_draw}
TEST, TRACE, POPULATION, FORMULA = (
    "test_set",
    "trace_formula",
    "population_with_unit_teacher",
    "fast_slow",
)
NAMES = {"flow": "Gradient flow", "descent": "Gradient descent"}
NOTES = [
    "Times beyond the end of the axis are left out.",
    "Dashed: half the mean squared error on the test inputs of each seed; bars are ± half a "
    "population std over seeds, "
    "at every second time.",
    "The published left panel calls its solid curve exact (Eq. 9), but draws the simulated "
    "students once more, with "
    "|w|²/d replaced by 1 in their population error, which leaves an offset of ½(1 - mean|w|²/d) "
    "that never decays. "
    "Here the solid curve is the trace formula, averaged over the same draws of X and F. The "
    "published one is in the "
    "CSV as " + POPULATION + ".",
    "The published simulation is labelled gradient descent and computes gradient flow, (exp(-ηΛt), "
    "η = 1/Λ_max); so "
    "does this one by default, labelled as what it is. --method descent takes (1 - ηΛ)^t.",
]


def series(options: argparse.Namespace) -> dict[str, list[Average]]:
    """All averages by name, one for each κ."""
    tested = output.logarithmic(options.test_times)
    times = output.logarithmic(options.times)
    times = times[times <= LAST]
    split = len(tested)
    sizes, kappas, seeds = (options.n, options.d, options.p), options.kappa, range(options.seeds)
    rest = {"noise": options.sigma, "weight_decay": options.weight_decay, "method": options.method,
            "test_size": options.test_size, "stream": STREAMS[options.stream]}  # fmt: skip
    every = np.concatenate([tested, times])
    students = simulate(every, *sizes, kappas, seeds, **rest)
    trace = trace_over_draws(every, *sizes, kappas, seeds, **rest)
    unit = 0.5 * (1 + options.sigma**2 - 2 * students.R + students.Q)
    curves = [closed_form(plot.kappa_label(k), output.setting(options, k), times) for k in kappas]
    return {
        TEST: averages.over_seeds(TEST, kappas, tested, students.test_error[..., :split]),
        TRACE: averages.over_seeds(TRACE, kappas, times, trace.error[..., split:]),
        TRACE + "_at_test_times": averages.over_seeds(
            TRACE, kappas, tested, trace.error[..., :split]
        ),
        POPULATION: averages.over_seeds(POPULATION, kappas, times, unit[..., split:]),
        FORMULA: [averages.formula(FORMULA, curve) for curve in curves],
    }


def draw(found: dict[str, list[Average]], method: str) -> Figure:
    """The figure: the same simulation in both panels, with the trace formula and with the fast-slow
    formula.
    """
    name = NAMES[method]
    kappas = [plot.kappa_label(a.kappa) for a in found[TEST]]
    panels = {
        TRACE: (f"{name} vs exact average over teachers", "Trace formula (Eq. 9), same draws"),
        FORMULA: (f"{name} vs approximate analytical results", "Fast-slow formula (Eqs. 12, 14)"),
    }
    with style.styled():
        figure = Figure(figsize=(13.3, 4))
        place = {"left": 0.05, "right": 0.985, "bottom": 0.13, "top": 0.92, "wspace": 0.13}
        for axes, (key, (title, label)) in zip(
            figure.subplots(1, 2, gridspec_kw=place), panels.items(), strict=True
        ):
            averages.draw_bars(axes, found[TEST])
            averages.draw_lines(axes, found[key])
            plot.error_axes(axes, LAST)
            axes.set_title(title)
            axes.set_xlabel(plot.TIME)
            axes.set_ylabel(plot.MSE)
            averages.legend(axes, kappas, {name: "--", label: "-"})
    return figure


def make(options: argparse.Namespace) -> None:
    """Simulates, draws and writes the figure."""
    if not 1 <= len(options.kappa) <= len(averages.COLOURS):
        raise ValueError(
            f"{len(options.kappa)} condition numbers; expected 1 to {len(averages.COLOURS)}"
        )
    found = series(options)
    pairs = zip(found[TEST], found.pop(TRACE + "_at_test_times"), strict=True)
    caption = {
        "curves": {TEST: APPROXIMATIONS["simulation"], TRACE: APPROXIMATIONS["exact_trace"],
                   FORMULA: APPROXIMATIONS["fast_slow"]},
        "random_stream": STREAMS[options.stream].__doc__,
        "greatest_gap_test_set_to_trace_formula": [averages.greatest_gap(*pair) for pair in pairs],
        "notes": NOTES,
    }  # fmt: skip
    figure = draw(found, options.method)
    output.write(
        figure, options, averages.table(a for part in found.values() for a in part), caption
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = output.parser(__doc__, "emp_vs_analytic", sizes=(150, 100, 70), kappa=KAPPAS)
    add = parser.add_argument
    add("--seeds", type=int, default=1000, help="number of seeds, from 0 (published: 1000)")
    add("--test-times", type=float, nargs=3, default=(-3, 5, 50), metavar=("FIRST", "LAST", "NUMBER"),
        help="times of the simulation, as --times (published: -3 5 50)")  # fmt: skip
    add("--test-size", type=int, default=1000, help="test inputs for each seed (published: 1000)")
    add(
        "--method",
        choices=tuple(NAMES),
        default="flow",
        help="published: flow, though labelled descent",
    )
    add(
        "--stream",
        choices=tuple(STREAMS),
        default="published",
        help="random stream (default: published)",
    )
    return output.run(make, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
