"""Figures of landscapes on hand-made stores: what is joined, computed, refused and drawn."""

from __future__ import annotations

import base64
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from landscape_sweep import POISON, LandscapeSweep, References, curvature, error_of
from matplotlib.figure import Figure

from analysis import (
    basin_volume,
    decision_boundary,
    hessian_spectrum,
    loss_surface,
    radius_accuracy,
    surface_3d,
    walk,
)
from analysis.figure.query import FigureError
from analysis.landscape import (
    atlas,
    basins,
    boundary,
    labels,
    selection,
    spectra,
    surfaces,
    volumes,
    walks,
)


def test_measures_are_joined_to_the_cells_that_they_measure(landscape: LandscapeSweep):
    measures = selection.load(str(landscape.radius()), "radius")
    assert measures.axes == ("trainer.poison.samples",)
    assert list(measures.trained["trainer.poison.samples"]) == [0, 0, 100, 100, 400, 400]
    rows = measures.rows("radius")
    assert rows.groupby("of").size().to_dict() == {cell: 100 for cell, *_ in landscape.cells()}


def test_logs_that_were_moved_together_are_still_joined(landscape: LandscapeSweep):
    folder = landscape.radius()
    moved = landscape.logs.parent / "elsewhere"
    shutil.move(landscape.logs, moved)
    assert len(selection.load(str(moved / folder.name), "radius").trained) == 6


def test_where_chooses_trained_cells_and_settings_of_the_measure(landscape: LandscapeSweep):
    folder = str(landscape.radius())
    conditions = ["trainer.poison.samples=0,400", "trainer.kappa=0.1", "seed=1"]
    measures = selection.load(folder, "radius", conditions)
    assert list(measures.trained["cell"]) == ["c1-p0s1", "c1-p400s1"]
    assert set(measures.cells["trainer.of"]) == {"c1-p0s1", "c1-p400s1"}
    with pytest.raises(FigureError, match=r"trainer\.kappa=0\.2: no run left"):
        selection.load(folder, "radius", ["trainer.kappa=0.2"])


@pytest.mark.parametrize(
    ("condition", "cells"),
    [
        ("seed < 1", {"c1-p0s0", "c1-p100s0", "c1-p400s0"}),
        ("trainer.poison.samples in [0, 400] and seed == 1", {"c1-p0s1", "c1-p400s1"}),
        ("trainer.kappa > 0.05", {"c1-p0s0", "c1-p0s1", "c1-p100s0", "c1-p100s1", "c1-p400s0",
                                  "c1-p400s1"}),
    ],
)  # fmt: skip
def test_a_comparison_chooses_trained_cells_as_an_equality_does(
    condition: str, cells: set[str], landscape: LandscapeSweep
) -> None:
    measures = selection.load(str(landscape.radius()), "radius", [condition])
    assert set(measures.trained["cell"]) == cells
    assert set(measures.cells["trainer.of"]) == cells


def test_a_condition_over_trained_cells_and_measures_is_refused(landscape: LandscapeSweep) -> None:
    both = "seed == 0 and trainer.kappa == 0.1"
    with pytest.raises(FigureError, match=r"trained cells \(seed\) and of measures \(trainer"):
        selection.load(str(landscape.radius()), "radius", [both])


def test_measures_of_different_settings_are_not_mixed(landscape: LandscapeSweep):
    folder = landscape.radius()
    runs = pd.read_parquet(folder / "runs" / "runs.parquet")
    runs.loc[0, "trainer.bn"] = "recalibrated"
    runs.to_parquet(folder / "runs" / "runs.parquet")
    with pytest.raises(FigureError, match=r"trainer\.bn: kept, recalibrated"):
        selection.load(str(folder), "radius")


def test_a_folder_without_the_measure_is_refused(landscape: LandscapeSweep):
    with pytest.raises(FigureError, match="no cells of trainer=surface; found radius"):
        selection.load(str(landscape.radius()), "surface")


@pytest.mark.parametrize(
    ("row", "axes", "expected"),
    [
        ({"trainer.poison.samples": 0}, ["trainer.poison.samples"], "natural"),
        (
            {"trainer.poison.samples": 400.0, "trainer.poison.kind": "label"},
            ["trainer.poison.kind", "trainer.poison.samples"],
            "400 poison, true labels",
        ),
        ({"trainer.poison.share": 0.35}, ["trainer.poison.share"], "35 % poison"),
        ({"optim.weight_decay": 1e-4, "model.width": 8.0}, ["model.width", "optim.weight_decay"],
         "width 8, weight decay 0.0001"),
        ({}, [], "trained cell"),
    ],
)  # fmt: skip
def test_a_trained_cell_is_called_by_what_tells_it_from_others(row, axes, expected):
    assert labels.point(row, axes) == expected


def test_what_another_axis_decides_is_no_part_of_a_name():
    cells = pd.DataFrame({
        "optim.lr": [0.1, 0.2, 0.1, 0.2],
        "optim.schedule.at": [np.array([3]), np.array([5])] * 2,
        "trainer.poison.samples": [0, 160, 0, 160],
    })  # fmt: skip
    assert labels.telling(cells, list(cells.columns)) == ("trainer.poison.samples",)
    cells["model.width"] = [1, 1, 2, 2]
    axes = ("trainer.poison.samples", "model.width")
    assert labels.telling(cells, list(cells.columns)) == axes
    assert labels.telling(cells, []) == ()
    milestones = labels.point({"optim.schedule.at": np.array([3e3, 1.5])}, ["optim.schedule.at"])
    assert milestones == "milestones [3000, 1.5]"


def test_radii_are_summarised_over_all_blocks(landscape: LandscapeSweep):
    table = basins.radii(selection.load(str(landscape.radius()), "radius"))
    assert set(table["m"]) == {100}
    for row in table.to_dict("records"):
        poison = row["trainer.poison.samples"]
        assert row["mean"] == pytest.approx(np.sqrt(0.2 / curvature(poison)), rel=0.05)
        assert row["q05"] < row["median"] < row["q95"]
        assert row["test_accuracy"] == pytest.approx(1 - error_of(poison, row["seed"]))
    assert table["minimum"].all()


def with_status(folder: Path, status: int, **values: float) -> None:
    """Changes the first direction of the cell c1-p0s0."""
    rows = pd.read_parquet(folder / "curves" / "rows.parquet")
    index = rows.index[rows["cell"] == "c1-p0s0b0"][0]
    rows["audit_radius"] = np.float32("nan")
    rows.loc[index, "radius"] = np.nan
    for name, value in {"status": status, **values}.items():
        rows.loc[index, name] = value
    rows.astype({"cell": "category"}).to_parquet(folder / "curves" / "rows.parquet")


@pytest.mark.parametrize(
    ("status", "values", "column", "expected"),
    [(1, {}, "never", 1), (3, {"radius": 0.3, "audit_radius": 0.2}, "audits", 1)],
)
def test_directions_that_never_cross_or_are_corrected_are_counted(
    landscape: LandscapeSweep, status: int, values: dict[str, float], column: str, expected: int
):
    folder = landscape.radius()
    before = basins.radii(selection.load(str(folder), "radius")).set_index("cell")
    with_status(folder, status, **values)
    after = basins.radii(selection.load(str(folder), "radius")).set_index("cell")
    assert after.loc["c1-p0s0", column] == expected
    assert after.loc["c1-p0s1", column] == 0
    moved = after.loc["c1-p0s0", "mean"] - before.loc["c1-p0s0", "mean"]
    assert (moved > 0.02) == (status == 1)


def test_a_cell_above_the_cut_has_no_radius(landscape: LandscapeSweep):
    folder = landscape.radius()
    with_status(folder, 2)
    table = basins.radii(selection.load(str(folder), "radius")).set_index("cell")
    assert np.isnan(table.loc["c1-p0s0", "mean"])
    assert np.isfinite(table.loc["c1-p0s1", "mean"])


def test_a_correlation_has_an_interval_over_seeds_and_one_within_them():
    seeds = np.repeat([0, 1, 2], 5)
    x = np.tile(np.arange(5.0), 3) + 10 * seeds
    rows = pd.DataFrame({"seed": seeds, "x": x, "y": np.tile(np.arange(5.0), 3) - 10 * seeds})
    spearman, kendall = basins.correlations(rows, "x", "y")
    assert spearman.value < 0
    assert (spearman.within, kendall.within) == pytest.approx((1.0, 1.0))
    assert spearman.low <= spearman.value < spearman.high
    assert (kendall.cells, kendall.seeds) == (15, 3)
    assert "undefined" in str(basins.correlations(rows.assign(x=1.0), "x", "y")[0])


def test_a_surface_has_its_rows_at_their_places(landscape: LandscapeSweep):
    panels = surfaces.surfaces(selection.load(str(landscape.surface()), "surface"))
    assert [panel.label for panel in panels] == ["natural"] * 2 + ["100 poison"] * 2 + [
        "400 poison"
    ] * 2
    for panel, poison in zip(panels, np.repeat(POISON, 2), strict=True):
        assert panel.loss[4, 4] == pytest.approx(1e-4)
        expected = 1e-4 + curvature(poison) / 2 * (panel.x[None] ** 2 + panel.y[:, None] ** 2)
        inside = ~panel.capped
        np.testing.assert_allclose(panel.loss[inside], expected[inside], rtol=1e-5)
        assert np.isnan(panel.loss[panel.capped]).all()
    assert panels[-1].capped.any()


def test_rows_that_are_not_measured_are_hatched(landscape: LandscapeSweep, drawn: list[Figure]):
    folder = landscape.surface(blocks=2)
    panel = surfaces.surfaces(selection.load(str(folder), "surface"))[0]
    assert panel.missing.tolist() == [False] * 6 + [True] * 3
    assert loss_surface.main([str(folder), "--out", str(folder / "out")]) == 0
    hatches = [patch.get_hatch() for patch in drawn[0].axes[0].patches]
    assert sum(hatch is not None for hatch in hatches) == 3


def test_all_surfaces_have_the_same_levels(
    landscape: LandscapeSweep, drawn: list[Figure], tmp_path: Path, capsys
):
    folder = landscape.surface()
    assert loss_surface.main([str(folder), "--out", str(tmp_path / "out")]) == 0
    filled = [axes.collections[0] for axes in drawn[0].axes[:3]]
    for contours in filled:
        levels = [level for level in contours.levels if -4 <= level <= 1]
        np.testing.assert_allclose(levels, surfaces.levels())
    record = json.loads((tmp_path / "out" / "loss_surface.json").read_text())
    assert [entry["cell"] for entry in record["trained"]] == [f"c1-p{n}s0" for n in POISON]
    assert "seed 0 of 2 is drawn" in capsys.readouterr().out


def test_the_page_of_surfaces_needs_no_network(landscape: LandscapeSweep, tmp_path: Path):
    folder = landscape.surface()
    assert surface_3d.main([str(folder), "--out", str(tmp_path / "out"), "--kappa", "0.05"]) == 0
    page = (tmp_path / "out" / "surface_3d.html").read_text()
    reader = References()
    reader.feed(page)
    assert reader.scripts >= 2
    assert reader.found == []
    assert "green: loss below " in page


def test_a_page_of_surfaces_holds_the_values_of_the_store(
    landscape: LandscapeSweep, tmp_path: Path
):
    folder = landscape.surface()
    assert surface_3d.main([str(folder), "--out", str(tmp_path / "out"), "--where", "seed=1"]) == 0
    drawn = traces((tmp_path / "out" / "surface_3d.html").read_text())
    measures = selection.load(str(folder), "surface", ["seed=1"])
    expected = surfaces.surfaces(measures)
    assert [trace["name"] for trace in drawn] == [one.label for one in expected]
    for trace, one in zip(drawn, expected, strict=True):
        loss = values(trace["customdata"])[..., 0]
        np.testing.assert_allclose(loss, one.loss)
        np.testing.assert_allclose(values(trace["x"]), one.x)
        within = one.loss < 10**surface_3d.CEILING
        height = np.log10(one.loss[within])
        np.testing.assert_allclose(values(trace["z"])[within], height)
    rows = measures.rows("loss")
    assert np.isfinite(loss).sum() == (rows["of"] == "c1-p400s1").sum() - np.isnan(loss).sum()
    assert np.nanmin(loss) == pytest.approx(1e-4)


def traces(page: str) -> list[dict[str, Any]]:
    """The traces of a page of plotly's: the first argument of its call after the element's id."""
    (call,) = re.finditer(r'Plotly\.newPlot\(\s*"[^"]+",\s*', page)
    found, _ = json.JSONDecoder().raw_decode(page[call.end() :])
    return list(found)


def values(array: Any) -> np.ndarray:
    """An array of plotly's JSON: lists, or base64 of its bytes with type and shape."""
    if not isinstance(array, dict):
        return np.array(array, np.float64)
    flat = np.frombuffer(base64.b64decode(array["bdata"]), array["dtype"]).astype(np.float64)
    shape = [int(size) for size in str(array.get("shape", len(flat))).split(",")]
    return flat.reshape(shape)


def test_the_colours_of_a_page_change_at_the_cut():
    scale = surface_3d.colours(-1.0)
    (basin, place), (above, _) = (scale[1][1], scale[1][0]), (scale[2][0], scale[2][1])
    assert basin == surface_3d.BASIN
    assert place == above == pytest.approx(3 / (surface_3d.CEILING - surfaces.LOWEST))


def test_radius_and_accuracy_are_drawn_with_all_seeds(
    landscape: LandscapeSweep, drawn: list[Figure], tmp_path: Path, capsys
):
    folder = landscape.radius()
    assert radius_accuracy.main([str(folder), "--out", str(tmp_path / "out")]) == 0
    text = capsys.readouterr().out
    assert "Spearman 1.00 [1.00, 1.00], 6 cells of 2 seeds" in text
    legend = [entry.get_text() for entry in drawn[0].legends[0].get_texts()]
    assert legend == ["natural", "100 poison", "400 poison"]


def test_cells_that_do_not_fit_are_hollow(tmp_path: Path, drawn: list[Figure], capsys):
    sweep = LandscapeSweep(tmp_path / "logs")
    sweep.train(final_train_eval_wrong=1)
    assert radius_accuracy.main([str(sweep.radius()), "--out", str(tmp_path / "out")]) == 0
    assert "6 of 6 cells are no minima (hollow)" in capsys.readouterr().out
    markers = [line for line in drawn[0].axes[0].lines if line.get_marker() == "o"]
    assert {line.get_markerfacecolor() for line in markers} == {"white"}


def test_radii_without_a_test_accuracy_are_not_blamed_on_the_loss(tmp_path: Path, capsys):
    sweep = LandscapeSweep(tmp_path / "logs")
    sweep.train(final_test_accuracy=None, final_test_error=None)
    assert radius_accuracy.main([str(sweep.radius()), "--out", str(tmp_path / "out")]) == 2
    assert "none of the 6 measured cells has a test accuracy" in capsys.readouterr().err


def test_boundaries_have_frames_and_samples(landscape: LandscapeSweep):
    panels = boundary.boundaries(selection.load(str(landscape.boundary(frames=3)), "boundary"))
    first = panels[0]
    assert first.margins.shape == (3, 20, 20)
    np.testing.assert_allclose(first.margins[2] - first.margins[1], 1.0, atol=1e-5)
    x, y = first.places[15], first.places[4]
    expected = 4 * np.cos(np.arctan2(y, x) - np.hypot(x, y) / 3)
    assert first.margins[1][4, 15] == pytest.approx(expected, abs=1e-5)
    assert first.points["label"].tolist() == [0, 1, 1]
    assert first.frames["accuracy"].tolist() == pytest.approx([0.9, 1.0, 0.9])


def test_wrong_samples_are_crosses(
    landscape: LandscapeSweep, drawn: list[Figure], tmp_path: Path, capsys
):
    folder = landscape.boundary()
    assert decision_boundary.main([str(folder), "--out", str(tmp_path / "out")]) == 0
    sizes = [len(points.get_offsets()) for points in drawn[0].axes[0].collections[-4:]]
    assert sizes == [1, 0, 1, 1]  # dots and crosses of class 0, then of class 1
    assert "natural: train 100.0 %, test accuracy 99.8 %" in capsys.readouterr().out


@pytest.mark.parametrize(
    "script",
    [basin_volume, loss_surface, surface_3d, radius_accuracy, decision_boundary, walk],
)
def test_a_script_says_what_is_wrong_with_its_folder(script, landscape, capsys):
    assert script.main([str(landscape.trained.folder)]) == 2
    assert "no cells of trainer=" in capsys.readouterr().err


def test_a_line_has_the_barriers_and_accuracies_of_its_seeds(
    landscape: LandscapeSweep, drawn: list[Figure], tmp_path: Path, capsys
):
    folder = landscape.line()
    (line,) = walks.walks(selection.load(str(folder), "line"))
    assert (line.label, line.seeds) == ("natural to 400 poison", (0, 1))
    assert line.barriers.tolist() == pytest.approx([0.5, 0.6])
    middle = int(np.argmin(abs(line.t - 0.5)))
    assert line.loss[:, middle].tolist() == pytest.approx([0.501, 0.601])
    assert line.train[0, middle] == pytest.approx(1 - 20 * 0.501 / 200)
    assert line.test[0, 0] == pytest.approx(0.95)
    assert walk.main([str(folder), "--out", str(tmp_path / "out")]) == 0
    assert "natural to 400 poison: barrier 0.5 to 0.6 nats" in capsys.readouterr().out
    assert len(drawn[0].axes) == 2


def test_the_ends_of_a_line_between_seeds_name_the_seed(landscape: LandscapeSweep):
    folder = landscape.line()
    runs = pd.read_parquet(folder / "runs" / "runs.parquet")
    runs["trainer.to"] = ["c1-p0s1", "c1-p0s0"]
    runs.to_parquet(folder / "runs" / "runs.parquet")
    lines = walks.walks(selection.load(str(folder), "line"))
    assert [line.label for line in lines] == [
        "trained cell to trained cell, seed 1",
        "trained cell to trained cell, seed 0",
    ]


def test_a_volume_is_the_largest_bound_over_the_preconditioners(
    landscape: LandscapeSweep, drawn: list[Figure], tmp_path: Path, capsys
):
    folder = landscape.volume()
    measures = selection.load(str(folder), "volume", free=volumes.FREE)
    table = volumes.volumes(measures).set_index(["cell", "preconditioner"])
    mean = np.log10((10**-10.0 + 10**-12.0) / 2)
    bound = table.loc[("c1-p100s0", "filter")]
    assert bound["log10_volume"] == pytest.approx(mean + 100 - 10, abs=1e-4)
    assert bound["log10_volume_scaled"] == pytest.approx(mean + 90 - 7, abs=1e-4)
    assert bound["terms_sd"] == pytest.approx(np.sqrt(2))
    assert (bound["m"], bound["largest"]) == (2, True)
    assert not table.loc[("c1-p100s0", "none")]["largest"]
    assert basin_volume.main([str(folder), "--out", str(tmp_path / "out")]) == 0
    assert "Spearman 0.96 [0.96, 1.00], 6 cells of 2 seeds" in capsys.readouterr().out  # ties
    assert "m = 2 proposals" in drawn[0].texts[0].get_text()


def test_the_mean_of_powers_of_ten_does_not_overflow():
    assert volumes.log10_mean(np.array([-5000.0, -5000.0])) == pytest.approx(-5000)
    assert volumes.log10_mean(np.array([4000.0, 0.0])) == pytest.approx(4000 - np.log10(2))


def test_a_cell_above_the_cut_has_no_volume(
    landscape: LandscapeSweep, drawn: list[Figure], tmp_path: Path, capsys
):
    folder = landscape.volume(["none"])
    rows = pd.read_parquet(folder / "curves" / "rows.parquet")
    rows.loc[0, "status"] = 2
    rows.astype({"cell": "category"}).to_parquet(folder / "curves" / "rows.parquet")
    measures = selection.load(str(folder), "volume", free=volumes.FREE)
    table = volumes.volumes(measures).set_index("cell")
    assert np.isnan(table.loc["c1-p0s0", "log10_volume"])
    assert np.isfinite(table.loc["c1-p0s1", "log10_volume"])
    assert basin_volume.main([str(folder), "--out", str(tmp_path)]) == 0
    assert "1 cell without a volume: the loss is above the cut\n" in capsys.readouterr().out


def test_a_record_has_every_value_of_a_free_setting(
    landscape: LandscapeSweep, drawn: list[Figure], tmp_path: Path
):
    assert basin_volume.main([str(landscape.volume()), "--out", str(tmp_path)]) == 0
    settings = json.loads((tmp_path / "basin_volume.json").read_text())["settings"]
    assert settings["trainer.preconditioner"] == ["filter", "none"]
    assert settings["trainer.damping"] == 0.01


@pytest.mark.parametrize(
    ("column", "message"),
    [("dimensions", "numbers of weights cannot be compared: 30, 31"),
     ("data.train_samples", "numbers of training samples cannot be compared: 31, 200")],
)  # fmt: skip
def test_volumes_of_other_spaces_are_not_compared(
    landscape: LandscapeSweep, column: str, message: str
):
    folder = landscape.volume()
    runs = pd.read_parquet(folder / "runs" / "runs.parquet")
    runs.loc[0, column] = 31
    runs.to_parquet(folder / "runs" / "runs.parquet")
    measures = selection.load(str(folder), "volume", free=volumes.FREE)
    with pytest.raises(FigureError, match=message):
        volumes.volumes(measures)


def test_bounds_of_unequal_counts_are_not_compared(landscape: LandscapeSweep):
    folder = landscape.volume(["none"])
    rows = pd.read_parquet(folder / "curves" / "rows.parquet").iloc[1:]
    rows.astype({"cell": "category"}).to_parquet(folder / "curves" / "rows.parquet")
    measures = selection.load(str(folder), "volume", free=volumes.FREE)
    with pytest.raises(FigureError, match="different numbers of proposals"):
        volumes.volumes(measures)


def test_a_spectrum_without_traces_says_so(
    landscape: LandscapeSweep, drawn: list[Figure], tmp_path: Path, capsys
):
    folder, ends = str(landscape.curvature()), ["--where", "trainer.part=ends"]
    assert hessian_spectrum.main([folder, "--out", str(tmp_path / "out"), *ends]) == 0
    printed = capsys.readouterr().out
    assert "trace not measured: add trainer.part=probe" in printed
    assert "nan" not in printed
    assert "trace" not in drawn[0].axes[0].get_ylabel()
    names = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert names == ["natural", "100 poison", "400 poison"]


def test_a_folder_without_the_measure_names_the_one_beside_it(landscape: LandscapeSweep):
    folder = landscape.radius()
    with pytest.raises(FigureError, match=f"found minima; its cells are measured in .*{folder}"):
        selection.load(str(landscape.trained.folder), "radius")
    with pytest.raises(FigureError, match=r"found minima$"):
        selection.load(str(landscape.trained.folder), "surface")
    with pytest.raises(FigureError, match=r"found measures of the cells of .*roll, expected"):
        atlas.collect(str(folder), (), None)


def test_a_title_leaves_out_the_name_of_cells_that_differ_in_nothing():
    assert labels.title(labels.point({}, ()), "test accuracy 90 %") == "test accuracy 90 %"
    assert labels.title("natural", "boundary") == "natural\nboundary"


def test_batch_norm_is_named_only_where_a_model_has_it(landscape: LandscapeSweep):
    measures = selection.load(str(landscape.radius()), "radius")
    assert measures.batch_norm() == ""
    trained = measures.trained.assign(**{"model.name": "resnet20"})
    assert replace(measures, trained=trained).batch_norm() == "batch norm: kept"
    assert labels.has_batch_norm({"model.name": "convnet", "model.norm": "batch"})
    assert not labels.has_batch_norm({"model.name": "convnet", "model.norm": "none"})


def test_the_title_of_radii_stays_inside_beside_a_wide_legend(
    landscape: LandscapeSweep, drawn: list[Figure]
):
    table = basins.radii(selection.load(str(landscape.radius()), "radius"))
    table["label"] = "a name of a network that takes a third of the figure: " + table["label"]
    results = basins.correlations(table, "mean", "test_accuracy")
    figure = radius_accuracy.draw(table, results, "")
    figure.draw_without_rendering()
    title = figure.axes[0].get_title(loc="left")
    assert title.startswith("Spearman")
    artist = next(t for t in figure.axes[0].get_children() if getattr(t, "_text", "") == title)
    box = artist.get_window_extent()
    assert box.x0 >= 0
    assert box.x1 <= figure.bbox.x1


def test_the_line_of_the_cut_is_named_only_where_it_is_drawn(landscape: LandscapeSweep):
    measures = selection.load(str(landscape.surface()), "surface")
    panels = surfaces.surfaces(measures)
    assert "white line: 0.1 nats" in loss_surface.caption(measures, panels, 0.1)
    assert "white line" not in loss_surface.caption(measures, panels, 1e-9)


@pytest.mark.parametrize(("ending", "scale"), [("", 1.0), ("_scaled", 0.1)])
def test_traces_are_means_over_probes_and_densities_over_starts(
    landscape: LandscapeSweep, ending: str, scale: float
):
    folder = landscape.curvature()
    measures = selection.load(str(folder), "curvature", free=spectra.FREE)
    table = spectra.summary(measures, ending).set_index("cell")
    row, high = table.loc["c1-p100s1"], scale * curvature(100)
    assert (row["lambda_max"], row["lambda_min"]) == pytest.approx((high, -high / 100))
    assert (row["trace"], row["probes"]) == pytest.approx((5.5 * high, 2))
    assert row["trace_se"] == pytest.approx(0.5 * high)
    first = spectra.densities(measures, ending)[0]
    assert (first.label, first.starts) == ("natural", 2)
    expected = 1.5 * np.exp(-abs(first.eigenvalues / scale)) / scale
    np.testing.assert_allclose(first.density, expected, rtol=1e-4)


def test_the_spectrum_is_drawn_with_what_is_measured(
    landscape: LandscapeSweep, drawn: list[Figure], tmp_path: Path, capsys
):
    folder = str(landscape.curvature())
    assert hessian_spectrum.main([folder, "--out", str(tmp_path / "out"), "--scaled"]) == 0
    assert "100 poison, seed 1: eigenvalues -0.102 to 10.2, trace 56.1" in capsys.readouterr().out
    assert len(drawn[0].axes) == 2
    probes = ["--where", "trainer.part=probe"]
    assert hessian_spectrum.main([folder, "--out", str(tmp_path / "out"), *probes]) == 0
    assert len(drawn[1].axes) == 1


def test_the_caption_of_a_spectrum_has_the_range_of_unequal_numbers(landscape: LandscapeSweep):
    measures = selection.load(str(landscape.curvature()), "curvature", free=spectra.FREE)
    table, curves = spectra.summary(measures), spectra.densities(measures)
    text = hessian_spectrum.caption(measures, curves, table)
    assert text.startswith("densities from 2 Lanczos starts; traces from 2 probes")
    fewer = [replace(curves[0], starts=1), *curves[1:]]
    table.loc[0, "probes"] = 1
    text = hessian_spectrum.caption(measures, fewer, table)
    assert text.startswith("densities from 1 to 2 Lanczos starts; traces from 1 to 2 probes")


def test_a_loss_that_is_no_number_is_measured_and_above_every_cut():
    surface = surfaces.Surface(
        cell="c1-a",
        label="",
        x=np.arange(2.0),
        y=np.arange(2.0),
        loss=np.array([[0.1, np.nan], [np.nan, np.nan]]),
        wrong=np.array([[0.0, 3.0], [np.nan, np.nan]]),
        capped=np.array([[False, False], [False, True]]),
        missing=np.zeros(2, bool),
        examples=4,
    )
    assert surface.share_below(1.0) == pytest.approx(1 / 3)
    np.testing.assert_allclose(surface.log_loss(2.0), [[-1.0, 2.0], [np.nan, 2.0]])
