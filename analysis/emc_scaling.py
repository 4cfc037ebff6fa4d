"""Capacity over parameters where width, depth, resolution or all grow (Figure E7).

    python analysis/emc_scaling.py logs/NAME [--out figures] [--where CONDITION] [--eps 0.05]

The smallest model is the base; a line holds the models that differ from it in one quantity, or in
all of them (the compound rule of Tan & Le 2019). Dotted lines lead from the base to them. Values
that the range of the search censors are arrows and enter no line. At the right, the training error
of every training over n, and the fit curves. Writes STEM.png, STEM.pdf, STEM.csv (the reduced
table), STEM_comparisons.csv (ratios of n50 and P(n50_1 > n50_2), from the posteriors),
STEM_searches.csv, STEM_trainings.csv, and STEM.json.

The figure follows Shwartz-Ziv et al. (2024), "Just How Flexible are Neural Networks in Practice?"
(arXiv 2406.11463).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from analysis.capacity import labels, lines

FIGURE = lines.LineFigure(
    free=("model.", "data.", "trainer.least_steps"),
    lines=(),
    name=labels.scaled,
    diagonal=True,
    from_base=True,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    return lines.command(__doc__, "emc_scaling", FIGURE, argv)


if __name__ == "__main__":
    sys.exit(main())
