"""Figure 2 (left) of Power et al. (2022): best test accuracy for every optimiser setting.

    python analysis/grok_optimizers.py logs/NAME [--out figures] [--where data.operation=x.y]

A setting is named after what varies among the runs. Writes STEM.png, STEM.pdf, STEM.csv and
STEM.json.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from analysis import store
from analysis.figure import output, query
from analysis.grokking import best_accuracy, labels
from analysis.grokking import runs as grok


def make(options: argparse.Namespace) -> None:
    """Query, reduce, draw, write."""
    runs = query.where(store.runs(options.folder), options.where)
    selection = grok.select_runs(options, grok.FRACTION, *labels.setting_columns(runs))
    settings = labels.settings(selection.runs)
    best_accuracy.make(options, selection, settings, "Optimiser (best first)")


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    return output.run(make, grok.parser(__doc__, "grok_optimizers").parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
