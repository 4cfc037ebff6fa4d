"""The one error of everything that reads data from disk or from the network."""

from __future__ import annotations


class DataError(RuntimeError):
    """Data that cannot be used; the message names the file, what was found, what was expected and
    what to do.
    """
