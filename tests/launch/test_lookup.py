"""What a command says of a sweep that it does not find, and how a message fits the terminal."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from launch.cli import layout
from launch.cli.lookup import find_cell, sweep_folder
from launch.errors import UserError
from launch.plan import folder as folders
from launch.plan import project


@pytest.fixture
def logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of logs with the sweeps demo and mine, and an empty folder."""
    logs = tmp_path / "logs"
    for name in ("demo", "mine"):
        plan = logs / name / "submissions" / "1" / "plan.json"
        plan.parent.mkdir(parents=True)
        plan.touch()
    (logs / "empty").mkdir()
    monkeypatch.setenv("REDESCENT_LOGS", str(logs))
    return logs


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("dem", "dem: no such folder; did you mean demo?"),
        ("zzz", "zzz: no such folder; `redescent submit NAME` creates one. Sweeps in "),
        ("empty", "empty: no submitted sweep in this folder; "),
        ("demo/calibration", "demo has no calibration; `redescent calibrate demo` sends one"),
    ],
)
def test_a_missing_sweep_is_refused_with_those_there_are(
    logs: Path, name: str, expected: str
) -> None:
    assert expected in str(folders.no_sweep(sweep_folder(name)))
    assert "`redescent submit NAME`" in str(folders.no_sweep(logs / "none" / "demo"))


def test_a_long_list_of_sweeps_is_cut(logs: Path) -> None:
    for number in range(10):
        plan = logs / f"s{number}" / "submissions" / "1" / "plan.json"
        plan.parent.mkdir(parents=True)
        plan.touch()
    assert "s7, and 2 more (`redescent list`)" in str(folders.no_sweep(logs / "zzz"))


def test_a_sweep_in_other_logs_is_refused_with_the_variable(logs: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "copies" / "demo"
    elsewhere.parent.mkdir()
    (logs / "demo").rename(elsewhere)
    with pytest.raises(UserError, match=f"set REDESCENT_LOGS={elsewhere.parent} and give demo"):
        sweep_folder(str(elsewhere))


def test_a_sweep_that_is_sent_to_other_logs_names_the_variable(
    logs: Path, tmp_path: Path, redescent: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    other = tmp_path / "other logs"
    sweep = ["submit", "noop", "hydra/launcher=local", "seeds=[0]", "trainer.seconds=0", "--wait"]
    assert "REDESCENT_LOGS" not in redescent(*sweep).stdout
    sent = redescent(*sweep, f"logs='{other}'").stdout
    (setting,) = re.findall("`export REDESCENT_LOGS='(.*)'`", sent)
    assert setting == str(other)
    assert (other / "noop").is_dir()
    assert project.setting_for(other) == f"REDESCENT_LOGS='{other}'"
    assert project.setting_for(logs) == ""


def test_a_cell_of_a_sweep_that_is_not_there_is_no_wrong_id(logs: Path) -> None:
    with pytest.raises(UserError, match="dem: no such folder; did you mean demo"):
        find_cell("c1-0123", "dem")


def test_an_empty_variable_of_the_logs_is_none(
    logs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REDESCENT_LOGS", "")
    monkeypatch.setattr(project, "project_folder", lambda start=None: None)
    assert project.logs_folder() == logs


def test_a_name_means_the_logs_wherever_one_is(
    logs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = tmp_path / "work" / "demo" / "submissions" / "1" / "plan.json"
    plan.parent.mkdir(parents=True)
    plan.touch()
    monkeypatch.chdir(tmp_path / "work")
    assert sweep_folder("demo") == logs / "demo"


def test_a_line_does_not_break_inside_a_command() -> None:
    lines = layout.wrapped("they end; `redescent resume mine` sends the cells again", 24)
    assert [line.plain for line in lines] == [
        "they end;",
        "`redescent resume mine`",
        "sends the cells again",
    ]
    long = layout.wrapped("`redescent resume mine --wait`", 16)
    assert [line.plain for line in long] == ["`redescent", "resume mine", "--wait`"]


@pytest.mark.parametrize("name", ["demo", "demo/calibration"])
def test_a_file_in_the_way_of_the_log_folder_is_named(name: str, tmp_path: Path) -> None:
    (tmp_path / "demo").touch()
    message = f"^{tmp_path}/demo: is no folder, .*move it away"
    with pytest.raises(UserError, match=message):
        folders.check_folder(tmp_path / name, "local")
    with pytest.raises(UserError, match=message):
        folders.no_sweep(tmp_path / name)
