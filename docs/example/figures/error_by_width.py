"""Test error over width, one line for each rate of label noise: mean over seeds, and its range.

python figures/error_by_width.py logs/widths
"""

from __future__ import annotations

import sys
from pathlib import Path

from matplotlib.figure import Figure

from analysis import store

WIDTH, NOISE, ERROR = "model.width", "data.label_noise.rate", "final_test_error"


def main(folder: Path) -> None:
    """Draw the finished runs of a sweep; writes error_by_width.png and .csv beside this script."""
    runs = store.runs(folder)
    finished = runs[runs["status"] == "done"]
    table = finished.groupby([NOISE, WIDTH])[ERROR].agg(["mean", "min", "max", "count"])
    figure = Figure(figsize=(4.5, 3.2), layout="constrained")
    axes = figure.subplots()
    for noise, lines in table.groupby(level=NOISE):
        widths = lines.index.get_level_values(WIDTH)
        (line,) = axes.plot(widths, lines["mean"], marker="o", label=f"{noise:g}")
        axes.fill_between(widths, lines["min"], lines["max"], color=line.get_color(), alpha=0.2)
    axes.set(xlabel="Width", ylabel="Test error", xscale="log")
    axes.set_xticks(widths, [str(width) for width in widths])
    axes.minorticks_off()
    seeds = int(table["count"].min())
    title = f"Label-noise rate (at least {seeds} seeds)"
    figure.legend(loc="outside upper center", ncols=2, title=title)
    stem = Path(__file__).with_suffix("")
    figure.savefig(stem.with_suffix(".png"), dpi=200)
    table.to_csv(stem.with_suffix(".csv"))
    print(f"wrote {stem}.png and {stem}.csv from {len(finished)} runs")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
