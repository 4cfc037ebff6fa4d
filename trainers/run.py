"""The interface between a trainer and its run: rows, checkpoints, facts, and the request to stop.

Rows go to three places in this order: memory, their checkpoint, and the part, which is written
after the checkpoint. So after a crash a part can be behind the checkpoint, and the next attempt's
part has all rows again. But no row exists without the checkpoint of the state that produced it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import numbers
import resource
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import UnionType
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from trainers.checkpoint import Checkpoints, replacing
from trainers.config import columns, fill_in_own
from trainers.config.later import fill_in
from trainers.log_lines import LogLines, metric_text
from trainers.part import NOT_REPRESENTABLE, Part
from trainers.schema import FACTS, FINAL, Status

log = logging.getLogger(__name__)

_INTEGERS = {"int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1)}
"""Least and largest value of the columns of integers."""

Outcome = Literal["done", "stopped", "nonfinite"]


def log_spaced(last: int, per_decade: int) -> set[int]:
    """0, 1, ... `last` at `per_decade` points per factor of ten, always with `last`."""
    points = math.ceil(math.log10(max(last, 1)) * per_decade) + 1
    return {0, last} | {min(round(10 ** (i / per_decade)), last) for i in range(points)}


def _peak_memory() -> int:
    """Largest resident memory of this process so far, in bytes, over all cells it trained."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _as_columns(flat: Mapping[str, Any], kinds: Mapping[str, type]) -> dict[str, Any]:
    """A flat configuration as columns of these types hold it.

    A key whose values have several types, such as "final" and epochs, has a column of texts.
    """
    record = {}
    for key, value in flat.items():
        is_text = value is None or isinstance(value, str) or kinds.get(key) is not str
        record[key] = value if is_text else json.dumps(value)
    return record


@dataclass
class Run:
    """One execution of one cell, as seen by its trainer."""

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

    def __post_init__(self) -> None:
        self._columns = columns(self.flat)
        self._lines = LogLines(self.cell, self.flat, self.gpu_share)
        self.part.add_columns(self._columns)
        self._integers = {"epoch": "int32", "step": "int64", "examples": "int64"}
        self._integers |= {m.name: m.dtype for m in self.part.metrics if m.dtype in _INTEGERS}

    def restore(self, expect: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
        """The trainer's state in the newest complete checkpoint, or None; restores rows and time.

        Raises RuntimeError if the state differs from `expect`, for example because of another data
        set. Without a `data_hash` in `expect`, the files of the data are compared.
        """
        checkpoint = self.checkpoints.load()
        if checkpoint is None:
            return None
        self._rows = list(checkpoint["rows"])
        self._start = time.monotonic() - checkpoint["seconds"]
        self._restored_step = int(checkpoint["step"])
        state = dict(checkpoint["state"])
        self._refuse_other(state, expect or {})
        if "data_hash" not in (expect or {}):
            self._refuse_other_files(checkpoint.get("source_hash"))
        self._add_earlier_code(checkpoint.get("codes", []))
        log.info(
            "cell %s: resuming from step %d of attempt %d",
            self.cell,
            checkpoint["step"],
            checkpoint["attempt"],
        )
        self.flush()  # its record so far says that it is at the start
        return state

    def _add_earlier_code(self, codes: Sequence[str]) -> None:
        """Record the code of the attempts that this one continues, where it is not its own."""
        earlier = [code for code in codes if code != self.facts.get("code")]
        if earlier:
            log.info("cell %s: its rows so far are of other code: %s", self.cell, " ".join(earlier))
            self.add_facts(earlier_code=" ".join(earlier))

    def _refuse_other(self, state: Mapping[str, Any], expect: Mapping[str, Any]) -> None:
        for key, expected in expect.items():
            if state[key] != expected:
                # the first line is the same for all cells, which are counted by it
                raise RuntimeError(
                    f"the checkpoint was made with another {key}, and continuing would mix two "
                    "experiments. Restore what it was made with, or remove the checkpoint to start "
                    f"the cell again\ncell {self.cell}: {key} {state[key]} in the checkpoint, "
                    f"{expected} now; {self._removal}"
                )

    @contextlib.contextmanager
    def loading(self) -> Iterator[None]:
        """Turn torch's error about a checkpoint that does not fit into one that says what to do."""
        try:
            yield
        except (RuntimeError, ValueError, KeyError) as error:
            reason = str(error).strip().splitlines()[-1].strip()
            raise RuntimeError(
                "the checkpoint does not fit its network and optimiser: the code that made it had "
                "others. Restore that code, or remove the checkpoint to start the cell again\n"
                f"cell {self.cell}: {reason}; {self._removal}"
            ) from error

    @property
    def _removal(self) -> str:
        """The command that removes the checkpoint of this cell."""
        return f"rm {self.checkpoints.folder}/{self.cell}.*"

    def _refuse_other_files(self, source_hash: str | None) -> None:
        """Raise RuntimeError if the state comes from data with another hash, where both are set."""
        present = self.facts.get("source_hash")
        if None not in (source_hash, present):
            self._refuse_other({"source_hash": source_hash}, {"source_hash": present})

    def add_facts(self, **facts: Any) -> None:
        """Record facts of the run (noise rate, ...) under the names of runs table columns.

        Raises KeyError for a name that is none, TypeError for a value that its column cannot hold.
        """
        unknown = set(facts) - set(FACTS)
        if unknown:
            raise KeyError(
                f"no such column in the runs table: {sorted(unknown)}; known: {sorted(FACTS)}"
            )
        for name, value in facts.items():
            _check_fact(name, value)
        self.facts.update(facts)

    def mark_running(self) -> None:
        """Record that the cell is running (skipped for cells that take less than two seconds)."""
        if self.part.due:
            self.flush()

    def log(self, *, epoch: int, step: int, examples: int, **metrics: float | None) -> None:
        """Add the row of an epoch; leave out metrics that were not computed, or pass None.

        Raises KeyError for a metric that the trainer does not declare, TypeError for a value that
        is no number and for a position that is no integer, ValueError for what a column of
        integers cannot hold.
        """
        unknown = set(metrics) - {m.name for m in self.part.metrics}
        if unknown:
            raise KeyError(f"metrics that the trainer does not declare: {sorted(unknown)}")
        place = {"epoch": epoch, "step": step, "examples": examples}
        _check_type(place, numbers.Integral, "an integer")
        _check_type(metrics, numbers.Real | None, "a number or None")
        _check_integers({**place, **metrics}, self._integers)
        position = {"cell": self.cell, "attempt": self.attempt, **place}
        self._rows.append({**position, "seconds": self.seconds(), **metrics})
        self._lines.add(self._rows[-1])
        if not self.part.saved and self.part.due:
            self.flush()

    @property
    def epochs(self) -> int:
        """The last epoch logged."""
        return int(self._rows[-1]["epoch"]) if self._rows else 0

    @property
    def steps(self) -> int:
        """The step of the last row."""
        return int(self._rows[-1]["step"]) if self._rows else 0

    @property
    def last_metric(self) -> str:
        """The most telling metric of the last row, such as ", test_error 0.25"; may be empty."""
        return metric_text(self._rows[-1]) if self._rows else ""

    @property
    def progressed(self) -> bool:
        """Whether this attempt got further than the checkpoint that it started from."""
        return max(self._saved_step, self.steps) > self._restored_step

    def seconds(self) -> float:
        """Training time of this cell over all attempts that led to its state, in seconds."""
        return time.monotonic() - self._start

    def checkpoint_due(self) -> bool:
        """Whether `run.checkpoint_seconds` have passed since the last checkpoint."""
        return time.monotonic() - self._last_checkpoint >= self.checkpoint_seconds

    def checkpoint(self, state: dict[str, Any], step: int) -> None:
        """Save the trainer's state with all rows logged so far, then update the part."""
        self.checkpoints.save(
            {
                "state": state,
                "rows": self._rows,
                "seconds": self.seconds(),
                "attempt": self.attempt,
                "step": step,
                "source_hash": self.facts.get("source_hash"),
                "codes": self._codes(),
            }
        )
        self._saved_step = step
        self.flush()
        self._last_checkpoint = time.monotonic()

    def _codes(self) -> list[str]:
        """Hashes of the code that computed the rows so far, the oldest first."""
        earlier = str(self.facts.get("earlier_code") or "").split()
        return [*earlier, str(self.facts["code"])] if self.facts.get("code") else earlier

    def save_weights(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Save weights by parameter name in weights/CELL.npz."""
        (self.part.folder / "weights").mkdir(exist_ok=True)
        with replacing(self.part.folder / "weights" / f"{self.cell}.npz") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]

    def flush(self) -> None:
        """Write rows and record to the part."""
        self.part.write(self._rows, self._record("running", None, None))

    def close(
        self, status: Status, error_class: str | None = None, error: str | None = None
    ) -> str | None:
        """Write the attempt's last record, then remove the checkpoints of a finished cell.

        Returns None, or why Parquet cannot hold the results; the cell is then recorded as failed.
        """
        record = self._record(status, error_class, error)
        problem = self.part.finish_cell(self._rows, record, self.checkpoints.present)
        if problem is None and status in FINAL and self.checkpoints.present:
            self.checkpoints.clear()
        return problem

    def _record(self, status: Status, error_class: str | None, error: str | None) -> dict[str, Any]:
        seconds = self.seconds()
        return {
            **_as_columns(fill_in_own(fill_in(self.flat)), self._columns),
            "cell": self.cell,
            "status": status,
            "attempt": self.attempt,
            "updated": time.time(),
            "host": socket.gethostname(),
            "peak_memory_bytes": _peak_memory(),
            "epochs": self.epochs,
            "steps": self.steps,
            "first_attempt": self._rows[0]["attempt"] if self._rows else self.attempt,
            "seconds": seconds,
            "gpu_seconds": seconds * self.gpu_share if self.facts.get("gpu") else 0.0,
            "error_class": error_class,
            "error": error,
            **self.facts,
            **self._summary(status),
        }

    def _summary(self, status: str) -> dict[str, Any]:
        """Final and best value of every metric over the logged rows. NaN is never the best, nor is
        what a network without a finite loss happens to get right.
        """
        # as in the curves, the later of two rows of one step counts
        by_place = {(row["epoch"], row["step"]): row for row in self._rows}
        rows = list(by_place.values())
        summary: dict[str, Any] = {}
        for metric in self.part.metrics:
            logged = [row for row in rows if row.get(metric.name) is not None]
            values = [(row[metric.name], row["epoch"]) for row in logged]
            if values:
                summary[f"final_{metric.name}"] = values[-1][0]
            if status == "nonfinite" and logged and logged[-1] is rows[-1]:
                values.pop()
            finite = [pair for pair in values if math.isfinite(pair[0])]
            if metric.best and finite:
                value, epoch = _best(finite, metric.best)
                summary[f"best_{metric.name}"] = value
                summary[f"best_epoch_{metric.name}"] = epoch
        return summary


def _check_fact(name: str, value: Any) -> None:
    """Raise TypeError for a value that the column of a fact cannot hold."""
    try:
        pa.array([value], FACTS[name])
    except NOT_REPRESENTABLE as error:
        found = f"{value!r} ({type(value).__name__})"
        raise TypeError(f"add_facts: {name}: found {found}, expected {FACTS[name]}") from error


def _check_type(values: Mapping[str, Any], kind: type | UnionType, expected: str) -> None:
    """Raise TypeError for the first value of another type. A truth value is no number: columns of
    numbers cannot hold it.
    """
    for name, value in values.items():
        if not isinstance(value, kind) or isinstance(value, bool):
            found = f"{value!r} ({type(value).__name__})"
            raise TypeError(f"log: {name}: found {found}, expected {expected}")


def _check_integers(values: Mapping[str, Any], types: Mapping[str, str]) -> None:
    """Raise ValueError for the first value that its column of integers cannot hold."""
    for name, dtype in types.items():
        value = values.get(name)
        if value is None:
            continue
        low, high = _INTEGERS[dtype]
        if not low <= value <= high or value % 1:
            raise ValueError(
                f"log: {name}: found {value!r}, expected a whole number from {low} to {high}: its "
                f"column is {dtype}"
            )


def _best(values: list[tuple[float, int]], direction: Literal["min", "max"]) -> tuple[float, int]:
    """The best value with the first epoch that has it."""
    if direction == "min":
        return min(values)
    return max(values, key=lambda pair: (pair[0], -pair[1]))
