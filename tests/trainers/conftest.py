"""Small cells, and runs of them through the real parts and checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from trainers.checkpoint import Checkpoints
from trainers.part import Part
from trainers.run import Run
from trainers.schema import Metric

CELL = "c1-" + "0123456789abcdef" * 2


@pytest.fixture(scope="session")
def flat(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    """A cell of 9 steps on the CPU: 40 digits in batches of 16, 16 and 8, three epochs, a quarter
    of labels noisy.
    """
    return MappingProxyType({
        "seed": 0,
        "model.name": "mlp", "model.width": 4, "model.depth": 1,
        "data.name": "digits", "data.cache": str(tmp_path_factory.mktemp("cache")),
        "data.train_samples": 40,
        "data.test_samples": 20, "data.augment": False, "data.scaling": "unit",
        "data.label_noise.kind": "incorrect", "data.label_noise.rate": 0.25,
        "optim.name": "sgd", "optim.lr": 0.1, "optim.momentum": 0.0, "optim.weight_decay": 0.0,
        "optim.schedule.name": "constant", "optim.schedule.period": 4, "optim.schedule.factor": 0.5,
        "optim.schedule.warmup": 0,
        "trainer.name": "vision", "trainer.epochs": 3, "trainer.batch_size": 16,
        "trainer.eval_batch_size": 7,
        "trainer.eval_test": "every", "trainer.eval_train": "every", "trainer.evals_per_decade": 10,
        "trainer.precision": "auto", "trainer.deterministic": False,
        "run.device": "cpu", "run.threads": 1, "run.compile": False, "run.checkpoint_seconds": 1e9,
    })  # fmt: skip


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """The folder of a sweep, as a job finds it."""
    for name in ("curves", "runs", "checkpoints"):
        (tmp_path / "sweep" / name).mkdir(parents=True)
    return tmp_path / "sweep"


@pytest.fixture
def begin(sweep: Path, flat: Mapping[str, Any]) -> Callable[..., Run]:
    """Begins an attempt of a cell with a writer and files of its own."""

    def run(
        metrics: tuple[Metric, ...],
        attempt: int = 1,
        flat: Mapping[str, Any] = flat,
        cell: str = CELL,
        folder: Path = sweep,
        stop: Callable[[], bool] = lambda: False,
    ) -> Run:
        writer = f"S1.00000.r{attempt}.abcdef01.0.vision"
        checkpoints = Checkpoints(folder / "checkpoints", cell, attempt, writer)
        return Run(
            cell,
            flat,
            attempt,
            Part(folder, writer, metrics),
            checkpoints,
            stop,
            flat["run.checkpoint_seconds"],
        )

    return run
