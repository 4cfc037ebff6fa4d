"""Camera-ready Figure 6: descent with and without a penalty on the norm Q that fades with time.

    python analysis/fig_q_regulariser.py [--seeds 100] [--published DIR] [--out figures]

DIR holds the two published ResNet-18 curves, w_reg.npy and wo_reg.npy (or icml_fig6_w_reg.npy,
icml_fig6_wo_reg.npy); without it only the linear model is drawn. Writes STEM.png, STEM.pdf,
STEM.csv and STEM.json.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figure import output, style
from analysis.figure.arguments import finite
from analysis.theory import averages, command, plot
from analysis.theory.averages import Average
from analysis.theory.closed_form import Array
from analysis.theory.curves import APPROXIMATIONS
from analysis.theory.simulation import Draws, simulate
from analysis.theory.spectrum import Method, scheduled

PUBLISHED = command.Published((120, 100, 70), 30.0, times=(0, 5, 200))
LAST, RESNET_LAST = 1e5, 1e3
WITHOUT, WITH = "without regularization", "with regularization"
FILES = {f"resnet_{WITHOUT}": "wo_reg.npy", f"resnet_{WITH}": "w_reg.npy"}
NOTES = [
    "The loss is ½|y - Xŵ|² + ½α(i)|Xŵ|², α(i) = α₀ log(1 + exp(-i·rate))/log 2 at step i: the "
    "penalty is on Q as the training sample shows it. Every eigenmode of XᵀX follows its own "
    "scalar recursion, which is the descent itself.",
    "Means over seeds of half the mean squared test error; bands are ± half a population std over "
    "seeds.",
]
RESNET_NOTES = [
    "ResNet-18 telling the CIFAR-10 classes 0 to 4 from 5 to 9, as published (how many runs stand "
    "behind each curve is not stated), against the epoch from 1 (the published picture begins at "
    "0).",
    "The published ResNet curve without regularization is not a test error on 10,000 images: most "
    "of its values are no multiple of 1/10000, while all with regularization are. Their "
    "comparison is therefore not a fair one.",
]


def series(options: argparse.Namespace) -> list[Average]:
    """The linear model without and with the penalty, at log-spaced whole steps."""
    steps = np.unique(np.round(command.logarithmic(options.times)))
    setting = command.setting(options, options.kappa)
    draws = Draws(range(options.seeds), options.test_size)
    alpha, rate = options.alpha, options.alpha_rate

    def strength(i: Array) -> Array:
        return np.asarray(alpha * np.log1p(np.exp(-rate * i)) / np.log(2))

    methods: dict[str, Method] = {WITHOUT: "descent", WITH: scheduled(strength)}
    curves = []
    for name, method in methods.items():
        errors = simulate(setting, steps, draws, method).test_error
        curves += averages.over_seeds(name, setting.kappas, steps, errors)
    return curves


def resnet(folder: str) -> list[Average]:
    """The published ResNet curves over epochs 1, 2, ..., of an unknown number of seeds."""
    curves = []
    for name, file in FILES.items():
        paths = [Path(folder) / file, Path(folder) / f"icml_fig6_{file}"]
        path = next((path for path in paths if path.exists()), None)
        if path is None:
            raise ValueError(f"{folder}: holds neither {file} nor icml_fig6_{file}")
        values = np.asarray(np.load(path), np.float64)
        epochs = np.arange(1.0, len(values) + 1)
        curves.append(averages.without_spread(name, float("nan"), epochs, values))
    return curves


def draw_panel(
    axes: Axes, curves: Sequence[Average], last: float, limits: tuple[float, float]
) -> None:
    """Two curves over steps or epochs, with a band where there is a spread."""
    for average, colour in zip(curves, plot.COLOURS, strict=False):
        label = average.series.removeprefix("resnet_")
        axes.plot(average.times, average.mean, color=colour, lw=plot.LINE_WIDTH, label=label)
        plot.draw_band(axes, average.times, average, colour)
    plot.error_axes(axes, last, limits)
    axes.legend(loc="upper right")


def draw(linear: Sequence[Average], published: Sequence[Average]) -> Figure:
    """The figure: the linear model, and the ResNet at its right where its curves are given."""
    panels = 2 if published else 1
    with style.styled():
        figure = Figure(figsize=(5.7 * panels, 3.4))
        place = {"left": 0.12 / panels, "right": 0.97, "bottom": 0.15, "top": 0.92, "wspace": 0.17}
        axes = figure.subplots(1, panels, squeeze=False, gridspec_kw=place)[0]
        draw_panel(axes[0], linear, LAST, (0.0, 0.5))
        title, time = "Linear teacher-student model", "Step of gradient descent"
        axes[0].set(title=title, xlabel=time, ylabel=plot.MSE)
        if published:
            draw_panel(axes[1], published, RESNET_LAST, (0.12, 0.35))
            axes[1].set(
                title="ResNet-18, CIFAR-10 classes 0-4 against 5-9",
                xlabel="Epoch",
                ylabel="0-1 Generalization Error",
            )
    return figure


def make(options: argparse.Namespace) -> None:
    """Simulate, draw and write the figure."""
    published = resnet(options.published) if options.published else []
    linear = series(options)
    notes = NOTES + RESNET_NOTES if published else NOTES
    curves = dict.fromkeys((WITHOUT, WITH), APPROXIMATIONS["simulation"])
    tables = {"": averages.table([*linear, *published])}
    facts = command.record(options, curves, notes=notes)
    output.write(options, draw(linear, published), tables, facts)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = command.parser(__doc__, "fig_q_regulariser", PUBLISHED)
    add = parser.add_argument
    add(
        "--alpha",
        type=finite,
        default=0.6,
        help="strength α₀ of the penalty at the start (published: 0.6)",
    )
    add(
        "--alpha-rate",
        type=finite,
        default=0.001,
        help="how fast it fades, per step (published: 0.001)",
    )
    command.add_draws(parser, seeds=100)
    add("--published", metavar="DIR", help="folder with the two published ResNet curves")
    return output.run(make, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
