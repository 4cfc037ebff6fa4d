"""Odd surroundings: environment variables, users, locales and names that others wrote."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from launch.errors import UserError
from launch.plan import Plan, files, markers, snapshot
from launch.plan.launcher import cores
from launch.scheduler import slurm
from launch.sweep.compose import expand_sweep


def test_a_user_without_a_name_can_submit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000)
    assert files.user_name(4_000_000) == "4000000"
    assert snapshot.origin()["user"] == "4000000"


@pytest.mark.parametrize("text", ["abc", "", "-3", "0", "2.5"])
def test_a_number_of_cores_that_is_none_is_not_taken(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", text)
    assert cores() == len(os.sched_getaffinity(0))
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "3")
    assert cores() == 3


def test_a_configuration_of_slurm_that_is_not_there_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sbatch = tmp_path / "sbatch"
    sbatch.write_text("#!/bin/sh\nexit 0\n")
    sbatch.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("SLURM_CONF", str(tmp_path / "absent.conf"))
    with pytest.raises(UserError, match=r"SLURM_CONF: found '.*absent\.conf', which is no file"):
        slurm.present()
    answer = slurm.call("sbatch", "--version")
    assert (answer.returncode, answer.stderr[:10]) == (1, "SLURM_CONF")
    monkeypatch.delenv("SLURM_CONF")
    assert slurm.call("sbatch", "--version").returncode == 0


def test_a_file_that_names_no_node_is_left_out(tmp_path: Path) -> None:
    markers.mark_bad_node(tmp_path, "n1.cluster-2")
    for name in ("n2\n#SBATCH --wrap=x", "n3,n4", "-w", "n 5", "[1-9]"):
        (tmp_path / "bad_nodes" / name).touch()
    assert markers.bad_nodes(tmp_path) == {"n1.cluster-2"}


def test_a_sweep_is_read_under_an_ascii_locale(
    write_sweep: Callable[[str, str], None], configs: Path
) -> None:
    noop = "{override /model: none}, {override /data: none}, {override /optim: none}"
    write_sweep("accents", f"# é\ndefaults: [{noop}, {{override /trainer: noop}}]\nseeds: [0]\n")
    program = (
        "import pathlib; from launch.sweep import compose; "
        f"compose.CONFIGS = pathlib.Path({str(configs)!r}); "
        "cells = compose.expand_sweep('accents', ['hydra/launcher=local']).cells; "
        "from launch.cli.console import console; console.print(chr(233), len(cells))"
    )
    ascii_only = {"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    process = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | ascii_only,
        cwd=snapshot.SOURCE,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    assert process.stdout == "\\xe9 1\n"


def test_an_interrupt_while_python_imports_shows_no_traceback() -> None:
    program = (
        "import sys\n"
        "class Interrupt:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'click': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupt())\n"
        "import launch.cli\n"
    )
    process = subprocess.run(
        [sys.executable, "-c", program],
        cwd=snapshot.SOURCE,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (process.returncode, process.stderr) == (130, "")


def test_the_owner_of_a_plan_is_known(plan_of: Callable[..., Plan], tmp_path: Path) -> None:
    path = plan_of().write(tmp_path)
    assert files.owner(path) is None


@pytest.mark.parametrize("variable", ["REDESCENT_CIFAR10", "REDESCENT_CACHE"])
def test_an_empty_path_of_the_data_is_refused(
    variable: str, write_sweep: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "")
    write_sweep("images", "defaults: [override /data: cifar10, override /model: mlp]\nseeds: [0]\n")
    with pytest.raises(UserError, match=r"data\.(root|cache): found an empty path.*unset"):
        expand_sweep("images", ["hydra/launcher=local"])
