"""Capacity over the number of classes, for correct and for random labels (Figure E8).

    python analysis/emc_classes.py logs/NAME [--out figures] [--where CONDITION] [--eps 0.05]

With random labels the number of classes changes on the same images, so that it is not confounded
with the data set. Values that the range of the search censors are arrows and enter no line. At the
right, the training error of every training over n, and the fit curves. Writes STEM.png, STEM.pdf,
STEM.csv (the reduced table), STEM_comparisons.csv (ratios of n50 and P(n50_1 > n50_2), from the
posteriors, also of neighbours on a line), STEM_searches.csv, STEM_trainings.csv, and STEM.json.

The figure follows Shwartz-Ziv et al. (2024), "Just How Flexible are Neural Networks in Practice?"
(arXiv 2406.11463).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from analysis.capacity import labels, lines

FIGURE = lines.LineFigure(
    free=("model.", "data.", "trainer.least_steps"),
    lines=(labels.model, labels.data, labels.task),
    x="classes",
    label="number of classes",
    place=labels.class_counts,
    along=True,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    return lines.command(__doc__, "emc_classes", FIGURE, argv)


if __name__ == "__main__":
    sys.exit(main())
