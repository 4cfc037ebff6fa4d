"""The form of `--json`: one object on standard output, for scripts.

Each object has "version" (1 now) and "command". Within a version keys are only added; a change of
meaning gets a new number. Hours are in "unit", GPU-hours or core-hours; times are seconds since
1970 unless they are texts of the scheduler; numbers that are unknown or not finite are null.

plan    name, folder, launcher (name, kind, reason), cells, states (state -> cells), to_run (ids),
        tasks, arrays, hours (of the cells of known time), unit, unmeasured (cells of unknown time),
        canary, gpu_hours (the limit, or null), beyond_limit (why submit would refuse, or null),
        searches, warnings
status  name, folder, live, cells, done (cells with a result), share_done (0 to 1), states (a list
        of state, detail, cells), unit, hours_spent, hours_left, unmeasured, seconds_left,
        failures (a list of kind, error, cells), searches (a list of point, axis, state, rounds,
        trainings, value, low, high), trained_again (ids of done cells that train again: going_on,
        unknown, ended and cancelled, those without a new result), notes (sentences), metric (null,
        or metric, cells, is_final, low, median, high, best, settings), running (a list of job,
        node); with --cells also list (a list of id, state, logged, planned, settings); with
        --failed only name, folder, failures
why     cell, sweep, state, meaning, advice, search, attempts (a list of number, submission, job,
        node, start, end, ending, progress), rows (the last ones, by column), differs (settings that
        vary in the sweep), settings, error
list    sweeps (a list of name, problem, live, cells, done, share_done, states, unit, hours_spent,
        hours_left, unmeasured, training_again, submitted)
doctor  findings (a list of check, verdict, detail)

Errors are text on standard error, as without --json, and the exit statuses are the same.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from launch.report import notes
from launch.report.explanation import Explanation
from launch.report.headline import Headline
from launch.report.overview import Overview
from launch.report.running import running_tasks
from launch.report.sweeps import SweepLine
from launch.status.attempts import Attempt
from launch.submit.preview import Preview, beyond_limit
from launch.submit.rounds import Standing

if TYPE_CHECKING:
    from launch.cli.doctor import Finding

VERSION = 1

Document = dict[str, Any]


def write(command: str, document: Mapping[str, Any]) -> None:
    """Print the document of a command as JSON on one line."""
    whole = {"version": VERSION, "command": command, **document}
    print(json.dumps(_plain(whole), allow_nan=False))


def plan(preview: Preview, warnings: Sequence[str]) -> Document:
    """What a submission would send."""
    request = preview.request
    return {
        "name": request.name,
        "folder": request.folder,
        "launcher": {
            "name": request.launcher_name,
            "kind": request.launcher.kind,
            "reason": request.why_launcher,
        },
        "cells": len(request.cells),
        "states": dict(preview.selection.states),
        "to_run": preview.selection.ids,
        "tasks": len(preview.tasks),
        "arrays": preview.arrays if request.launcher.kind == "slurm" else 0,
        "hours": preview.estimate.hours,
        "unit": preview.estimate.unit,
        "unmeasured": preview.unmeasured,
        "canary": request.policy.canary,
        "gpu_hours": request.policy.gpu_hours,
        "beyond_limit": beyond_limit(preview),
        "searches": len(preview.searches),
        "warnings": warnings,
    }


def status(overview: Overview, headline: Headline | None = None) -> Document:
    """The state of a sweep."""
    summary = overview.summary
    return {
        "name": overview.name,
        "folder": overview.state.folder,
        "live": overview.is_live,
        "cells": len(overview.state.cells),
        "done": overview.ended,
        "share_done": overview.share_done,
        "states": summary.lines,
        "unit": summary.unit,
        "hours_spent": summary.hours_spent,
        "hours_left": summary.hours_left,
        "unmeasured": summary.unmeasured,
        "seconds_left": summary.end,
        "failures": summary.failures,
        "searches": [_search(standing) for standing in overview.searches],
        "trained_again": overview.trained_again,
        "notes": [note.sentence for note in notes.next_steps(overview)],
        "metric": headline,
        "running": running_tasks(overview.state),
    }


def _search(standing: Standing) -> Document:
    search, state = standing.search, standing.state
    estimate = state.estimate
    return {
        "point": search.point,
        "axis": search.axis,
        "state": state.finished or "open",
        "rounds": state.rounds,
        "trainings": state.trained,
        "value": estimate.n50,
        "low": estimate.low,
        "high": estimate.high,
    }


def why(explanation: Explanation) -> Document:
    """The state of a cell and its reason."""
    rows = explanation.rows
    return {
        "cell": explanation.cell,
        "sweep": explanation.sweep,
        "state": explanation.state,
        "meaning": explanation.meaning,
        "advice": explanation.advice,
        "search": explanation.trial,
        "attempts": [_attempt(attempt) for attempt in explanation.attempts],
        "rows": {str(name): rows[name].tolist() for name in rows},
        "differs": explanation.differs,
        "settings": explanation.flat,
        "error": explanation.error,
    }


def _attempt(attempt: Attempt) -> Document:
    return {
        "number": attempt.number,
        "submission": attempt.sid,
        "job": attempt.execution.job,
        "node": attempt.node,
        "start": attempt.start,
        "end": attempt.end,
        "ending": attempt.ending,
        "progress": attempt.progress,
    }


def sweeps(lines: Sequence[SweepLine]) -> Document:
    """All sweeps."""
    entries = []
    for line in lines:
        entry = {
            "name": line.name,
            "problem": line.problem or None,
            "live": line.is_live,
            "cells": line.cells,
            "done": line.ended,
            "share_done": line.share_done,
            "states": {count.state: count.cells for count in line.counts},
            "unit": line.unit,
            "hours_spent": line.hours_spent,
            "hours_left": line.hours_left,
            "unmeasured": line.unmeasured,
            "training_again": line.training_again,
            "submitted": line.submitted or None,
        }
        entries.append(entry)
    return {"sweeps": entries}


def doctor(findings: Sequence[Finding]) -> Document:
    """The checks of this machine."""
    return {"findings": [asdict(finding) for finding in findings]}


def _plain(value: Any) -> Any:
    """The value as JSON has it; a number that JSON cannot hold becomes null."""
    if hasattr(value, "__dataclass_fields__"):
        value = asdict(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, np.generic):  # from a table of runs
        value = value.item()
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    return str(value)
