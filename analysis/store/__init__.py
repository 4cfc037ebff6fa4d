"""The logs of a sweep as DataFrames: `runs(folder)` and `curves(folder)`."""

from analysis.store.parts import StoreError
from analysis.store.reader import curves, runs

__all__ = ["StoreError", "curves", "runs"]
