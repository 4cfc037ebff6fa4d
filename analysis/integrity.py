"""Which cells of aggregated errors cannot be a mean of error counts, and what these have in common.

    python analysis/integrity.py MEAN.npy --images 10000 --seeds 5 [--std STD.npy] [--batch 128]
                                 [--cells FILE.csv]

The error of one run on N images is a whole number over N, the mean over m seeds a whole number over
mN, and m²N² times the population variance is whole. --batch B says that a run's error is the mean
of the errors of batches of B images, the last one smaller. The report states what was measured; it
cannot tell why.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from analysis.double_descent.error_counts import (
    Array,
    Check,
    Stretch,
    Whole,
    agreement,
    check_mean,
    check_std,
    offset,
    slopes,
    unit,
)
from analysis.figure.arguments import documented, positive
from analysis.figure.names import quantity

MOST_STRETCHES = 20  # more are no description


def _describe(stretches: Sequence[Stretch], name: str, modulus: int) -> list[str]:
    lines = []
    for first, last, step in stretches:
        counts = f"{step:.5f} counts a {name[:-1]}, modulo {modulus}"
        lines.append(f"    {name} {first} to {last}: {counts}")
    return lines


def _summary(name: str, check: Check, what: str) -> str:
    return (
        f"{name}: {check.possible.sum()} of {check.possible.size} cells ({check.share:.2%}) can be "
        f"{what}; greatest distance from a whole number {check.greatest:.3g} (tolerance "
        f"{check.tolerance:.1g}, share by chance {check.chance:.1g})"
    )


def report(
    mean: Array, std: Array | None, images: int, seeds: int, batch: int | None = None
) -> list[str]:
    """Lines that say what was measured."""
    denominator, counts = unit(images, batch) * seeds, quantity(seeds, "count")
    check = check_mean(mean, images, seeds, batch)
    lines = [_summary("mean", check, f"a mean of {counts}, a multiple of 1/{denominator}")]
    variance = None
    if std is not None:
        spread = check_std(std, images, seeds, batch)
        lines.append(_summary("std", spread, f"a population std of {counts}"))
        if spread.share == 1:
            variance = np.round((np.asarray(std, np.float64) * denominator) ** 2).astype(np.int64)
    scaled = np.asarray(mean, np.float64) * denominator
    if check.share == 1 and variance is not None:
        agree = agreement(np.round(scaled).astype(np.int64), variance, seeds)
        lines.append(f"mean and std: {agree.mean():.2%} of cells can come from the same {counts}")
    if check.share == 1 or mean.ndim > 2 or not np.isfinite(mean).all():
        return lines
    return lines + _offset_lines(scaled.reshape(len(scaled), -1), variance, check.tolerance, seeds)


def _offset_lines(scaled: Array, variance: Whole | None, tolerance: float, seeds: int) -> list[str]:
    """What the fractional parts have in common, and which steps agree with the std."""
    fractions = offset(scaled, tolerance)
    share = f"{fractions.additive:.2%}"
    lines = [f"fractional parts: a function of the row plus one of the column in {share} of cells"]
    if fractions.additive < 1:
        return lines
    if len(fractions.rows) + len(fractions.columns) > MOST_STRETCHES:
        return [*lines, "    with no few stretches of equal steps"]
    lines += _describe(fractions.rows, "rows", 1) + _describe(fractions.columns, "columns", 1)
    if variance is not None and fractions.rows and fractions.columns and seeds > 1:
        best = slopes(scaled, variance, fractions, seeds)
        lines.append(
            "without an offset of the following steps, mean and std can come from the same "
            f"{seeds} counts in {best.share:.2%} of cells (next-best choice of a step: "
            f"{best.second:.2%}):"
        )
        lines += _describe(best.rows, "rows", seeds) + _describe(best.columns, "columns", seeds)
    return lines


def _load(path: str) -> Array:
    """An array of errors; ValueError for a file that is none, with its name."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)  # reads the header alone
    except FileNotFoundError:
        raise
    except (OSError, ValueError, EOFError, MemoryError, OverflowError, BadZipFile) as error:
        raise ValueError(f"{path}: no npy array ({error})") from None
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{path}: an archive of arrays, expected one array (.npy)")
    if array.dtype.kind not in "fiu" or array.size == 0:
        raise ValueError(
            f"{path}: {array.size} values of type {array.dtype}, expected real numbers"
        )
    return np.array(array)


def _write_cells(path: str, mean: Array, chosen: NDArray[np.bool_]) -> None:
    """Write row, column and value of the chosen cells as CSV."""
    places = np.argwhere(np.atleast_2d(chosen))
    table = np.column_stack([places, np.atleast_2d(mean)[np.atleast_2d(chosen)]])
    np.savetxt(path, table, "%d,%d,%.17g", header="row,column,value", comments="")


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = documented(__doc__)
    add = parser.add_argument
    add("mean", help="array of mean errors, .npy")
    add("--std", help="array of population standard deviations over the seeds, .npy, same shape")
    add("--images", type=positive, required=True, help="images behind one error")
    add("--seeds", type=positive, required=True, help="seeds behind one mean")
    batch = "images in a batch, where an error is a mean of batch errors"
    add("--batch", type=positive, help=batch)
    cells = "write row, column and value of every impossible cell as CSV"
    add("--cells", metavar="FILE", help=cells)
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns 0 if all cells of the mean are possible, 1 if not, 2 if unknown."""
    options = _arguments(argv)
    try:
        mean = _load(options.mean)
        std = _load(options.std) if options.std else None
        if std is not None and std.shape != mean.shape:
            raise ValueError(
                f"{options.std} has shape {std.shape}; expected that of the mean, {mean.shape}"
            )
        print("\n".join(report(mean, std, options.images, options.seeds, options.batch)))
        possible = check_mean(mean, options.images, options.seeds, options.batch).possible
        if options.cells:
            _write_cells(options.cells, mean, ~possible)
    except (ValueError, OSError) as error:
        print(f"integrity: {error}", file=sys.stderr)
        return 2
    return int(not possible.all())


if __name__ == "__main__":
    sys.exit(main())
