"""Searches on a real SLURM: rounds follow by themselves, and whatever happens to their jobs, the
trainings and the answer are those of a calm search.

The cells are idle ones; their own configuration decides the outcome.
"""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from pathlib import Path

import pytest
from slurm_sweep import ACTIVE, Cluster, Sweep
from storm import processes

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(900)]

LAST_SUCCESS = 10
"""The last value at which the cells of configs/sweep/noop_search.yaml succeed."""

CELLS = ("task.cells=1",)
SAVING = "run.checkpoint_seconds=0"
"""Save after every epoch. Children that never save do not import torch and start sooner."""


@pytest.fixture
def search(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sweep:
    monkeypatch.setenv("SLURM_CONF", str(cluster.conf))
    return Sweep(cluster, tmp_path / "logs", "noop_search")


def state_of(sweep: Sweep):  # type: ignore[no-untyped-def]
    """The only search of the sweep, after the results so far."""
    from analysis import store
    from launch.plan import load_all
    from launch.submit import rounds

    searches = rounds.searches_of(load_all(sweep.folder))
    (state,) = rounds.search_states(searches, store.runs(sweep.folder))
    return state


def calm(search):  # type: ignore[no-untyped-def]
    """The search as it ends if nothing happens to it."""
    from launch.sweep.adaptive import replay

    outcomes: dict[str, bool] = {}
    state = replay(search, outcomes)
    while state.open:
        outcomes |= {one.cell.id: one.trial.value <= LAST_SUCCESS for one in state.open}
        state = replay(search, outcomes)
    return state


def is_finished(sweep: Sweep) -> bool:
    return state_of(sweep).finished is not None


def plans_by_cell(sweep: Sweep) -> Counter[str]:
    """In how many plans each cell is."""
    from launch.plan import load_all

    return Counter(cell.id for plan in load_all(sweep.folder) for cell in plan.cells)


def follow_ups(sweep: Sweep) -> dict[str, str]:
    """Jobs that are to send a next round, by name."""
    jobs = {}
    for name, task, *_ in sweep.cluster.tasks(ACTIVE):
        if name.startswith("noop_search.") and name.endswith(".next"):
            jobs[name] = task.partition("_")[0]
    return jobs


def newest_follow_up(sweep: Sweep) -> str | None:
    """The job that is to send the round after the newest plan."""
    from launch.plan import load_all

    return follow_ups(sweep).get(f"noop_search.{load_all(sweep.folder)[-1].sid}.next")


def test_the_rounds_of_a_search_follow_by_themselves(search: Sweep) -> None:
    search.submit(*CELLS)
    assert len(follow_ups(search)) == 1
    search.wait(lambda: is_finished(search))
    state = state_of(search)
    assert state.rounds == 2
    assert state == calm(state.search)
    assert set(plans_by_cell(search).values()) == {1}
    search.wait(lambda: not follow_ups(search), 30)
    assert "nothing to send" in search.submit(*CELLS)
    assert "converged" in search.redescent("status", "noop_search")


def test_only_the_cells_of_a_held_submission_wait_for_their_release(search: Sweep) -> None:
    hold = "+hydra.launcher.additional_parameters={hold:true,exclusive:true}"
    search.submit(*CELLS, "canary=true", "compact=true", hold)
    canary = Sweep(search.cluster, search.folder, "calibration")
    search.wait(lambda: set(canary.states()) == {"done"}, 60)
    search.wait(lambda: "held by SLURM" in search.redescent("status", search.name), 60)
    assert set(search.states()) == {"waiting"}
    jobs = {task.partition("_")[0] for task in search.live("PENDING")}
    search.cluster.run("scontrol", "release", *jobs)
    search.wait(lambda: is_finished(search))
    # nothing is left in the queue, and the last round was merged
    search.wait(lambda: search.cluster.tasks(ACTIVE) == [], 60)
    assert not list((search.folder / "runs").glob("*.parquet"))


def test_a_search_whose_jobs_are_killed_and_lost_ends_as_a_calm_one(search: Sweep) -> None:
    slow = (*CELLS, SAVING, "trainer.seconds=0.3")
    answers: list[str] = []
    people = [
        threading.Thread(target=lambda: answers.append(search.submit(*slow))) for _ in range(2)
    ]
    for person in people:
        person.start()
    for person in people:
        person.join()
    assert sorted("nothing to send" in answer for answer in answers) == [False, True], answers
    search.wait(lambda: search.epochs() > 2 and len(search.live()) > 1)
    worker = processes("launch.job", search.folder)[0]
    os.kill(worker, signal.SIGKILL)
    search.cluster.run("scancel", search.live()[-1])
    search.wait(lambda: sum(plans_by_cell(search).values()) > 4)
    search.wait(lambda: newest_follow_up(search) is not None)
    search.cluster.run("scancel", str(newest_follow_up(search)))
    search.wait(search.ended)
    assert not is_finished(search)
    assert "redescent resume noop_search" in search.redescent("status", "noop_search")
    search.redescent("resume", "noop_search")
    search.wait(lambda: is_finished(search))
    state = state_of(search)
    assert state == calm(state.search)
    assert search.states() == {"done": len(state.trials)}
    assert max(plans_by_cell(search).values()) > 1


def test_a_whole_round_of_errors_stops_the_search(search: Sweep) -> None:
    search.submit(*CELLS, "trainer.fail=error")
    search.wait(lambda: search.ended() and not follow_ups(search))
    assert len(list(search.folder.glob("submissions/*"))) == 1
    assert state_of(search).rounds == 1
    assert "without an outcome hold" in search.redescent("status", "noop_search")


def test_a_search_inside_a_task_survives_a_signal_and_a_kill(search: Sweep) -> None:
    inside = (*CELLS, SAVING, "task.search=inside", "trainer.seconds=0.3")
    search.submit(*inside)
    search.wait(lambda: search.epochs() > 5)
    (task,) = search.live()
    search.cluster.run("scancel", "--signal=USR2", task)  # saves, and requeues itself
    search.wait(lambda: len(plans_by_cell(search)) > 4, 120)
    search.wait(lambda: processes("launch.worker.child", search.folder) != [])
    assert "nothing to send" in search.submit(*inside)
    os.kill(processes("launch.job", search.folder)[0], signal.SIGKILL)
    search.wait(lambda: is_finished(search))
    state = state_of(search)
    assert state == calm(state.search)
    search.wait(search.ended)
    assert search.states() == {"done": len(state.trials)}
