"""Lines about a training in the output of its job: how far it is, every few seconds."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

from trainers.config.main_metrics import main_metric

LINE_SECONDS = 10.0
"""Least seconds between two lines of a task, over all cells that it trains at a time."""

log = logging.getLogger(__name__)


class LogLines:
    """Writes a line for some of the rows that a cell logs.

    `share` is the part of its task that the cell is: of four cells at a time each writes a fourth
    of the lines. A cell that ends before its first line is due writes none.
    """

    def __init__(self, cell: str, flat: Mapping[str, Any], share: float) -> None:
        self._cell, self._flat = cell, flat
        self._pause = LINE_SECONDS / share
        self._due = time.monotonic() + self._pause

    def add(self, row: Mapping[str, Any]) -> None:
        """Write a line for this row if it is time."""
        now = time.monotonic()
        if now < self._due:
            return
        self._due = now + self._pause
        metric = metric_text(row)
        log.info("cell %s: %s%s", self._cell, position_text(row, self._flat), metric)


def position_text(row: Mapping[str, Any], flat: Mapping[str, Any]) -> str:
    """How far a training is, such as "epoch 3 of 200", or steps if its trainer counts steps."""
    steps, epochs = flat.get("trainer.steps"), flat.get("trainer.epochs")
    if steps is not None:
        return f"step {row['step']} of {steps}"
    if epochs is not None:
        return f"epoch {row['epoch']} of {epochs}"
    return f"step {row['step']}"


def metric_text(row: Mapping[str, Any]) -> str:
    """The most telling metric of a row, such as ", test_error 0.25"; empty if it has none."""
    name = main_metric([key for key, value in row.items() if value is not None])
    return "" if name is None else f", {name} {row[name]:.4g}"
