"""From arrays and the schedulers' answers to the tasks and the places of cells; no process runs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from launch.cli.logs import output as newest_job_output
from launch.errors import UserError
from launch.plan import Plan, PlannedCell, files, jobs
from launch.plan.jobs import NEVER_SENT, Array
from launch.report.explanation import advice
from launch.report.notes import next_steps, without_new_result
from launch.report.overview import is_live, load_overview
from launch.scheduler import backend, slurm
from launch.scheduler.slurm import Queue, Task
from launch.status import sweep_files, sweep_state
from launch.status.answers import Answers
from launch.status.attempts import placements_of
from launch.status.cell_state import CellState, Placement, Record, cell_states
from launch.status.silent_ends import silent_ends
from launch.status.sweep_files import UNANSWERED_SECONDS, Lookup, settle
from launch.status.sweep_state import SweepState, TrainedAgain, may_run, place_cells, trained_again
from launch.status.waiting import never_starts
from launch.submit import canary, submission
from launch.submit.cancel import cancel
from launch.submit.selection import select_cells
from launch.sweep.request import Cell

SENT = 1000.0
PENDING = Array("demo.S.0", 0, 3, SENT)
LATER = SENT + UNANSWERED_SECONDS + 1


@pytest.mark.parametrize(
    ("jobs", "complete", "now", "delivery"),
    [
        ({"demo.S.0": "5"}, True, SENT, "sent"),
        ({"demo.S.0": "5"}, False, LATER, "sent"),
        ({"demo.other.0": "5"}, True, LATER, "refused"),
        ({}, True, SENT + UNANSWERED_SECONDS - 1, "pending"),
        ({}, True, SENT - UNANSWERED_SECONDS - 1, "refused"),  # a clock that was set back
        ({}, False, LATER, "pending"),
    ],
)
def test_a_lost_answer_is_settled_by_name_or_by_time(
    jobs: dict[str, str], complete: bool, now: float, delivery: str
) -> None:
    (array,) = settle([PENDING], Lookup(jobs, complete, NEVER_SENT), now)
    assert array.delivery == delivery


def test_each_array_is_waited_for_since_it_was_sent() -> None:
    arrays = [Array("a", 0, 1, SENT), Array("b", 1, 1, LATER - 1)]
    first, second = settle(arrays, Lookup({}, True, NEVER_SENT), LATER)
    assert (first.delivery, second.delivery) == ("refused", "pending")


def test_an_array_that_was_answered_is_left_as_it_is() -> None:
    arrays = [Array("a", 0, 1, SENT, "7"), Array("b", 1, 1, SENT, error="full")]
    assert settle(arrays, Lookup({"a": "8", "b": "9"}, True, NEVER_SENT), LATER) == arrays


@pytest.mark.parametrize(
    ("array", "task", "silent", "live"),
    [
        (Array("a", 0, 1, SENT, "7"), Task("7", 0, "a", "PENDING"), False, True),
        (Array("a", 0, 1, SENT, "7"), Task("7", 0, "a", "FAILED"), False, False),
        (Array("a", 0, 1, SENT, "7"), None, False, False),
        (Array("a", 0, 1, SENT, "7"), None, True, None),
        (PENDING, None, False, None),
        (Array("a", 0, 1, SENT, error="full"), None, True, False),
    ],
)
def test_a_task_may_run_unless_its_scheduler_denies_it(
    array: Array, task: Task | None, silent: bool, live: bool | None
) -> None:
    assert may_run(array, task, silent=silent) is live


@pytest.mark.parametrize(
    ("task", "is_live"),
    [
        (Task("7", 0, "a", "RUNNING"), True),
        (Task("7", 0, "a", "COMPLETING", ended_seconds=1.0), True),  # its processes save now
        (Task("7", 0, "a", "COMPLETING", ended_seconds=600.0), False),
        (Task("7", 0, "a", "PENDING"), False),
    ],
)
def test_a_cancelled_cell_is_live_only_while_it_trains(
    plan_of: Callable[..., Plan], cell_ids: Sequence[str], task: Task, is_live: bool
) -> None:
    first, second, third = cell_ids
    plan = plan_of(tasks=[[0, 1, 2]])
    places = place_cells(
        [plan],
        {plan.sid: [Array("a", 0, 1, SENT, "7")]},
        Answers({(plan.sid, 0): task}, []),
        {plan.sid: {first, second}},
        {first: Record("running", 1), second: Record("stopped", 1)},
    )
    live = {cell: (place.live, place.cancelled) for cell, (place,) in places.items()}
    assert live == {first: (is_live, True), second: (False, True), third: (True, False)}


@pytest.mark.parametrize(
    ("worker", "host", "delivery"),
    [
        (False, "here", "refused"),
        (True, "here", "pending"),
        (None, "here", "pending"),
        (False, "elsewhere", "pending"),
    ],
)
def test_a_local_submission_that_died_is_known_at_once_on_its_machine(
    plan_of: Callable[..., Plan],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    worker: bool | None,
    host: str,
    delivery: str,
) -> None:
    monkeypatch.setattr(sweep_files.socket, "gethostname", lambda: "here")
    monkeypatch.setattr(sweep_files.backend, "has_worker_process", lambda _: worker)
    plan = plan_of(backend="local", host=host, user=files.user_name(os.getuid()))
    lookup = sweep_files._look_up_here(plan, tmp_path, ["demo.S.0"])
    (array,) = settle([PENDING], lookup, SENT + 1)
    assert array.delivery == delivery


def test_a_worker_process_is_found_by_the_file_of_its_plan(plan_of: Callable[..., Plan]) -> None:
    plan = plan_of()
    assert backend.has_worker_process(plan) is False
    program = "import sys; print(flush=True); sys.stdin.read()"
    words = ["launch.job", f"/logs/demo/submissions/{plan.sid}/plan.json"]
    process = subprocess.Popen(
        [sys.executable, "-c", program, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()
        assert backend.has_worker_process(plan) is True
    finally:
        process.communicate()


def ended(plan: Plan, folder: Path, record: Record | None, job: str = "7") -> SweepState:
    """A sweep whose three tasks have ended, of which one cell may have a record."""
    arrays = {plan.sid: [Array("a", 0, len(plan.tasks), SENT, job)]}
    records = {plan.cells[0].id: record} if record else {}
    places = place_cells([plan], arrays, Answers({}, []), {plan.sid: set()}, records)
    cells = {cell.id: cell for cell in cell_states(places, records)}
    return SweepState(folder, [plan], arrays, cells, pd.DataFrame(), [], {})


def test_a_task_without_a_record_is_told_by_its_output(
    plan_of: Callable[..., Plan], tmp_path: Path
) -> None:
    plan = plan_of(tasks=[[0], [1], [2]])
    output = plan.write(tmp_path).parent / "output"
    output.mkdir()
    (output / "7_0_0_log.out").write_text(
        "start\nsrun: error: n1: task 0: Exited with exit code 1\n"
    )
    (output / "7_0_0_log.err").write_text("")
    (output / "7_1_0_log.out").write_text("x\nOSError: [Errno 28] No space left\nnot compacted\n")
    ends = silent_ends(ended(plan, tmp_path, None))
    ids = [cell.id for cell in plan.cells]
    assert sorted((end.line, *end.cells) for end in ends) == [
        ("", ids[2]),
        ("OSError: [Errno 28] No space left", ids[1]),
        ("start", ids[0]),
    ]
    assert "it wrote no output" in next(end.cause for end in ends if not end.line)
    with_record = silent_ends(ended(plan, tmp_path, Record("stopped", 1)))
    assert [cell for end in with_record for cell in end.cells if cell == ids[0]] == []
    assert len(silent_ends(ended(plan, tmp_path, Record("stopped", 0)))) == 3
    assert len(silent_ends(ended(plan, tmp_path, Record("running", 1)))) == 3, "it was killed"
    for error_class, count in (("timeout", 3), ("preempted", 3), ("cancelled", 2)):
        stopped = ended(plan, tmp_path, Record("stopped", 1, error_class))
        assert len(silent_ends(stopped)) == count, "it was to be requeued"
        told = advice(stopped, stopped.cells[ids[0]])
        assert ("its output ends with: start" in told) == (count == 3)


@pytest.mark.parametrize(
    ("attempt", "task", "expected"),
    [
        (1, None, TrainedAgain(ended=["c1-0"])),
        (1, Task("5", 0, "n", "COMPLETED"), TrainedAgain(ended=["c1-0"])),
        (1, Task("5", 0, "n", "PENDING"), TrainedAgain(going_on=["c1-0"])),
        (1, Task("5", 0, "n", "RUNNING"), TrainedAgain(going_on=["c1-0"])),
        (2, None, TrainedAgain()),
    ],
)
def test_a_done_cell_that_trains_again_or_did_without_a_result_is_named(
    plan_of: Callable[..., Plan], attempt: int, task: Task | None, expected: TrainedAgain
) -> None:
    again = plan_of(cells=[PlannedCell("c1-0", 0, {}, 1)], tasks=[[0]], rerun=True)
    record = Record("done", attempt)
    cells = {"c1-0": CellState("c1-0", "done", record, Placement(again.sid, 0, 2, None))}
    tasks = {} if task is None else {(again.sid, 0): task}
    runs = pd.DataFrame([{"cell": "c1-0", "status": "done", "attempt": attempt}])
    arrays = {again.sid: [Array("demo.0", 0, 1, SENT, "5")]}
    state = SweepState(Path("logs/demo"), [again], arrays, cells, runs, [], tasks)
    assert as_lists(trained_again(state)) == as_lists(expected)
    assert as_lists(trained_again(state, "another")) == as_lists(TrainedAgain())
    assert is_live(state) is bool(expected.going_on)
    silent = replace(state, silent=[again.sid])
    unknown = TrainedAgain(unknown=["c1-0"] if attempt == 1 else [])
    assert as_lists(trained_again(silent)) == as_lists(unknown)
    assert is_live(silent) is (attempt == 1)
    assert not is_live(silent, "another")
    refused = replace(state, arrays={again.sid: [replace(arrays[again.sid][0], error="no")]})
    assert as_lists(trained_again(refused)) == as_lists(TrainedAgain())
    cancelled = replace(state, cancelled={again.sid: ["c1-0"]})
    without_result = TrainedAgain(cancelled=["c1-0"] if attempt == 1 else [])
    assert as_lists(trained_again(cancelled)) == as_lists(without_result)
    assert not is_live(cancelled)


def as_lists(again: TrainedAgain) -> list[list[str]]:
    return [list(again.going_on), list(again.unknown), list(again.ended), list(again.cancelled)]


def test_a_refused_submission_does_not_hide_one_that_trains_again(
    plan_of: Callable[..., Plan],
) -> None:
    plan = plan_of(cells=[PlannedCell("c1-0", 0, {}, 1)], tasks=[[0]], rerun=True)
    first, second = plan, replace(plan, sid="20260102T030406-0a1b2c3d")
    sent = Array("demo.0", 0, 1, SENT, "5")
    refused = Array("demo.1", 0, 1, SENT, error="the partition is full")
    record = Record("done", 1)
    cells = {"c1-0": CellState("c1-0", "done", record, Placement(second.sid, 0, 2, False))}
    runs = pd.DataFrame([{"cell": "c1-0", "status": "done", "attempt": 1}])
    arrays = {first.sid: [sent], second.sid: [refused]}
    running = {(first.sid, 0): Task("5", 0, "demo.0", "RUNNING")}
    state = SweepState(Path("logs/demo"), [first, second], arrays, cells, runs, [], running)
    assert list(trained_again(state).going_on) == ["c1-0"]
    with_result = replace(state, tasks={}, runs=runs.assign(attempt=2))
    assert as_lists(trained_again(with_result)) == as_lists(TrainedAgain())


def test_what_trains_again_is_not_sent_again_and_can_be_cancelled(
    plan_of: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch, logs: Path
) -> None:
    plan = plan_of(tasks=[[0, 1, 2]], rerun=True)
    plan.write(logs / "demo")
    jobs.write(plan, logs / "demo", [Array("demo.0", 0, 1, SENT, "5")])
    pending = Task("5", 0, "demo.0", "PENDING", "PartitionTimeLimit")
    monkeypatch.setattr(slurm, "queue", lambda names: Queue([pending]))
    monkeypatch.setattr(slurm, "accounting", lambda names: [])
    ended: list[str] = []
    monkeypatch.setattr(slurm, "cancel", lambda ids: ended.extend(ids) or "")
    records = {cell.id: Record("done", cell.attempts) for cell in plan.cells}
    for module in (sweep_files, sweep_state):
        monkeypatch.setattr(module, "records_of", lambda runs: records)
    state = sweep_state.load_sweep_state(logs / "demo")
    request = SimpleNamespace(
        cells=[Cell(cell.id, {}) for cell in plan.cells], again=(), code="c0de", launcher=None
    )
    selection = select_cells(request, state, retry_errors=True, rerun=True)
    assert (selection.ids, selection.training_again) == ([], 3)
    silent = replace(state, silent=[plan.sid])
    unsure = select_cells(request, silent, retry_errors=True, rerun=True)
    assert (unsure.ids, unsure.states) == ([], {"unknown": 3})
    assert [wait.cells for wait in never_starts(state)] == [3]
    what_next = advice(state, state.cells[plan.cells[0].id])
    assert "it will never start" in what_next
    assert (
        "then `redescent submit demo --again` with the same overrides and conditions, and a shorter"
        in what_next
    )
    cancelled = cancel(logs / "demo")
    assert (cancelled.cells, cancelled.done) == (3, 3)
    assert ended
    left = sweep_state.load_sweep_state(logs / "demo")
    assert len(trained_again(left).cancelled) == 3
    assert "once more was cancelled" in advice(left, left.cells[plan.cells[0].id])
    (note,) = without_new_result(load_overview(left))
    assert note.sentence.startswith("3 done cells were cancelled while training again")


def test_a_refused_submission_says_why(
    plan_of: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch, logs: Path
) -> None:
    plan = plan_of(tasks=[[0], [1], [2]])
    plan.write(logs / "demo")
    refused = Array("demo.0", 0, 3, SENT, error="invalid partition specified: nope")
    jobs.write(plan, logs / "demo", [refused])
    monkeypatch.setattr(slurm, "queue", lambda names: Queue([]))
    monkeypatch.setattr(slurm, "accounting", lambda names: [])
    state = sweep_state.load_sweep_state(logs / "demo")
    why = (
        "invalid partition specified: nope; `redescent resume demo hydra.launcher.KEY=VALUE` sends "
        "them with the setting that it accepts"
    )
    assert advice(state, state.cells[plan.cells[0].id]) == f"the scheduler refused it: {why}"
    notes = [note.sentence for note in next_steps(load_overview(state))]
    assert f"the scheduler refused the newest submission: {why}" in notes
    accepted = Array("demo.0", 0, 1, SENT, "5")
    later = Array("demo.1", 1, 2, SENT, error="the partition is full")
    jobs.write(plan, logs / "demo", [accepted, later])
    partly = sweep_state.load_sweep_state(logs / "demo")
    first, second, _ = (advice(partly, partly.cells[cell.id]) for cell in plan.cells)
    assert "refused" not in first
    assert second.startswith("the scheduler refused it: the partition is full")
    jobs.write(plan, logs / "demo", [replace(refused, error=jobs.NEVER_SENT)])
    unsent = sweep_state.load_sweep_state(logs / "demo")
    assert "refused" not in " ".join(note.sentence for note in next_steps(load_overview(unsent)))


def test_a_canary_waits_for_cells_that_are_done_and_trained_again(
    plan_of: Callable[..., Plan],
) -> None:
    again = plan_of(cells=[PlannedCell("c1-0", 0, {}, 1)], tasks=[[0]], rerun=True)
    arrays = {again.sid: [Array("demo.0", 0, 1, SENT, "7")]}
    record = Record("done", 1)
    for live, known in ((True, ["7"]), (None, ["7"]), (False, [])):
        cell = CellState("c1-0", "done", record, Placement(again.sid, 0, 2, live))
        state = SweepState(
            Path("logs/demo"), [again], arrays, {"c1-0": cell}, pd.DataFrame(), [], {}
        )
        assert canary.running_jobs(state, [Cell("c1-0", {})]) == known


@pytest.mark.parametrize("record", [None, Record("done", 1)])
def test_a_canary_whose_jobs_are_not_known_sends_nothing_else(
    plan_of: Callable[..., Plan], record: Record | None, logs: Path
) -> None:
    plan = plan_of(cells=[PlannedCell("c1-0", 0, {}, 1)], tasks=[[0]], rerun=True)
    arrays = {plan.sid: [Array("demo.0", 0, 1, SENT)]}
    state_name = "done" if record else "unknown"
    cell = CellState("c1-0", state_name, record, Placement(plan.sid, 0, 2, None))
    rows = [{"cell": "c1-0", "status": "done", "attempt": 1}] if record else []
    state = SweepState(
        logs / "demo" / "calibration", [plan], arrays, {"c1-0": cell}, pd.DataFrame(rows), [], {}
    )
    assert canary.running_jobs(state, [Cell("c1-0", {})]) == []
    request = SimpleNamespace(folder=logs / "demo", packing=SimpleNamespace(at_a_time=1))
    with pytest.raises(UserError, match="it is not known whether SLURM accepted its cells"):
        submission._error_of_canary(request, state, {"c1-0"})
    assert submission._error_of_canary(request, state, set()) is None


def test_a_refused_submission_is_no_attempt(plan_of: Callable[..., Plan], logs: Path) -> None:
    first = plan_of(cells=[PlannedCell("c1-0", 0, {}, 0)], tasks=[[0]])
    second = replace(first, sid="20260102T030406-0a1b2c3d")
    arrays = {
        first.sid: [Array("demo.0", 0, 1, SENT, "5")],
        second.sid: [Array("demo.1", 0, 1, SENT, error="the partition is full")],
    }
    state = SweepState(logs / "demo", [first, second], arrays, {}, pd.DataFrame(), [], {})
    assert [place.job for place in placements_of(state, "c1-0")] == ["5_0"]
    output = first.folder(logs / "demo") / "output"
    output.mkdir(parents=True)
    (output / "5_0_0_log.out").write_text("trained")
    assert newest_job_output(state, "c1-0") == output / "5_0_0_log.out"
