"""Searches whose rounds follow one another in real processes on this machine.

The cells are idle ones; their own configuration decides the outcome, so that the value that is
searched for is known: 10 epochs.
"""

from __future__ import annotations

import json
import os
import re
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess
from types import SimpleNamespace

import command_line
import pytest
from waiting import wait_for

from analysis import store
from launch.cli import wait
from launch.plan import Search, load_all
from launch.plan.process import Process
from launch.submit import rounds
from launch.sweep.adaptive import SearchState, replay

LOCAL = ("hydra/launcher=local", "task.at_a_time=2")
Redescent = Callable[..., CompletedProcess[str]]

pytestmark = pytest.mark.timeout(280)


@pytest.fixture
def folder(logs: Path) -> Iterator[Path]:
    """The folder of the sweep; ends what a failed test leaves running."""
    folder = logs / "noop_search"
    yield folder
    for path in folder.glob("submissions/*/local.json"):
        worker = Process(**json.loads(path.read_text()))
        if worker.alive():
            os.kill(worker.pid, signal.SIGTERM)


def the_search(folder: Path) -> SearchState:
    """The only search of a sweep."""
    (state,) = rounds.search_states(rounds.searches_of(load_all(folder)), store.runs(folder))
    return state


def trained_once(folder: Path) -> SearchState:
    """The finished search of a sweep whose cells were each planned once."""
    state = the_search(folder)
    assert state.finished == "converged"
    estimate = state.estimate
    assert estimate.low is not None
    assert estimate.high is not None
    assert estimate.low < 10.5 < estimate.high
    assert state == calm(state.search)
    planned = Counter(cell.id for plan in load_all(folder) for cell in plan.cells)
    assert planned == {one.cell.id: 1 for one in state.trials}
    return state


def calm(search: Search) -> SearchState:
    """The search as it ends if nothing happens to it."""
    outcomes: dict[str, bool] = {}
    state = replay(search, outcomes)
    while state.open:
        outcomes |= {one.cell.id: one.trial.value <= 10 for one in state.open}
        state = replay(search, outcomes)
    return state


def is_over(folder: Path) -> bool:
    """Whether the search is finished, and compacted by the worker of its last round."""
    return the_search(folder).finished is not None and (folder / "store/manifest.json").exists()


def test_rounds_follow_in_the_background(redescent: Redescent, folder: Path) -> None:
    shown = redescent("plan", "noop_search", *LOCAL).stdout
    assert "1 along trainer.epochs" in shown
    assert "12 at most; 0 so far" in " ".join(shown.split())
    redescent("submit", "noop_search", *LOCAL)
    wait_for(lambda: is_over(folder), "the end of the search")
    state = trained_once(folder)
    assert state.rounds > 1
    assert len({plan.code for plan in load_all(folder)}) == 1
    assert "nothing to send" in redescent("resume", "noop_search").stdout
    shown = redescent("status", "noop_search").stdout
    assert "1 search for trainer.epochs where trainer.epochs <= 10 changes" in shown
    assert "converged" in shown


def test_waiting_for_a_search_says_the_round_and_no_share(
    redescent: Redescent, folder: Path
) -> None:
    waited = redescent("submit", "noop_search", *LOCAL, "--wait").stdout
    progress = re.findall(r"^\d\d:\d\d:\d\d  (.*)$", waited, re.MULTILINE)
    trained = trained_once(folder).trained
    assert progress[-1] == f"round 2: {trained}/{trained} trainings so far"
    assert {line.partition(":")[0] for line in progress} <= {"round 1", "round 2"}


def test_the_debug_launcher_runs_all_rounds(redescent: Redescent, folder: Path) -> None:
    shown = redescent("submit", "noop_search", "hydra/launcher=debug").stdout
    assert "converged" in shown
    trained_once(folder)
    assert "complete: `redescent report noop_search`" in redescent("status", "noop_search").stdout


def test_all_rounds_follow_inside_one_task(redescent: Redescent, folder: Path) -> None:
    shown = redescent("submit", "noop_search", *LOCAL, "task.search=inside", "--wait").stdout
    assert "converged" in shown
    state = the_search(folder)
    assert state == calm(state.search)
    (plan,) = load_all(folder)
    assert [cell.id for cell in plan.cells] == [one.cell.id for one in state.trials]
    assert state.rounds == 2
    assert "nothing to send" in redescent("resume", "noop_search").stdout


def test_with_manual_advance_the_user_sends_every_round(redescent: Redescent, folder: Path) -> None:
    manual = ("submit", "noop_search", *LOCAL, "+search.advance=manual", "--wait")
    redescent(*manual)
    assert the_search(folder).rounds == 2
    assert len(load_all(folder)) == 1
    assert (
        "the next round of 1 search was not sent yet" in redescent("status", "noop_search").stdout
    )
    while the_search(folder).open:
        redescent(*manual)
    trained_once(folder)


def test_two_waiting_commands_and_the_worker_send_each_round_once(
    redescent: Redescent, folder: Path
) -> None:
    words = ("submit", "noop_search", *LOCAL, "--wait")
    people = [command_line.start(*words) for _ in range(2)]
    answers = [person.wait(200) for person in people]
    assert [answer.returncode for answer in answers] == [0, 0], [
        answer.stderr for answer in answers
    ]
    assert all("converged" in answer.stdout for answer in answers)
    (written,) = store.searches(folder).to_dict("records")
    assert (written["status"], written["trainings"]) == ("ok", 7)
    trained_once(folder)


@pytest.mark.parametrize(
    ("rounds_by_others", "complete"), [([1, 2], True), ([2], True), ([1, 1], False), ([0], False)]
)
def test_a_round_that_another_command_sent_and_finished_is_no_failure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, rounds_by_others: list[int], complete: bool
) -> None:
    """The other one does so while this one waits for the lock; the search ends with round 2."""
    over = [0]
    coming = iter(rounds_by_others)

    def state(folder: Path) -> SimpleNamespace:
        cells = {str(number): SimpleNamespace(state="done") for number in range(over[0])}
        return SimpleNamespace(cells=cells, plans=["plan"] * over[0])

    monkeypatch.setattr(wait.sweep_state, "load_sweep_state", state)
    monkeypatch.setattr(wait, "_show_until_end", lambda folder, sid, shown: state(folder))
    monkeypatch.setattr(wait, "is_live", lambda state, sid=None: False)
    monkeypatch.setattr(wait, "_search_goes_on", lambda state: len(state.plans) < 2)
    monkeypatch.setattr(wait, "advance", lambda folder: over.__setitem__(0, next(coming)))
    monkeypatch.setattr(wait.submission, "write_searches", lambda folder: None)
    assert wait.wait_until_finished(tmp_path) is complete


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes through /proc")
def test_a_killed_worker_and_a_resume_give_the_search_of_a_calm_run(
    redescent: Redescent, folder: Path
) -> None:
    slow = ("trainer.seconds=0.1", "run.checkpoint_seconds=0")
    redescent("submit", "noop_search", *LOCAL, *slow)
    wait_for(lambda: store.runs(folder)["status"].eq("running").any(), "a running cell")
    (path,) = folder.glob("submissions/*/local.json")
    worker = Process(**json.loads(path.read_text()))
    os.kill(worker.pid, signal.SIGKILL)
    wait_for(lambda: not worker.alive(), "the end of the worker")
    assert "redescent resume noop_search" in redescent("status", "noop_search").stdout
    redescent("resume", "noop_search", "--wait")
    state = the_search(folder)
    assert state.finished == "converged"
    assert state == calm(state.search)
