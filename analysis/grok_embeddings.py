"""Figure 3 of Power et al. (2022): t-SNE of the output matrix's rows, of products in S_n and of x+y
mod p.

    python analysis/grok_embeddings.py logs/NAME [--out figures] [--where seed=0]

Needs runs with trainer.save_weights=true; of each operation it takes the finished run with the
highest final test accuracy. Left: elements of S_n, coloured by the cosets of a subgroup or of the
conjugate of it (left or right) that separates best. Right: residues, coloured by k mod STRIDE, with
lines from k to k + STRIDE. Writes STEM.png, STEM.pdf, STEM.csv (the points), STEM_cosets.csv (all
conjugates) and STEM.json.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_limits

from analysis.figure import output, query, style
from analysis.grokking import cosets
from analysis.grokking import runs as grok

Array = NDArray[np.float64]
PRODUCT, SUM = "x.y", "x+y"
GENERATORS = {
    5: cosets.PUBLISHED,
    4: "(0,1)(2,3) (0,2)(1,3)",
    3: "(0,1,2)",
}  # by degree, where none are given
COLUMNS = ["data.operation", "data.modulus", "data.degree"]


def best_run(chosen: grok.SelectedRuns, operation: str) -> pd.Series | None:
    """The finished run of an operation with the highest final test accuracy, the first of equals;
    None without one.
    """
    runs = chosen.finished[chosen.finished["data.operation"] == operation]
    accuracy = grok.numeric_column(runs, "final_test_accuracy")
    return None if accuracy.dropna().empty else runs.iloc[int(np.nanargmax(accuracy))]


def rows(folder: str, run: pd.Series) -> Array:
    """The output matrix's rows of the elements, (elements, width); FigureError where the weights
    were not kept.
    """
    path = Path(folder) / "weights" / f"{run['cell']}.npz"
    if not path.exists():
        raise query.FigureError(
            f"{path} is not there: submit with trainer.save_weights=true, which makes other cells"
        )
    with np.load(path) as arrays:
        weights = np.asarray(arrays["output.weight"], np.float64)
    return weights[: elements(run)]


def elements(run: pd.Series) -> int:
    """Number of elements of a run's operation."""
    return (
        math.factorial(int(run["data.degree"]))
        if run["data.operation"] == PRODUCT
        else int(run["data.modulus"])
    )


def project(values: Array, perplexity: float, state: int) -> Array:
    """t-SNE to (elements, 2), from the first principal components; a perplexity too large for so
    few is lowered.
    """
    chosen = min(perplexity, (len(values) - 1) / 3)
    with threadpool_limits(1):  # threads cost more than they bring for so few points
        found = TSNE(perplexity=chosen, init="pca", random_state=state).fit_transform(values)
    return np.asarray(found, np.float64)


def shortest_stride(values: Array) -> tuple[int, Array]:
    """The stride s of 1 to p/2 with the least mean distance of rows k and k + s mod p, and all
    ratios to the mean distance of any two rows, (p // 2,)."""
    p = len(values)
    means = np.array(
        [
            np.linalg.norm(values - np.roll(values, -s, axis=0), axis=1).mean()
            for s in range(1, p // 2 + 1)
        ]
    )
    any_two = np.linalg.norm(values[:, None] - values[None], axis=2).sum() / (p * (p - 1))
    return int(means.argmin()) + 1, means / any_two


def draw_products(axes: Axes, points: Array, partition: cosets.Partition) -> None:
    """Elements of S_n, a colour and marker for each coset."""
    for coset in range(partition.labels.max() + 1):
        here = points[partition.labels == coset]
        colour, marker = style_of(coset)
        axes.plot(here[:, 0], here[:, 1], marker, color=colour, ms=6, mec="white", mew=0.4)
    axes.set_title(
        f"{partition.side.capitalize()} cosets of ⟨{partition.generators.replace(' ', ', ')}⟩"
    )


def style_of(number: int) -> tuple[str, str]:
    """Colour and marker, of 10 colours and 3 markers."""
    return f"C{number % 10}", "osD^"[number // 10 % 4]


def draw_sums(axes: Axes, points: Array, stride: int) -> None:
    """Residues joined k to k + stride (below p), coloured by k mod stride, with their numbers."""
    for residue in range(stride):
        here = points[residue::stride]
        colour, _ = style_of(residue)
        axes.plot(here[:, 0], here[:, 1], "-o", color=colour, ms=9, lw=1, mec="white", mew=0.4)
    for number, (x, y) in enumerate(points):
        axes.text(x, y, str(number), fontsize=5, ha="center", va="center", color="white")
    axes.set_title(f"k joined to k + {stride}, coloured by k mod {stride}")


def draw(
    products: tuple[Array, cosets.Partition] | None,
    sums: tuple[Array, int] | None,
    labels: list[str],
) -> Figure:
    """Both panels; one without a run is hatched."""
    with style.styled():
        figure = Figure(figsize=(11.0, 5.6), layout="constrained")
        left, right = figure.subplots(1, 2)
        if products:
            draw_products(left, *products)
        if sums:
            draw_sums(right, *sums)
        for axes, there, label in ((left, products, labels[0]), (right, sums, labels[1])):
            axes.set_xticks([])
            axes.set_yticks([])
            axes.set_xlabel(label)
            if there is None:
                axes.set_xlim(0, 1)
                axes.axvspan(0, 1, fill=False, hatch=style.HATCH, lw=0)
    return figure


def make(options: argparse.Namespace) -> None:
    """Query, reduce, draw, save."""
    chosen = grok.require_finished(grok.select_runs(options, *COLUMNS))
    runs = {operation: best_run(chosen, operation) for operation in (PRODUCT, SUM)}
    found = {o: rows(options.folder, run) for o, run in runs.items() if run is not None}
    if not found:
        raise query.FigureError(
            f"no finished run of {PRODUCT} or {SUM} among the {len(chosen.runs)} chosen runs"
        )
    points = {
        operation: project(values, options.perplexity, options.random_state)
        for operation, values in found.items()
    }
    tables, lines, facts = {}, [], {"tsne": f"scikit-learn, perplexity {options.perplexity:g} (at "
                                            "most a third of the "
        f"elements), random_state {options.random_state}, from principal components"}  # fmt: skip
    frames, products, sums = [], None, None
    labels = [_label(runs[operation], operation) for operation in (PRODUCT, SUM)]
    if (run := runs[PRODUCT]) is not None:
        degree = int(run["data.degree"])
        text = options.generators or GENERATORS.get(degree, "")
        best = cosets.separation(found[PRODUCT], cosets.read(text, degree))
        products = points[PRODUCT], best.partitions[0]
        facts["cosets"] = describe(best)
        lines.append(facts["cosets"])
        tables["_cosets"] = pd.DataFrame(
            [
                {"generators": p.generators, "side": p.side, "silhouette": p.silhouette}
                for p in best.partitions
            ]
        )
        frames.append(_frame(points[PRODUCT], run, PRODUCT, best.partitions[0].labels))
    if (run := runs[SUM]) is not None:
        sums = points[SUM], options.stride
        shortest, ratios = shortest_stride(found[SUM])
        facts["strides"] = (
            f"mean distance of k and k + {options.stride}, over that of any two: "
            f"{ratios[options.stride - 1]:.3f}; "
            f"the shortest is of k and k + {shortest}: {ratios[shortest - 1]:.3f} (--stride "
            f"{shortest})"
        )
        lines.append(facts["strides"])
        frames.append(_frame(points[SUM], run, SUM, np.arange(len(points[SUM])) % options.stride))
    tables[""] = pd.concat(frames, ignore_index=True)
    facts["drawn"] = "; ".join(labels)
    grok.write(options, draw(products, sums, labels), tables, chosen, facts, [*labels, *lines])


def _frame(
    points: Array, run: pd.Series, operation: str, groups: NDArray[np.int64]
) -> pd.DataFrame:
    """The points of a panel as a table."""
    columns = {"element": range(len(points)), "x": points[:, 0], "y": points[:, 1], "group": groups}
    return pd.DataFrame({"operation": operation, "cell": run["cell"], **columns})


def _label(run: pd.Series | None, operation: str) -> str:
    """Which run a panel shows."""
    if run is None:
        return f"no finished run of {operation}"
    where = (
        f"S{run['data.degree']:.0f}" if operation == PRODUCT else f"mod {run['data.modulus']:.0f}"
    )
    symbol = "x·y in" if operation == PRODUCT else "x+y"
    return f"{symbol} {where}, seed {run['seed']:.0f}, test accuracy {100 * run['final_test_accuracy']:.1f} %"


def describe(found: cosets.Separation) -> str:
    """How well the best partition separates, beside chance."""
    best = found.partitions[0]
    return (
        f"{best.side} cosets of <{best.generators}>: silhouette {best.silhouette:.3f}, the best of "
        f"{len(found.partitions)} partitions (conjugates, both sides; worst "
        f"{found.partitions[-1].silhouette:.3f}); "
        f"the best of as many random partitions: mean {found.random.mean():.3f}, highest "
        f"{found.random.max():.3f} in "
        f"{len(found.random)} draws, p {found.p:.2g}"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = grok.parser(__doc__, "grok_embeddings")
    add = parser.add_argument
    add(
        "--generators",
        metavar="CYCLES",
        help=f"of the subgroup (default in S5, the published: {cosets.PUBLISHED!r})",
    )
    add("--stride", type=int, default=8, help="joins k and k + STRIDE (default: 8, the published)")
    add("--perplexity", type=float, default=30, help="of t-SNE (default: 30)")
    add("--random-state", type=int, default=0, help="of t-SNE (default: 0)")
    return output.run(make, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
