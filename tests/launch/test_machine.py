"""`--json`: one object of a documented form on standard output, with the numbers of the tables."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from subprocess import CompletedProcess
from types import SimpleNamespace
from typing import Any, Protocol

import numpy as np
import pytest

from analysis import store
from launch.cli import machine
from launch.cli import status as views
from launch.status import sweep_state
from launch.status.cell_state import Record

OLD_LOGS = Path(__file__).parent / "old_logs"


class Redescent(Protocol):
    """The fixture that runs the command line."""

    def __call__(self, *words: str, check: bool = True) -> CompletedProcess[str]: ...


@pytest.fixture
def old_logs(logs: Path) -> Path:
    """A copy of the folders of an earlier version."""
    shutil.copytree(OLD_LOGS, logs)
    return logs


def document(process: CompletedProcess[str]) -> dict[str, Any]:
    """The one object on standard output; NaN is no JSON."""
    assert process.stdout.count("\n") == 1, process.stdout

    def refuse(text: str) -> None:
        raise AssertionError(f"found {text}")

    content: dict[str, Any] = json.loads(process.stdout, parse_constant=refuse)
    assert content["version"] == machine.VERSION
    return content


def test_status_has_the_numbers_of_the_sweep(old_logs: Path, redescent: Redescent) -> None:
    content = document(redescent("status", "smoke", "--json", "--cells"))
    runs = store.runs(old_logs / "smoke")
    assert content["cells"] == len(runs)
    assert content["done"] == sum(runs["status"] == "done")
    assert sum(line["cells"] for line in content["states"]) == len(runs)
    assert {cell["id"] for cell in content["list"]} == set(runs["cell"])
    progress = [cell["logged"] / cell["planned"] for cell in content["list"]]
    assert content["share_done"] == pytest.approx(sum(progress) / len(progress))


def test_status_failed_has_the_failures_alone(old_logs: Path, redescent: Redescent) -> None:
    content = document(redescent("status", "noop", "--json", "--failed"))
    assert sorted(content) == ["command", "failures", "folder", "name", "version"]


def test_failures_have_their_class_error_and_cells(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    record = Record("failed", 1, "disk", "Traceback\nOSError: disk full")
    cells = {name: SimpleNamespace(id=name, state="failed", record=record) for name in ("a", "b")}
    state = SimpleNamespace(cells=cells)
    monkeypatch.setattr(sweep_state, "load_sweep_state", lambda folder: state)
    views.write_failures(Path("logs/demo"))
    (failure,) = json.loads(capsys.readouterr().out)["failures"]
    assert failure == {"kind": "disk", "error": "OSError: disk full", "cells": ["a", "b"]}


def test_plan_lists_the_cells_to_run(redescent: Redescent) -> None:
    words = ("plan", "noop", "seeds=[0,1,2]", "hydra/launcher=local")
    content = document(redescent(*words, "--json"))
    assert (content["command"], content["cells"], len(content["to_run"])) == ("plan", 3, 3)
    assert content["states"] == {"new": 3}
    assert content["unmeasured"] == 3
    policy = (content["canary"], content["gpu_hours"], content["beyond_limit"])
    assert policy == (False, None, None)


def test_plan_names_the_launcher_and_the_limits(redescent: Redescent) -> None:
    words = ("plan", "fig2_ab", "hydra/launcher=v100", "canary=true", "limits.gpu_hours=5")
    content = document(redescent(*words, "data.root=/nowhere", "--json"))
    assert content["launcher"]["name"] == "v100"
    assert (content["canary"], content["gpu_hours"]) == (True, 5)
    assert "the hours of the sweep are unknown" in content["beyond_limit"]


def test_plan_warns_of_data_that_submit_would_refuse(redescent: Redescent) -> None:
    words = ("plan", "cifar_small", "data.root=/nowhere", "hydra/launcher=local")
    (warning,) = document(redescent(*words, "--json"))["warnings"]
    assert "will refuse this: data.root: /nowhere does not exist" in warning


def test_numbers_of_tables_stay_numbers() -> None:
    values = {"int": np.int64(3), "bool": np.bool_(True), "float": np.float64("nan")}
    assert machine._plain(values) == {"int": 3, "bool": True, "float": None}


def test_why_separates_what_varies_from_all_settings(old_logs: Path, redescent: Redescent) -> None:
    cell = store.runs(old_logs / "noop")["cell"][0]
    content = document(redescent("why", cell, "--json"))
    assert (content["cell"], content["sweep"]) == (cell, "noop")
    assert list(content["differs"]) == ["seed"]
    assert content["settings"]["trainer.fail"] == "error"
    assert "RuntimeError: the cell was told to fail" in content["error"]
    assert len(content["attempts"]) == 1


def test_why_finds_a_cell_beside_a_sweep_that_cannot_be_read(
    old_logs: Path, redescent: Redescent
) -> None:
    damaged = old_logs / "damaged" / "submissions" / "x" / "plan.json"
    damaged.parent.mkdir(parents=True)
    damaged.write_text("{")
    cell = store.runs(old_logs / "noop")["cell"][0]
    assert document(redescent("why", cell, "--json"))["sweep"] == "noop"
    result = redescent("why", "c1-none", check=False)
    assert "damaged" in result.stderr


def test_list_has_an_entry_for_each_sweep(old_logs: Path, redescent: Redescent) -> None:
    (old_logs / "broken" / "submissions" / "x").mkdir(parents=True)
    (old_logs / "broken" / "submissions" / "x" / "plan.json").write_text("{")
    content = document(redescent("list", "--json"))
    by_name = {sweep["name"]: sweep for sweep in content["sweeps"]}
    assert sorted(by_name) == ["broken", "noop", "smoke"]
    assert "plan.json" in by_name["broken"]["problem"]
    assert by_name["smoke"]["states"]["done"] == 2


def test_an_error_leaves_standard_output_empty(logs: Path, redescent: Redescent) -> None:
    process = redescent("status", "nothing", "--json", check=False)
    assert (process.returncode, process.stdout) == (2, "")
    assert "no such folder" in process.stderr


def test_numbers_that_json_lacks_become_null(capsys: pytest.CaptureFixture[str]) -> None:
    machine.write("plan", {"a": float("nan"), "b": [float("inf"), 1.5], "c": Path("x")})
    content = json.loads(capsys.readouterr().out)
    assert content == {"version": 1, "command": "plan", "a": None, "b": [None, 1.5], "c": "x"}


def test_the_documented_commands_are_those_with_the_option() -> None:
    from launch.cli.commands import main

    text = machine.__doc__ or ""
    commands = [
        name
        for name, command in main.commands.items()
        if any("--json" in parameter.opts for parameter in command.params)
    ]
    assert sorted(commands) == ["doctor", "list", "plan", "status", "why"]
    assert [name for name in commands if f"\n{name} " not in text] == []
