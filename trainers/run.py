"""What a trainer is given: a place for its rows, its checkpoints and its facts, and the word when
to stop.

Rows live in three places, in this order: in memory, in the checkpoint that they came with, and in
the part, which is written after the checkpoint. A part can so be behind the checkpoint after a
crash, and the next attempt's part then holds all rows again, but never can rows stand beside a
checkpoint that did not produce them.
"""

from __future__ import annotations

import logging
import math
import resource
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from trainers.checkpoint import Checkpoints, replacing
from trainers.config.later import fill_in
from trainers.part import FACTS, FINAL, Part, Status

log = logging.getLogger(__name__)

Outcome = Literal["done", "stopped", "nonfinite"]


def log_spaced(last: int, per_decade: int) -> set[int]:
    """0, 1, ... `last` at `per_decade` points in every factor of ten, the last always among
    them.
    """
    points = math.ceil(math.log10(max(last, 1)) * per_decade) + 1
    return {0, last} | {min(round(10 ** (i / per_decade)), last) for i in range(points)}


def _peak_memory() -> int:
    """Largest resident memory of this process so far, in bytes; a child that trains several cells
    keeps the largest.
    """
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@dataclass
class Run:
    """One execution of one cell, as its trainer sees it."""

    cell: str
    flat: Mapping[str, Any]
    attempt: int
    part: Part
    checkpoints: Checkpoints
    should_stop: Callable[[], bool]
    checkpoint_seconds: float
    gpu_share: float = 1.0
    facts: dict[str, Any] = field(default_factory=dict)
    _rows: list[dict[str, Any]] = field(default_factory=list)
    _restored_step: int = 0
    _saved_step: int = 0
    _start: float = field(default_factory=time.monotonic)
    _last_checkpoint: float = field(default_factory=time.monotonic)

    def restore(self) -> dict[str, Any] | None:
        """The trainer's state from the newest whole checkpoint, or None; its rows and training time
        come back too.
        """
        saved = self.checkpoints.load()
        if saved is None:
            return None
        self._rows = list(saved["rows"])
        self._start = time.monotonic() - saved["seconds"]
        self._restored_step = int(saved["step"])
        log.info(
            "cell %s: going on from step %d of attempt %d",
            self.cell,
            saved["step"],
            saved["attempt"],
        )
        return dict(saved["state"])

    def note(self, **facts: Any) -> None:
        """Record facts of the run (realised noise rate, precision, ...); the names are columns of
        the runs table.
        """
        unknown = set(facts) - set(FACTS)
        if unknown:
            raise KeyError(
                f"no such column in the runs table: {sorted(unknown)}; known: {sorted(FACTS)}"
            )
        self.facts.update(facts)

    def begin(self) -> None:
        """Say that the cell is running; of a quick one among many nothing is said but its end."""
        if not self.part.waits:
            self.flush("running")

    def log(self, *, epoch: int, step: int, examples: int, **metrics: float | None) -> None:
        """Add the row of an epoch. A metric that was not computed at this epoch is left out or
        None.
        """
        unknown = set(metrics) - {m.name for m in self.part.metrics}
        if unknown:
            raise KeyError(f"metrics that the trainer does not declare: {sorted(unknown)}")
        position = {
            "cell": self.cell,
            "attempt": self.attempt,
            "epoch": epoch,
            "step": step,
            "examples": examples,
        }
        self._rows.append({**position, "seconds": self.seconds(), **metrics})
        if not self.part.saved and not self.part.waits:
            self.flush("running")

    @property
    def epochs(self) -> int:
        """The last epoch logged."""
        return int(self._rows[-1]["epoch"]) if self._rows else 0

    @property
    def steps(self) -> int:
        """The step of the last row."""
        return int(self._rows[-1]["step"]) if self._rows else 0

    @property
    def progressed(self) -> bool:
        """Whether this attempt got further than the checkpoint that it began from."""
        return max(self._saved_step, self.steps) > self._restored_step

    def seconds(self) -> float:
        """Training time of this cell so far, over all attempts that its state went through, in
        seconds.
        """
        return time.monotonic() - self._start

    def checkpoint_due(self) -> bool:
        """Whether `run.checkpoint_seconds` have passed since the last checkpoint."""
        return time.monotonic() - self._last_checkpoint >= self.checkpoint_seconds

    def checkpoint(self, state: dict[str, Any], step: int) -> None:
        """Save the trainer's state with all rows logged so far, then bring the part up to it."""
        self.checkpoints.save(
            {
                "state": state,
                "rows": self._rows,
                "seconds": self.seconds(),
                "attempt": self.attempt,
                "step": step,
            }
        )
        self._saved_step = step
        self.flush("running")
        self._last_checkpoint = time.monotonic()

    def save_weights(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Keep weights beside the logs, by parameter name, in weights/CELL.npz."""
        (self.part.folder / "weights").mkdir(exist_ok=True)
        with replacing(self.part.folder / "weights" / f"{self.cell}.npz") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]

    def flush(
        self, status: Status, error_class: str | None = None, error: str | None = None
    ) -> None:
        """Write rows and record to the part."""
        self.part.flush(self._rows, self._record(status, error_class, error))

    def close(
        self, status: Status, error_class: str | None = None, error: str | None = None
    ) -> None:
        """Give the part the last word of this attempt; the checkpoints of a cell with a final
        result go after that.
        """
        self.part.end(
            self._rows, self._record(status, error_class, error), self.checkpoints.present
        )
        if status in FINAL and self.checkpoints.present:
            self.checkpoints.clear()

    def _record(self, status: Status, error_class: str | None, error: str | None) -> dict[str, Any]:
        gpu_seconds = self.seconds() * self.gpu_share if self.facts.get("gpu") else 0.0
        return {
            **fill_in(self.flat), "cell": self.cell, "status": status, "attempt": self.attempt, "updated": time.time(),
            "host": socket.gethostname(), "peak_memory_bytes": _peak_memory(),
            "epochs": self.epochs, "steps": self.steps, "seconds": self.seconds(), "gpu_seconds": gpu_seconds,
            "error_class": error_class, "error": error, **self.facts, **self._summary(),
        }  # fmt: skip

    def _summary(self) -> dict[str, Any]:
        """Final and best value of every metric over the logged rows; NaN never is the best."""
        summary: dict[str, Any] = {}
        for metric in self.part.metrics:
            seen = [
                (r[metric.name], r["epoch"]) for r in self._rows if r.get(metric.name) is not None
            ]
            if seen:
                summary[f"final_{metric.name}"] = seen[-1][0]
            finite = [pair for pair in seen if math.isfinite(pair[0])]
            if metric.best and finite:
                best = (
                    min(finite)
                    if metric.best == "min"
                    else max(finite, key=lambda pair: (pair[0], -pair[1]))
                )
                summary[f"best_{metric.name}"], summary[f"best_epoch_{metric.name}"] = best
        return summary
