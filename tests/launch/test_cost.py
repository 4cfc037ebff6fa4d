"""Expected times: the median seconds per epoch of like runs, and nothing where there is no like
run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest

from launch.cost.rates import expected, remaining_seconds
from launch.plan import Launcher

Flat = Mapping[str, Any]


def table(flat: Flat, *runs: dict[str, Any]) -> pd.DataFrame:
    """A runs table: each run is `flat` with changes."""
    return pd.DataFrame([{**flat, "epochs": 3, "seconds": 30.0, **run} for run in runs])


def seconds(configurations: Sequence[Flat], runs: pd.DataFrame) -> list[float | None]:
    """Expected seconds of each flat configuration; None if no measured run resembles it."""
    times = expected(pd.DataFrame([dict(flat) for flat in configurations]), runs)
    return [None if np.isnan(time) else float(time) for time in times]


def test_expected_time_is_the_epochs_times_the_median_of_like_runs(flat: Flat) -> None:
    runs = table(flat, {"seconds": 30.0}, {"seconds": 60.0}, {"epochs": 1, "seconds": 100.0})
    assert seconds([flat, {**flat, "trainer.epochs": 100}], runs) == [60.0, 2000.0]


@pytest.mark.parametrize(
    ("key", "value"),
    [("seed", 9), ("optim.lr", 5.0), ("optim.weight_decay", 0.5), ("data.label_noise.rate", 0.0),
     ("run.device", "cuda"), ("optim.schedule.period", 7), ("trainer.epochs", 3),
     ("data.cache", "/else")],
)  # fmt: skip
def test_what_does_not_decide_the_time_is_ignored(flat: Flat, key: str, value: Any) -> None:
    assert seconds([{**flat, key: value}], table(flat, {})) == [30.0]


@pytest.mark.parametrize(
    ("key", "value"),
    [("model.width", 16), ("model.depth", 2), ("model.name", "cnn5"), ("data.name", "cifar10"),
     ("data.train_samples", None), ("data.train_samples", 41), ("data.augment", True),
     ("trainer.batch_size", 32), ("trainer.eval_test", "log"), ("trainer.eval_train", "every"),
     ("trainer.precision", "float32"),
     ("run.compile", True), ("run.threads", 4), ("optim.name", "adam"),
     ("trainer.exact_steps", "first"),
     ("data.source_rows", [0, 30])],
)  # fmt: skip
def test_runs_of_another_kind_tell_nothing(flat: Flat, key: str, value: Any) -> None:
    assert seconds([{**flat, key: value}, flat], table(flat, {})) == [None, 30.0]


def test_a_table_with_columns_and_gaps_of_other_cells_still_matches(flat: Flat) -> None:
    other = {
        "model.name": "resnet18",
        "model.variant": "preactivation",
        "model.depth": None,
        "epochs": None,
        "seconds": None,
        "data.train_samples": None,
        "status": "missing",
    }
    runs = table(flat, {}, other)
    assert runs["model.depth"].dtype == float  # a gap has made the integers floats
    assert seconds([flat], runs) == [30.0]


@pytest.mark.parametrize(
    "run", [{"epochs": 0}, {"seconds": 0.0}, {"epochs": None}, {"seconds": float("nan")}], ids=str
)
def test_runs_without_a_measured_epoch_do_not_count(flat: Flat, run: dict[str, Any]) -> None:
    assert seconds([flat], table(flat, run)) == [None]
    assert seconds([flat], table(flat, run, {})) == [30.0]


def test_an_empty_table_tells_nothing(flat: Flat) -> None:
    assert seconds([flat, flat], pd.DataFrame()) == [None, None]
    assert seconds([], table(flat, {})) == []


STEPS = {
    "trainer.name": "algorithmic",
    "trainer.epochs": None,
    "trainer.steps": 1000,
    "data.operation": "add",
}


def test_a_trainer_that_counts_steps_is_measured_by_the_step(flat: Flat) -> None:
    runs = table(flat, {}, {**STEPS, "steps": 200, "epochs": 7, "seconds": 50.0})
    long = {**flat, **STEPS, "trainer.steps": 4000}
    assert seconds([long, flat, {**long, "data.operation": "divide"}], runs) == [1000.0, 30.0, None]


def test_only_widths_between_two_measured_ones_are_interpolated(
    flat: Flat,
) -> None:
    runs = table(flat, {"model.width": 8, "seconds": 30.0}, {"model.width": 32, "seconds": 480.0})
    flats = [{**flat, "model.width": width} for width in (4, 8, 16, 32, 64)]
    assert seconds(flats, runs) == [None, 30.0, pytest.approx(120.0), 480.0, None]
    assert seconds([{**flats[2], "model.depth": 2}], runs) == [None]


def test_numbers_of_samples_between_two_measured_ones_are_interpolated(flat: Flat) -> None:
    measured = [(10, 30.0), (1000, 3000.0)]
    runs = table(flat, *({"data.train_samples": n, "seconds": seconds} for n, seconds in measured))
    flats = [{**flat, "data.train_samples": n} for n in (5, 10, 100, 2000, None)]
    assert seconds(flats, runs) == [None, 30.0, pytest.approx(300.0), None, None]


def test_least_steps_lengthen_a_training(flat: Flat) -> None:
    runs = table(flat, {"trainer.least_steps": 1})
    flats = [{**flat, "trainer.least_steps": steps} for steps in (1, 9, 30)]
    assert seconds(flats, runs) == [30.0, 30.0, 100.0]


def test_what_is_left_is_what_was_not_logged_yet(flat: Flat) -> None:
    runs = table(
        flat,
        {"cell": "a"},
        {"cell": "b", "epochs": 1, "seconds": 10.0},
        {"cell": "c", "epochs": None},
    )
    cells = pd.DataFrame([{**flat, "cell": cell} for cell in "abcd"])
    assert remaining_seconds(cells, runs, runs).tolist() == pytest.approx([0.0, 20.0, 30.0, 30.0])


@pytest.mark.parametrize(
    ("launcher", "at_a_time", "unit", "amount"),
    [
        ({"gres": "gpu:v100:1", "cpus_per_task": 4}, 1, "GPU-hours", 1.0),
        ({"gres": "gpu:2"}, 4, "GPU-hours", 0.5),
        ({"gpus_per_node": 1, "cpus_per_task": 4}, None, "GPU-hours", 0.25),
        ({"cpus_per_task": 4}, 2, "core-hours", 2.0),
        ({"cpus_per_task": 4, "gres": "disk:9"}, None, "core-hours", 1.0),
        ({}, 3, "core-hours", 1.0),
    ],
)
def test_a_cell_occupies_its_share_of_its_task(
    launcher: dict[str, Any], at_a_time: int | None, unit: str, amount: float
) -> None:
    result = Launcher(launcher).occupancy(at_a_time)
    assert (result.unit, result.amount) == (unit, amount)


def test_a_measure_is_one_block_whose_time_is_that_of_blocks_like_it(flat: Flat) -> None:
    measure = {**flat, "trainer.of": "c1-a", "trainer.block": 0, "trainer.epochs": None}
    block = {"trainer.of": "c1-b", "trainer.block": 3, "trainer.epochs": None, "epochs": 199}
    runs = table(flat, {**block, "status": "done"}, {**block, "status": "stopped", "seconds": 9.0})
    assert seconds([measure], runs) == [30.0]
    assert seconds([{**measure, "trainer.images": 50}], runs) == [None]
    cells = pd.DataFrame([{"cell": "x", **measure}, {"cell": "y", **measure}])
    assert list(remaining_seconds(cells, runs.assign(cell=["x", "y"]), runs)) == [0.0, 30.0]


def test_the_other_end_of_a_line_has_no_effect_on_its_time_but_a_tolerance_has(flat: Flat) -> None:
    measure = {**flat, "trainer.of": "c1-a", "trainer.to": "c1-b", "trainer.tolerance": 0.1}
    runs = table(measure, {"status": "done"})
    assert seconds([{**measure, "trainer.to": "c1-c"}], runs) == [30.0]
    assert seconds([{**measure, "trainer.tolerance": 0.2}], runs) == [None]


def test_lists_are_alike_in_a_configuration_and_in_the_runs_table(flat: Flat) -> None:
    runs = table(flat, {"model.widths": np.array([4, 5])})
    assert seconds([{**flat, "model.widths": [4, 5]}], runs) == [30.0]
    assert seconds([{**flat, "model.widths": [4, 6]}], runs) == [None]
