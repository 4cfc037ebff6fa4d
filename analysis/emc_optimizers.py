"""Capacity by optimiser, at equal updates and at equal epochs (Figure E3).

    python analysis/emc_optimizers.py logs/NAME [--out figures] [--where CONDITION] [--eps 0.05]

Groups of bars are budgets: the order of full batch and mini-batches depends on which is equal. A
bar is the posterior median of n50 with its 90 % interval; a dotted bar with an arrow is censored by
the range of the search, a hatched strip has no training yet. At the right, the training error of
every training over n, and the fit curves. Writes STEM.png, STEM.pdf, STEM.csv (the reduced table),
STEM_comparisons.csv (ratios of n50 and P(n50_1 > n50_2), from the posteriors), STEM_searches.csv,
STEM_trainings.csv, and STEM.json.

The figure follows Shwartz-Ziv et al. (2024), "Just How Flexible are Neural Networks in Practice?"
(arXiv 2406.11463).
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from analysis.capacity import bars, labels

FIGURE = bars.BarFigure(
    free=("optim.", "model.", "data.label_noise.", "trainer."),
    bars=(labels.optimiser,),
    groups=(labels.budget,),
    panels=(labels.model, labels.task),
    order=("SGD", "full-batch GD", "Adam", "full-batch Adam", "AdamW", "Shampoo", "SOAP"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    return bars.command(__doc__, "emc_optimizers", FIGURE, argv)


if __name__ == "__main__":
    sys.exit(main())
