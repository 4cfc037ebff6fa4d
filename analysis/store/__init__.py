"""The logs of a sweep as DataFrames: `runs(folder)` and `curves(folder)`."""

from analysis.store.claim import CompactionRunning
from analysis.store.parts import StoreError
from analysis.store.reader import curves, records, runs

__all__ = ["CompactionRunning", "StoreError", "curves", "records", "runs"]
