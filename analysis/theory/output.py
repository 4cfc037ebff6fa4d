"""Options and files that the scripts of the theory's figures share. The only module of the theory
that writes files.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from analysis.figure.style import save
from analysis.theory.curves import Setting

Array = NDArray[np.float64]
ABSCISSA = "t + 1, t in steps of gradient descent, so that the logarithmic axis begins at 1"
ERROR = "½(1 + σ² - 2R + Q): half the mean squared error, the signal having variance 1, with noise in the test labels"


def parser(
    doc: str | None,
    name: str,
    *,
    sizes: tuple[int, int, int] | None,
    kappa: float | Sequence[float],
    times: tuple[float, float, int] = (-3, 8, 300),
    sigma: float = 0.0,
    weight_decay: float | None = 0.0,
) -> argparse.ArgumentParser:
    """The options of a figure with the published values as defaults.

    sizes: (n, d, p), None where the script takes several. kappa: a sequence where the figure draws
    several. weight_decay: None where it is an axis of the figure.
    """
    found = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = found.add_argument
    for letter, meaning, value in zip(
        "ndp", ("samples", "features", "fast features"), sizes or (), strict=False
    ):
        add(f"--{letter}", type=int, default=value, help=f"{meaning} (published: {value})")
    many: dict[str, Any] = {"nargs": "+"} if isinstance(kappa, Sequence) else {}
    add("--kappa", type=float, default=kappa, help=f"condition number (published: {kappa})", **many)
    add("--sigma", type=float, default=sigma, help=f"std of the label noise (published: {sigma})")
    if weight_decay is not None:
        add(
            "--weight-decay",
            type=float,
            default=weight_decay,
            help=f"λ (published: {weight_decay})",
        )
    add("--times", type=float, nargs=3, default=times, metavar=("FIRST", "LAST", "NUMBER"),
        help="times as powers of ten: log10 of the first and last, and how many (published: "
             f"{times})")  # fmt: skip
    add("--out", default="figures", help="folder for the files written (default: figures)")
    add("--name", default=name, metavar="STEM", help=f"name of the files written (default: {name})")
    return found


def logarithmic(grid: Sequence[float]) -> Array:
    """10 to the power of `linspace(*grid)`; grid: first and last exponent, number of points."""
    if len(grid) != 3 or grid[2] < 1 or grid[2] != int(grid[2]):
        raise ValueError(
            f"a grid of powers is {tuple(grid)}; expected the first and last exponent and a whole "
            "number"
        )
    return np.asarray(10.0 ** np.linspace(grid[0], grid[1], int(grid[2])))


def setting(options: argparse.Namespace, kappa: float) -> Setting:
    """Setting of the options n, d, p, sigma and weight_decay with one κ."""
    return Setting(options.n, options.d, options.p, kappa, options.sigma, options.weight_decay)


def sizes(text: str) -> tuple[int, int, int]:
    """Reads "150,100,70" as (n, d, p)."""
    try:
        n, d, p = (int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not N,D,P, such as 150,100,70") from None
    return n, d, p


def write(
    figure: Figure,
    options: argparse.Namespace,
    table: Mapping[str, Any],
    caption: Mapping[str, Any],
) -> list[Path]:
    """Writes STEM.png, STEM.pdf, STEM.csv (what is drawn) and STEM.json (what it is); prints and
    returns the paths.
    """
    files = [*save(figure, options.out, options.name)]
    stem = Path(options.out) / options.name
    files += [stem.with_name(f"{stem.name}{ending}") for ending in (".csv", ".json")]
    with files[2].open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(table)
        rows.writerows(zip(*table.values(), strict=True))
    chosen = {key: value for key, value in vars(options).items() if key not in ("out", "name")}
    head = {"figure": options.name, "options": chosen, "abscissa": ABSCISSA, "error": ERROR}
    files[3].write_text(json.dumps(head | dict(caption), indent=1, ensure_ascii=False) + "\n")
    print("wrote " + ", ".join(str(file) for file in files))
    return files


def run(make: Callable[[argparse.Namespace], None], options: argparse.Namespace) -> int:
    """Makes the figure; returns 0, or 2 with one message if the options describe none."""
    try:
        make(options)
    except (ValueError, OSError) as error:
        print(f"{options.name}: {error}", file=sys.stderr)
        return 2
    return 0
