"""What a page shows, before it is drawn: counts, axes, thinning, figures, the list of sweeps."""

from __future__ import annotations

import dataclasses
import errno
import json
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from small_sweep import ERRORS, EXAMPLES, SID, VISION, SmallCell, SmallSweep, position

from analysis import store
from analysis.stats.seed_curves import feature_table, seed_curves
from analysis.store import LoggedMetric
from launch.cli import main
from launch.cli.console import console
from launch.errors import UserError
from launch.report import drawing, notes, page
from launch.report.curves import STEPS, Sizes, kept_positions, load_curves, thinning_for
from launch.report.data import load_page
from launch.report.figure_files import figures_of
from launch.report.grid import grid_of, labels, setting_text
from launch.report.overview import load_overview
from launch.report.results import results_of
from launch.report.sweeps import REPORT, load_sweeps
from launch.status.sweep_state import load_sweep_state

Example = Callable[[str], Path]


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_folder_that_may_only_be_read_is_answered_with_out(
    example: Example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    folder, write = example("finished"), page.files.write_bytes

    def refuse(path: Path, content: bytes) -> None:
        if path.is_relative_to(folder):
            raise OSError(number, os.strerror(number), str(path))
        write(path, content)

    monkeypatch.setattr(page.files, "write_bytes", refuse)
    with pytest.raises(UserError, match=r"`redescent report finished --out FILE` writes the page"):
        page.write_page(folder)
    assert page.write_page(folder, out=tmp_path / "page.html")[0].exists()


def test_the_page_of_a_complete_sweep_does_not_name_itself(example: Example) -> None:
    folder = example("finished")
    overview = load_overview(load_sweep_state(folder))
    (complete,) = (n.sentence for n in notes.next_steps(overview) if "complete" in n.sentence)
    assert complete == "complete: `redescent report finished` writes a page with its results"
    assert "complete" in [note.sentence for note in load_page(folder).notes]


def test_a_complete_sweep_names_the_command_of_its_figure(
    example: Example, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = example("finished")
    monkeypatch.chdir(folder.parent)
    monkeypatch.setattr(drawing, "SCRIPTS", {"finished": "model_wise"})
    shown = [note.sentence for note in load_page(folder).notes]
    assert "complete: `python analysis/model_wise.py finished` draws its figure" in shown


def test_the_numbers_are_those_of_status(example: Example) -> None:
    folder = example("unfinished")
    overview = load_overview(load_sweep_state(folder))
    shown = load_page(folder)
    lines = [(line.state, line.cells) for line in overview.summary.lines]
    assert lines[-2:] == [("failed", 3), ("failed", 2)]
    expected = [*lines[:-2], ("failed", 5)]
    assert [(count.state, count.cells) for count in shown.counts] == expected
    assert shown.counts[-1].details == [("error", 3), ("out of memory", 2)]
    assert sum(count.cells for count in shown.counts) == len(shown.cells.id) == 27
    assert shown.hours_spent == overview.summary.hours_spent > 0
    assert shown.hours_left == pytest.approx(overview.summary.hours_left)
    assert shown.notes == notes.next_steps(overview)
    failures = [(group.kind, len(group.cells)) for group in shown.failures]
    assert failures == [(one.kind, len(one.cells)) for one in overview.summary.failures]
    assert failures == [("error", 3), ("out of memory", 2)]
    assert "hydra.launcher.mem_gb" in shown.failures[1].advice
    first = shown.failures[0]
    assert first.example == f"{first.cells[0][:11]} --sweep {overview.name}"


def test_the_features_are_those_of_the_figure(example: Example) -> None:
    folder = example("finished")
    rows = store.curves(folder, ["test_error"])
    curves = seed_curves(store.runs(folder), rows, "optim.weight_decay", "test_error")
    expected = feature_table(curves, 11)
    shown = load_page(folder).features
    assert [row.peak for row in shown] == expected["peak"].tolist()
    assert [row.double_descent for row in shown] == expected["double_descent"].tolist()
    assert len({row.double_descent for row in shown}) == 2


def test_provenance_names_submission_code_and_hosts(example: Example) -> None:
    provenance = load_page(example("finished")).provenance
    (submission,) = provenance.submissions
    assert (submission.user, submission.host, submission.cells) == ("ada", "login1", 27)
    assert provenance.counts["code"] == {"906a612f1c23d507": 27}
    assert provenance.counts["host"] == {"node01": 27}


def test_a_measured_surface_has_results_and_no_curves(example: Example) -> None:
    shown = load_page(example("measure"))
    assert not shown.curves.metrics
    (radius,) = [result for result in shown.results.columns if result.column == "radius_mean"]
    assert radius.mean == [0.3, 0.3, 1.3, 1.3]
    assert [axis.key for axis in shown.grid.axes] == ["trainer.block", "trainer.of"]
    assert shown.grid.axes[1].labels == ["c1-aaaaaaaa", "c1-bbbbbbbb"]


def test_a_number_over_all_rows_of_a_measure_comes_before_its_last_row() -> None:
    columns = {"status": "done", "final_radius": 0.5, "radius_mean": 0.4, "distance": 1.0}
    metrics = [LoggedMetric("radius", "", "")]
    shown = results_of(pd.DataFrame([columns]), [0], metrics).columns
    assert [result.column for result in shown] == ["radius_mean", "final_radius", "distance"]


def test_steps_are_the_time_of_an_algorithmic_sweep(example: Example) -> None:
    curves = load_page(example("algorithmic")).curves
    assert [times.epoch for times in curves.x] == [None]
    assert curves.x[0].step == [10, 20, 50, 100, 200, 500, 1000]
    assert [metric.name for metric in curves.metrics] == ["test_accuracy", "train_accuracy"]
    assert curves.metrics[0].meaning == "share of right answers on the test set"


def test_a_diverged_cell_has_no_result_and_loses_its_last_row(example: Example) -> None:
    shown = load_page(example("unfinished"))
    (final,) = [one for one in shown.results.columns if one.column == "final_test_error"]
    assert final.count[0] == 2
    series = shown.curves.series["test_error"][0]
    assert series is not None
    diverged = [i for i, cell in enumerate(series.cells) if shown.cells.logged[cell] == 6]
    assert np.isfinite([v for v in series.seeds[diverged[0]] if v is not None]).sum() == 5


def test_keys_that_follow_from_others_are_no_axes() -> None:
    frame = pd.DataFrame(
        {
            "cell": list("abcdef"),
            "seed": [0, 1, 0, 1, 0, 1],
            "data.split_seed": [10, 11, 10, 11, 10, 11],
            "model.name": ["cnn", "cnn", "mlp", "mlp", "mlp", "mlp"],
            "model.depth": [1.0, 1.0, None, None, None, None],
            "optim.lr": [0.1, 0.1, 0.1, 0.1, 0.2, 0.2],
        }
    )
    grid = grid_of(frame)
    assert [axis.key for axis in grid.axes] == ["model.name", "optim.lr"]
    assert grid.points == [[0, 0], [1, 0], [1, 1]]
    assert grid.point_of_cell == [0, 0, 1, 1, 2, 2]
    assert grid.seed_of_cell == [0, 1, 0, 1, 0, 1]
    assert grid.follows == ["data.split_seed", "model.depth"]


def test_the_trained_cell_of_a_measure_is_no_axis_if_settings_and_seed_tell_it() -> None:
    frame = pd.DataFrame(
        {
            "cell": list("abcd"),
            "seed": [0, 1, 0, 1],
            "model.width": [1, 1, 2, 2],
            "trainer.of": ["c1-3", "c1-2", "c1-1", "c1-0"],
        }
    )
    assert [axis.key for axis in grid_of(frame).axes] == ["model.width"]
    hidden = frame.assign(**{"model.width": 1})  # they differ in what a measure does not have
    assert [axis.key for axis in grid_of(hidden).axes] == ["trainer.of"]


def test_an_axis_that_changes_with_the_seed_stays_an_axis() -> None:
    frame = pd.DataFrame({"cell": list("ab"), "seed": [0, 1], "trainer.epochs": [10, 20]})
    grid = grid_of(frame)
    assert [axis.key for axis in grid.axes] == ["trainer.epochs"]
    assert len(grid.points) == 2


def test_labels_are_short_and_stay_apart() -> None:
    assert labels(["0", "1e-06", "0.000215443469003"]) == ["0", "1e-6", "2.15e-4"]
    assert labels(["16", "64", "null"]) == ["16", "64", "none"]
    assert labels(["0.0010001", "0.0010002"]) == ["0.0010001", "0.0010002"]
    assert labels(["1", "inf", "nan"]) == ["1", "inf", "nan"]
    assert labels(["1e-6", "inf"]) == ["1e-6", "inf"]


def test_little_is_kept_whole_and_much_is_thinned() -> None:
    assert thinning_for(Sizes(3, 9, 27, 40)) == STEPS[0]
    large = Sizes(metrics=20, points=2000, cells=10_000, rows=150)
    thinning = thinning_for(large)
    assert thinning.size(large) <= 600_000
    assert "curves of 3 of 20 metrics are in this page" in thinning.sentences(large)
    huge = Sizes(20, 100_000, 100_000, 150)
    assert thinning_for(huge).size(huge) <= 600_000
    assert "curves are those of" in thinning_for(huge).sentences(huge)[-1]


def test_thinned_curves_keep_their_values_and_their_ends(example: Example) -> None:
    folder = example("finished")
    runs = store.runs(folder)
    points = grid_of(runs).point_of_cell
    whole, thin = load_curves(folder, runs, points), load_curves(folder, runs, points, most=400)
    assert len(thin.thinned) == 3
    before, after = whole.series["test_error"][8], thin.series["test_error"][8]
    assert before is not None
    assert after is not None
    epochs = thin.x[after.x].epoch
    assert epochs is not None
    assert (epochs[0], epochs[-1]) == (1, 40)
    assert [before.mean[epoch - 1] for epoch in epochs] == list(after.mean)


def test_kept_positions_are_few_and_increase() -> None:
    positions = kept_positions(np.arange(1, 100_001), 80)
    assert 40 < len(positions) <= 81
    assert (np.diff(positions) > 0).all()
    assert (positions[0], positions[-1]) == (0, 99_999)


def test_figures_of_this_sweep_are_linked(
    example: Example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = shutil.copytree(example("one_cell"), tmp_path / "logs" / "one_cell")
    drawings = tmp_path / "figures"
    drawings.mkdir()
    Image.new("RGB", (1200, 600), "white").save(drawings / "mine.png")
    (drawings / "mine.json").write_text(json.dumps({"figure": "mine", "source": "logs/one_cell"}))
    (drawings / "other.json").write_text(json.dumps({"figure": "other", "source": "logs/other"}))
    (drawings / "damaged.json").write_text("{")
    (figure,) = figures_of(folder)
    assert figure.name == "mine"
    assert figure.files == [
        ("png", "../../figures/mine.png"),
        ("json", "../../figures/mine.json"),
    ]
    assert figure.picture.startswith("data:image/jpeg;base64,")
    (elsewhere,) = figures_of(folder, tmp_path)
    assert elsewhere.files[0] == ("png", "figures/mine.png")


def test_the_index_lists_every_sweep_and_names_damage(example: Example, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    no_page = shutil.ignore_patterns(REPORT)  # another test may have written the example's page
    for name in ("finished", "all_failed", "empty"):
        shutil.copytree(example(name), logs / name, ignore=no_page)
    (logs / "empty" / "submissions" / SID / "plan.json").write_text("{")
    page.write_page(logs / "finished")
    lines = {line.name: line for line in load_sweeps(logs)}
    assert (lines["finished"].states(), lines["finished"].percent) == ("27 done", 100)
    assert lines["all_failed"].states() == "4 failed"
    assert "not a plan" in lines["empty"].problem
    text = page.write_index(logs).read_text()
    assert 'href="finished/report.html"' in text
    assert "redescent report all_failed" in text
    with pytest.raises(UserError, match="no submitted sweep"):
        load_sweeps(tmp_path / "nowhere")


def test_list_shows_every_sweep_in_80_columns(
    example: Example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDESCENT_LOGS", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "80")
    for name in ("finished", "unfinished"):
        shutil.copytree(example(name), tmp_path / name)
    with console.capture() as text:
        main(["list"], standalone_mode=False)
    lines = text.get().splitlines()
    (finished,) = [line for line in lines if line.split()[:1] == ["finished"]]
    assert finished.split()[1:3] == ["100", "%"]
    assert finished.endswith("  27 done")
    assert max(map(len, lines)) <= 80


def test_report_writes_the_page_and_names_it(
    example: Example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDESCENT_LOGS", str(tmp_path))
    shutil.copytree(example("one_cell"), tmp_path / "one_cell")
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda address: bool(opened.append(address)) or True)
    with console.capture() as text:
        main(["report", "one_cell", "--open"], standalone_mode=False)
    path = tmp_path / "one_cell" / "report.html"
    assert text.get().replace("\n", "") == f"wrote {path}"
    assert opened == [path.as_uri()]
    path.unlink()
    main(["report", "one_cell", "--out", str(tmp_path / "page.html")], standalone_mode=False)
    assert "one_cell" in (tmp_path / "page.html").read_text()
    assert not path.exists()
    with pytest.raises(SystemExit):
        main(["report", "one_cell", "--out", "absent/page.html"], standalone_mode=False)
    for option in (["--watch", "5"], ["--out", "page.html"]):
        with pytest.raises(SystemExit) as end:
            main(["report", *option], standalone_mode=False)
        assert end.value.code == 2


def test_following_ends_with_the_sweep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = EXAMPLES["unfinished"]().write(tmp_path / "live")
    written: list[Path] = []
    waits: list[float] = []

    def end_the_sweep(seconds: float) -> None:
        waits.append(seconds)
        shutil.rmtree(folder)
        dataclasses.replace(EXAMPLES["unfinished"](), is_live=False).write(folder)

    monkeypatch.setattr(page.time, "sleep", end_the_sweep)
    page.follow(folder, 5.0, written.append)
    assert written == [folder / "report.html"]
    assert len(waits) == 1
    assert waits[0] >= 5
    assert "no cell is training or waiting" in written[0].read_text()


def test_what_the_scripts_read_holds_no_html() -> None:
    text = page.script_json({"error": "</script><b>\u2028"})
    assert "<" not in text
    assert json.loads(text) == {"error": "</script><b>\u2028"}


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "null"), (math.nan, "null"), (pd.NA, "null"), (True, "true"), (0.1, "0.1"), (8, "8")],
)
def test_settings_are_shown_as_users_write_them(value: object, text: str) -> None:
    assert setting_text(value) == text


def test_a_cell_that_diverged_has_the_rows_of_its_last_epoch_before(tmp_path: Path) -> None:
    rows = [
        {**position(1), "step": step, "test_error": 0.5, "test_loss": 1.0, "train_error": 0.4}
        for step in (1, 2, 3)
    ]
    cell = SmallCell({"optim.weight_decay": 0.1, "seed": 0}, "nonfinite", rows)
    folder = SmallSweep(VISION, ERRORS, [cell]).write(tmp_path / "diverged")
    curves = load_page(folder).curves
    (series,) = curves.series["test_error"]
    assert series is not None
    assert curves.x[series.x].step == [1, 2]
    assert series.mean == [0.5, 0.5]
