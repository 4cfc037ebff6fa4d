"""The logs of a sweep as DataFrames: runs, curves, and the searches of a sweep that searches."""

from analysis.store.claim import CompactionRunning
from analysis.store.parts import NothingLogged, StoreError
from analysis.store.reader import curves, records, runs
from analysis.store.searches import outcomes, searches

__all__ = [
    "CompactionRunning", "NothingLogged", "StoreError", "curves", "outcomes", "records", "runs",
    "searches",
]  # fmt: skip
