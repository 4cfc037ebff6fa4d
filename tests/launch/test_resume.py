"""What a resume sends: the cells as planned, as the newest plan sent them, or with another launcher
where asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from launch.errors import UserError
from launch.plan import Plan, files
from launch.submit import advance
from launch.submit.resume import resume_request
from launch.sweep.compose import launcher_settings


@pytest.fixture
def sweep(tmp_path: Path, plan_of: Callable[..., Plan]) -> Path:
    request = launcher_settings(
        ["hydra/launcher=v100", "hydra.launcher.partition=spot", "task.cells=5"]
    )
    plan_of(launcher=request.launcher.settings, chosen=request.chosen).write(tmp_path / "demo")
    return tmp_path / "demo"


def test_a_resume_sends_all_planned_cells_as_the_newest_plan_was_sent(
    sweep: Path, cell_ids: Sequence[str]
) -> None:
    request = resume_request(sweep, [])
    assert [cell.id for cell in request.cells] == cell_ids
    assert [cell.flat["seed"] for cell in request.cells] == [0, 1, 2]
    assert request.launcher.settings["partition"] == "spot"
    assert request.packing.cells == 5


def test_overrides_of_a_resume_come_on_top_of_those_of_the_newest_plan(sweep: Path) -> None:
    request = resume_request(sweep, ["hydra.launcher.timeout_min=7", "task.cells=2"])
    assert request.launcher.settings["timeout_min"] == 7
    assert request.launcher.settings["partition"] == "spot"
    assert request.launcher.settings["gres"] == "gpu:v100:1"
    assert request.packing.cells == 2


def test_another_launcher_begins_anew(sweep: Path) -> None:
    request = resume_request(sweep, ["hydra/launcher=slurm"])
    assert request.launcher.settings["partition"] is None
    assert request.launcher.settings["gres"] is None


def test_a_resume_takes_no_other_override(sweep: Path) -> None:
    with pytest.raises(UserError, match=r"trainer.epochs=3: resume runs the cells as planned"):
        resume_request(sweep, ["trainer.epochs=3"])


def test_there_is_nothing_to_resume_before_a_submission(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no submitted sweep"):
        resume_request(tmp_path, [])


def test_settings_of_another_user_are_named_before_they_are_used(
    sweep: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files.os, "getuid", lambda: 4_000_000)
    with pytest.raises(UserError, match=r"plan\.json: belongs to \w+, and its launcher settings"):
        resume_request(sweep, [])
    with pytest.raises(UserError, match="belongs to"):
        resume_request(sweep, ["hydra.launcher.timeout_min=7"])
    with pytest.raises(UserError, match="belongs to"):
        advance.advance(sweep)
    request = resume_request(sweep, ["hydra/launcher=slurm"])
    assert len(request.cells) == 3
    assert request.launcher.settings["partition"] is None
