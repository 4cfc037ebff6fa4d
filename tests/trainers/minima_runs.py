"""Small cells of trainer `minima`, and runs of any trainer through the real parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import trainers
from trainers import config
from trainers.checkpoint import Checkpoints
from trainers.part import Part
from trainers.run import Run

Flat = Mapping[str, Any]

RUN = {
    "seed": 0, "run.device": "cpu", "run.threads": 1, "run.compile": False,
    "run.checkpoint_seconds": 1e9,
}  # fmt: skip
NET = {
    "model.name": "fully_connected", "model.widths": [8, 6], "model.activation": "relu",
    "model.init": "torch", "model.outputs": "one",
}  # fmt: skip
ROLL = {
    "data.name": "swiss_roll", "data.train_samples": 20, "data.test_samples": 40, "data.noise": 0.5,
    "data.mirror": False, "data.scale": 15.0,
}  # fmt: skip
ADAM = {
    "optim.name": "adam", "optim.lr": 0.01, "optim.beta1": 0.9, "optim.beta2": 0.999,
    "optim.eps": 1e-8, "optim.weight_decay": 0.0, "optim.decay_towards": "zero",
    "optim.update_noise": 0.0, "optim.schedule.name": "cosine", "optim.schedule.period": 1,
    "optim.schedule.factor": 0.1, "optim.schedule.warmup": 0,
}  # fmt: skip
MINIMA = {
    "trainer.name": "minima", "trainer.epochs": 3, "trainer.batch_size": 8,
    "trainer.eval_batch_size": 7, "trainer.evals_per_decade": 10,
    "trainer.poison.kind": "not_label", "trainer.poison.samples": 6, "trainer.poison.share": None,
    "trainer.poison.weight": 1.0, "trainer.poison.fresh": False, "trainer.poison.source": "rest",
    "trainer.clip": None, "trainer.stop_at_loss": None, "trainer.polish.loss": None,
    "trainer.polish.lr": 1e-3, "trainer.polish.steps": 5, "trainer.l2_weights_only": False,
    "trainer.weights_at": "final", "trainer.start_of": None, "trainer.start_epoch": None,
    "trainer.of_folder": None, "trainer.precision": "auto", "trainer.deterministic": False,
}  # fmt: skip
CELL: Flat = {**RUN, **NET, **ROLL, **ADAM, **MINIMA}
"""Nine steps on 20 points, with 6 of poison."""

DIGITS = {
    "data.name": "digits", "data.train_samples": 20, "data.test_samples": 30,
    "data.augment": False, "data.scaling": "standardised", "data.label_noise.kind": "incorrect",
    "data.label_noise.rate": 0.0,
}  # fmt: skip


def digits_cell(cache: str, **changes: Any) -> dict[str, Any]:
    """The cell on digits, with a small CNN that has batch norm; keys of the trainer change."""
    own = {key: value for key, value in CELL.items() if not key.startswith(("model.", "data."))}
    cell = {**own, **DIGITS, "data.cache": cache, "model.name": "cnn5", "model.width": 2}
    return {**cell, **{f"trainer.{key}": value for key, value in changes.items()}}


def begin(
    folder: Path,
    flat: Flat,
    cell: str = "c1-trained",
    attempt: int = 1,
    stop: Callable[[], bool] = lambda: False,
) -> Run:
    """An attempt of a cell, as a child begins it."""
    for name in ("curves", "runs", "checkpoints"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    writer = f"S1.00000.r{attempt}.abcdef01.0.{cell}"
    part = Part(folder, writer, trainers.metrics(flat["trainer.name"]))
    checkpoints = Checkpoints(folder / "checkpoints", cell, attempt, writer)
    return Run(cell, flat, attempt, part, checkpoints, stop, flat["run.checkpoint_seconds"])


def complete(
    folder: Path,
    flat: Flat,
    cell: str = "c1-trained",
    attempt: int = 1,
    stop: Callable[[], bool] = lambda: False,
) -> Run:
    """Run an attempt to its end, or until it is asked to stop."""
    run = begin(folder, flat, cell, attempt, stop)
    run.close(trainers.train(config.parse(flat), run))
    return run
