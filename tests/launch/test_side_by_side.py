"""How many cells share a task, by measurement: the count that wins, between measured widths, and
for real.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from waiting import wait_for_cells

from analysis import store
from launch.cli import wait
from launch.cli.console import console
from launch.cli.preview import print_preview
from launch.cost import concurrency, packing
from launch.cost.packing import TaskPreview
from launch.errors import UserError
from launch.plan import Launcher, plan, snapshot
from launch.submit import calibration, measurements, submission
from launch.submit.preview import hours_of, load_preview
from launch.submit.resume import resume_request
from launch.sweep import compose
from launch.sweep.request import Cell, Packing, Request

# the workers outlive the command that started them, and nobody waits for them
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

Flat = Mapping[str, Any]
SLURM = {"_target_": "x.SlurmLauncher"}
HERE = Launcher({**SLURM, "gres": "gpu:1", "mem_gb": 9})


def copies(flat: Flat, count: int | None, seconds: float, **changes: Any) -> list[dict[str, Any]]:
    """The rows of copies that ran side by side for two epochs, each of so many seconds."""
    row = {
        **flat,
        "concurrency": count,
        "place": f"p{count}",
        "resources": HERE.resources,
        "status": "done",
        "epochs": 4,
        "seconds": 4 * seconds,
        "began": 100.0,
        "updated": 100.0 + 4 * seconds,
        "measured_epochs": 2,
        "measured_seconds": 2 * seconds,
    }
    return [row | changes for _ in range(count or 1)]


def table(*groups: list[dict[str, Any]]) -> pd.DataFrame:
    rows = pd.DataFrame([row for group in groups for row in group])
    return rows.astype({"concurrency": float})


def counts(
    flat: Flat, calibration: pd.DataFrame, *changes: dict[str, Any], across_families: bool = False
) -> list[float | None]:
    cells = pd.DataFrame([{**flat, **change} for change in changes])
    result = concurrency.concurrency_of(cells, calibration, across_families=across_families)
    return [None if count != count else count for count in result]


def width(flat: Flat, size: int) -> dict[str, Any]:
    return {**flat, "model.width": size}


@pytest.mark.parametrize(
    ("seconds", "wins"),
    [
        ({1: 1.0, 2: 1.0, 4: 2.0}, 2),  # 1, 2 and 2 epochs a second
        ({1: 1.0, 2: 1.7, 4: 2.0}, 4),
        ({1: 1.0, 2: 2.1, 4: 4.4}, 1),
        ({1: 1.0, 2: 1.05, 4: 1.95}, 2),  # 2.05 is no more than a tenth above 1.90
        ({1: 1.0, 2: 1.05, 4: 1.85}, 4),
        ({2: 5.0}, 2),
    ],
)
def test_the_smallest_count_near_the_best_throughput_wins(
    flat: Flat, seconds: dict[int, float], wins: int
) -> None:
    calibration_table = table(
        *(copies(flat, count, seconds_each) for count, seconds_each in seconds.items())
    )
    assert counts(flat, calibration_table, {}) == [wins]
    assert set(concurrency.best_concurrency(calibration_table)) == {wins}


@pytest.mark.parametrize(
    "spoilt", ["failed", "missing", "running", "a copy too few", "one after another"]
)
def test_a_count_whose_copies_did_not_all_train_together_never_wins(
    flat: Flat, spoilt: str
) -> None:
    four = copies(flat, 4, 1.0)
    assert counts(flat, table(copies(flat, 1, 1.0), four), {}) == [4]
    if spoilt == "a copy too few":
        four.pop()
    elif spoilt == "one after another":
        # of the 2 s that count the others train for half a second
        four[3] |= {"began": 103.5, "updated": 107.5}
    else:
        four[3] |= {"status": spoilt}
    assert counts(flat, table(copies(flat, 1, 1.0), four), {}) == [1]
    assert counts(flat, table(four), {}) == [None]


def test_a_copy_that_failed_in_another_calibration_excludes_its_count(
    flat: Flat,
) -> None:
    longer = copies(flat, 4, 1.0, place="q", **{"trainer.epochs": 9})
    longer[0]["status"] = "failed"
    assert counts(flat, table(copies(flat, 1, 1.0), copies(flat, 4, 1.0), longer), {}) == [1]


def test_counts_are_interpolated_between_widths_and_unknown_beyond(
    flat: Flat,
) -> None:
    ends = table(
        *(copies(width(flat, 4), n, 1.0) for n in (1, 8)),
        *(copies(width(flat, 64), n, float(n)) for n in (1, 2)),
    )
    request = [{"model.width": size} for size in (2, 4, 6, 16, 17, 64, 128)]
    # 8 (w / 4)^-0.75 for w from 4 to 64: 5.9 at 6, 2.83 at 16
    assert counts(flat, ends, *request) == [None, 8, 5, 2, 2, 1, None]
    assert counts(flat, ends, *({**change, "model.depth": 2} for change in request)) == [None] * 7


def test_an_unmeasured_family_takes_the_least_count_of_the_others(flat: Flat) -> None:
    deep = {**flat, "model.depth": 2}
    calibration_table = table(
        copies(flat, 4, 1.0), copies(deep, 2, 1.0), copies(width(deep, 32), 1, 1.0)
    )
    other = {"model.depth": 3}
    assert counts(
        flat, calibration_table, other, {"model.width": 16, **other}, {}, across_families=True
    ) == [2, 1, 4]
    assert counts(
        flat, calibration_table, other, {"model.width": 64, **other}, across_families=False
    ) == [None, None]
    assert counts(flat, calibration_table, {"model.width": 64, **other}, across_families=True) == [
        None
    ]


def choose(
    flat: Flat,
    calibration_table: pd.DataFrame,
    at_a_time: Any,
    *sizes: int,
    launcher: Launcher = HERE,
    one_task: bool = False,
) -> list[int | None]:
    cells = [Cell(str(size), width(flat, size)) for size in sizes]
    request = Request("mine", Path("logs"), cells, Packing(at_a_time=at_a_time), launcher, [])
    return concurrency.choose(
        request, cells, calibration_table, across_families=False, one_task=one_task
    )


def test_a_count_not_measured_with_like_resources_is_an_error(
    flat: Flat,
) -> None:
    calibration_table = table(copies(width(flat, 4), 4, 1.0), copies(width(flat, 8), 2, 1.0))
    assert choose(flat, calibration_table, "auto", 4, 8) == [4, 2]
    assert choose(flat, calibration_table, "auto", 4, 8, one_task=True) == [2, 2]
    assert choose(flat, calibration_table, "auto") == choose(flat, pd.DataFrame(), "auto") == []
    message = (
        "covers 1 of 2 cells, for example model.name=mlp with model.width=16. Run "
        "`redescent calibrate mine --side-by-side 1 "
    )
    with pytest.raises(UserError, match=message):
        choose(flat, calibration_table, "auto", 4, 16)
    with pytest.raises(UserError, match="covers 2 of 2 cells"):
        choose(flat, pd.DataFrame(), "auto", 4, 8)
    for settings in (
        {"gres": "gpu:2"},
        {"gres": "gpu:1", "cpus_per_task": 8},
        {"gres": "gpu:1", "partition": "a100"},
    ):
        with pytest.raises(UserError, match="covers 2 of 2 cells"):
            choose(flat, calibration_table, "auto", 4, 8, launcher=Launcher(SLURM | settings))
    assert choose(flat, calibration_table, 3, 4, 99) == [3, 3]
    assert choose(flat, calibration_table, None, 4) == [None]


def test_a_limit_of_memory_never_raises_the_concurrency() -> None:
    rooms, usual = (None, None, 2, 2, 2), (None, 4, None, 4, 1)
    assert [packing.least_concurrency(pair) for pair in zip(rooms, usual, strict=True)] == [
        None,
        4,
        2,
        2,
        1,
    ]


def test_times_are_those_measured_at_the_same_concurrency(flat: Flat) -> None:
    wide = width(flat, 64)
    calibration_table = table(
        copies(flat, None, 9.0), copies(flat, 1, 1.0), copies(flat, 2, 1.5), copies(wide, 1, 7.0)
    )

    def median_rates(at_a_time: Any) -> list[tuple[int, float]]:
        result = concurrency.with_calibrations(
            pd.DataFrame(), calibration_table, at_a_time, HERE.resources
        )
        return sorted(
            {(row["model.width"], row["seconds"] / 2) for row in result.to_dict("records")}
        )

    assert median_rates(1) == [(8, 1.0), (64, 7.0)]
    assert median_rates(2) == median_rates("auto") == [(8, 1.5), (64, 7.0)]
    assert median_rates(None) == [(8, 9.0), (64, 7.0)]
    assert median_rates(4) == [(8, 1.0), (8, 1.5), (8, 9.0), (64, 7.0)]


def test_hours_count_the_share_that_each_cell_has_of_its_task(flat: Flat, tmp_path: Path) -> None:
    gpu = Launcher({**SLURM, "gres": "gpu:1"})
    request = Request(
        "mine", tmp_path, [Cell(str(n), width(flat, n)) for n in (4, 8, 16)], Packing(), gpu, []
    )
    tasks = [TaskPreview([0, 2], 4), TaskPreview([1], 1)]
    assert hours_of(request, tasks, [3600.0, 7200.0, None]) == 0.25 + 2.0
    assert load_preview(request).estimate.unit == "GPU-hours"


NOOP = ("seeds={range:[0,2,1]}", "trainer.epochs=5")


def test_the_next_submission_runs_what_a_calibration_found_best(redescent: Any, logs: Path) -> None:
    auto = ("hydra/launcher=local", *NOOP, "trainer.seconds=0.2", "task.at_a_time=auto")
    with pytest.raises(UserError, match="Run `redescent calibrate noop --side-by-side 1"):
        submission.submit(compose.expand_sweep("noop", auto))
    assert not (logs / "noop" / "submissions").exists()

    output = redescent(
        "calibrate", "noop", *auto, "--side-by-side", "2", "--side-by-side", "1"
    ).stdout
    lines = [line for line in output.splitlines() if "an epoch" in line]
    counts = [int(re.findall(r"(\d+) +\S+ an epoch", line)[0]) for line in lines]
    assert counts == [1, 2]
    (wins,) = (n for n, line in zip(counts, lines, strict=True) if line.endswith("best"))
    one, two = plan.load_all(logs / "noop" / "calibration")
    assert (one.sizes, [len(task) for task in one.tasks]) == ([1], [1])
    assert (two.sizes, [len(task) for task in two.tasks]) == ([2], [2])
    calibration_table = measurements.calibration_runs(logs / "noop")
    assert (
        calibration_table["updated"][calibration_table["concurrency"] == 1].max() <= two.created
    ), "they disturbed each other"

    outcome = submission.submit(compose.expand_sweep("noop", auto))
    assert outcome.plan is not None
    assert (outcome.plan.sizes, outcome.plan.packing["at_a_time"]) == ([wins], "auto")
    an_epoch = (
        calibration_table["measured_seconds"][calibration_table["concurrency"] == wins].median() / 2
    )
    assert outcome.preview.estimate.hours == pytest.approx(2 * 5 * an_epoch / 3600)
    with console.capture() as text:
        print_preview(outcome.preview)
    assert f"{wins} at a time, as measured" in text.get()
    assert resume_request(logs / "noop", []).packing.at_a_time == "auto"
    wait_for_cells(logs / "noop")
    assert store.runs(logs / "noop")["status"].tolist() == ["done"] * 2


def test_a_count_that_fails_is_shown_repeated_and_not_chosen(redescent: Any, logs: Path) -> None:
    overrides = ["hydra/launcher=debug", *NOOP, "trainer.fail=crowded", "task.at_a_time=auto"]
    output = redescent(
        "calibrate", "noop", *overrides, "--side-by-side", "1", "--side-by-side", "3"
    ).stdout
    assert "failed: out of memory" in output
    request = compose.expand_sweep("noop", overrides)
    assert [task.concurrency for task in load_preview(request).tasks] == [1]
    one, three = (
        measurements.still_to_measure(
            calibration.calibration_request(request, count=n), snapshot.code_hash()
        )
        for n in (1, 3)
    )
    assert (len(one.cells), len(three.cells)) == (0, 3)
    repeated = load_preview(three, retry_errors=True, rerun=True)
    assert [task.concurrency for task in repeated.tasks] == [3], "fewer are another count"


def test_a_calibration_is_repeated_in_other_code_and_on_other_resources(logs: Path) -> None:
    request = calibration.calibration_request(
        compose.expand_sweep("noop", ["hydra/launcher=debug", *NOOP]), count=2
    )
    submission.submit(request)
    code = snapshot.code_hash()
    assert measurements.still_to_measure(request, code).cells == []
    other_request = calibration.calibration_request(
        compose.expand_sweep("noop", ["hydra/launcher=local", *NOOP]), count=2
    )
    assert {cell.id for cell in other_request.cells} == {cell.id for cell in request.cells}
    for repeated_request in (
        measurements.still_to_measure(request, "c0de"),
        measurements.still_to_measure(other_request, code),
    ):
        assert len(repeated_request.cells) == 2
    submission.submit(request, rerun=True)
    assert measurements.calibration_runs(logs / "noop")["attempt"].tolist() == [2, 2]


def test_waiting_for_a_repeated_calibration_ignores_its_earlier_results(
    logs: Path,
) -> None:
    overrides = ["hydra/launcher=local", *NOOP, "trainer.seconds=0.1"]
    request = calibration.calibration_request(compose.expand_sweep("noop", overrides), count=1)
    for attempts in (1, 2):
        plan_sent = submission.submit(request, rerun=True).plan
        assert plan_sent is not None
        assert wait.wait_until_end(request.folder)
        calibration_table = measurements.calibration_runs(logs / "noop")
        assert calibration_table[["status", "attempt"]].to_numpy().tolist() == [["done", attempts]]
