"""Calibration: the ends of every kind of cell, measured apart from the sweep's results, and what
follows from it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import command_line
import pytest

from analysis import store
from launch.cli import sending
from launch.cli.preview import hours
from launch.errors import UserError
from launch.plan import Launcher, Plan
from launch.submit import calibration, measurements, submission
from launch.submit.preview import beyond_limit, load_preview
from launch.submit.resume import resume_request
from launch.sweep.compose import expand_sweep
from launch.sweep.request import Cell, Packing, Policy, Request

Flat = Mapping[str, Any]
WIDTHS = ("~axes", "model=mlp", "+axes={model.width:[4,8,16,64]}", "trainer.epochs=40")


def cells(flat: Flat, *changes: dict[str, Any]) -> list[Cell]:
    return [Cell(str(number), {**flat, **change}) for number, change in enumerate(changes)]


def test_both_ends_of_the_widths_of_every_family_are_calibrated(flat: Flat) -> None:
    selection = cells(
        flat,
        {"model.width": 8},
        {"model.width": 2},
        {"model.width": 32},
        {"seed": 3, "model.width": 32},
        {"model.depth": 2, "model.width": 8},
        {"model.depth": 2, "model.width": 8, "optim.lr": 0.5},
    )
    assert [cell.id for cell in calibration.smallest_and_largest(selection)] == ["1", "4", "2"]


def test_of_many_families_some_between_both_ends_are_calibrated(flat: Flat) -> None:
    all_cells = cells(flat, *({"data.train_samples": n, "model.width": n} for n in range(1, 101)))
    widths = [cell.flat["model.width"] for cell in calibration.smallest_and_largest(all_cells)]
    assert (len(widths), widths[0], widths[-1]) == (calibration.MOST, 1, 100)


def test_hints_about_a_calibration_name_its_sweep_too(
    logs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(submission, "deliver", lambda *_: None)
    sweep = expand_sweep("noop", ["hydra/launcher=local", "seeds=[0]"])
    runs = calibration.calibration_request(sweep)
    sending.send(runs, wait=False)
    sending.send(resume_request(runs.folder, []), wait=False, rerun=True)
    output = " ".join(capsys.readouterr().out.split())
    assert output.count("`redescent status noop/calibration` shows its state") == 2
    assert "`redescent calibrate noop` measures" in hours(load_preview(runs))


def test_a_calibration_has_as_many_copies_as_train_at_a_time(flat: Flat, tmp_path: Path) -> None:
    steps = {**flat, "trainer.epochs": None, "trainer.steps": 5000}
    all_cells = [*cells(flat, {"trainer.epochs": 400}), Cell("s", {**steps, "model.depth": 9})]
    settings = Request(
        "demo",
        tmp_path,
        all_cells,
        Packing(at_a_time=3, cells=20),
        Launcher({}),
        [],
        Policy(9.0, True, True),
        again=["trainer.epochs == 400"],
    )
    small = calibration.calibration_request(settings)
    assert small.folder == tmp_path / "demo" / "calibration"
    assert small.packing.cells == 3
    assert (small.policy, small.again) == (Policy(), ())
    lengths = [
        (cell.flat["trainer.epochs"], cell.flat.get("trainer.steps"), cell.flat["seed"])
        for cell in small.cells
    ]
    assert lengths == [
        (5, None, 3),
        (5, None, 4),
        (5, None, 5),
        (None, 1000, 3),
        (None, 1000, 4),
        (None, 1000, 5),
    ]
    other_requests = [
        calibration.calibration_request(settings, count=count) for count in (1, 2, 4, 5)
    ]
    assert [(other.packing.cells, other.packing.at_a_time) for other in other_requests] == [
        (n, n) for n in (1, 2, 4, 5)
    ]
    assert len(
        {cell.id for all_cells in (small, *other_requests) for cell in all_cells.cells}
    ) == 2 * (1 + 2 + 3 + 4 + 5)
    auto = calibration.calibration_request(replace(settings, packing=Packing(at_a_time="auto")))
    assert (auto.packing.at_a_time, [cell.flat["seed"] for cell in auto.cells]) == (1, [0, 0])


@pytest.fixture(scope="module")
def calibrated_logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Logs in which the smallest and the largest width were calibrated."""
    logs = tmp_path_factory.mktemp("calibrated")
    environment = os.environ | {"REDESCENT_LOGS": str(logs), "COLUMNS": "1000"}
    words = ("calibrate", "smoke", "hydra/launcher=local", *WIDTHS)
    process = command_line.redescent(*words, environment=environment, check=True)
    line = r"mlp +(?:4|64) +1 a core +\S+ an epoch"
    assert len(re.findall(line, process.stdout)) == 2, process.stdout
    assert re.search(r"the sweep: \S+ core-hours, from the measured seconds", process.stdout), (
        process.stdout
    )
    return logs


def test_a_calibration_counts_for_the_cost_and_not_as_a_result(
    calibrated_logs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDESCENT_LOGS", str(calibrated_logs))
    preview = load_preview(expand_sweep("smoke", ["hydra/launcher=local", *WIDTHS]))
    assert preview.selection.states == {"new": 4}
    assert all(seconds is not None and 0 < seconds < 600 for seconds in preview.seconds)
    with pytest.raises(store.StoreError):
        store.runs(calibrated_logs / "smoke")


def test_the_start_of_a_run_is_not_counted(calibrated_logs: Path) -> None:
    widths = measurements.calibration_runs(calibrated_logs / "smoke").set_index("cell")
    assert widths["measured_epochs"].tolist() == [2, 2]  # from the third to the fifth
    assert (widths["measured_seconds"] < widths["seconds"]).all()


def test_hours_beyond_the_limit_or_unknown_are_refused_at_once(
    calibrated_logs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDESCENT_LOGS", str(calibrated_logs))
    gpu = ["hydra/launcher=v100", *WIDTHS]
    before = sorted(path for path in calibrated_logs.rglob("*") if path.name != ".lock")
    with pytest.raises(
        UserError, match=r"limits.gpu_hours: 0, but the sweep would take 0.0\d GPU-hours"
    ):
        submission.submit(expand_sweep("smoke", [*gpu, "limits.gpu_hours=0"]))
    with pytest.raises(
        UserError,
        match=r"no similar run was measured for 4 cells. Run `redescent calibrate smoke`",
    ):
        submission.submit(
            expand_sweep("smoke", [*gpu, "limits.gpu_hours=9", "trainer.batch_size=4"])
        )
    assert sorted(path for path in calibrated_logs.rglob("*") if path.name != ".lock") == before
    assert beyond_limit(load_preview(expand_sweep("smoke", [*gpu, "limits.gpu_hours=9"]))) is None
    cpu = expand_sweep("smoke", ["hydra/launcher=local", *WIDTHS, "limits.gpu_hours=0"])
    assert beyond_limit(load_preview(cpu)) is None


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "limits.gpu_hours=many",
            "limits.gpu_hours: found 'many', expected a number of hours, or null",
        ),
        ("+limits.cpu_hours=3", "limits.cpu_hours: unknown key; known: gpu_hours"),
        ("canary=3", "canary: found 3, expected true or false"),
    ],
)
def test_a_policy_of_the_wrong_form_is_refused(override: str, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        expand_sweep("smoke", ["hydra/launcher=local", override])


def test_a_canary_needs_slurm(redescent: Any, logs: Path) -> None:
    for command in ("plan", "submit"):
        refused = redescent(command, "smoke", "hydra/launcher=local", "canary=true", check=False)
        assert refused.returncode == 2
        assert "canary: found true, but only SLURM can hold jobs back" in refused.stderr
    assert not (logs / "smoke" / "submissions").exists()


@pytest.mark.parametrize(
    ("waits", "sentence"),
    [
        (True, "they start when the smallest and largest cells succeed in noop/calibration"),
        (False, "no canary was sent: the smallest and largest cells succeeded with this code"),
    ],
)
def test_submit_says_whether_the_cells_wait_for_a_canary(
    waits: bool,
    sentence: str,
    logs: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    request = expand_sweep("noop", ["hydra/launcher=slurm", "canary=true", "seeds=[0,1]"])
    plan = SimpleNamespace(sid="20260102T030405-0a1b2c3d")
    sent = submission.Submission(load_preview(request), cast(Plan, plan), waits)
    monkeypatch.setattr(submission, "submit", lambda *_: sent)
    sending.send(request, wait=False)
    assert sentence in " ".join(capsys.readouterr().out.split())


def test_a_local_sweep_is_compacted_at_its_end_by_default(redescent: Any, logs: Path) -> None:
    one = ("noop", "hydra/launcher=debug")
    redescent("submit", *one, "compact=false", "seeds={range:[0,1,1]}")
    assert not (logs / "noop" / "store").exists()
    redescent("submit", *one, "seeds={range:[0,2,1]}")
    assert (logs / "noop" / "store" / "manifest.json").exists()
    assert not any((logs / "noop" / "runs").iterdir())
    assert store.runs(logs / "noop")["status"].tolist() == ["done", "done"]
    assert "nothing to send" in redescent("resume", "noop").stdout
