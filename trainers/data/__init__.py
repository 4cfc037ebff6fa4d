"""Data sets, label noise and augmentation. Importing this package loads nothing heavy."""

from __future__ import annotations


class DataError(RuntimeError):
    """Data that cannot be used; the message says which file, what was found, and what to do."""
