"""`redescent why CELL`: a cell's state and its reason, attempts, last rows, and what to do next."""

from __future__ import annotations

import math
import numbers
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich.text import Text

from launch.cli import layout, machine
from launch.cli.console import console, styled
from launch.report.explanation import Explanation, explain
from launch.status.attempts import Attempt

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")
_POSITION = ("step", "seconds")
_NOT_METRICS = ("cell", "attempt", "epoch", "examples", *_POSITION)


def why(folder: Path, cell_id: str, *, as_json: bool = False) -> None:
    """Show the state of a cell and what to do next."""
    explanation = explain(folder, cell_id)
    if as_json:
        machine.write("why", machine.why(explanation))
    else:
        _show(explanation)


def _show(explanation: Explanation) -> None:
    pairs: list[tuple[str, layout.Cell]] = [("cell", f"{explanation.cell} of {explanation.sweep}")]
    varying = _settings(explanation.differs)
    if varying:
        pairs.append(("settings", varying))
    pairs.append(("state", styled((explanation.state, "bold"), f": {explanation.meaning}")))
    if explanation.trial is not None:
        pairs.append(("search", explanation.trial))
    pairs.append(("what next", explanation.advice))
    layout.print_pairs(pairs)
    _print_attempts(explanation.attempts)
    _print_rows(explanation)
    differs = explanation.differs
    common = {key: value for key, value in explanation.flat.items() if key not in differs}
    heading = "as in all cells" if varying else "configuration"
    console.print(Text(f"\n{heading}", "bold"))
    layout.print_paragraph(_settings(common), indent=0)
    if explanation.error:
        console.print(f"\n{explanation.error.rstrip()}")


def _settings(flat: Mapping[str, Any]) -> str:
    """Settings as a command line takes them."""
    return " ".join(f"{key}={_written(value)}" for key, value in flat.items())


def _written(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_written, value))}]"
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _print_attempts(attempts: Sequence[Attempt]) -> None:
    """Show each attempt: when and where it ran, how far it got, and how it ended."""
    head = ("attempt", "start", "end", "job", "node", "logged", "how it ended")
    rows = []
    for attempt in attempts:
        times = short_time(attempt.start), short_time(attempt.end)
        job = attempt.execution.job or attempt.sid[-8:]
        outcome = attempt.progress, attempt.ending
        rows.append([str(attempt.number), *times, job, attempt.node, *outcome])
    console.print()
    layout.print_table(head, rows)


def short_time(text: str) -> str:
    """A time of SLURM, such as 2026-01-02T03:04:05, as 01-02 03:04:05; another text as it is."""
    return text[5:].replace("T", " ") if _TIME.fullmatch(text) else text


def _print_rows(explanation: Explanation) -> None:
    rows = explanation.rows
    if explanation.unreadable:
        console.print(styled(("rows cannot be read:", "red"), f" {explanation.unreadable}"))
    if rows.empty:
        return
    table = []
    for name in (*_POSITION, *_metrics(rows)):
        table.append([name, *(_text(value) for value in rows[name])])
    head = ("last rows", *(f"epoch {epoch}" for epoch in rows["epoch"]))
    console.print()
    layout.print_table(head, table, right=" rrr")


def _metrics(rows: pd.DataFrame) -> list[str]:
    """The metrics that at least one row has."""
    names = [str(name) for name in rows if name not in _NOT_METRICS]
    return [name for name in names if rows[name].notna().any()]


def _text(value: Any) -> str:
    """A value of a row; a trainer of somebody else may log texts and lists too."""
    if not isinstance(value, numbers.Real):
        return "" if value is None or value is pd.NA else str(value)
    return "" if math.isnan(value) else f"{float(value):.6g}"
