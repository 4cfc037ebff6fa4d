"""Sweeps that read trained cells: expansion over frozen plans, and which cells are sent when."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pandas as pd
import pytest

from launch.cli.preview import print_preview
from launch.errors import UserError
from launch.plan import Plan, PlannedCell, jobs
from launch.plan.plan import factor
from launch.scheduler import slurm
from launch.scheduler.slurm import Task
from launch.status import sweep_files, sweep_state
from launch.status.cell_state import CellState, Placement, Record
from launch.status.sweep_state import SweepState
from launch.submit import calibration, weights
from launch.submit.freeze import freeze_cells
from launch.submit.preview import Estimate, Preview
from launch.submit.selection import Selection, select_cells, with_other_results, with_weights
from launch.sweep.compose import expand_sweep
from launch.sweep.reading import weights_of
from launch.sweep.request import Cell, Request

LOCAL = "hydra/launcher=local"
TRAINED = """\
defaults:
  - override /trainer: minima
  - override /data: swiss_roll
  - override /model: fully_connected
axes: {trainer.poison.samples: [0, 100]}
seeds: [0, 1]
"""
RADIUS = """\
defaults: [override /trainer: radius]
of: {sweep: roll, where: ["trainer.poison.samples == 100"]}
axes: {trainer.block: {range: [0, 3, 1]}}
"""
LINE = """\
defaults: [override /trainer: line]
of: {sweep: roll, where: ["trainer.poison.samples == 0"]}
to: {trainer.poison.samples: 100}
"""
FrozenSweep = Callable[..., Sequence[Cell]]


def cells(sweep: str, *overrides: str) -> Sequence[Cell]:
    return expand_sweep(sweep, [LOCAL, *overrides]).cells


def refusal(sweep: str, *overrides: str) -> str:
    with pytest.raises(UserError) as error:
        cells(sweep, *overrides)
    return str(error.value)


@pytest.fixture
def frozen(
    write_sweep: Callable[[str, str], None], plan_of: Callable[..., Plan], logs: Path
) -> FrozenSweep:
    """Freezes the cells of a trained sweep in a plan under logs/roll, as submit does."""

    def freeze(*overrides: str) -> Sequence[Cell]:
        write_sweep("roll", TRAINED)
        trained = cells("roll", *overrides)
        bases, split = factor([cell.flat for cell in trained])
        planned = [
            PlannedCell(cell.id, base, values)
            for cell, (base, values) in zip(trained, split, strict=True)
        ]
        plan = plan_of(name="roll", bases=bases, cells=planned, tasks=[list(range(len(planned)))])
        plan.write(logs / "roll")
        return trained

    return freeze


def test_every_trained_cell_is_measured_at_every_point(
    frozen: FrozenSweep, write_sweep: Callable[[str, str], None], logs: Path
) -> None:
    poisoned = [cell for cell in frozen() if cell.flat["trainer.poison.samples"] == 100]
    write_sweep("roll_radius", RADIUS)
    measures = cells("roll_radius")
    points = [(cell.flat["trainer.of"], cell.flat["trainer.block"]) for cell in measures]
    assert sorted(points) == sorted((cell.id, b) for cell in poisoned for b in range(3))
    by_id = {cell.id: cell.flat for cell in poisoned}
    for measure in measures:
        trained = by_id[measure.flat["trainer.of"]]
        for key, value in trained.items():
            if key == "seed" or key.startswith(("model.", "data.")):
                assert measure.flat[key] == value
        assert measure.flat["optim.name"] == "none"
        assert measure.flat["trainer.of_folder"] == str(logs / "roll")


def test_a_calibration_of_measures_trains_as_many_as_it_asks_for(
    frozen: FrozenSweep, write_sweep: Callable[[str, str], None]
) -> None:
    frozen()
    write_sweep("roll_radius", RADIUS)
    request = expand_sweep("roll_radius", [LOCAL])
    assert len(request.cells) == 6
    chosen = [calibration.calibration_request(request, count=count).cells for count in (1, 2, 3)]
    assert [len(cells) for cells in chosen] == [1, 2, 3]
    ids = [cell.id for cells in chosen for cell in cells]
    assert len(set(ids)) == 6, "no two counts share a cell"
    four = calibration.calibration_request(request, count=4).cells
    assert len({cell.id for cell in four}) == 4


def test_more_blocks_leave_the_ids_of_the_first(
    frozen: FrozenSweep, write_sweep: Callable[[str, str], None]
) -> None:
    frozen()
    write_sweep("roll_radius", RADIUS)
    ids = {cell.id for cell in cells("roll_radius")}
    more = {cell.id for cell in cells("roll_radius", "axes={trainer.block:{range:[0,5,1]}}")}
    assert ids < more
    assert len(more) == 10


def test_the_id_of_a_measure_does_not_depend_on_where_the_weights_are(
    frozen: FrozenSweep,
    write_sweep: Callable[[str, str], None],
    logs: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    frozen()
    write_sweep("roll_radius", RADIUS)
    ids = [cell.id for cell in cells("roll_radius")]
    logs.rename(logs.parent / "moved")
    monkeypatch.setenv("REDESCENT_LOGS", str(logs.parent / "moved"))
    assert [cell.id for cell in cells("roll_radius")] == ids


def test_the_plan_decides_what_is_measured_and_not_the_edited_sweep(
    frozen: FrozenSweep, write_sweep: Callable[[str, str], None]
) -> None:
    frozen()
    write_sweep("roll_radius", RADIUS)
    ids = [cell.id for cell in cells("roll_radius")]
    write_sweep("roll", TRAINED + "trainer: {epochs: 7}\n")
    assert [cell.id for cell in cells("roll_radius")] == ids


def test_a_line_joins_cells_that_differ_in_one_key(
    frozen: FrozenSweep, write_sweep: Callable[[str, str], None]
) -> None:
    by_point = {
        (cell.flat["seed"], cell.flat["trainer.poison.samples"]): cell.id for cell in frozen()
    }
    write_sweep("roll_line", LINE)
    pairs = {(cell.flat["trainer.of"], cell.flat["trainer.to"]) for cell in cells("roll_line")}
    assert pairs == {(by_point[seed, 0], by_point[seed, 100]) for seed in (0, 1)}
    whole = {
        (cell.flat["trainer.of"], cell.flat["trainer.to"])
        for cell in cells("roll_line", "of.where=[]", "~to", "+to={seed:1}")
    }
    assert whole == {(by_point[0, n], by_point[1, n]) for n in (0, 100)}


def test_a_training_can_start_from_trained_cells(
    frozen: FrozenSweep, write_sweep: Callable[[str, str], None]
) -> None:
    frozen("trainer.weights_at=[10,20]")
    write_sweep(
        "from_roll",
        "defaults: [override /trainer: minima, override /optim: adam]\n"
        "of: {sweep: roll, where: ['seed == 0']}\n"
        "axes: {trainer.start_epoch: [10, 20]}\noptim: {lr: 0.5}\n",
    )
    starts = cells("from_roll")
    assert len(starts) == 4
    assert {cell.flat["optim.lr"] for cell in starts} == {0.5}
    assert {cell.flat["model.name"] for cell in starts} == {"fully_connected"}
    files = [weights_of(cell.flat)[0].file for cell in starts]
    assert all(file.endswith(".path.npz") for file in files)
    assert "keeps its weights at [10, 20]" in refusal(
        "from_roll", "axes={trainer.start_epoch:[10,15]}"
    )


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["of.sweep=other"], "has no submitted sweep; `redescent submit other`"),
        (["of.where=['seed == 7']"], "none of the 4 cells of roll meets ['seed == 7']"),
        (["of.where=['model.depth == 7']"], "no configuration key 'model.depth'"),
        (["seeds=[0]"], "each cell has the seed of the trained cell"),
        (["model.width=3"], "model.width"),
        (["data=digits"], "data=digits: each cell has the seed, model and data"),
        (
            ["~axes", "+axes={data.noise:[0.1,0.2]}"],
            "axes.data.noise: each cell has the data of the trained",
        ),
        (["+to={seed:1}"], "to: the trainer radius reads one cell; remove `to`"),
        (["~of", "+of={swep:roll}"], "of.swep: unknown key; known: sweep, where"),
        (["of.where=false"], "of.where: found False, expected a list of quoted conditions"),
        (["of.where=''"], "of.where: found '', expected a list of quoted conditions"),
        (["+to={model:{}}"], "to: found {'model': {}}, in which no key has a value"),
        (["of=null"], "of: missing; the trainer radius measures trained cells"),
        (["trainer.weights=10"], "found 10, but a trained cell keeps its weights at final"),
        (["limits.cells=5"], "the grid has 6 points (trainer.block 3, trained cells 2)"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    frozen: FrozenSweep,
    write_sweep: Callable[[str, str], None],
    overrides: Sequence[str],
    message: str,
) -> None:
    frozen()
    write_sweep("roll_radius", RADIUS)
    assert message in refusal("roll_radius", *overrides)


def test_a_line_needs_another_end_that_was_trained(
    frozen: FrozenSweep, write_sweep: Callable[[str, str], None]
) -> None:
    frozen()
    write_sweep("roll_line", LINE)
    assert "no cell of roll differs from" in refusal("roll_line", "to={trainer.poison.samples:50}")
    assert "to: the trainer line needs `to`, the other end" in refusal("roll_line", "to=null")
    assert "to.model.depth: no key of the cells of roll; known: " in refusal(
        "roll_line", "~to", "+to={model.depth:2}"
    )


def test_cells_without_weights_cannot_be_measured(
    frozen: FrozenSweep, write_sweep: Callable[[str, str], None]
) -> None:
    frozen("trainer.weights_at=null")
    write_sweep("roll_radius", RADIUS)
    assert "submit its sweep with trainer.weights_at=final" in refusal("roll_radius")


@pytest.mark.parametrize(
    ("trainer", "keys", "message"),
    [
        ("path", "", "path needs the weights at several epochs, but a trained cell keeps the last"),
        ("surface", "trainer: {plane: pca}", "trainer.plane=pca needs the weights at several"),
        ("boundary", "", "found boundary with data digits, expected points in the plane"),
        ("line", "to: {model.width: 3}", "to.model.width: found 3, and the cell has 2"),
    ],
)
def test_measures_that_cannot_succeed_are_refused(
    frozen: FrozenSweep,
    write_sweep: Callable[[str, str], None],
    trainer: str,
    keys: str,
    message: str,
) -> None:
    frozen("data=digits", "model=mlp", "~axes", "+axes={model.width: [2, 3]}")
    where = "where: ['model.width == 2']"
    measure = f"defaults: [override /trainer: {trainer}]\nof: {{sweep: roll, {where}}}\n{keys}\n"
    write_sweep("measures", measure)
    assert message in refusal("measures")


def test_a_path_is_measured_where_its_weights_were_kept(
    frozen: FrozenSweep, write_sweep: Callable[[str, str], None]
) -> None:
    frozen("trainer.weights_at=log")
    write_sweep("path", "defaults: [override /trainer: path]\nof: {sweep: roll}\n")
    assert len(cells("path")) == 4


def sent(trained: Sequence[Cell], measures: Sequence[Cell], **changes: Any) -> list[int]:
    """Indices of the trained cells whose measures would be sent."""
    available = weights.look_up(measures, can_wait=False)
    kept = {cell.flat["trainer.of"] for cell in measures if cell.id not in available.absent}
    return [index for index, cell in enumerate(trained) if cell.id in kept]


def test_only_measures_of_weights_that_are_there_are_sent(
    frozen: FrozenSweep, write_sweep: Callable[[str, str], None], logs: Path
) -> None:
    trained = frozen()
    write_sweep("roll_radius", RADIUS.replace(', where: ["trainer.poison.samples == 100"]', ""))
    measures = cells("roll_radius")
    assert sent(trained, measures) == []
    (logs / "roll" / "weights").mkdir()
    (logs / "roll" / "weights" / f"{trained[2].id}.npz").touch()
    assert sent(trained, measures) == [2]
    available = weights.look_up(measures, can_wait=False)
    (message,) = available.messages([cell.id for cell in measures], "roll_radius")
    assert message == (
        "9 cells are left out, because the trained cells of roll have no weights yet and no job "
        "trains them: `redescent resume roll`, then `redescent resume roll_radius`"
    )


def test_what_resume_would_leave_out_of_measures_is_known_even_with_damaged_weights(
    frozen: FrozenSweep, write_sweep: Callable[[str, str], None], logs: Path
) -> None:
    trained = frozen()
    write_sweep("roll_radius", RADIUS)
    request = expand_sweep("roll_radius", [LOCAL])
    freeze_cells(request, "local", request.cells, {}).write(request.folder)
    state = sweep_state.load_sweep_state(request.folder)
    (message,) = weights.left_out(state)
    assert message.startswith("6 cells are left out, because the trained cells of roll have no ")
    keep_weights(logs / "roll", trained)
    assert weights.left_out(state) == []
    (logs / "roll" / "weights" / "shard-000001.zip").write_text("no archive")
    (message,) = weights.left_out(state)
    assert "shard-000001.zip" in message


def keep_weights(folder: Path, trained: Sequence[Cell]) -> None:
    """Files of final weights, empty, of these cells."""
    (folder / "weights").mkdir()
    for cell in trained:
        (folder / "weights" / f"{cell.id}.npz").touch()


def state_of(request: Request, done: Sequence[str], running: Sequence[str] = ()) -> SweepState:
    """A sweep whose cells are done, or run in a SLURM job."""
    place = Placement("S1", 0, 1, True)
    states = {id: CellState(id, "done", Record("done", 1), place) for id in done}
    states |= {id: CellState(id, "running", Record("running", 1), place) for id in running}
    return SweepState(request.folder, [], {}, states, pd.DataFrame(), [], {})


def test_measures_that_are_done_are_taken_again_only_when_asked(
    frozen: FrozenSweep, write_sweep: Callable[[str, str], None], logs: Path
) -> None:
    trained = frozen()
    write_sweep("roll_radius", RADIUS)
    keep_weights(logs / "roll", trained)
    request = expand_sweep("roll_radius", [LOCAL])
    first, *others = measures = [cell.id for cell in request.cells]
    state = state_of(request, done=measures)
    assert select_cells(request, state, retry_errors=False, rerun=False).ids == []
    assert select_cells(request, state, retry_errors=False, rerun=True).ids == measures
    running = state_of(request, done=others, running=[first])
    assert select_cells(request, running, retry_errors=False, rerun=True).ids == others


def test_a_measure_is_not_taken_again_without_its_weights(
    frozen: FrozenSweep, write_sweep: Callable[[str, str], None], logs: Path
) -> None:
    trained = frozen()
    write_sweep("roll_radius", RADIUS)
    gone, kept = (cell for cell in trained if cell.flat["trainer.poison.samples"] == 100)
    keep_weights(logs / "roll", [kept])
    request = expand_sweep("roll_radius", [LOCAL])
    state = state_of(request, done=[cell.id for cell in request.cells])
    selection = select_cells(request, state, retry_errors=False, rerun=True)
    sent_cells = with_weights(selection, request).cells
    assert {cell.flat["trainer.of"] for cell in sent_cells} == {kept.id}
    assert len(with_weights(selection, request).left_out) == 1
    assert gone.id != kept.id


def test_a_measure_waits_for_weights_that_are_about_to_change(
    frozen: FrozenSweep,
    write_sweep: Callable[[str, str], None],
    logs: Path,
    plan_of: Callable[..., Plan],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trained = frozen()
    write_sweep("roll_radius", RADIUS)
    keep_weights(logs / "roll", trained)
    measures = cells("roll_radius")
    assert weights.look_up(measures, can_wait=True) == weights.Availability()
    bases, split = factor([cell.flat for cell in trained])
    planned = [
        PlannedCell(cell.id, base, values, 1)
        for cell, (base, values) in zip(trained, split, strict=True)
    ]
    tasks = [list(range(len(planned)))]
    again = plan_of(name="roll", bases=bases, cells=planned, tasks=tasks, rerun=True)
    again = replace(again, sid="20260102T030406-0a1b2c3d")
    again.write(logs / "roll")
    jobs.write(again, logs / "roll", [jobs.Array("roll.0", 0, 1, again.created, "7")])
    running = [Task("7", 0, "roll.0", "RUNNING")]
    monkeypatch.setattr(slurm, "queue", lambda names: slurm.Queue(running))
    monkeypatch.setattr(slurm, "accounting", lambda names: [])
    records = {cell.id: Record("done", 1) for cell in trained}
    for module in (sweep_files, sweep_state):
        monkeypatch.setattr(module, "records_of", lambda runs: records)
    jobs_of_measures = weights.look_up(measures, can_wait=True).jobs
    assert jobs_of_measures == {cell.id: ["7"] for cell in measures}
    running.clear()
    assert weights.look_up(measures, can_wait=True) == weights.Availability()


def test_again_with_where_takes_only_the_measures_that_meet_it(
    frozen: FrozenSweep, write_sweep: Callable[[str, str], None], logs: Path
) -> None:
    trained = frozen()
    write_sweep("roll_radius", RADIUS)
    keep_weights(logs / "roll", trained)
    request = expand_sweep("roll_radius", [LOCAL, "where=['trainer.block == 1 and seed == 0']"])
    whole = expand_sweep("roll_radius", [LOCAL])
    state = state_of(whole, done=[cell.id for cell in whole.cells])
    (cell,) = select_cells(request, state, retry_errors=False, rerun=True).cells
    assert (cell.flat["trainer.block"], cell.flat["seed"]) == (1, 0)


def test_results_of_weights_that_were_trained_again_are_counted_apart(
    frozen: FrozenSweep,
    write_sweep: Callable[[str, str], None],
    logs: Path,
    plan_of: Callable[..., Plan],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    trained = frozen()
    write_sweep("roll_radius", RADIUS)
    request = expand_sweep("roll_radius", [LOCAL])
    first, second = sorted({str(cell.flat["trainer.of"]) for cell in request.cells})
    measures = [cell.id for cell in request.cells]
    ends = pd.DataFrame({"cell": [first, second], "status": "done", "updated": [30.0, 10.0]})
    monkeypatch.setattr(weights.store, "runs", lambda folder: ends)
    state = state_of(request, done=measures)
    runs = pd.DataFrame({"cell": measures, "status": "done", "updated": 20.0, "code": None})
    state = replace(state, runs=runs)

    def selection() -> Selection:
        selected = select_cells(request, state, retry_errors=False, rerun=False)
        return with_other_results(selected, request, state)

    assert selection().states == {"done": 6}
    bases, split = factor([cell.flat for cell in trained])
    planned = [PlannedCell(c.id, b, v) for c, (b, v) in zip(trained, split, strict=True)]
    again = plan_of(name="roll", bases=bases, cells=planned, tasks=[[0, 1, 2, 3]], rerun=True)
    replace(again, sid="20260102T030406-0a1b2c3d").write(logs / "roll")
    old = [cell.id for cell in request.cells if cell.flat["trainer.of"] == first]
    assert selection().earlier_weights == old
    assert selection().states == {"done": 3, "done with earlier weights": 3}
    assert selection().cells == []
    proposal = Preview(request, selection(), [], [], 0, (), Estimate("core-hours", 0.0, None))
    print_preview(proposal)
    out = " ".join(capsys.readouterr().out.split())
    assert "done with earlier weights 3" in out
    assert "3 cells of roll_radius have results of weights that were trained again since" in out
    with monkeypatch.context() as patch:
        error = weights.store.StoreError("damaged logs")
        patch.setattr(weights.store, "runs", Mock(side_effect=error))
        assert selection().states == {"done": 6}  # the weights themselves can be read
    state = replace(state, runs=runs.assign(updated=40.0))
    assert selection().states == {"done": 6}
