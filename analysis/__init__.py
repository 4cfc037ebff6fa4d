"""Reading the logs of a sweep, the statistics of its curves, and one script for each figure.

Reads `logs/NAME` and nothing else; imports neither launch, trainers, torch nor hydra.
"""

import sys
from pathlib import Path
from types import TracebackType


def _end_without_traceback(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Say "interrupted" after Ctrl-C; show any other error as Python does."""
    if issubclass(kind, KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


if sys.argv and Path(sys.argv[0]).resolve().parent == Path(__file__).resolve().parent:
    sys.excepthook = _end_without_traceback  # a script of this folder, whose imports take seconds
