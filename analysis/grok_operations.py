"""Figure 2 (right) of Power et al. (2022): best test accuracy for every operation.

    python analysis/grok_operations.py logs/NAME [--out figures] [--where data.modulus=97]

Writes STEM.png, STEM.pdf, STEM.csv and STEM.json.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import pandas as pd

from analysis.figure import output
from analysis.grokking import best_accuracy, runs
from analysis.grokking import labels as grok_names

COLUMNS = ("data.operation", "data.modulus", "data.degree")


def make(options: argparse.Namespace) -> None:
    """Query, reduce, draw, write."""
    selection = runs.select_runs(options, runs.FRACTION, *COLUMNS)
    rows = selection.runs[list(COLUMNS)].to_dict("records")
    labels = pd.Series([grok_names.operation(row) for row in rows])
    best_accuracy.make(options, selection, labels, "Operation (best first)")


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    return output.run(make, runs.parser(__doc__, "grok_operations").parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
