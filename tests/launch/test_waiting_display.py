"""Progress while a command waits: the estimate, lines without a terminal, output above a bar."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from launch.cli import progress, wait
from launch.plan import Plan, PlannedCell
from launch.scheduler.slurm import Task
from launch.status import summary, sweep_state
from launch.status.cell_state import CellState, Placement, Record
from launch.status.pace import Pace, duration_text
from launch.status.sweep_state import SweepState

EPOCHS, EPOCH_SECONDS = 100, 2.0


def planted_runs(flat: Mapping[str, Any], seconds: float, cells: int, at_a_time: int) -> Any:
    """The runs table of a steady sweep after some seconds: cells train `at_a_time` at a time, and
    their parts are a minute old at most.
    """
    rows = []
    for number in range(cells):
        start = number // at_a_time * EPOCHS * EPOCH_SECONDS
        trained = min(max(seconds - start, 0.0), EPOCHS * EPOCH_SECONDS)
        if 0 < trained < EPOCHS * EPOCH_SECONDS:
            trained = trained // 60 * 60
        epochs = int(trained / EPOCH_SECONDS)
        status = "done" if epochs == EPOCHS else "running" if epochs else "missing"
        row = {"cell": f"c1-{number:08d}", "status": status, "epochs": epochs or None}
        rows.append({**flat, **row, "trainer.epochs": EPOCHS, "seconds": trained or None})
    return pd.DataFrame(rows)


@pytest.mark.parametrize(("cells", "at_a_time"), [(8, 2), (75, 4), (6, 1)])
def test_the_time_left_is_within_a_third_after_a_quarter_of_a_steady_sweep(
    cells: int, at_a_time: int, flat: Mapping[str, Any]
) -> None:
    whole = -(-cells // at_a_time) * EPOCHS * EPOCH_SECONDS
    pace = Pace()
    seconds = 0.0
    while seconds < 0.95 * whole:
        pace.add(seconds, summary.share_done(planted_runs(flat, seconds, cells, at_a_time)))
        if seconds > whole / 4:
            left = pace.seconds_left(seconds)
            assert left is not None
            assert left == pytest.approx(whole - seconds, rel=1 / 3, abs=60), seconds
        seconds += whole / 40


@pytest.mark.parametrize(("cells", "at_a_time"), [(8, 2), (75, 4)])
def test_status_expects_the_end_within_a_third_of_the_time_left(
    cells: int, at_a_time: int, flat: Mapping[str, Any], plan_of: Callable[..., Plan]
) -> None:
    whole = -(-cells // at_a_time) * EPOCHS * EPOCH_SECONDS
    seconds = 0.3 * whole
    runs = planted_runs(flat, seconds, cells, at_a_time)
    planned = [PlannedCell(cell, 0, {}, 0) for cell in runs["cell"]]
    plan = plan_of(cells=planned, tasks=[[number] for number in range(cells)])
    states, tasks = {}, {}
    first = int(seconds // (EPOCHS * EPOCH_SECONDS)) * at_a_time
    for number, cell in enumerate(runs["cell"]):
        place = Placement(plan.sid, number, 1, number >= first)
        record = Record("done", 1) if number < first else None
        is_running = first <= number < first + at_a_time
        name: Any = "done" if number < first else "running" if is_running else "waiting"
        states[cell] = CellState(cell, name, record, place)
        if number >= first:
            word = "RUNNING" if is_running else "PENDING"
            tasks[plan.sid, number] = Task("5", number, "n", word)
    state = SweepState(Path("logs/demo"), [plan], {}, states, runs, [], tasks)
    end = summary.summarise(state, runs).end
    assert end == pytest.approx(whole - seconds, rel=1 / 3)


def test_nothing_is_said_about_the_end_before_something_is_trained() -> None:
    pace = Pace()
    assert pace.seconds_left(0.0) is None
    pace.add(0.0, 0.5)
    pace.add(10.0, 0.5)
    assert pace.seconds_left(10.0) is None
    pace.add(20.0, 0.75)
    assert pace.seconds_left(20.0) == pytest.approx(20.0)
    assert pace.seconds_left(1000.0) is None
    assert [duration_text(value) for value in (40, 700, 12000)] == ["40 s", "12 min", "3 h 20 min"]


def test_a_line_a_minute_is_printed_without_a_terminal(
    flat: Mapping[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    clock = [0.0]
    lines = progress.Lines(clock=lambda: clock[0])
    for second in range(0, 201, 5):
        clock[0] = float(second)
        lines.show(planted_runs(flat, second, 2, 2))
    output = [line.partition("  ")[2] for line in capsys.readouterr().out.splitlines()]
    assert output[0] == "30 %, 0/2 cells, about 2 min left"
    assert output[-1] == "100 %, 2/2 cells"
    assert len(output) == 4


def test_a_search_has_a_line_at_the_end_of_every_round(
    flat: Mapping[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    lines = progress.Lines(clock=lambda: 0.0)
    for cells, search_round in ((2, 1), (3, 2), (3, 2)):
        for seconds in (0.0, EPOCHS * EPOCH_SECONDS):
            lines.show(planted_runs(flat, seconds, cells, cells), search_round)
    output = [line.partition("  ")[2] for line in capsys.readouterr().out.splitlines()]
    assert output == ["round 1: 2/2 trainings so far", "round 2: 3/3 trainings so far"]


def test_cells_that_no_job_trains_are_no_part_of_the_progress(
    flat: Mapping[str, Any],
    plan_of: Callable[..., Plan],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    runs = planted_runs(flat, EPOCHS * EPOCH_SECONDS, 4, 2)
    states = {}
    for cell, name in zip(runs["cell"], runs["status"], strict=True):
        record = Record("done", 1) if name == "done" else None
        states[cell] = CellState(cell, name, record, Placement("s", 0, 1, False))
    state = SweepState(Path("logs/demo"), [plan_of()], {}, states, runs, [], {})
    monkeypatch.setattr(sweep_state, "load_sweep_state", lambda folder: state)
    assert not wait.wait_until_end(state.folder)
    assert capsys.readouterr().out.partition("  ")[2] == "100 %, 2/2 cells\n"


def test_what_processes_write_to_standard_error_goes_above_the_bar() -> None:
    lines: list[str] = []
    with progress._lines_of_stderr(lines.append):
        os.write(2, b"one\ntwo \xff\n")
        os.system("echo three >&2")
    assert lines == ["one", "two \ufffd", "three"]


def test_cells_of_this_process_are_shown_by_their_output_without_a_terminal(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with progress.foreground(tmp_path):
        os.write(2, b"a line\n")
    assert capfd.readouterr().err == "a line\n"
