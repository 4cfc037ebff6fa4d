"""Capacity over parameters: how many samples a model of P parameters fits (Figure E1).

    python analysis/emc.py logs/NAME [--out figures] [--where optim.lr=0.01] [--eps 0.05]

A line for each data set, architecture and kind of labels, log-log, with the diagonal n = P. Values
that the range of the search censors are arrows and enter no line. At the right, the training error
of every training over n, and the fit curves. Writes STEM.png, STEM.pdf, STEM.csv (the reduced
table), STEM_comparisons.csv (lines at equal P, from their posteriors), STEM_searches.csv,
STEM_trainings.csv, and STEM.json.

The quantity: Nakkiran et al. (2019), "Deep Double Descent"; the figure follows Shwartz-Ziv et al.
(2024), "Just How Flexible are Neural Networks in Practice?" (arXiv 2406.11463).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from analysis.capacity import labels, lines

FIGURE = lines.LineFigure(
    free=("model.", "data.", "trainer.least_steps"),
    lines=(labels.model, labels.data, labels.task),
    diagonal=True,
)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    return lines.command(__doc__, "emc", FIGURE, argv)


if __name__ == "__main__":
    sys.exit(main())
