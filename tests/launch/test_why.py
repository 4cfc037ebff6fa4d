"""`why` tells the state of a cell and its reason, `logs` what its job wrote; each names the
other.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
from waiting import wait_for

from analysis import store
from launch.report import explanation
from launch.scheduler.slurm import Execution, Task, parse_history
from launch.status import attempts
from launch.status.attempts import CellPlacement, RunRecord, from_accounting
from launch.status.cell_state import CellState, Placement, Record

MIXED = ("~axes", "model=mlp", "model.width=4", "+axes={trainer.precision:[float32,float16]}")


def cells(logs: Path) -> pd.Series:
    """Ids of the cells of `smoke`, by status."""
    return store.runs(logs / "smoke").set_index("status")["cell"]


def test_why_shows_state_attempts_and_traceback_and_logs_the_output(
    redescent: Any, logs: Path
) -> None:
    redescent("submit", "smoke", "hydra/launcher=local", *MIXED, "--wait", check=False)
    done_id, failed = cells(logs)["done"], cells(logs)["failed"]
    text = redescent("why", done_id[:12]).stdout
    assert "done: trained to its end" in text
    assert "last rows" in text
    assert "test_error" in text
    assert "trainer.precision=float32" in text
    assert "trainer.weights_at=null" in text
    assert "run.compile=false" in text
    text = redescent("why", failed[3:12]).stdout
    assert "what next  fix the error in the traceback" in text
    assert "Traceback" in text
    assert "RuntimeError: trainer.precision=float16 needs a GPU" in text
    assert "failed (error)" in text
    output = redescent("logs", done_id[:12], "--lines", "60").stdout
    *_, last, hint = output.splitlines()
    assert f"cell {done_id}: done after 1 epoch" in last
    assert "is done; `redescent why" in hint
    *_, last, hint = redescent("logs", failed, "--lines", "60").stdout.splitlines()
    assert "RuntimeError: trainer.precision=float16 needs a GPU" in last
    assert "is failed; `redescent why" in hint


def test_logs_end_with_the_cell_and_why_lists_the_killed_attempt(
    redescent: Any, logs: Path
) -> None:
    long = ("seeds=[0]", "trainer.epochs=100000", "trainer.seconds=0.1")
    redescent("submit", "noop", "hydra/launcher=local", *long)
    (process,) = (json.loads(path.read_text())["pid"] for path in logs.rglob("local.json"))
    wait_for(lambda: store.runs(logs / "noop")["status"].eq("running").any(), "a running cell")
    cell = store.runs(logs / "noop")["cell"].item()
    assert "--follow` prints its job's output" in redescent("why", cell).stdout
    os.kill(process, signal.SIGTERM)
    followed = redescent("logs", cell, "--follow").stdout  # its last 20 lines, and what comes after
    assert f"cell {cell}: stopped after" in followed
    assert "is interrupted; `redescent why" in followed
    assert "stopped (terminated)" in redescent("why", cell).stdout


@pytest.mark.parametrize("is_open", [True, False])
def test_only_the_last_attempt_of_a_cell_may_run(
    monkeypatch: pytest.MonkeyPatch, is_open: bool
) -> None:
    rows = [{"attempt": number, "status": "running"} for number in (1, 2)]
    monkeypatch.setattr(attempts.store, "records", lambda *_: rows)
    killed, last = attempts.load_records(Path("demo"), "c1-0", is_open)
    assert killed.ending == "no final record: killed, or its node was lost"
    assert (last.ending == "running") == is_open


@pytest.mark.parametrize("is_cancelled", [True, False])
def test_a_cancelled_cell_that_still_trains_is_told_as_that(is_cancelled: bool) -> None:
    place = Placement("s", 0, 1, True, cancelled=is_cancelled)
    cell = CellState("c1-0", "running", Record("running", 1), place)
    text = explanation.advice(SimpleNamespace(folder=Path("demo")), cell)
    assert text.startswith("it was cancelled") == is_cancelled
    assert ("it saves and stops after its present step" in text) == is_cancelled


@pytest.mark.parametrize(("state", "is_open"), [("SUSPENDED", True), ("PENDING", False)])
def test_a_suspended_attempt_has_not_ended(state: str, is_open: bool) -> None:
    cell = CellState("c1-0", "waiting", Record("running", 1), Placement("s", 0, 1, True))
    task = Task("7", 0, "demo", state)
    sweep = SimpleNamespace(cells={"c1-0": cell}, task_of=lambda _: task)
    assert attempts._is_open(sweep, "c1-0") == is_open


def test_logs_of_a_cell_without_output_says_so(
    redescent: Callable[..., Any], logs: Path, plan_of: Callable[..., Any], cell_ids: Sequence[str]
) -> None:
    plan_of().write(logs / "demo")
    cell = cell_ids[0]
    output = redescent("logs", cell, check=False).stderr
    assert (
        f"error: {cell}: missing, and none of its jobs has written output; `redescent why "
        f"{cell[:11]} --sweep demo` explains the cell" in output
    )
    assert "missing: planned, but never started" in redescent("why", cell).stdout


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("slurmdbd: error\n", []),
        ("5_1|RUNNING|2026-01-02T03:04:06|Unknown|n2|0:0\n5_1|REQUEUED|2026-01-02T03:04:05|2026-01-02T03:04:06|n1|0:0\n",
         [Execution("5_1", "REQUEUED", "2026-01-02T03:04:05", "2026-01-02T03:04:06", "n1", "0:0"),
          Execution("5_1", "RUNNING", "2026-01-02T03:04:06", "", "n2", "0:0")]),
        ("5_1|CANCELLED by 0|Unknown|2026-01-02T03:04:06|None assigned|0:0\n",
         [Execution("5_1", "CANCELLED", "", "2026-01-02T03:04:06", "", "0:0")]),
    ],
)  # fmt: skip
def test_the_executions_of_a_task_are_read_from_accounting_oldest_first(
    text: str, expected: list[Execution]
) -> None:
    assert parse_history(text) == expected


def test_a_requeue_for_other_cells_of_its_task_is_no_attempt_at_a_finished_cell() -> None:
    placements = [CellPlacement("S1", 1, "5_0")]
    executions = [Execution("5_0", "NODE_FAIL"), Execution("5_0", "COMPLETED")]
    done = RunRecord(1, "done", None, "n1", None, 3, 30)
    in_accounting = from_accounting(placements, executions, [done.attempt])
    assert [attempt.number for attempt in in_accounting] == [1]
    unfinished = from_accounting(placements, executions)
    assert [attempt.number for attempt in unfinished] == [1, 2]
    again = [*placements, CellPlacement("S2", 2, "6_0")]
    executions.append(Execution("6_0", "COMPLETED"))
    both = from_accounting(again, executions, [1, 2])
    assert [attempt.execution.job for attempt in both] == ["5_0", "6_0"]
