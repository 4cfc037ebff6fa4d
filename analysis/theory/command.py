"""Options that the scripts of the theory's figures share, and what their records begin with."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis.figure import options as figure_options
from analysis.figure.arguments import documented, finite, positive
from analysis.theory.setting import Setting

Array = NDArray[np.float64]
ABSCISSA = "t + 1, t in steps of gradient descent, so that the logarithmic axis begins at 1"
ERROR = (
    "½(1 + σ² - 2R + Q): half the mean squared error, the signal having variance 1, with noise in "
    "the test labels"
)
SIZE_NAMES = {"n": "samples", "d": "features", "p": "fast features"}


@dataclass(frozen=True)
class Published:
    """The published values of a figure, the defaults of its options.

    sizes: (n, d, p), None where the script takes several. kappa: a sequence where the figure draws
    several. times: log10 of the first and last, and how many. weight_decay: None where it is an
    axis of the figure.
    """

    sizes: tuple[int, int, int] | None
    kappa: float | Sequence[float]
    times: tuple[float, float, int] = (-3, 8, 300)
    sigma: float = 0.0
    weight_decay: float | None = 0.0


def parser(doc: str | None, name: str, published: Published) -> argparse.ArgumentParser:
    """The options of a figure with the published values as defaults."""
    options = documented(doc)
    add = options.add_argument
    for (letter, meaning), size in zip(SIZE_NAMES.items(), published.sizes or (), strict=False):
        add(f"--{letter}", type=positive, default=size, help=f"{meaning} (published: {size})")
    kappa, sigma, times = published.kappa, published.sigma, published.times
    several: dict[str, Any] = {"nargs": "+"} if isinstance(kappa, Sequence) else {}
    help_kappa = f"condition number (published: {kappa})"
    add("--kappa", type=finite, default=kappa, help=help_kappa, **several)
    add("--sigma", type=finite, default=sigma, help=f"std of the label noise (published: {sigma})")
    if published.weight_decay is not None:
        decay = published.weight_decay
        add("--weight-decay", type=finite, default=decay, help=f"λ (published: {decay})")
    add(
        "--times",
        type=finite,
        nargs=3,
        default=times,
        metavar=("FIRST", "LAST", "NUMBER"),
        help=f"log10 of the first and last time, and how many (published: {times})",
    )
    figure_options.add(options, name)
    return options


def add_draws(parser: argparse.ArgumentParser, seeds: int) -> None:
    """Add --seeds and --test-size, of figures that simulate; seeds: how many were published."""
    help_seeds = f"number of seeds, from 0 (published: {seeds})"
    parser.add_argument("--seeds", type=positive, default=seeds, help=help_seeds)
    help_size = "test inputs for each seed (published: 1000)"
    parser.add_argument("--test-size", type=positive, default=1000, help=help_size)


def logarithmic(grid: Sequence[float]) -> Array:
    """10 to the power of `linspace(*grid)`; grid: first and last exponent, number of points."""
    if len(grid) != 3 or grid[2] < 1 or grid[2] != int(grid[2]):
        raise ValueError(
            f"a grid of powers is {tuple(grid)}; expected the first and last exponent and a whole "
            "number"
        )
    return np.asarray(10.0 ** np.linspace(grid[0], grid[1], int(grid[2])))


def setting(options: argparse.Namespace, kappa: float | Sequence[float]) -> Setting:
    """Setting of the options n, d, p, sigma and weight_decay with a κ, or with several."""
    return Setting(options.n, options.d, options.p, kappa, options.sigma, options.weight_decay)


def add_variants(
    parser: argparse.ArgumentParser, variants: Sequence[tuple[int, int, int]], what: str
) -> None:
    """Add --variants, of figures that draw several sizes; `what` the given ones are."""
    parser.add_argument(
        "--variants",
        type=_sizes,
        nargs="+",
        default=variants,
        metavar="N,D,P",
        help=f"sizes to draw (default: {what})",
    )


def settings(options: argparse.Namespace, kappa: float) -> list[Setting]:
    """The settings of the option `variants`, each with the same κ."""
    sigma, decay = options.sigma, options.weight_decay
    return [Setting(n, d, p, kappa, sigma, decay) for n, d, p in options.variants]


def _sizes(text: str) -> tuple[int, int, int]:
    """Read "150,100,70" as (n, d, p)."""
    try:
        n, d, p = (int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not N,D,P, such as 150,100,70") from None
    return n, d, p


def record(options: argparse.Namespace, curves: Any, **facts: Any) -> dict[str, Any]:
    """The record beside a figure: its options, its axes, how each curve was computed, and facts."""
    values = {k: v for k, v in vars(options).items() if k not in figure_options.OF_PICTURE}
    head = {"figure": options.name, "options": values, "abscissa": ABSCISSA, "error": ERROR}
    return {**head, "curves": curves, **facts}
