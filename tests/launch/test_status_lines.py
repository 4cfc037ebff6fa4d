"""What `status` and `list` say beside the states: a metric, what runs, the next command."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from socket import gethostname
from types import SimpleNamespace
from typing import Any

import pytest

from analysis import store
from launch.cli import machine
from launch.cli import status as views
from launch.errors import UserError
from launch.plan import Plan, PlannedCell, jobs
from launch.plan.identity import cell_id
from launch.plan.jobs import Array
from launch.report import drawing, headline
from launch.report.drawing import SCRIPTS, SCRIPTS_OF_MEASURES, drawing_command
from launch.report.explanation import advice
from launch.report.notes import SHOWN_FAILURES, next_steps
from launch.report.overview import load_overview
from launch.report.running import RunningTask, running_tasks, running_text
from launch.report.sweeps import load_sweeps
from launch.scheduler import slurm
from launch.scheduler.slurm import Queue, Task
from launch.status import answers, sweep_files, sweep_state
from launch.status.cell_state import Record

OLD_LOGS = Path(__file__).parent / "old_logs"
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[str]]:
    """The names of each query of the queue, which answers that one task runs."""
    queries: list[Sequence[str]] = []

    def queue(names: Sequence[str]) -> Queue:
        queries.append(list(names))
        return Queue([Task("7", 0, names[0], "RUNNING", node="n1")] if names else [])

    monkeypatch.setattr(slurm, "queue", queue)
    monkeypatch.setattr(slurm, "accounting", lambda names: [])
    return queries


def sent(plan: Plan, folder: Path, name: str) -> None:
    plan.write(folder)
    jobs.write(plan, folder, [Array(name, 0, len(plan.tasks), 1.0, "7")])


def test_list_asks_slurm_once_for_all_sweeps(
    logs: Path, plan_of: Callable[..., Plan], asked: list[Sequence[str]]
) -> None:
    for name in ("one", "two", "three"):
        sent(plan_of(), logs / name, name)
    assert {line.name for line in load_sweeps(logs)} == {"one", "two", "three"}
    assert asked == [["one", "three", "two"]]


def test_list_does_not_know_how_much_is_done_where_slurm_is_silent(
    logs: Path, plan_of: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    sent(plan_of(), logs / "one", "one")
    monkeypatch.setattr(slurm, "queue", lambda names: Queue(None, "squeue: error: no"))
    (line,) = load_sweeps(logs)
    assert (line.done, line.states()) == ("unknown", "3 unknown")


@pytest.mark.parametrize(
    ("error", "others", "sentence"),
    [
        ("", [], "the scheduler does not answer about 1 submission; its cells may be running"),
        (
            "squeue: error: no",
            ["20260102T030405-0a1b2c3e"],
            "the scheduler does not answer about 2 submissions (squeue: error: no); their cells "
            "may be running",
        ),
    ],
)
def test_status_says_why_the_scheduler_does_not_answer(
    error: str,
    others: list[str],
    sentence: str,
    logs: Path,
    plan_of: Callable[..., Plan],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for plan in (plan_of(), *(plan_of(sid=sid) for sid in others)):
        sent(plan, logs / "one", f"one.{plan.sid}")
    monkeypatch.setattr(slurm, "queue", lambda names: Queue(None, error))
    overview = load_overview(sweep_state.load_sweep_state(logs / "one"))
    assert next_steps(overview)[-1].sentence == sentence


def test_an_unconfirmed_submission_is_not_taken_for_a_silent_scheduler(
    logs: Path, plan_of: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm, "queue", lambda names: Queue([]))
    monkeypatch.setattr(slurm, "accounting", lambda names: [])
    plan = plan_of()
    plan.write(logs / "one")
    jobs.write(plan, logs / "one", [Array("one", 0, len(plan.tasks), time.time())])
    state = sweep_state.load_sweep_state(logs / "one")
    what_next = "`redescent resume one`, two minutes after the jobs were sent, finds"
    assert next_steps(load_overview(state))[-1].sentence.startswith(
        f"the scheduler has not confirmed 1 submission yet: {what_next}"
    )
    assert what_next in advice(state, state.cells[plan.cells[0].id])
    silent = replace(state, silent=[plan.sid])
    assert "does not answer" in next_steps(load_overview(silent))[-1].sentence
    assert "until the scheduler answers" in advice(silent, silent.cells[plan.cells[0].id])


@pytest.mark.parametrize("state", ["PENDING", "RUNNING", None])
def test_status_says_that_done_cells_train_again(
    logs: Path,
    plan_of: Callable[..., Plan],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    state: str | None,
) -> None:
    base = {"model.width": 4, "trainer.name": "vision", "seed": 0}
    cells = [PlannedCell(cell_id({**base, "seed": i}), 0, {"seed": i}, 1) for i in range(3)]
    plan = plan_of(bases=[base], cells=cells, tasks=[[0, 1, 2]], rerun=True)
    sent(plan, logs / "one", "one")
    records = {cell.id: Record("done", cell.attempts) for cell in plan.cells}
    tasks = [Task("7", 0, "one", state)] if state else []
    monkeypatch.setattr(slurm, "queue", lambda names: Queue(tasks))
    monkeypatch.setattr(slurm, "accounting", lambda names: [])
    for module in (sweep_files, sweep_state):
        monkeypatch.setattr(module, "records_of", lambda runs: records)
    overview = load_overview(sweep_state.load_sweep_state(logs / "one"))
    sentences = [note.sentence for note in next_steps(overview)]
    again = [sentence for sentence in sentences if "again" in sentence]
    cell = plan.cells[0].id[:11]
    expected = (
        "3 done cells queued or training again; earlier results stay until new ones are complete"
        if state
        else "3 cells without a new result: the earlier ones stay; "
        f"`redescent logs {cell} --sweep one` shows why, and `redescent submit` with --again and "
        "the same overrides sends them once more"
    )
    assert again == [expected]
    assert any("not over" in sentence for sentence in sentences) is (state is not None)
    document = json.loads(json.dumps(machine.status(overview)["trained_again"], default=vars))
    ids = [cell.id for cell in cells]
    assert document == {
        "going_on": ids if state else [],
        "unknown": [],
        "ended": [] if state else ids,
        "cancelled": [],
    }
    views.print_failures(logs / "one")
    shown = " ".join(capsys.readouterr().out.split())
    assert shown == ("one: no cell failed" if state else expected)
    (line,) = load_sweeps(logs)
    assert line.states().endswith("3 training again") is (state is not None)
    assert any(sentence.startswith("complete: ") for sentence in sentences) is (state is None)


@pytest.mark.parametrize("view", [views.print_failures, views.print_status])
def test_a_long_error_is_shortened(
    logs: Path,
    plan_of: Callable[..., Plan],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    view: Callable[[Path], None],
) -> None:
    plan = plan_of()
    sent(plan, logs / "one", plan.name)
    error = "ValueError: found " + "1 " * 2500
    records = {cell.id: Record("failed", 1, "error", error) for cell in plan.cells}
    for module in (sweep_files, sweep_state):
        monkeypatch.setattr(module, "records_of", lambda runs: records)
    monkeypatch.setattr(slurm, "queue", lambda names: Queue([]))
    monkeypatch.setattr(slurm, "accounting", lambda names: [])
    view(logs / "one")
    shown = " ".join(capsys.readouterr().out.split())
    assert "ValueError: found 1 1 1" in shown
    assert re.search(r"1 1\.\.\.; .*redescent why", shown)
    assert len(shown) < 1500


@pytest.mark.parametrize(("more", "line"), [(1, "and 1 other error:"), (2, "and 2 other errors:")])
def test_status_counts_the_errors_that_it_does_not_show(more: int, line: str) -> None:
    failure = SimpleNamespace(cells=["c1-0"], kind="error", error="ValueError: no")
    failures = [failure] * (SHOWN_FAILURES + more)
    overview: Any = SimpleNamespace(name="one", summary=SimpleNamespace(failures=failures))
    assert str(views._failures(overview)[-1]).startswith(line)


def test_watching_asks_the_scheduler_every_ten_seconds_at_most(
    logs: Path,
    plan_of: Callable[..., Plan],
    asked: list[Sequence[str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    clock = [0.0]

    def sleep(seconds: float) -> None:
        clock[0] += seconds
        if clock[0] > 40:
            raise KeyboardInterrupt

    sent(plan_of(), logs / "one", "one")
    monkeypatch.setattr(answers.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(views.time, "sleep", sleep)
    with pytest.raises(SystemExit):
        views.watch(logs / "one", 5.0)
    assert len(asked) == 5
    assert capsys.readouterr().out.count("every 5 s; Ctrl-C") == 9, "a pipe has each refresh"


def test_status_names_what_runs(
    logs: Path, plan_of: Callable[..., Plan], asked: list[Sequence[str]]
) -> None:
    sent(plan_of(), logs / "one", "one")
    state = sweep_state.load_sweep_state(logs / "one")
    assert running_tasks(state) == [RunningTask("job 7_0", "n1")]
    many = [RunningTask(f"job 7_{number}", "n1") for number in range(6)]
    assert running_text(many) == (
        "job 7_0 on n1, job 7_1 on n1, job 7_2 on n1, job 7_3 on n1 and 2 other tasks"
    )
    assert running_text([]) == ""


def test_status_shows_the_main_metric_or_the_one_that_is_named(logs: Path) -> None:
    shutil.copytree(OLD_LOGS / "smoke", logs / "smoke")

    def headline_of(metric: str | None = None) -> headline.Headline | None:
        columns = headline.headline_columns(metric)
        state = sweep_state.load_sweep_state(logs / "smoke", more_columns=columns)
        return headline.headline_of(state, metric)

    main = headline_of()
    assert main is not None
    assert (main.metric, main.cells, main.is_final) == ("test_error", 2, True)
    runs = store.runs(logs / "smoke")
    assert main.low == pytest.approx(runs[runs["status"] == "done"]["final_test_error"].min())
    assert main.best is not None
    assert main.sentence.startswith("test_error of 2 done cells: ")
    assert f"best {main.best[:11]} (" in main.sentence
    other = headline_of("train_loss")
    assert other is not None
    assert other.metric == "train_loss"
    with pytest.raises(UserError, match="--metric: found 'nothing', expected one of"):
        headline_of("nothing")


def test_the_best_cell_is_described_by_the_keys_that_it_has(logs: Path) -> None:
    shutil.copytree(OLD_LOGS / "smoke", logs / "smoke")
    columns = headline.headline_columns("test_error")
    state = sweep_state.load_sweep_state(logs / "smoke", more_columns=columns)
    best = headline.headline_of(state, "test_error")
    assert best is not None
    state.runs["model.heads"] = [None if cell == best.best else 4 for cell in state.runs["cell"]]
    described = headline.headline_of(state, "test_error")
    assert described is not None
    assert described.settings == best.settings
    assert "nan" not in described.sentence
    long = replace(best, settings={"model.depth": 2.0, "optim.weight_decay": 0.0215443469003})
    assert long.sentence.endswith("(depth=2, weight_decay=0.0215443)")


def test_a_sweep_that_is_done_names_the_command_that_draws_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    logs = tmp_path / "logs"
    assert drawing_command(logs / "demo", "vision") == "python analysis/fig2_ab.py logs/demo"
    for name, trainer, script in (
        ("minima_small_surface", "surface", "loss_surface"),
        ("rings_small_boundary", "boundary", "rings"),
        ("mine", "line", "walk"),
    ):
        command = f"python analysis/{script}.py logs/{name}"
        assert drawing_command(logs / name, trainer) == command
    assert drawing_command(logs / "mine", "vision") is None
    assert drawing.shown_path(Path("/elsewhere/logs")) == "/elsewhere/logs"


def test_the_scripts_of_shipped_sweeps_exist() -> None:
    for script in {*SCRIPTS.values(), *SCRIPTS_OF_MEASURES.values()}:
        assert (ROOT / "analysis" / f"{script}.py").exists()
    sweeps = {path.stem for path in (ROOT / "configs" / "sweep").glob("*.yaml")}
    for sweep in SCRIPTS:
        assert sweeps & {sweep, f"{sweep}_small"}
    for measure in SCRIPTS_OF_MEASURES:
        assert (ROOT / "configs" / "trainer" / f"{measure}.yaml").exists()


def test_the_next_command_depends_on_how_the_sweep_stands(
    logs: Path, plan_of: Callable[..., Any], asked: list[Sequence[str]]
) -> None:
    sent(plan_of(tasks=[[0, 1, 2]]), logs / "one", "one")
    overview = load_overview(sweep_state.load_sweep_state(logs / "one"))
    assert [note.sentence for note in next_steps(overview)] == [
        "not over: `redescent status one --watch` follows it"
    ]


@pytest.mark.parametrize(
    ("age", "compact", "parts", "expected"),
    [
        (3600, True, True, True),
        (10, True, True, False),
        (3600, False, True, False),
        (3600, True, False, False),
    ],
)
def test_status_says_when_the_compaction_of_a_sweep_is_late(
    logs: Path, age: float, compact: bool, parts: bool, expected: bool
) -> None:
    shutil.copytree(OLD_LOGS / "smoke", logs / "smoke")
    for path in (logs / "smoke").glob("submissions/*/plan.json"):
        content = json.loads(path.read_text())
        content.pop("checksum", None)
        path.write_text(json.dumps({**content, "policy": {"compact": compact}}))
    if not parts:
        for path in (logs / "smoke" / "runs").iterdir():
            path.unlink()
    for local in (logs / "smoke").glob("submissions/*/local.json"):
        local.write_text(json.dumps({**json.loads(local.read_text()), "host": gethostname()}))
    written = time.time() - age
    os.utime(logs / "smoke" / "runs", (written, written))
    overview = load_overview(sweep_state.load_sweep_state(logs / "smoke"))
    late = [note.sentence for note in next_steps(overview) if "not merged" in note.sentence]
    text = "its parts are not merged; `redescent compact smoke` merges them"
    assert late == ([text] if expected else [])
