"""Measures of trained cells, from the file of weights to the rows: what they find, exact resume,
and what they refuse.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from minima_runs import ADAM, CELL, MINIMA, complete, digits_cell
from test_algorithmic import FLAT as ALGORITHMIC
from vision_runs import after, record, rows

from trainers import config, trained, weights
from trainers.cell_measures.radius import Radius
from trainers.config import ConfigError, MeasureCell
from trainers.measures import basin, hessian
from trainers.trained import Trained, load
from trainers.weights import NotTrainedError, WeightsError


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A transformer trained on an operation's table, with weights of three steps."""
    folder = tmp_path_factory.mktemp("table")
    flat = {**ALGORITHMIC, "trainer.steps": 20, "trainer.weights_at": [0, 5, 20]}
    complete(folder, flat)
    return folder, flat


COMMON = {"of": "c1-trained", "weights": "final", "images": None, "bn": "kept", "batch": 9}
SETTINGS: dict[str, dict[str, Any]] = {
    "radius": {
        "block": 0, "directions": "filter", "direction_seed": 0, "kappa": 1.0,
        "above_base": False, "c_max": 4.0, "audit_every": 25,
    },
    "volume": {
        "block": 0, "preconditioner": "none", "damping": 0.01, "direction_seed": 0, "kappa": 1.0,
        "c_max": 4.0,
    },
    "surface": {
        "block": 1, "plane": "filter", "direction_seed": 0, "points": 5, "span": 1.0,
        "spacing": "linear", "cap": None,
    },
    "line": {"to": "c1-other", "points": 5, "low": -0.5, "high": 1.5},
    "path": {},
    "boundary": {
        "points": 4, "extent": 15.0, "frames": 3, "amplitude": 0.5, "direction_seed": 0,
    },
    "curvature": {
        "part": "ends", "block": 0, "direction_seed": 0, "tolerance": 1e-3, "iterations": 20,
        "points": 50,
    },
    "sharpness": {"rho": 0.05, "steps": 20, "direction_seed": 0},
}  # fmt: skip

needs_curvlinops = pytest.mark.skipif(
    not hessian.is_available(), reason="curvlinops is not installed (extra landscape)"
)


def measuring(
    trained: Mapping[str, Any], folder: Path, name: str, **changes: Any
) -> dict[str, Any]:
    """A cell that measures a trained one, with some settings changed."""
    kept = {k: v for k, v in trained.items() if not k.startswith(("optim.", "trainer."))}
    own = {**COMMON, "of_folder": str(folder), **SETTINGS[name], **changes}
    trainer = {f"trainer.{key}": value for key, value in own.items()}
    return {**kept, "optim.name": "none", "trainer.name": name, **trainer}


def network_of(flat: Mapping[str, Any]) -> Trained:
    cell = config.parse(flat)
    assert isinstance(cell, MeasureCell)
    return load(cell)


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A folder with two networks trained on points, and the configuration of the first."""
    folder = tmp_path_factory.mktemp("points")
    flat = {**CELL, "trainer.epochs": 40, "trainer.weights_at": [0, 5, 10, 40]}
    complete(folder, flat)
    complete(folder, {**flat, "trainer.poison.samples": 0}, cell="c1-other")
    return folder, flat


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A folder with two CNNs with batch norm trained on digits."""
    folder = tmp_path_factory.mktemp("digits")
    flat = digits_cell(str(folder), epochs=15)
    complete(folder, flat)
    complete(folder, {**flat, "trainer.poison.samples": 0}, cell="c1-other")
    return folder, flat


def table_of(
    trained: tuple[Path, dict[str, Any]], tmp_path: Path, name: str, **changes: Any
) -> pd.DataFrame:
    folder, flat = trained
    run = complete(tmp_path, measuring(flat, folder, name, **changes), cell="c1-measure")
    return rows(run)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_measure_killed_at_any_unit_gives_the_same_rows(
    points: tuple[Path, dict[str, Any]], tmp_path: Path, name: str
) -> None:
    folder, flat = points
    cell = measuring(flat, folder, name)
    calm = complete(tmp_path / "calm", cell, cell="c1-measure")
    units = len(rows(calm)["epoch"].unique())
    for number in sorted({1, units - 1}):
        place = tmp_path / str(number)
        stopped = complete(place, cell, "c1-measure", attempt=1, stop=after(number))
        assert record(stopped)["status"] == ("stopped" if number < units else "done")
        resumed = complete(place, cell, "c1-measure", attempt=2)
        pd.testing.assert_frame_equal(
            rows(resumed).drop(columns=["attempt", "seconds"]),
            rows(calm).drop(columns=["attempt", "seconds"]),
            check_exact=True,
        )
        left_out = (
            "attempt", "first_attempt", "updated", "seconds", "host", "peak_memory_bytes",
            "gpu_seconds",
        )  # fmt: skip
        facts = [
            {k: v for k, v in record(run).items() if k not in left_out} for run in (resumed, calm)
        ]
        assert facts[0] == facts[1]


def test_facts_have_the_radius_of_the_full_scan_where_it_corrects_the_search(
    points: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    measure = Radius(network_of(measuring(points[1], points[0], "radius")))
    missed = basin.Crossing(None, basin.NEVER, 1)
    monkeypatch.setattr(basin, "first_crossing", lambda *_: missed)
    monkeypatch.setattr(basin, "audit", lambda *_: basin.Crossing(1.5, basin.CROSSED, 1))
    rows = [row for unit in (0, 1) for row in measure.rows(unit)]
    assert [row["status"] for row in rows] == [basin.AUDIT_DIFFERS, basin.NEVER]
    facts = measure.facts()
    assert (facts["never"], facts["radius_mean"]) == (0.5, 1.5)


def test_radii_of_a_later_block_are_those_of_later_directions(
    points: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    table = table_of(points, tmp_path, "radius", block=2)
    assert table["epoch"].tolist() == list(range(100, 150))
    assert (table["radius"] > 0).sum() > 25
    assert table.loc[table["epoch"] == 100, "audit_radius"].notna().all()
    assert table.loc[table["epoch"] == 101, "audit_radius"].isna().all()
    both = table.dropna(subset=["audit_radius", "radius"])
    same = both[both["status"] == 0]
    np.testing.assert_allclose(same["radius"], same["audit_radius"], rtol=1e-2)


def test_aggregates_of_a_block_are_those_of_its_rows(
    points: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    folder, flat = points
    run = complete(tmp_path, measuring(flat, folder, "radius"), cell="c1-measure")
    table, facts = rows(run), record(run)
    radii = table["radius"].dropna()
    assert facts["radius_mean"] == pytest.approx(radii.mean(), rel=1e-6)
    assert facts["radius_median"] == pytest.approx(radii.median(), rel=1e-6)
    assert facts["radius_sd"] == pytest.approx(radii.std(), rel=1e-6)
    assert facts["never"] == (table["status"] == 1).mean()
    assert facts["undefined"] == 0
    assert facts["dimensions"] == 2 * 8 + 8 * 6 + 6
    lengths = table["radius_l2"] / table["radius"]
    np.testing.assert_allclose(lengths.dropna(), facts["norm_weights"], rtol=1e-5)


def test_a_base_above_the_cut_has_no_radius_and_no_volume(
    points: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    radii = table_of(points, tmp_path / "radius", "radius", kappa=1e-6)
    assert radii["radius"].isna().all()
    assert set(radii["status"]) == {2}
    volumes = table_of(points, tmp_path / "volume", "volume", kappa=1e-6)
    assert volumes["log10_term"].isna().all()
    above = table_of(points, tmp_path / "above", "radius", kappa=0.5, above_base=True)
    assert above["radius"].notna().any()


@pytest.mark.parametrize("preconditioner", ["none", "filter", "jacobian"])
def test_a_volume_has_a_finite_term_for_every_proposal(
    points: tuple[Path, dict[str, Any]], tmp_path: Path, preconditioner: str
) -> None:
    table = table_of(points, tmp_path, "volume", preconditioner=preconditioner)
    assert np.isfinite(table["log10_term"]).all()
    assert np.isfinite(table["log10_prob_gauss"]).all()
    assert table["log10_det"].nunique() == 1
    if preconditioner != "filter":
        assert table["log10_det"][0] == pytest.approx(0.0, abs=1e-3)


def test_the_blocks_of_a_surface_are_its_rows_around_the_minimum(
    digits: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    tables = [table_of(digits, tmp_path / str(b), "surface", block=b) for b in (0, 1)]
    table = pd.concat(tables)
    assert len(table) == 25
    assert table["epoch"].tolist() == [i // 5 for i in range(25)]
    assert table["step"].tolist() == [i % 5 for i in range(25)]
    assert set(table["examples"]) == {20}
    centre = table[(table["x"] == 0) & (table["y"] == 0)].iloc[0]
    _, snapshot = weights.read(digits[0] / "weights", "c1-trained", "final")
    assert centre["loss"] == pytest.approx(snapshot.result.loss, rel=1e-4)
    assert centre["wrong"] == snapshot.result.wrong


def test_points_above_the_cap_have_no_loss(
    digits: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    whole = table_of(digits, tmp_path / "whole", "surface", block=0)
    cap = float(whole["loss"].median())
    capped = table_of(digits, tmp_path / "capped", "surface", block=0, cap=cap)
    above = whole["loss"] > cap
    assert 0 < above.sum() < len(whole)
    assert (capped["capped"] == above.astype(int)).all()
    assert capped.loc[above, "loss"].isna().all()
    assert (capped.loc[~above, "loss"] == whole.loc[~above, "loss"]).all()


@pytest.mark.parametrize("measure", ["curvature", "sharpness"])
def test_measures_of_the_statistics_as_trained_refuse_others(
    digits: tuple[Path, dict[str, Any]], measure: str
) -> None:
    folder, flat = digits
    with pytest.raises(config.ConfigError, match=r"trainer\.bn: found recalibrated, expected kept"):
        config.parse(measuring(flat, folder, measure, bn="recalibrated"))


@pytest.mark.parametrize("bn", ["kept", "recalibrated"])
def test_a_line_has_both_networks_at_its_ends(
    digits: tuple[Path, dict[str, Any]], tmp_path: Path, bn: str
) -> None:
    folder, flat = digits
    run = complete(tmp_path, measuring(flat, folder, "line", bn=bn), cell="c1-measure")
    table, facts = rows(run), record(run)
    assert table["t"].tolist() == [-0.5, 0.0, 0.5, 1.0, 1.5]
    assert set(table["test_examples"]) == {30}
    assert facts["distance"] > 0
    losses = table.set_index("t")["loss"]
    assert facts["barrier"] == pytest.approx(
        max(0.0, losses[0.5] - (losses[0.0] + losses[1.0]) / 2), rel=1e-5
    )
    if bn == "kept":
        for t, cell in ((0.0, "c1-trained"), (1.0, "c1-other")):
            _, snapshot = weights.read(folder / "weights", cell, "final")
            assert losses[t] == pytest.approx(snapshot.result.loss, rel=1e-4)


def test_a_path_ends_at_the_centre_and_its_surface_shares_its_coordinates(
    points: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    path = table_of(points, tmp_path / "path", "path")
    assert path["snapshot_epoch"].tolist() == [0, 5, 10, 40]
    last = path.iloc[-1]
    assert (last["x"], last["y"]) == pytest.approx((0.0, 0.0), abs=1e-6)
    assert path[["x", "y"]].abs().to_numpy().max() == pytest.approx(1.0)
    surface = table_of(points, tmp_path / "surface", "surface", plane="pca", block=0)
    assert np.isfinite(surface["loss"]).all()


def test_a_surface_along_eigenvectors_is_steeper_than_along_random_directions(
    points: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    rises = {}
    for plane in ("eigenvector", "filter"):
        table = table_of(points, tmp_path / plane, "surface", plane=plane, points=3, span=0.02,
                         block=0)  # fmt: skip
        loss = table.set_index(["epoch", "step"])["loss"]
        rises[plane] = loss[1, 0] + loss[1, 2] - 2 * loss[1, 1]  # along the first direction
    assert rises["eigenvector"] > rises["filter"]
    assert rises["eigenvector"] > 0


def test_a_boundary_has_a_margin_for_every_point_and_a_row_for_every_frame(
    points: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    table = table_of(points, tmp_path, "boundary")
    frames = table[table["margin"].isna()]
    assert frames["frame"].tolist() == [0, 1, 2]
    np.testing.assert_allclose(frames["c"], [-0.5, 0.0, 0.5])
    samples = table[table["point_label"].notna()]
    assert len(table) == 3 * 17 + len(samples)
    assert (samples["epoch"] == 1).all()
    network = network_of(measuring(points[1], points[0], "boundary"))
    centre = table[(table["frame"] == 1) & table["margin"].notna()]
    corner = centre[(centre["x_index"] == 3) & (centre["y_index"] == 0)].iloc[0]
    x = network.samples.inputs[:1].clone()
    x[0, 0], x[0, 1] = 1.0, -1.0  # the extent is the scale
    logits = network.model(x)[0].tolist()
    assert corner["margin"] == pytest.approx(logits[1] - logits[0], rel=1e-5)
    inputs = network.samples.inputs.flatten(1).numpy() * 15.0
    np.testing.assert_allclose(samples[["point_x", "point_y"]], inputs, rtol=1e-5)
    assert samples["point_label"].tolist() == network.samples.targets.tolist()
    right = (samples["margin"] > 0) == (samples["point_label"] == 1)
    assert (~right).sum() == network.landscape().here().wrong


@pytest.mark.parametrize(("settings", "corner"), [({}, 3.0), ({"scale": 2.0}, 1.5)])
def test_the_extent_of_own_data_is_that_of_the_inputs_before_their_scale(
    settings: dict[str, float], corner: float
) -> None:
    cell = SimpleNamespace(data=SimpleNamespace(name="own.Points", **settings))
    network: Any = SimpleNamespace(cell=cell, device=torch.device("cpu"))
    inputs = trained.input_grid(network, 3, 3.0).flatten(1)
    assert inputs[[0, -1]].tolist() == [[-corner, -corner], [corner, corner]]


def test_a_boundary_needs_points_in_the_plane(
    digits: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="rings, or data with two features"):
        table_of(digits, tmp_path, "boundary")


def test_a_snapshot_is_measured_by_its_epoch(
    points: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    network = network_of(measuring(points[1], points[0], "radius", weights=5))
    assert network.snapshot.epoch == 5
    with pytest.raises(WeightsError, match="expected one of epoch 7"):
        network_of(measuring(points[1], points[0], "radius", weights=7))


def test_fewer_images_are_a_fixed_subset(points: tuple[Path, dict[str, Any]]) -> None:
    first, again = (
        network_of(measuring(points[1], points[0], "radius", images=7)) for _ in range(2)
    )
    assert len(first.samples) == 7
    assert (first.samples.inputs == again.samples.inputs).all()
    with pytest.raises(ConfigError, match=r"trainer\.images: found 999, expected at most"):
        network_of(measuring(points[1], points[0], "radius", images=999))


def test_a_cell_that_is_not_trained_yet_is_named(
    points: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    with pytest.raises(NotTrainedError, match=r"c1-later\.npz does not exist"):
        table_of(points, tmp_path, "radius", of="c1-later")


def test_other_data_and_other_statistics_are_refused(
    digits: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    folder, flat = digits
    with pytest.raises(WeightsError, match="trained on data with the hash"):
        network_of({**measuring(flat, folder, "radius"), "seed": 1})
    with pytest.raises(WeightsError, match="data, scaling or statistics differ"):
        network_of({**measuring(flat, folder, "radius"), "data.scaling": "unit"})
    with pytest.raises(WeightsError, match="those of another network"):
        network_of({**measuring(flat, folder, "radius"), "model.width": 3})


def test_the_ends_of_a_line_have_the_same_training_samples(tmp_path: Path) -> None:
    flat = digits_cell(str(tmp_path), epochs=1)
    complete(tmp_path, flat)
    complete(tmp_path, {**flat, "seed": 1}, cell="c1-other")
    network = network_of(measuring(flat, tmp_path, "line"))
    with pytest.raises(WeightsError, match="the two ends have different training data: cell c1-o"):
        network.other_weights("c1-other")


def test_swapped_weights_are_refused(digits: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    folder, flat = digits
    shutil.copytree(folder / "weights", tmp_path / "weights")
    shutil.copy(folder / "weights" / "c1-other.npz", tmp_path / "weights" / "c1-trained.npz")
    with pytest.raises(WeightsError, match="of cell c1-other, expected those of c1-trained"):
        network_of(measuring(flat, tmp_path, "radius"))


def test_a_cell_of_the_image_trainer_is_measured_too(tmp_path: Path) -> None:
    flat = digits_cell(str(tmp_path))
    own = {k: v for k, v in flat.items() if k not in MINIMA}
    vision = {
        **own, **ADAM, "trainer.name": "vision", "trainer.epochs": 3, "trainer.batch_size": 8,
        "trainer.eval_batch_size": 7, "trainer.eval_test": "last", "trainer.eval_train": "never",
        "trainer.evals_per_decade": 3, "trainer.precision": "auto", "trainer.deterministic": False,
        "trainer.weights_at": [0, 1, 2], "data.label_noise.rate": 0.2,
    }  # fmt: skip
    complete(tmp_path, vision)
    table = table_of((tmp_path, vision), tmp_path / "m", "radius", weights=2, kappa=5.0)
    assert len(table) == 50
    path = table_of((tmp_path, vision), tmp_path / "p", "path")
    assert path["snapshot_epoch"].tolist() == [0, 1, 2]


@pytest.mark.parametrize("name", ["radius", "surface", "path", "curvature", "sharpness"])
def test_a_transformer_on_a_table_is_measured_too(
    table: tuple[Path, dict[str, Any]], tmp_path: Path, name: str
) -> None:
    changes = {"kappa": 0.05, "above_base": True} if name == "radius" else {}
    measured = table_of(table, tmp_path, name, **changes)
    first = {"radius": "radius", "surface": "loss", "path": "loss", "curvature": "lambda_max",
             "sharpness": "sharpness_ascent"}[name]  # fmt: skip
    assert np.isfinite(measured[first]).all()
    assert (measured[first] > 0).all()
    if name == "path":
        assert measured["snapshot_epoch"].tolist() == [0, 5, 20]


def test_a_transformer_trained_in_bfloat16_is_measured_too(tmp_path: Path) -> None:
    flat = {**ALGORITHMIC, "trainer.steps": 5, "trainer.weights_at": [0, 2, 5]}
    flat["trainer.precision"] = "bfloat16"
    complete(tmp_path, flat)
    measured = table_of((tmp_path, flat), tmp_path / "path", "path")
    assert measured["snapshot_epoch"].tolist() == [0, 2, 5]


def test_the_rows_of_another_table_are_refused(table: tuple[Path, dict[str, Any]]) -> None:
    folder, flat = table
    with pytest.raises(WeightsError, match="trained on data with the hash"):
        network_of({**measuring(flat, folder, "radius"), "data.operation": "x-y"})


@needs_curvlinops
def test_probes_of_the_trace_average_to_the_sum_of_the_density(
    points: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    traces = []
    for block in range(20):
        place = tmp_path / str(block)
        traces.append(table_of(points, place, "curvature", part="probe", block=block)["trace"][0])
    density = table_of(points, tmp_path / "density", "curvature", part="density")
    places, values = density["eigenvalue"].to_numpy(), density["density"].to_numpy()
    assert len(density) == 50
    assert np.trapezoid(values, places) == pytest.approx(1.0, abs=0.1)
    mean = np.trapezoid(values * places, places)
    parameters = 8 * 3 + 6 * 9 + 7
    spread = np.std(traces) / len(traces) ** 0.5
    assert abs(mean * parameters - np.mean(traces)) < 5 * spread + 0.3 * abs(np.mean(traces))


def test_sharpness_is_larger_along_an_ascent_than_after_one_step(
    points: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    table = table_of(points, tmp_path, "sharpness")
    assert table["sharpness_ascent"][0] >= table["sharpness_one_step"][0] > 0
    assert table["keskar"][0] >= 0
