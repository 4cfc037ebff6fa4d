"""Configurations, plans and a copy of configs/ for the tests of launch/."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import command_line
import pytest

from launch.plan import Launcher, Plan, PlannedCell
from launch.plan.identity import cell_id
from launch.sweep import compose

LOCAL = "hydra/launcher=local"
BASE: Mapping[str, Any] = {"seed": 0, "model.width": 4}
CELLS = [cell_id({**BASE, "seed": seed}) for seed in range(3)]
"""Ids of the cells of `plan_of`."""


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder of decoded data sets for all tests."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def logs(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Logs of this test alone, by environment as a user would choose them."""
    monkeypatch.setenv("REDESCENT_LOGS", str(tmp_path / "logs"))
    monkeypatch.setenv("REDESCENT_CACHE", str(cache))
    return tmp_path / "logs"


@pytest.fixture(scope="session")
def flat() -> Mapping[str, Any]:
    """A valid configuration of a small cell."""
    return MappingProxyType(
        {
            "seed": 0,
            "model.name": "mlp",
            "model.width": 8,
            "model.depth": 1,
            "data.name": "digits",
            "data.cache": "/nowhere",
            "data.train_samples": 40,
            "data.test_samples": None,
            "data.augment": False,
            "data.scaling": "unit",
            "data.label_noise.kind": "incorrect",
            "data.label_noise.rate": 0.2,
            "optim.name": "sgd",
            "optim.lr": 0.1,
            "optim.momentum": 0.9,
            "optim.weight_decay": 0.0,
            "optim.schedule.name": "constant",
            "optim.schedule.period": 512,
            "optim.schedule.factor": 0.1,
            "optim.schedule.warmup": 0,
            "trainer.name": "vision",
            "trainer.epochs": 3,
            "trainer.batch_size": 16,
            "trainer.eval_batch_size": 1000,
            "trainer.eval_test": "every",
            "trainer.eval_train": "log",
            "trainer.evals_per_decade": 10,
            "trainer.precision": "auto",
            "trainer.deterministic": False,
            "run.device": "cpu",
            "run.threads": 1,
            "run.compile": False,
            "run.checkpoint_seconds": 60.0,
        }
    )


@pytest.fixture
def configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of configs/ to write sweeps into, in use in this process."""
    copy = tmp_path / "configs"
    shutil.copytree(compose.CONFIGS, copy)
    monkeypatch.setattr(compose, "CONFIGS", copy)
    return copy


@pytest.fixture
def write_sweep(configs: Path) -> Callable[[str, str], None]:
    """Writes a sweep file into the copied configs: its name and the text after the package line."""

    def write(name: str, text: str) -> None:
        (configs / "sweep" / f"{name}.yaml").write_text(
            f"# @package _global_\nname: {name}\n{text}"
        )

    return write


@pytest.fixture
def plan_of() -> Callable[..., Plan]:
    """Builds a plan of three cells in two tasks; arguments replace its fields."""

    def build(**changes: Any) -> Plan:
        fields: dict[str, Any] = {
            "sid": "20260102T030405-0a1b2c3d",
            "name": "demo",
            "created": 1.5,
            "user": "somebody",
            "host": "login",
            "backend": "slurm",
            "bases": [BASE],
            "cells": [PlannedCell(cell, 0, {"seed": i}, i) for i, cell in enumerate(CELLS)],
            "tasks": [[0, 1], [2]],
            "packing": {"cells": 5, "at_a_time": 1, "minutes": 60, "most": 1000, "slots": 100},
            "chosen": [],
            "launcher": {
                "_target_": "x.SlurmLauncher",
                "timeout_min": 60,
                "signal_delay_s": 90,
                "mem_gb": 1.5,
            },
            "python": "/opt/py/bin/python",
            "code": "c0de",
            "code_archive": "/logs/demo/code/c0de.zip",
            "environment": "e0",
            "packages": {"torch": "2.0"},
            "commit": "",
        }
        fields |= changes
        return Plan(**fields | {"launcher": Launcher(fields["launcher"])})

    return build


@pytest.fixture
def cell_ids() -> Sequence[str]:
    """Ids of the three cells of `plan_of`, in order."""
    return CELLS


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Puts a shell script in the place of a SLURM command; the PATH holds nothing else."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def write(name: str, script: str) -> None:
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)

    return write


@pytest.fixture
def redescent() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the command line as a process of its own, with another configs/ if asked; fails with it
    if `check`.
    """

    def run(
        *words: str, configs: Path | None = None, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"COLUMNS": "1000"}
        return command_line.redescent(
            *words, environment=environment, configs=configs or compose.CONFIGS, check=check
        )

    return run
