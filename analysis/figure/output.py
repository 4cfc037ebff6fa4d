"""The end of every figure script: what a figure cannot be drawn from becomes one message, not a
traceback.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from analysis.store import StoreError


def run(make: Callable[[argparse.Namespace], None], options: argparse.Namespace) -> int:
    """Makes the figure; returns 0, or 2 with one message on standard error if it cannot be
    drawn.
    """
    try:
        make(options)
    except (StoreError, ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0
