"""What can be wrong with the logs of a sweep."""

from __future__ import annotations


class StoreError(FileNotFoundError):
    """Logs that are absent, empty or unreadable; the message says what to do about it."""


class NothingLogged(StoreError):
    """A sweep, or a cell, that has logged nothing yet."""


class FileVanished(Exception):
    """A compaction consumed a listed file or replaced the store: the files must be listed again."""
