"""Test error over width, one line for each rate of label noise: mean over seeds, and its range.

python figures/error_by_width.py logs/widths [CONDITION ...]

Conditions, such as trainer.epochs=60, choose runs where the folder has several kinds.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from analysis import store

WIDTH, NOISE, ERROR = "model.width", "data.label_noise.rate", "final_test_error"


def main(folder: Path, conditions: Sequence[str] = ()) -> None:
    """Draw the finished runs of a sweep; writes error_by_width.png and .csv beside this script.

    Exits with a sentence if there is nothing to draw.
    """
    try:
        runs = store.runs(folder)
        for condition in conditions:
            runs = store.where(runs, condition)
    except (store.StoreError, ValueError) as error:
        sys.exit(f"error: {error}")
    finished = runs[runs["status"] == "done"]
    if finished.empty:
        sys.exit(f"error: {folder}: no chosen run is finished")
    table = reduce(finished)
    figure = Figure(figsize=(4.5, 3.2), layout="constrained")
    axes = figure.subplots()
    for noise, lines in table.groupby(level=NOISE):
        widths = lines.index.get_level_values(WIDTH)
        (line,) = axes.plot(widths, lines["mean"], marker="o", label=f"{noise:g}")
        axes.fill_between(widths, lines["min"], lines["max"], color=line.get_color(), alpha=0.2)
    axes.set(xlabel="Width", ylabel="Test error", xscale="log")
    axes.set_xticks(widths, [str(width) for width in widths])
    axes.minorticks_off()
    title = f"Label-noise rate (seeds: at least {table['seeds'].min()})"
    figure.legend(loc="outside upper center", ncols=2, title=title)
    stem = Path(__file__).with_suffix("")
    figure.savefig(stem.with_suffix(".png"), dpi=200)
    table.to_csv(stem.with_suffix(".csv"))
    print(f"wrote {stem}.png and {stem}.csv from {len(finished)} of {len(runs)} runs")


def reduce(runs: pd.DataFrame) -> pd.DataFrame:
    """Mean, min and max of the test error, and the number of seeds, for each rate and width.

    Exits with a sentence if the runs differ in another key: a mean over them would mix them.
    """
    for name in runs.columns:
        if "." not in name or name.startswith("run.") or name in (WIDTH, NOISE):
            continue
        texts = runs[name].astype(object).where(runs[name].notna(), "null").astype(str)
        values = sorted(set(texts))
        if len(values) > 1:
            sys.exit(
                f"the runs differ in {name}: {', '.join(values)}; expected one value, choose with "
                f"a condition such as {name}={values[0]}"
            )
    points = runs.groupby([NOISE, WIDTH])
    return points[ERROR].agg(["mean", "min", "max"]).assign(seeds=points["seed"].nunique())


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), sys.argv[2:])
