"""Rounds of searches: outcomes from the runs table, what is sent next, and what holds a search.

Results are planted: the cells of a plan get rows of a runs table, and nothing is trained.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from analysis import store
from launch.errors import UserError
from launch.plan import Plan, Search, load_all, markers
from launch.plan.jobs import Array
from launch.scheduler.slurm import Task
from launch.status import sweep_files, sweep_state
from launch.status.other_results import DataComparison
from launch.submit import cancel, rounds, submission
from launch.submit.advance import advance
from launch.submit.inside import add_round
from launch.submit.outcomes import outcomes
from launch.submit.preview import load_preview, with_searches
from launch.submit.resume import resume_request
from launch.sweep.adaptive import SearchState
from launch.sweep.compose import expand_sweep
from launch.sweep.request import Request

LOCAL = "hydra/launcher=local"
HUNT = """
defaults: [{override /data: digits}, {override /model: mlp}]
axes: {model.width: [2, 4]}
search:
  axis: data.train_samples
  success: "fitted == true"
  range: [16, 512]
  first: 4
  per_round: 2
  most: 10
  verify: false
seeds: [0, 1, 2]
"""
WriteSweep = Callable[[str, str], None]
Row = Mapping[str, Any]


def ends(status: str, fitted: bool | None = None, **facts: Any) -> Row:
    """The facts of a training that ended."""
    return {"status": status, "fitted": fitted, **facts}


def planted(flat: Mapping[str, Any]) -> Row:
    """Fitted up to 30 samples for every unit of width."""
    return ends("done", flat["data.train_samples"] <= 30 * flat["model.width"])


class Played:
    """A sweep whose cells end as planted: after `play`, the runs table has a row of each."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.rows: dict[str, Row] = {}
        monkeypatch.setattr(submission, "deliver", lambda *_: None)
        monkeypatch.setattr(sweep_files, "runs_of", lambda *_, **__: self.runs)

    @property
    def runs(self) -> pd.DataFrame:
        missing = {
            cell.id: {"cell": cell.id, "status": "missing", **plan.flat(cell)}
            for plan in self.plans
            for cell in plan.cells
        }
        return pd.DataFrame(list({**missing, **self.rows}.values()))

    @property
    def plans(self) -> list[Plan]:
        return load_all(self.folder)

    def play(self, outcome: Callable[[Mapping[str, Any]], Row | None] = planted) -> None:
        """End the cells of the newest plan; those with the outcome None are lost."""
        plan = self.plans[-1]
        for cell in plan.cells:
            flat = plan.flat(cell)
            facts = outcome(flat)
            record = {"cell": cell.id, "attempt": 1, "error": None, "error_class": None}
            if facts is not None:
                self.rows[cell.id] = {**record, **flat, **facts}

    def states(self) -> Sequence[SearchState]:
        return rounds.search_states(rounds.searches_of(self.plans), self.runs)

    def file(self) -> list[dict[str, Any]]:
        content = json.loads((self.folder / "searches.json").read_text())
        assert content["version"] == 1
        searches: list[dict[str, Any]] = content["searches"]
        return searches

    def play_to_the_end(self, outcome: Callable[[Mapping[str, Any]], Row | None] = planted) -> None:
        """Let rounds follow one another until none is sent."""
        self.play(outcome)
        while (sent := advance(self.folder)) and sent.plan:
            self.play(outcome)


@pytest.fixture
def request_hunt(write_sweep: WriteSweep) -> Request:
    write_sweep("hunt", HUNT)
    return expand_sweep("hunt", [LOCAL])


@pytest.fixture
def sweep(request_hunt: Request, monkeypatch: pytest.MonkeyPatch) -> Played:
    """The first round is sent."""
    played = Played(request_hunt.folder, monkeypatch)
    result = submission.submit(request_hunt)
    assert result.plan is not None
    assert len(result.plan.cells) == 8
    return played


def table(*rows: Row) -> pd.DataFrame:
    return pd.DataFrame([{"cell": f"c1-{number}", **row} for number, row in enumerate(rows)])


def test_outcomes_are_those_of_final_rows() -> None:
    runs = table(
        ends("done", True),
        ends("done", False),
        ends("nonfinite", True),
        ends("failed", False),
        ends("running", True),
        ends("missing"),
    )
    expected = {"c1-0": True, "c1-1": False, "c1-2": False}
    assert outcomes("fitted == true", runs) == expected


def test_a_row_without_the_value_has_no_outcome() -> None:
    runs = table(ends("done", wrong=3), ends("done", wrong=None), ends("done", wrong=0))
    assert outcomes("wrong == 0", runs) == {"c1-0": False, "c1-2": True}
    either = "status == 'done' or wrong == 0"
    assert outcomes(either, runs) == {"c1-0": True, "c1-1": True, "c1-2": True}


def test_a_condition_on_an_absent_column_is_an_error() -> None:
    with pytest.raises(UserError, match=r"the runs table has no column 'wrongs'; .* wrong"):
        outcomes("wrongs == 0", table(ends("done", wrong=3)))
    assert outcomes("wrongs == 0", table(ends("missing"))) == {}
    assert outcomes("wrongs == 0", pd.DataFrame()) == {}


def test_rounds_follow_until_every_search_is_finished(sweep: Played) -> None:
    sweep.play_to_the_end()
    states = sweep.states()
    assert all(state.finished for state in states)
    cells = [cell.id for plan in sweep.plans for cell in plan.cells]
    assert len(cells) == len(set(cells)) == sum(len(state.trials) for state in states)
    estimates = [state.estimate.n50 or 0 for state in states]
    assert 40 < estimates[0] < 90 < estimates[1] < 180


def test_submitting_again_sends_nothing_after_the_end(sweep: Played, request_hunt: Request) -> None:
    sweep.play_to_the_end()
    assert submission.submit(request_hunt).plan is None
    assert submission.submit(resume_request(sweep.folder, [])).plan is None


def test_commands_by_hand_send_the_rounds_that_follow_by_themselves(
    sweep: Played, request_hunt: Request, write_sweep: WriteSweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep.play_to_the_end()
    write_sweep("other", HUNT)
    by_hand = Played(request_hunt.folder.parent / "other", monkeypatch)
    request: Request | None = expand_sweep("other", [LOCAL])
    while request and submission.submit(request).plan:
        by_hand.play()
        request = resume_request(by_hand.folder, [])
    assert [state.trials for state in by_hand.states()] == [
        state.trials for state in sweep.states()
    ]


def test_a_round_that_was_planned_but_never_sent_is_sent_again(sweep: Played) -> None:
    first = sweep.plans[0]
    again = advance(sweep.folder)
    assert again is not None
    assert again.plan is not None
    assert [cell.id for cell in again.plan.cells] == [cell.id for cell in first.cells]
    assert {cell.attempts for cell in again.plan.cells} == {1}


@pytest.mark.parametrize("stage", ["rounds.write", "freeze", "deliver"])
def test_a_command_that_dies_while_it_sends_loses_no_round(
    sweep: Played, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    sweep.play()

    def die(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        module, _, name = f"launch.submit.submission.{stage}".rpartition(".")
        patch.setattr(f"{module}.{name}", die)
        with pytest.raises(KeyboardInterrupt):
            advance(sweep.folder)
    sweep.play_to_the_end()
    states = sweep.states()
    assert all(state.finished for state in states)
    trials = {one.cell.id for state in states for one in state.trials}
    assert {cell.id for plan in sweep.plans for cell in plan.cells} == trials


def test_the_next_round_has_the_code_and_settings_of_the_plan_before(
    sweep: Played, request_hunt: Request
) -> None:
    sweep.play()
    path = next(sweep.folder.glob("submissions/*/plan.json"))
    plan = json.loads(path.read_text())
    plan |= {"code": "0ld", "commit": "f00", "environment": "e1", "checksum": None}
    path.write_text(json.dumps(plan))
    submitted = advance(sweep.folder)
    assert submitted is not None
    assert submitted.plan is not None
    assert submitted.plan.software == sweep.plans[0].software
    assert submitted.plan.code == "0ld"
    assert submitted.plan.launcher == sweep.plans[0].launcher
    assert submitted.plan.searches == sweep.plans[0].searches


def test_an_error_holds_its_search_and_not_the_others(sweep: Played) -> None:
    def one_fails(flat: Mapping[str, Any]) -> Row:
        if flat["model.width"] == 2 and flat["data.train_samples"] > 100:
            return ends("failed", error=f"RuntimeError: at {flat['data.train_samples']:x}")
        return planted(flat)

    sweep.play_to_the_end(one_fails)
    held, finished = sweep.states()
    assert (held.finished, held.rounds) == (None, 1)
    assert finished.finished is not None
    entries = sweep.file()
    assert sorted(entries[0]["held"]) == sorted(one.cell.id for one in held.open)
    assert entries[1]["held"] == []
    resumed = submission.submit(resume_request(sweep.folder, []))
    assert [cell.id for cell in resumed.preview.cells] == [one.cell.id for one in held.open]


def test_a_whole_round_of_errors_stops_the_search(sweep: Played) -> None:
    code = sweep.plans[0].code
    sweep.play(lambda _: ends("failed", error="RuntimeError: no space", code=code))
    submitted = advance(sweep.folder)
    assert submitted is not None
    assert submitted.plan is None
    assert [state.rounds for state in sweep.states()] == [1, 1]
    assert len(sweep.file()[0]["held"]) == 4


def test_repeated_errors_hold_back_the_cells_that_were_never_started(sweep: Played) -> None:
    code = sweep.plans[0].code
    first_value = min(one.trial.value for one in sweep.states()[0].trials)

    def most_fail(flat: Mapping[str, Any]) -> Row | None:
        if flat["data.train_samples"] == first_value:
            return None
        return ends("failed", error="RuntimeError: no space", code=code)

    sweep.play(most_fail)
    submitted = advance(sweep.folder)
    assert submitted is not None
    assert submitted.plan is None


def test_failed_cells_that_the_user_cancelled_hold_no_other_search_back(sweep: Played) -> None:
    code = sweep.plans[0].code

    def some_fail(flat: Mapping[str, Any]) -> Row:
        if flat["model.width"] == 2:
            return ends("failed", error="RuntimeError: no space", code=code)
        return planted(flat)

    sweep.play(some_fail)
    held_back = advance(sweep.folder)
    assert held_back is not None
    assert held_back.plan is None
    plan = sweep.plans[0]
    failed = {cell.id for cell in plan.cells if plan.flat(cell)["model.width"] == 2}
    markers.cancel_cells(plan.folder(sweep.folder), failed)
    submitted = advance(sweep.folder)
    assert submitted is not None
    assert submitted.plan is not None
    assert {submitted.plan.flat(cell)["model.width"] for cell in submitted.plan.cells} == {4}


def test_a_lost_cell_is_sent_again_a_few_times(sweep: Played) -> None:
    def one_is_lost(flat: Mapping[str, Any]) -> Row | None:
        lost = flat["model.width"] == 2 and flat["data.train_samples"] > 200
        return None if lost else planted(flat)

    sweep.play_to_the_end(one_is_lost)
    (lost,) = sweep.states()[0].open
    plans = [plan for plan in sweep.plans if lost.cell.id in {cell.id for cell in plan.cells}]
    assert len(plans) == rounds.SENT_AT_MOST
    assert sweep.file()[0]["held"] == [lost.cell.id]
    assert sweep.states()[1].finished is not None


def test_a_nonfinite_training_is_a_failure_and_the_search_goes_on(sweep: Played) -> None:
    def diverges(flat: Mapping[str, Any]) -> Row:
        outcome = planted(flat)
        return outcome if outcome["fitted"] else ends("nonfinite")

    sweep.play_to_the_end(diverges)
    assert all(state.finished for state in sweep.states())
    assert 40 < (sweep.states()[0].estimate.n50 or 0) < 90


def test_a_missing_value_holds_its_search(sweep: Played) -> None:
    sweep.play(lambda flat: planted(flat) if flat["model.width"] == 4 else ends("done"))
    submitted = advance(sweep.folder)
    assert submitted is not None
    assert submitted.plan is not None
    assert {submitted.plan.flat(cell)["model.width"] for cell in submitted.plan.cells} == {4}
    assert len(sweep.file()[0]["held"]) == 4
    held, going_on = rounds.standings(sweep_state.load_sweep_state(sweep.folder))
    assert (len(held.valueless), list(going_on.valueless)) == (4, [])


def test_a_cancelled_sweep_sends_no_round_until_it_is_resumed(sweep: Played) -> None:
    sweep.play(lambda flat: planted(flat) if flat["model.width"] == 4 else None)
    cancel.cancel(sweep.folder)
    assert advance(sweep.folder) is None
    resumed = submission.submit(resume_request(sweep.folder, []))
    assert resumed.plan is not None
    sweep.play()
    next_round = advance(sweep.folder)
    assert next_round is not None
    assert next_round.plan is not None


def test_a_cancelled_cell_waits_for_the_user(sweep: Played) -> None:
    sweep.play(lambda flat: planted(flat) if flat["model.width"] == 4 else None)
    plan = sweep.plans[0]
    cancelled = {cell.id for cell in plan.cells if plan.flat(cell)["model.width"] == 2}
    markers.cancel_cells(plan.folder(sweep.folder), cancelled)
    submitted = advance(sweep.folder)
    assert submitted is not None
    assert submitted.plan is not None
    assert cancelled.isdisjoint(cell.id for cell in submitted.plan.cells)
    assert set(sweep.file()[0]["held"]) == cancelled


def test_with_manual_advance_only_the_user_sends_rounds(
    write_sweep: WriteSweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_sweep("hunt", HUNT)
    request = expand_sweep("hunt", [LOCAL, "+search.advance=manual"])
    sweep = Played(request.folder, monkeypatch)
    submission.submit(request)
    sweep.play()
    assert advance(sweep.folder) is None
    assert submission.submit(request).plan is not None


def test_a_resume_also_completes_the_grid_of_the_same_folder(
    sweep: Played, write_sweep: WriteSweep
) -> None:
    sweep.play()
    write_sweep("grid", "defaults: [{override /data: digits}]\nseeds: [0, 1]\n")
    grid = replace(expand_sweep("grid", [LOCAL]), name="hunt")
    submission.submit(grid)
    request = resume_request(sweep.folder, [])
    assert {cell.id for cell in request.cells} == {cell.id for cell in grid.cells}
    assert len(request.searches) == 2


def test_a_smaller_ratio_continues_the_same_search(sweep: Played, request_hunt: Request) -> None:
    sweep.play_to_the_end()
    before = sweep.states()[0].trials

    def narrower(search: Search) -> Search:
        return replace(search, settings={**search.settings, "most": 14, "until": 1.01})

    searches = [narrower(search) for search in request_hunt.searches]
    submission.submit(replace(request_hunt, searches=searches))
    sweep.play_to_the_end()
    after = sweep.states()[0].trials
    assert list(after[: len(before)]) == list(before)
    assert len(after) == 14


def test_a_condition_on_an_absent_column_can_be_corrected(
    sweep: Played, request_hunt: Request
) -> None:
    sweep.play_to_the_end(lambda _: ends("done", wrong=0))
    for row in sweep.rows.values():
        row.pop("fitted")  # type: ignore[attr-defined]
    with pytest.raises(UserError, match="the runs table has no column 'fitted'"):
        submission.submit(request_hunt)
    assert [one.unknown for one in rounds.standings(load_state(sweep))] == [["fitted"]] * 2
    searches = [replace(search, success="wrong == 0") for search in request_hunt.searches]
    corrected = submission.submit(replace(request_hunt, searches=searches))
    assert corrected.plan is not None
    assert {cell.attempts for cell in corrected.plan.cells} == {0}
    shown = [one.search.success for one in rounds.standings(load_state(sweep))]
    written = [entry["success"] for entry in sweep.file()]
    assert shown == written == ["wrong == 0"] * 2
    assert submission.submit(resume_request(sweep.folder, [])).plan is not None


def load_state(sweep: Played) -> sweep_state.SweepState:
    return sweep_state.load_state_before_submission(sweep.folder)


def test_the_file_of_searches_lists_trials_with_their_outcomes(sweep: Played) -> None:
    first = sweep.file()
    assert [entry["point"]["model.width"] for entry in first] == [2, 4]
    assert {trial["success"] for entry in first for trial in entry["trials"]} == {None}
    sweep.play_to_the_end()
    entry = sweep.file()[0]
    state = sweep.states()[0]
    assert entry["finished"] == state.finished
    assert entry["rounds"] == state.rounds
    assert entry["axis"] == "data.train_samples"
    assert entry["success"] == "fitted == true"
    assert entry["seeds"] == [0, 1, 2]
    assert entry["settings"]["most"] == 10
    assert entry["trials"] == [
        {
            "cell": one.cell.id,
            "round": one.round,
            "level": 0,
            "value": one.trial.value,
            "number": one.trial.number,
            "success": one.success,
        }
        for one in state.trials
    ]


def test_the_file_of_searches_is_written_without_sending(sweep: Played) -> None:
    sweep.play()
    plans = len(load_all(sweep.folder))
    submission.write_searches(sweep.folder)
    successes = {trial["success"] for entry in sweep.file() for trial in entry["trials"][:4]}
    assert None not in successes
    assert len(load_all(sweep.folder)) == plans


def test_a_grid_has_no_file_of_searches(
    logs: Path, write_sweep: WriteSweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submission, "deliver", lambda *_: None)
    submission.submit(expand_sweep("noop", [LOCAL, "seeds={range:[0,2,1]}"]))
    assert not (logs / "noop" / "searches.json").exists()


@pytest.fixture
def inside(write_sweep: WriteSweep, monkeypatch: pytest.MonkeyPatch) -> tuple[Played, Request]:
    """A sweep whose searches are trained whole in their tasks; the first round is sent."""
    write_sweep("hunt", HUNT)
    request = expand_sweep("hunt", ["hydra/launcher=slurm", "task.search=inside"])
    played = Played(request.folder, monkeypatch)
    monkeypatch.setattr(store, "runs", lambda _: played.runs)
    submission.submit(request)
    return played, request


def plan_path(sweep: Played) -> Path:
    return sweep.plans[-1].folder(sweep.folder) / "plan.json"


def test_a_task_holds_whole_searches(inside: tuple[Played, Request]) -> None:
    (plan,) = inside[0].plans
    assert plan.task_searches == [[0], [1]]
    widths = [{plan.flat(plan.cells[i])["model.width"] for i in task} for task in plan.tasks]
    assert widths == [{2}, {4}]


def test_hours_of_whole_searches_count_the_cores_of_their_tasks(
    write_sweep: WriteSweep,
) -> None:
    write_sweep("hunt", HUNT)
    words = ["hydra/launcher=slurm", "hydra.launcher.cpus_per_task=4", "task.search=inside"]
    proposal = load_preview(expand_sweep("hunt", [*words, "task.at_a_time=2"]))
    an_hour_each = replace(proposal, seconds=[3600.0] * len(proposal.cells))
    packed = with_searches(an_hour_each, proposal.searches)
    assert [len(task.cells) for task in packed.tasks] == [4, 4]
    assert packed.estimate.hours == 16.0  # two cells share the four cores of a task


def test_a_task_adds_the_rounds_of_its_own_searches(inside: tuple[Played, Request]) -> None:
    sweep, _ = inside
    sweep.play()
    while add_round(plan_path(sweep), 1):
        sweep.play()
    first, second = sweep.states()
    assert (first.rounds, first.finished) == (2, None)
    assert second.finished is not None
    (plan,) = sweep.plans
    assert [plan.cells[i].id for i in plan.tasks[1]] == [one.cell.id for one in second.trials]
    for one in second.trials:
        planned = next(cell for cell in plan.cells if cell.id == one.cell.id)
        assert plan.flat(planned) == one.cell.flat


def test_a_task_adds_no_round_after_an_error(inside: tuple[Played, Request]) -> None:
    sweep, _ = inside
    sweep.play(lambda _: ends("failed", error="RuntimeError: no space"))
    assert add_round(plan_path(sweep), 0) == 0
    assert len(sweep.plans[0].cells) == 8


def test_the_next_round_of_a_live_task_is_left_to_it(
    inside: tuple[Played, Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep, request = inside
    sweep.play()
    live = {
        (sweep.plans[0].sid, 0): Task("7", 0, "", "RUNNING"),
        (sweep.plans[0].sid, 1): Task("7", 1, "", "COMPLETED"),
    }
    array = Array("hunt", 0, 2, 0.0, job="7")
    state = replace(
        sweep_state.load_state_before_submission(sweep.folder),
        tasks=live,
        arrays={sweep.plans[0].sid: [array]},
    )
    expanded, states = rounds.with_open_rounds(request, state)
    assert [state.rounds for state in states] == [2, 2]
    assert {cell.flat["model.width"] for cell in expanded.cells} == {4}


def test_a_search_that_its_task_left_unfinished_goes_on_in_the_next_plan(
    inside: tuple[Played, Request],
) -> None:
    sweep, _ = inside
    sweep.play()
    assert add_round(plan_path(sweep), 0) > 0
    sweep.play()
    submitted = advance(sweep.folder)
    assert submitted is not None
    assert submitted.plan is not None
    assert submitted.plan.task_searches == [[0], [1]]
    sweep.play_to_the_end()
    assert all(state.finished for state in sweep.states())


def test_the_store_lists_the_cells_that_a_task_added(
    write_sweep: WriteSweep, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_sweep("hunt", HUNT)
    request = expand_sweep("hunt", [LOCAL, "task.search=inside"])
    sweep = Played(request.folder, monkeypatch)
    submission.submit(request)
    sweep.play()
    with monkeypatch.context() as patch:
        patch.setattr(store, "runs", lambda _: sweep.runs)
        count = add_round(plan_path(sweep), 0)
    assert count > 0
    assert len(store.runs(sweep.folder)) == 8 + count


def test_an_unknown_way_to_search_is_refused(write_sweep: WriteSweep) -> None:
    write_sweep("hunt", HUNT)
    with pytest.raises(UserError, match=r"task.search: found 'outside', expected inside or null"):
        expand_sweep("hunt", [LOCAL, "task.search=outside"])


def test_a_search_is_shown_without_results_of_other_data(
    sweep: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep.play_to_the_end()
    state = sweep_state.load_sweep_state(sweep.folder)
    assert all(standing.state.trained > 0 for standing in rounds.standings(state))
    everything = DataComparison(other=[str(cell) for cell in sweep.runs["cell"]], unknown=[])
    monkeypatch.setattr(rounds.other_results, "compare_data", lambda *_: everything)
    assert all(standing.state.trained == 0 for standing in rounds.standings(state))
    rounds.write(state)
    assert {search["finished"] for search in sweep.file()} == {None}
