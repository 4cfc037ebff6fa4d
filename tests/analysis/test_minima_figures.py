"""Figures of single experiments on minima: minefields, margins, rings, tables, trajectories."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from landscape_sweep import FACTS, LandscapeSweep, References, error_of
from matplotlib.figure import Figure
from sweep_folder import Sweep

from analysis import (
    atlas,
    linear_vs_net,
    minefield,
    optimizer_table,
    rings,
    sharpness_time,
    store,
    trajectory,
    wide_margin,
)
from analysis.figure import query
from analysis.landscape import atlas as pages
from analysis.landscape import (
    basins,
    boundary,
    margins,
    over_time,
    selection,
    surfaces,
    trajectories,
)
from analysis.landscape import minefield as fields
from analysis.landscape.boundary import Boundary


def disc(radius: float, points: pd.DataFrame | None = None) -> Boundary:
    """A net that answers class 1 outside a disc around the origin."""
    places = np.linspace(-1.0, 1.0, 101)
    x, y = np.meshgrid(places, places)
    columns = ["x", "y", "label", "margin"]
    samples = pd.DataFrame(columns=columns, dtype=float) if points is None else points
    return Boundary("c1", "disc", places, (np.hypot(x, y) - radius)[None], pd.DataFrame(), samples)


def test_the_boundary_of_a_disc_has_its_radius_along_every_ray() -> None:
    np.testing.assert_allclose(margins.ray_radii(disc(0.5)), 0.5, atol=2e-3)
    assert np.isnan(margins.ray_radii(disc(1.5), rays=8)).all()
    np.testing.assert_allclose(np.linalg.norm(margins.crossings(disc(0.5)), axis=1), 0.5, atol=1e-3)


def test_a_pair_has_the_smaller_of_two_margins_and_half_the_distance() -> None:
    points = pd.DataFrame({"x": [0.2, 0.8, 0.9], "y": [0.0, 0.0, 0.0], "label": [0, 1, 0],
                           "margin": [-0.3, 0.3, 0.4]})  # fmt: skip
    pairs = margins.pairs(disc(0.5, points))
    # the third sample is wrong: its distance counts as negative, for its pair too
    np.testing.assert_allclose(pairs.margin, [0.3, -0.4, -0.4], atol=2e-3)
    np.testing.assert_allclose(pairs.widest, [0.3, 0.05, 0.05])


def ring_sweep(logs: Path) -> LandscapeSweep:
    """A trained sweep of rings: no inner points, or ten at two gaps."""
    sweep = LandscapeSweep(logs)
    runs = []
    for inner, gap in ((0, 0.1), (10, 0.1), (10, 0.01)):
        runs.append({
            "cell": f"c1-i{inner}g{gap}", "seed": 0, **FACTS, "trainer.name": "minima",
            "data.name": "rings", "data.inner": inner, "data.gap": gap, "epochs": 100,
            "final_train_eval_wrong": int(gap < 0.1), "final_train_eval_loss": 1e-6,
        })  # fmt: skip
    sweep.trained.runs("runs", runs)
    rows = [{"cell": run["cell"], "attempt": 1, "epoch": 100, "step": 100} for run in runs]
    sweep.trained.curves("runs", rows)  # a part of records counts with its part of rows alone
    return sweep


def ring_boundary(sweep: LandscapeSweep) -> Path:
    """The boundary of each cell is a circle halfway between the rings, or inside the gap."""
    places = np.linspace(-1.0, 1.0, 81)
    x, y = np.meshgrid(places, places)
    cells, rows = {}, []
    for inner, gap in ((0, 0.1), (10, 0.1), (10, 0.01)):
        cell = f"b{inner}{gap}"
        cells[cell] = {"trainer.of": f"c1-i{inner}g{gap}", "seed": 0}
        margin = np.hypot(x, y) - (0.4 + gap / 2 if inner else 0.675)
        place: dict[str, Any] = {"cell": cell, "epoch": 0}
        rows.append({**place, "step": 0, "frame": 0, "c": 0.0, "loss": 0.0, "accuracy": 1.0})
        for index, value in enumerate(margin.ravel()):
            at = {"frame": 0, "x_index": index % 81, "y_index": index // 81, "margin": value}
            rows.append({**place, "step": 1 + index, **at})
        samples = [(0.4, 0), (0.95, 1), (0.4 + gap, 1)]
        for index, (radius, label) in enumerate(samples if inner else samples[:2]):
            sample = {"point_x": radius, "point_y": 0.0, "point_label": label}
            value = {"margin": 2.0 * label - 1.0, "lambda_max_scaled": None}
            rows.append({**place, "step": 9000 + index, **sample, **value})
    fixed = {
        "trainer.name": "boundary", "trainer.points": 81, "trainer.extent": 1.0,
        "trainer.frames": 1, "trainer.amplitude": 0.5, "trainer.bn": "kept",
    }  # fmt: skip
    return sweep.measure("rings_boundary", fixed, cells, rows)


def test_rings_are_drawn_with_the_distance_of_their_boundaries(
    tmp_path: Path, drawn: list[Figure], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = ring_boundary(ring_sweep(tmp_path / "logs"))
    assert rings.main([str(folder), "--out", str(tmp_path / "out")]) == 0
    rows = pd.read_csv(tmp_path / "out" / "rings.csv")
    assert rows["inner"].tolist() == [0, 10, 10]
    assert rows["gap"].tolist() == [0.1, 0.1, 0.01]
    assert rows["median"].tolist() == pytest.approx([0.675, 0.45, 0.405], abs=3e-3)
    assert "10 inner points at 0.01: boundary at 0.40" in capsys.readouterr().out
    assert sum(axes.get_visible() for axes in drawn[0].axes) == 3


def test_other_data_than_rings_are_refused(
    landscape: LandscapeSweep, capsys: pytest.CaptureFixture[str]
) -> None:
    assert rings.main([str(landscape.boundary())]) == 2
    assert "found data swiss_roll, expected rings" in capsys.readouterr().err


def test_margins_are_drawn_over_the_gap_of_rings_or_the_test_accuracy(
    tmp_path: Path, landscape: LandscapeSweep, drawn: list[Figure]
) -> None:
    folder = ring_boundary(ring_sweep(tmp_path / "rings"))
    out = ["--out", str(tmp_path / "out")]
    assert wide_margin.main([str(folder), *out]) == 0
    table = pd.read_csv(tmp_path / "out" / "wide_margin.csv").set_index("cell")
    assert table.loc["c1-i10g0.1", "fits"]
    assert not table.loc["c1-i10g0.01", "fits"]
    assert (table["share"] <= 1.01).all()
    assert (table["wrong"] >= 0).all()
    assert drawn[0].axes[0].get_xlabel() == "gap"
    assert wide_margin.main([str(landscape.boundary()), *out]) == 0
    assert drawn[1].axes[0].get_xlabel() == "test accuracy (%)"


def test_cells_without_a_number_on_the_axis_are_left_out_with_a_note(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], drawn: list[Figure]
) -> None:
    sweep = ring_sweep(tmp_path / "rings")
    folder = ring_boundary(sweep)
    path = sweep.trained.folder / "runs" / "runs.parquet"
    runs = pd.read_parquet(path)
    runs.loc[runs["cell"] == "c1-i0g0.1", "data.gap"] = np.nan
    runs.to_parquet(path)
    assert wide_margin.main([str(folder), "--out", str(tmp_path / "out")]) == 0
    table = pd.read_csv(tmp_path / "out" / "wide_margin.csv")
    assert table["cell"].tolist() == ["c1-i10g0.01", "c1-i10g0.1"]
    note = "note: 1 trained cell without a number >= 0 in data.gap is left out"
    assert note in capsys.readouterr().out


def test_a_net_that_is_wrong_has_no_margin() -> None:
    columns = ["seed", "mean", "share", "fits", "wrong"]
    rows = [(0, 0.5, 0.25, True, 0), (1, -2.0, -3.57, False, 10)]
    texts = wide_margin.sentences(pd.DataFrame(rows, columns=columns))
    assert texts == [
        "margin 0.5, 25 % of the widest (0.25 to 0.25 over 1 seed)",
        "seed 1 is wrong on 10 training samples, no margin",
    ]


def mined(logs: Path) -> Path:
    """A good training whose weights grow by 1 in each of 5 snapshots, and three bad ones, which end
    at distance 3 from the snapshots that they start from.
    """
    good, bad = Sweep(logs / "good"), Sweep(logs / "bad")
    for sweep in (good, bad):
        (sweep.folder / "weights").mkdir(parents=True)
    facts = {**FACTS, "seed": 0, "trainer.name": "minima", "final_train_eval_examples": 10}
    good.runs("runs", [{"cell": "c1-good", **facts, "final_test_error": 0.02,
                        "final_train_eval_wrong": 0}])  # fmt: skip
    epochs = np.array([10, 20, 30, 40, 50])
    path = np.stack([[epoch / 10, 0.0, 0.0] for epoch in epochs]).astype(np.float32)
    own = {"__epochs__": epochs, "__wrongs__": np.array([4, 3, 2, 1, 0])}
    np.savez(good.folder / "weights" / "c1-good.path.npz", w=path, **own)
    end = {"w": path[-1], "running_mean": np.full(1, 99.0)}
    np.savez(good.folder / "weights" / "c1-good.npz", **end, __epoch__=50, __wrong__=0)
    runs = []
    for index, epoch in enumerate((10, 30, 50)):
        cell = f"c1-bad{index}"
        runs.append({"cell": cell, **facts, "trainer.start_of": "c1-good",
                     "trainer.start_epoch": str(epoch), "trainer.of_folder": str(good.folder),
                     "final_test_error": 0.4, "final_train_eval_wrong": index})  # fmt: skip
        vector = np.array([epoch / 10, 3.0, 0.0], np.float32)
        np.savez(bad.folder / "weights" / f"{cell}.npz", w=vector, __epoch__=9, __wrong__=index)
    bad.runs("runs", runs)
    return bad.folder


def test_a_minefield_has_distances_in_the_space_of_all_weights(tmp_path: Path) -> None:
    field = fields.load(str(mined(tmp_path)))
    assert field.vectors.shape == (8, 3)  # four snapshots, the end, three bad minima
    bad, path = field.of_kind(fields.BAD), field.of_kind(fields.GOOD)
    assert bad["from_start"].tolist() == pytest.approx([3.0, 3.0, 3.0])
    assert bad["from_end"].tolist() == pytest.approx([5.0, 13**0.5, 3.0])
    assert bad["train_accuracy"].tolist() == pytest.approx([1.0, 0.9, 0.8])
    assert path["from_end"].tolist() == pytest.approx([4.0, 3.0, 2.0, 1.0])
    assert path["step"].tolist()[1:] == pytest.approx([1.0, 1.0, 1.0])


def test_a_minefield_is_drawn_with_all_its_networks(
    tmp_path: Path, drawn: list[Figure], capsys: pytest.CaptureFixture[str]
) -> None:
    assert minefield.main([str(mined(tmp_path)), "--out", str(tmp_path / "out")]) == 0
    assert "3 bad minima, 1 of them right on all training samples" in capsys.readouterr().out
    table = pd.read_csv(tmp_path / "out" / "minefield.csv")
    assert table["kind"].value_counts().to_dict() == {"good": 4, "end": 1, "bad": 3}
    assert np.isfinite(table[["x", "y"]]).all(axis=None)
    assert len(drawn) == 1


def mined_with(folder: Path, column: str, values: list[Any]) -> None:
    """Changes a column of the bad trainings of `mined`."""
    runs = pd.read_parquet(folder / "runs" / "runs.parquet")
    Sweep(folder).runs("runs", runs.assign(**{column: values}).to_dict("records"))


def test_bad_trainings_of_several_settings_are_not_mixed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = mined(tmp_path)
    mined_with(folder, "trainer.start_epoch", ["10", "10", "30"])
    mined_with(folder, "optim.lr", [0.1, 0.2, 0.1])
    assert minefield.main([str(folder)]) == 2
    error = capsys.readouterr().err
    assert "the runs vary in more than trainer.start_epoch and seed:\n  optim.lr: 0.1, 0.2" in error


def test_a_minefield_of_several_seeds_says_which_is_drawn(tmp_path: Path) -> None:
    folder = mined(tmp_path)
    mined_with(folder, "seed", [0, 0, 1])
    field = fields.load(str(folder))
    assert field.notes == ("seed 0 of 2 is drawn; --where seed=N draws another",)
    assert len(field.of_kind(fields.BAD)) == 2


def test_diverged_bad_trainings_are_named_and_need_no_resume(
    tmp_path: Path, drawn: list[Figure], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = mined(tmp_path)
    mined_with(folder, "status", ["done", "nonfinite", "done"])
    assert minefield.main([str(folder), "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "1 cell diverged" in printed
    assert "not done" not in printed
    mined_with(folder, "status", ["nonfinite"] * 3)
    assert minefield.main([str(folder)]) == 2
    error = capsys.readouterr().err
    assert "3 cells diverged" in error
    assert "redescent resume" not in error


def test_trainings_that_start_from_nothing_are_no_minefield(
    landscape: LandscapeSweep, capsys: pytest.CaptureFixture[str]
) -> None:
    assert minefield.main([str(landscape.trained.folder)]) == 2
    assert "no training starts from the weights of another" in capsys.readouterr().err


def optimisers(logs: Path, **changes: Any) -> Path:
    """Two optimisers of three seeds; the second is better by 10 points."""
    sweep = Sweep(logs / "table")
    sweep.folder.mkdir(parents=True)
    runs = []
    for name, error in (("sgd", 0.3), ("adam", 0.2)):
        for seed in range(3):
            runs.append({
                "cell": f"c1-{name}{seed}", "seed": seed, **FACTS, "optim.name": name,
                "optim.lr": 0.1, "optim.momentum": 0.9 if name == "sgd" else None,
                "model.name": "cnn5", "parameters": 100, "final_train_eval_error": 0.0,
                "final_test_error": error + 0.01 * seed, **changes,
            })  # fmt: skip
    sweep.runs("runs", runs)
    return sweep.folder


def test_optimisers_are_ranked_with_intervals_over_seeds(
    tmp_path: Path, drawn: list[Figure]
) -> None:
    out = ["--out", str(tmp_path / "out")]
    assert optimizer_table.main([str(optimisers(tmp_path)), *out]) == 0
    table = pd.read_csv(tmp_path / "out" / "optimizer_table.csv")
    assert table["name"].tolist() == ["Adam 0.1", "SGD 0.1, momentum 0.9"]
    assert table["test_mean"].tolist() == pytest.approx([0.79, 0.69])
    half = 4.3027 * 0.01 / 3**0.5  # t with two degrees of freedom
    assert (table["test_high"] - table["test_mean"]).tolist() == pytest.approx([half] * 2, rel=1e-4)
    names = [text.get_text() for text in drawn[0].axes[0].get_yticklabels()]
    assert names == table["name"].tolist()


def test_diverged_trainings_are_named_and_need_no_resume(
    tmp_path: Path, drawn: list[Figure], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = optimisers(tmp_path)
    runs = store.runs(folder)
    runs["status"] = np.where(runs["seed"] == 2, "nonfinite", "done")
    Sweep(folder).runs("runs", runs.to_dict("records"))
    assert optimizer_table.main([str(folder), "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "not drawn: 2 cells diverged" in printed
    assert "not done" not in printed
    runs["status"] = "nonfinite"
    Sweep(folder).runs("runs", runs.to_dict("records"))
    assert optimizer_table.main([str(folder)]) == 2
    error = capsys.readouterr().err
    assert "6 cells diverged" in error
    assert "redescent resume" not in error


@pytest.mark.parametrize("script", [optimizer_table, linear_vs_net])
def test_a_caption_has_the_range_of_unequal_numbers_of_seeds(
    script: ModuleType, tmp_path: Path, drawn: list[Figure]
) -> None:
    folder = optimisers(tmp_path)
    runs = store.runs(folder)
    if script is linear_vs_net:
        runs["model.name"] = np.where(runs["optim.name"] == "sgd", "quadratic", "cnn5")
        runs = runs.drop(columns=["optim.name", "optim.momentum"])
    Sweep(folder).runs("runs", runs.iloc[:4].to_dict("records"))
    assert script.main([str(folder), "--out", str(tmp_path / "out")]) == 0
    assert "means over 1 to 3 seeds," in drawn[0].texts[0].get_text()


def test_trainings_of_one_optimiser_with_two_settings_are_not_averaged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = optimisers(tmp_path)
    runs = store.runs(folder)
    runs["optim.weight_decay"] = (runs["seed"] == 2) * 0.1
    Sweep(folder).runs("runs", runs.to_dict("records"))
    assert optimizer_table.main([str(folder)]) == 2
    error = capsys.readouterr().err
    assert "the trainings of Adam 0.1 differ in more than seed" in error
    assert "optim.weight_decay" in error


def test_models_are_not_compared_where_something_else_differs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert linear_vs_net.main([str(optimisers(tmp_path))]) == 2
    assert "the trainings differ in more than the keys of model:" in capsys.readouterr().err


def test_models_are_drawn_as_bars_of_both_accuracies(tmp_path: Path, drawn: list[Figure]) -> None:
    folder = optimisers(tmp_path)
    runs = pd.read_parquet(folder / "runs" / "runs.parquet")
    is_linear = runs["optim.name"] == "sgd"
    runs["model.name"] = np.where(is_linear, "quadratic", "cnn5")
    runs = runs.drop(columns=["optim.name", "optim.momentum"])
    runs.to_parquet(folder / "runs" / "runs.parquet")
    assert linear_vs_net.main([str(folder), "--out", str(tmp_path / "out")]) == 0
    heights = sorted(bar.get_height() for bar in drawn[0].axes[0].patches if bar.get_height())
    assert heights == pytest.approx([69.0, 79.0, 100.0, 100.0])


def path_sweep(sweep: LandscapeSweep) -> Path:
    """The path of the natural cell of seed 0: four snapshots on a line to the origin."""
    rows = []
    for step, epoch in enumerate((1, 3, 10, 100)):
        place = {"cell": "path", "epoch": 0, "step": step, "snapshot_epoch": epoch}
        rows.append({**place, "x": 1 - step / 3, "y": 0.0, "off_plane": 0.1 * (3 - step),
                     "loss": 10.0 ** -step, "wrong": 3 - step, "examples": 200,
                     "explained_x": 0.9, "explained_y": 0.08})  # fmt: skip
    cells = {"path": {"trainer.of": "c1-p0s0", "seed": 0}}
    return sweep.measure("roll_path", {"trainer.name": "path", "trainer.bn": "kept"}, cells, rows)


def test_a_path_is_drawn_over_the_surface_of_its_plane(
    landscape: LandscapeSweep, drawn: list[Figure], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    folder, out = str(path_sweep(landscape)), ["--out", str(tmp_path / "out")]
    plane = str(landscape.surface(**{"trainer.plane": "pca"}))
    (one,) = trajectories.trajectories(
        selection.load(folder, "path"), selection.load(plane, "surface")
    )
    assert one.surface is not None
    assert one.snapshots["epoch"].tolist() == [1, 3, 10, 100]
    assert trajectory.main([folder, *out, "--surface", plane]) == 0
    assert "98 % of the variance in the plane; off the plane by up to 30 %" in (
        capsys.readouterr().out
    )
    assert json.loads((tmp_path / "out" / "trajectory.json").read_text())["surface"] == plane
    assert len(drawn) == 1


def test_a_surface_of_another_plane_is_refused(
    landscape: LandscapeSweep, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(path_sweep(landscape))
    plane = str(landscape.surface(**{"trainer.plane": "filter"}))
    assert trajectory.main([folder, "--surface", plane]) == 2
    assert "found trainer.plane=filter, expected pca" in capsys.readouterr().err


def test_margins_need_only_what_a_boundary_measure_has(landscape: LandscapeSweep) -> None:
    measures = selection.load(str(landscape.boundary()), "boundary")
    table = margins.table(measures)
    assert len(table) == len(boundary.boundaries(measures)) == 6
    assert (table["mean"] <= table["widest"] + 1e-9).all()


@pytest.mark.parametrize(
    ("labels", "message"),
    [([], "has no samples: an earlier version measured it"), ([1, 1], "are of one class")],
)
def test_a_margin_needs_samples_of_both_classes(
    landscape: LandscapeSweep, monkeypatch: pytest.MonkeyPatch, labels: list[int], message: str
) -> None:
    measures = selection.load(str(landscape.boundary()), "boundary")
    points = pd.DataFrame({"x": 0.2, "y": 0.0, "label": labels, "margin": 0.3})
    monkeypatch.setattr(margins, "boundaries", lambda _: [disc(0.5, points)])
    with pytest.raises(query.FigureError, match=message):
        margins.table(measures)


def page_data(page: str) -> dict[str, Any]:
    """The values of a page of the atlas."""
    data = page.partition('<script type="application/json" id="data">')[2]
    return dict(json.loads(data.partition("</script>")[0]))


def test_an_atlas_has_every_measure_of_the_cells_on_common_scales(
    landscape: LandscapeSweep, tmp_path: Path
) -> None:
    folders = (landscape.surface(), landscape.radius(), landscape.curvature(),
               landscape.boundary())  # fmt: skip
    out = tmp_path / "out"
    assert atlas.main([str(landscape.trained.folder), "--out", str(out)]) == 0
    page = (out / "atlas.html").read_text()
    reader = References()
    reader.feed(page)
    assert reader.found == []
    data = page_data(page)
    assert (data["axis"], data["quantity"]) == ("poison samples", "test error")
    assert data["cells"][0]["value"] == pytest.approx(error_of(0, 0))
    assert set(data["sources"].values()) == {folder.name for folder in folders}
    ids = {cell["id"] for cell in data["cells"]}
    assert len(ids) == 6
    for measure in ("surface", "radius", "curvature", "boundary"):
        assert set(data["measures"][measure]) == ids
    (one, *_) = surfaces.surfaces(selection.load(str(folders[0]), "surface", ["seed=0"]))
    drawn = np.array(data["measures"]["surface"][one.cell]["z"], float)
    np.testing.assert_allclose(drawn, np.log10(one.loss), atol=1e-3)
    radii = data["measures"]["radius"]["c1-p100s0"]
    assert (sum(radii["counts"]), radii["m"], radii["never"]) == (100, 100, 0)
    edges = np.array(data["scales"]["radius"])
    middle = np.average(np.log(edges), weights=radii["counts"])
    assert np.exp(middle) == pytest.approx(radii["mean"], rel=0.05)
    assert data["measures"]["curvature"]["c1-p100s0"]["lambda_max"] == pytest.approx(102)


def test_an_atlas_says_which_measures_it_leaves_out(
    landscape: LandscapeSweep, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = landscape.radius()
    runs = pd.read_parquet(folder / "runs" / "runs.parquet")
    runs.loc[0, "trainer.kappa"] = 1.0
    runs.to_parquet(folder / "runs" / "runs.parquet")
    assert atlas.main([str(landscape.trained.folder), "--out", str(tmp_path / "out")]) == 0
    text = capsys.readouterr().out
    assert (
        "note: roll_radius: left out: measures with different settings cannot be compared: "
        "trainer.kappa: 0.1, 1 wrote" in " ".join(text.split())
    )
    data = page_data((tmp_path / "out" / "atlas.html").read_text())
    assert (len(data["cells"]), data["measures"]) == (6, {})


def test_an_atlas_of_data_without_a_test_set_has_training_losses(tmp_path: Path) -> None:
    sweep = ring_sweep(tmp_path / "logs")
    ring_boundary(sweep)
    out = ["--out", str(tmp_path / "out"), "--axis", "data.gap"]
    assert atlas.main([str(sweep.trained.folder), *out]) == 0
    data = page_data((tmp_path / "out" / "atlas.html").read_text())
    assert data["quantity"] == "training loss (nats)"
    assert [cell["value"] for cell in data["cells"]] == [1e-6] * 3
    assert len(data["measures"]["boundary"]) == 3


EPOCHS = (1, 3, 100)
"""Of the weights whose sharpness is measured."""


def sharp_sweep(sweep: LandscapeSweep) -> Path:
    """Sharpness at three epochs, which grows with the test error of that epoch, as its square."""
    cells, rows = {}, []
    for of, poison, seed in sweep.cells():
        errors = {epoch: (1 + poison / 100) / (10 + epoch) + 0.001 * seed for epoch in EPOCHS}
        sweep.trained.curves(f"rows{of}", [
            {"cell": of, "attempt": 1, "epoch": epoch, "step": epoch, "test_error": error}
            for epoch, error in errors.items()
        ])  # fmt: skip
        for epoch, error in errors.items():
            cell, weights = f"{of}e{epoch}", "final" if epoch == 100 else str(epoch)
            cells[cell] = {"trainer.of": of, "trainer.weights": weights, "seed": seed}
            rows.append({"cell": cell, "epoch": 0, "step": 0, "sharpness_ascent": error**2})
    fixed = {"trainer.name": "sharpness", "trainer.bn": "kept", "trainer.rho": 0.05}
    return sweep.measure("roll_sharpness", fixed, cells, rows)


def test_measures_over_time_stand_beside_the_test_error_of_their_epoch(
    landscape: LandscapeSweep,
) -> None:
    folder = str(sharp_sweep(landscape))
    measures = selection.load(folder, "sharpness", free=over_time.FREE)
    column = "trainer.poison.samples"
    sharpness = over_time.measured(measures, column)
    errors = over_time.test_errors(measures, column)
    assert sharpness.values == [0.0, 100.0, 400.0]
    assert sorted(set(sharpness.table["epoch"])) == list(EPOCHS)
    both = over_time.beside(sharpness, errors)
    assert len(both) == 18
    np.testing.assert_allclose(both["x"], both["y"] ** 2, rtol=1e-5)


def test_final_weights_have_the_epoch_at_which_their_training_ended(
    landscape: LandscapeSweep,
) -> None:
    folder = str(sharp_sweep(landscape))
    measures = selection.load(folder, "sharpness", free=over_time.FREE)
    ended = replace(measures, trained=measures.trained.assign(epochs=41))
    epochs = over_time.measured(ended, "trainer.poison.samples").table["epoch"]
    assert sorted(set(epochs)) == [1, 3, 41]


def test_measures_of_other_trainings_are_not_drawn_together(landscape: LandscapeSweep) -> None:
    measures = selection.load(str(sharp_sweep(landscape)), "sharpness", free=over_time.FREE)
    other_cells = measures.trained.assign(cell="other " + measures.trained["cell"].astype(str))
    over_time.check_same_trainings([measures, replace(measures, trained=measures.trained[:2])])
    with pytest.raises(query.FigureError, match="found measures of other trainings than in"):
        over_time.check_same_trainings([measures, replace(measures, trained=other_cells)])


COLUMN = "trainer.poison.samples"
FINAL = {"trainer.weights": "final"}


def test_blocks_of_one_training_are_no_seeds(landscape: LandscapeSweep) -> None:
    folder = landscape.radius(**FINAL)
    radius = over_time.measured(selection.load(folder, "radius", free=over_time.FREE), COLUMN)
    assert radius.table["seeds"].tolist() == [2, 2, 2]
    assert len(radius.by_seed) == 6
    means = basins.radii(selection.load(folder, "radius")).groupby("trainer.poison.samples")["mean"]
    np.testing.assert_allclose(radius.table["mean"], means.mean())


def test_a_radius_over_time_is_that_of_the_full_scan_where_it_crosses_first(
    landscape: LandscapeSweep,
) -> None:
    folder = landscape.radius(each={"status": basins.AUDIT, "audit_radius": 0.015625}, **FINAL)
    measures = selection.load(folder, "radius", free=over_time.FREE)
    assert over_time.measured(measures, COLUMN).table["mean"].tolist() == [0.015625] * 3
    assert basins.radii(measures)["mean"].tolist() == [0.015625] * 6
    for cell in pages._radii(measures).values():
        assert cell["radii"] == [0.015625] * 100


def test_a_full_scan_that_steps_over_a_crossing_corrects_nothing(landscape: LandscapeSweep) -> None:
    found = {"status": basins.AUDIT, "radius": 0.25, "audit_radius": 0.75}
    folder = landscape.radius(each=found, **FINAL)
    assert basins.radii(selection.load(folder, "radius"))["mean"].tolist() == [0.25] * 6


def test_radii_that_no_cell_has_are_named(
    landscape: LandscapeSweep, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = landscape.radius(each={"status": basins.UNDEFINED, "radius": None}, **FINAL)
    for of, _, _ in landscape.cells():
        row = {"cell": of, "attempt": 1, "epoch": 1, "step": 1, "test_error": 0.5}
        landscape.trained.curves(f"rows{of}", [row])
    words = [str(folder), "--column", COLUMN, "--out", str(tmp_path)]
    assert sharpness_time.main(words) == 2
    assert "found no radius above 0 in 12 finished cells" in capsys.readouterr().err


def test_sharpness_is_drawn_over_time_and_an_axis(
    landscape: LandscapeSweep, drawn: list[Figure], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    folder = str(sharp_sweep(landscape))
    column = ["--column", "trainer.poison.samples"]
    assert sharpness_time.main([folder, *column, "--out", str(tmp_path / "out")]) == 0
    assert "sharpness and test error, all epochs: Spearman 1.00" in capsys.readouterr().out
    labels = [axes.get_ylabel() for axes in drawn[0].axes]
    assert labels == ["training time t (epochs)", "", "test error", "sharpness (nats)"]


def test_trainings_without_a_number_on_the_axis_are_noted(
    landscape: LandscapeSweep, drawn: list[Figure], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    folder = str(sharp_sweep(landscape))
    runs = store.runs(landscape.trained.folder)
    runs[COLUMN] = runs[COLUMN].astype(float).where(runs[COLUMN] > 0)
    Sweep(landscape.trained.folder).runs("runs", runs.to_dict("records"))
    assert sharpness_time.main([folder, "--column", COLUMN, "--out", str(tmp_path)]) == 0
    note = f"2 trained cells without a number >= 0 in {COLUMN} are left out"
    assert f"note: {note}\n" in capsys.readouterr().out
    (record,) = json.loads((tmp_path / "sharpness_time.json").read_text())["measures"]
    assert record["notes"] == [note]
    assert len(record["trained"]) == 4


def test_means_over_time_have_the_range_of_their_seeds(
    landscape: LandscapeSweep, drawn: list[Figure], tmp_path: Path
) -> None:
    words = [str(sharp_sweep(landscape)), "--column", COLUMN, "--out", str(tmp_path)]
    assert sharpness_time.main(words) == 0
    assert sharpness_time.main([*words, "--where", f"seed == 0 or {COLUMN} == 0"]) == 0
    captions = [figure.texts[-1].get_text() for figure in drawn]
    assert "means over 2 seeds;" in captions[0]
    assert "means over 1 to 2 seeds;" in captions[1]


def test_numbers_of_samples_are_given_for_each_measure_where_they_differ() -> None:
    def measures(**settings: object) -> SimpleNamespace:
        return SimpleNamespace(setting=lambda key: settings.get(key.rpartition(".")[2]))

    sharpness, radius = measures(name="sharpness", images=500), measures(name="radius", images=200)
    assert sharpness_time._samples([sharpness]) == "measures on 500"
    assert sharpness_time._samples([sharpness, radius]) == "sharpness on 500, radius on 200"
    whole = measures(name="radius", train_samples=500)
    assert sharpness_time._samples([sharpness, whole]) == "measures on 500"


def test_only_measures_of_a_whole_network_are_drawn_over_time(
    landscape: LandscapeSweep, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sharpness_time.main([str(landscape.boundary())]) == 2
    assert "found trainers boundary, expected one of sharpness, radius" in capsys.readouterr().err
