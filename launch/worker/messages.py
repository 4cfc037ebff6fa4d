"""The messages between the parent in a job and its children: one JSON object per line.

The parent sends `CellJob` and `StopRequest`; a child answers with `CellResult` and `Saved`.
Standard library only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from launch.plan.outcome import StopReason


@dataclass(frozen=True)
class Failure:
    """The class of a failure and its error."""

    name: str
    error: str


@dataclass(frozen=True)
class CellJob:
    """A cell to train."""

    cell: str
    """Its id."""
    flat: Mapping[str, Any]
    """Its configuration."""
    attempt: int
    """The number of this attempt, from 1."""
    code: str
    """The hash of the plan's code, for the record."""
    environment: str
    """The hash of the plan's environment, for the record."""
    failure: Failure | None = None
    """Why it is recorded as failed and not trained, as when its processes keep dying."""
    again: bool = False
    """Whether it is trained although an earlier task finished it."""

    @classmethod
    def from_json(cls, fields: Mapping[str, Any]) -> CellJob:
        """The job that `asdict` turned into `fields`."""
        failure = fields["failure"]
        return cls(**{**fields, "failure": failure and Failure(**failure)})


@dataclass(frozen=True)
class StopRequest:
    """Save the current cell at its next step, and end it."""

    reason: StopReason


@dataclass(frozen=True)
class CellResult:
    """How a cell ended."""

    cell: str
    status: str
    epochs: int
    """How many epochs are logged."""
    error: str | None = None
    failure: str | None = None
    """Name of the failure's class, for an error that the child caught."""
    progress: bool = True
    """Whether this attempt got further than the checkpoint that it started from."""
    saved: bool = False
    """Whether all results of the child are on disk."""
    metric: str = ""
    """The most telling metric of the last row, for the job's output."""


@dataclass(frozen=True)
class Saved:
    """All results of the child are on disk."""


@dataclass(frozen=True)
class NotSaved:
    """The results of the child that are not on disk yet cannot be written."""

    error: str


Message = CellJob | StopRequest | CellResult | Saved | NotSaved


def to_line(message: Message) -> str:
    """A message as one line of text."""
    return json.dumps({"message": type(message).__name__, "fields": asdict(message)}) + "\n"


def from_line(line: str) -> Message:
    """The message of a line."""
    content = json.loads(line)
    fields = content["fields"]
    match content["message"]:
        case "CellJob":
            return CellJob.from_json(fields)
        case "StopRequest":
            return StopRequest(**fields)
        case "CellResult":
            return CellResult(**fields)
        case "NotSaved":
            return NotSaved(**fields)
        case _:
            return Saved()
