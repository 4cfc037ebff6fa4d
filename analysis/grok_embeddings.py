"""Figure 3 of Power et al. (2022): t-SNE of the output matrix, products in S_n and sums mod p.

    python analysis/grok_embeddings.py logs/NAME [--out figures] [--where seed=0]

Needs runs with trainer.save_weights=true; of each operation it takes the finished run with the
highest final test accuracy. Left: elements of S_n, coloured by the left or right cosets that
separate best, out of those of all subgroups. Middle: the same points, coloured by the best cosets
of the published subgroup (or of --generators) and its conjugates. Right: residues, coloured by
k mod STRIDE, with lines from k to k + STRIDE. Writes STEM.png, STEM.pdf, STEM.csv (the points),
STEM_cosets.csv (all subgroups) and STEM.json.
"""

from __future__ import annotations

import argparse
import math
import sys
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sympy.combinatorics import Permutation
from threadpoolctl import threadpool_limits

from analysis import store
from analysis.figure import output, query, style
from analysis.figure.arguments import finite, positive
from analysis.figure.names import quantity
from analysis.grokking import cosets
from analysis.grokking import runs as grok
from analysis.stats import embedding
from analysis.store import weights

Array = NDArray[np.float64]
PRODUCT, SUM = "x.y", "x+y"
COLUMNS = ["data.operation", "data.modulus", "data.degree"]
COLOURS = [f"C{i}" for i in range(10)]  # of groups of points, beginning again after ten
MARKERS = ["o", "s", "D", "^"]


@dataclass(frozen=True)
class Panel:
    """The points of one operation.

    points: columns operation, cell, element, x, y and those of `titles`. table: what the groups
    were chosen from, empty where nothing was. label: which run it is. titles: by column of the
    points' groups, what these are; each is drawn. lines: how well they separate.
    """

    points: pd.DataFrame
    table: pd.DataFrame
    label: str
    titles: Mapping[str, str]
    lines: tuple[str, ...]


def best_run(selection: grok.SelectedRuns, operation: str) -> pd.Series | None:
    """The finished run of an operation with the highest final test accuracy, None without one."""
    runs = selection.finished[selection.finished["data.operation"] == operation]
    accuracy = query.numbers(runs, "final_test_accuracy")
    return None if accuracy.dropna().empty else runs.iloc[int(np.nanargmax(accuracy))]


def output_rows(folder: str, run: pd.Series) -> Array:
    """The output matrix's rows of the elements, (elements, width); FigureError without weights."""
    name = f"{run['cell']}.npz"
    path = Path(folder) / "weights" / name
    try:
        matrix = np.asarray(weights.load(Path(folder), name)["output.weight"], np.float64)
    except store.StoreError:
        raise  # names the damaged file; StoreError is a FileNotFoundError too
    except FileNotFoundError as error:
        raise query.FigureError(
            f"{error}: submit with trainer.save_weights=true, which makes other cells"
        ) from None
    except (OSError, ValueError, LookupError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise query.FigureError(
            f"{path}: not the saved weights of a run ({type(error).__name__}: {error}); expected "
            "an npz file with output.weight. Restore it, or move it away to leave the run out"
        ) from None
    count = elements(run)
    if matrix.ndim != 2 or len(matrix) < count or not np.isfinite(matrix).all():
        raise query.FigureError(
            f"{path}: output.weight has shape {matrix.shape}, expected finite numbers in at least "
            f"{count} rows, one for each element"
        )
    return matrix[:count]


def elements(run: pd.Series) -> int:
    """Number of elements of a run's operation."""
    if run["data.operation"] == PRODUCT:
        return math.factorial(int(run["data.degree"]))
    return int(run["data.modulus"])


def product_panel(run: pd.Series, options: argparse.Namespace) -> Panel:
    """Elements of S_n, grouped by the cosets that separate best and by those of one subgroup."""
    rows, degree = output_rows(options.folder, run), int(run["data.degree"])
    with threadpool_limits(1):  # threads cost more than they bring for so few points
        partitions = cosets.separation(rows, degree)
    by_column = {"group": partitions[0]}
    generators = options.generators or (cosets.PUBLISHED if degree == 5 else None)
    if generators:
        by_column["published_group"] = best_conjugate(partitions, cosets.read(generators, degree))
    places = embedding.tsne(rows, options.perplexity, options.random_state)
    points = point_table(run, places)
    names = {"group": "best", "published_group": "given" if options.generators else "published"}
    titles, lines = {}, []
    for column, partition in by_column.items():
        points[column] = partition.labels
        titles[column] = title(names[column], partition)
        lines.append(f"{names[column]}: {describe(partition, partitions)}")
    label = run_label(f"x·y in S{degree}", run)
    return Panel(points, partition_table(partitions), label, titles, tuple(lines))


def best_conjugate(
    partitions: Sequence[cosets.Partition], generators: Sequence[Permutation]
) -> cosets.Partition:
    """The best partition by a conjugate of the generated subgroup; ValueError if that is trivial or
    everything.
    """
    numbers = cosets.generate(generators)
    classes = {p.subgroup.numbers: p.subgroup.conjugacy_class for p in partitions}
    if numbers not in classes:
        raise ValueError(
            f"--generators: the subgroup has {len(numbers)} of {len(partitions[0].labels)} "
            "elements, expected more than one and not all: its cosets are no clusters"
        )
    return next(p for p in partitions if p.subgroup.conjugacy_class == classes[numbers])


def partition_table(partitions: Sequence[cosets.Partition]) -> pd.DataFrame:
    """One row for each partition, best first."""
    rows = []
    for partition in partitions:
        subgroup = partition.subgroup
        row = {
            "order": subgroup.order,
            "generators": subgroup.name,
            "fixed": " ".join(map(str, subgroup.fixed)),
            "conjugacy_class": subgroup.conjugacy_class,
            "side": partition.side,
            "silhouette": partition.silhouette,
            "score": partition.score,
            "p": partition.p,
        }
        rows.append(row)
    return pd.DataFrame(rows)


def sum_panel(run: pd.Series, options: argparse.Namespace) -> Panel:
    """Residues, grouped by k mod stride."""
    rows, stride = output_rows(options.folder, run), options.stride
    most = len(rows) // 2
    if stride > most:
        raise query.FigureError(
            f"--stride {stride}: expected 1 to {most}, half of the modulus {len(rows)}"
        )
    shortest, ratios = shortest_stride(rows)
    places = embedding.tsne(rows, options.perplexity, options.random_state)
    points = point_table(run, places)
    points["group"] = np.arange(len(rows)) % stride
    text = (
        f"mean distance of k and k + {stride}, over that of any two: {ratios[stride - 1]:.3f}; "
        f"the shortest is of k and k + {shortest}: {ratios[shortest - 1]:.3f} "
        f"(--stride {shortest})"
    )
    titles = {"group": f"k joined to k + {stride}, coloured by k mod {stride}"}
    label = run_label(f"x+y mod {run['data.modulus']:.0f}", run)
    return Panel(points, pd.DataFrame(), label, titles, (text,))


def point_table(run: pd.Series, points: Array) -> pd.DataFrame:
    """The points of a panel as a table."""
    columns = {"element": range(len(points)), "x": points[:, 0], "y": points[:, 1]}
    return pd.DataFrame({"operation": run["data.operation"], "cell": run["cell"], **columns})


def run_label(operation: str, run: pd.Series) -> str:
    """Which run a panel shows."""
    accuracy = f"test accuracy {100 * run['final_test_accuracy']:.1f} %"
    return f"{operation}, seed {run['seed']:.0f}, {accuracy}"


def title(name: str, partition: cosets.Partition) -> str:
    """Which cosets colour the points: "best: left cosets of a subgroup of order 24, ..."."""
    generators = partition.subgroup.name.replace(" ", ", ")
    fixed = partition.subgroup.fixed
    fixing = f", which fixes {', '.join(map(str, fixed))}" if fixed else ""
    size = f"of order {partition.subgroup.order}{fixing}"
    return f"{name}: {partition.side} cosets of ⟨{generators}⟩\n{size}; p = {partition.p:.2g}"


def describe(partition: cosets.Partition, partitions: Sequence[cosets.Partition]) -> str:
    """How well a partition separates, beside chance."""
    classes = {other.subgroup.conjugacy_class for other in partitions}
    return (
        f"{partition.side} cosets of <{partition.subgroup.name}>, order "
        f"{partition.subgroup.order}: silhouette {partition.silhouette:.3f}, "
        f"{partition.score:.1f} standard deviations above permuted elements; p {partition.p:.2g}, "
        f"corrected for {len(partitions)} partitions (subgroups of {len(classes)} conjugacy "
        "classes, both sides)"
    )


def shortest_stride(rows: Array) -> tuple[int, Array]:
    """The stride s of 1 to p/2 with the least mean distance of rows k and k + s mod p, and ratios.

    The ratios, (p // 2,), are of the mean distances of all strides to that of any two rows.
    """
    p = len(rows)
    means = np.array([_mean_distance(rows, stride) for stride in range(1, p // 2 + 1)])
    any_two = np.linalg.norm(rows[:, None] - rows[None], axis=2).sum() / (p * (p - 1))
    return int(means.argmin()) + 1, means / any_two


def _mean_distance(rows: Array, stride: int) -> float:
    """Mean distance of rows k and k + stride mod p."""
    return float(np.linalg.norm(rows - np.roll(rows, -stride, axis=0), axis=1).mean())


def draw_points(axes: Axes, points: pd.DataFrame, size: float, column: str = "group") -> None:
    """The points, with a colour and marker for each group."""
    groups = range(points[column].max() + 1)
    sns.scatterplot(
        points,
        x="x",
        y="y",
        hue=column,
        style=column,
        palette={group: COLOURS[group % len(COLOURS)] for group in groups},
        markers={group: MARKERS[group // len(COLOURS) % len(MARKERS)] for group in groups},
        s=size,
        linewidth=0.4,
        legend=False,
        ax=axes,
    )


def draw_sums(axes: Axes, points: pd.DataFrame) -> None:
    """Residues joined k to k + stride (below p), with their numbers."""
    for group, line in points.groupby("group"):
        axes.plot(line["x"], line["y"], color=COLOURS[int(str(group)) % len(COLOURS)], lw=1)
    draw_points(axes, points.assign(group=points["group"] % len(COLOURS)), 81)
    for number, x, y in zip(points["element"], points["x"], points["y"], strict=True):
        axes.text(x, y, str(number), fontsize=5, ha="center", va="center", color="white")


def draw(panels: Mapping[str, Panel]) -> Figure:
    """Products at the left, in one picture for each grouping, and sums at the right; an operation
    without a run is hatched.
    """
    columns = [(PRODUCT, column) for column in groups_of(panels, PRODUCT)]
    columns += [(SUM, column) for column in groups_of(panels, SUM)]
    with style.themed():
        figure = Figure(figsize=(5.2 * len(columns), 5.6), layout="constrained")
        axes_of = figure.subplots(1, len(columns))
        for axes, (operation, column) in zip(axes_of, columns, strict=True):
            if operation not in panels:
                axes.set_xlim(0, 1)
                axes.axvspan(0, 1, fill=False, hatch=style.HATCH, lw=0)
            elif operation == SUM:
                draw_sums(axes, panels[operation].points)
            else:
                draw_points(axes, panels[operation].points, 36, column)
            # only now, as seaborn hides the labels of an axis without ticks
            axes.set(xticks=[], yticks=[], xlabel=label_of(panels, operation), ylabel="")
            if operation in panels:
                axes.set_title(panels[operation].titles[column])
    return figure


def groups_of(panels: Mapping[str, Panel], operation: str) -> list[str]:
    """The groupings to draw of an operation; one where it has no run."""
    return list(panels[operation].titles) if operation in panels else ["group"]


def label_of(panels: Mapping[str, Panel], operation: str) -> str:
    """Which run the panel of an operation shows."""
    panel = panels.get(operation)
    return panel.label if panel else f"no finished run of {operation}"


def make(options: argparse.Namespace) -> None:
    """Query, reduce, draw, write."""
    selection = grok.require_finished(grok.select_runs(options, *COLUMNS))
    panels = {}
    for operation, panel_of in ((PRODUCT, product_panel), (SUM, sum_panel)):
        run = best_run(selection, operation)
        if run is not None:
            panels[operation] = panel_of(run, options)
    if not panels:
        raise query.FigureError(
            f"no finished run of {PRODUCT} or {SUM} among "
            f"{quantity(len(selection.runs), 'chosen run')}" + grok.of_diverged(selection.runs)
        )
    labels = [label_of(panels, operation) for operation in (PRODUCT, SUM)]
    lines = list(labels)
    for panel in panels.values():
        lines += panel.lines
    lines += selection.messages(options.folder)
    record = selection.record(options, facts(panels, labels, options))
    output.write(options, draw(panels), tables(panels), record, lines)


def tables(panels: Mapping[str, Panel]) -> dict[str, pd.DataFrame]:
    """The points of all panels, and the cosets where products are drawn."""
    points = pd.concat([panel.points for panel in panels.values()], ignore_index=True)
    cosets_table = {"_cosets": panels[PRODUCT].table} if PRODUCT in panels else {}
    return {**cosets_table, "": points}


def facts(
    panels: Mapping[str, Panel], labels: Sequence[str], options: argparse.Namespace
) -> dict[str, str]:
    """What the record says of the projection and the panels."""
    tsne = (
        f"scikit-learn, perplexity {options.perplexity:g} (at most a third of the elements), "
        f"random_state {options.random_state}, from principal components"
    )
    names = {PRODUCT: "cosets", SUM: "strides"}
    texts = {names[operation]: "; ".join(panel.lines) for operation, panel in panels.items()}
    return {"tsne": tsne, **texts, "drawn": "; ".join(labels)}


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = grok.parser(__doc__, "grok_embeddings")
    add = parser.add_argument
    published = f"default in S5, the published: {cosets.PUBLISHED!r}"
    help_generators = f"of the subgroup drawn beside the best ({published})"
    add("--generators", metavar="CYCLES", help=help_generators)
    help_stride = "joins k and k + STRIDE (default: 8, the published)"
    add("--stride", type=positive, default=8, help=help_stride)
    add("--perplexity", type=finite, default=30, help="of t-SNE (default: 30)")
    add("--random-state", type=int, default=0, help="of t-SNE (default: 0)")
    return output.run(make, parser.parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
