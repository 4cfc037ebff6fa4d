"""The logs of a sweep as DataFrames: runs, curves, and the searches of a sweep that searches."""

from analysis.store.choice import plain, where
from analysis.store.claim import CompactionRunning
from analysis.store.described import LoggedMetric, metrics
from analysis.store.errors import NothingLogged, StoreError
from analysis.store.reader import curves, records, runs
from analysis.store.searches import outcomes, searches
from analysis.store.tidying import settings_of, tidy

__all__ = [
    "CompactionRunning", "LoggedMetric", "NothingLogged", "StoreError", "curves", "metrics",
    "outcomes", "plain", "records", "runs", "searches",
    "settings_of", "tidy", "where",
]  # fmt: skip
