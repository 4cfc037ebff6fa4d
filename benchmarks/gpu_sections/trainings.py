"""Trainings whose rows and final state are compared."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

TIMES = ("seconds", "attempt", "examples_per_second", "steps_per_second")
"""Columns of a row that no two runs share."""


def attempt(flat: dict[str, Any], folder: Path, number: int) -> tuple[int, dict[str, Any]]:
    """Train the cell from its newest checkpoint in `folder`; returns its first step and its final
    state.
    """
    from trainers import config
    from trainers.checkpoint import Checkpoints
    from trainers.part import Part
    from trainers.run import Run

    for kind in ("curves", "runs", "checkpoints"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    trainer = importlib.import_module(f"trainers.{flat['trainer.name']}")
    part = Part(folder, f"w{number}", trainer.METRICS)
    checkpoints = Checkpoints(folder / "checkpoints", "c", number, f"w{number}")
    run = Run("c", flat, number, part, checkpoints, lambda: False, flat["run.checkpoint_seconds"])
    training = trainer.Training(config.parse(flat), run)
    training.restore()
    began = training.state()["step"]
    run.close(training.to_the_end())
    return began, training.state()


def rows(folder: Path, number: int) -> list[dict[str, Any]]:
    """The rows that an attempt logged, including those of the attempts that it continued."""
    import pyarrow.parquet as pq

    table = pq.ParquetFile(folder / "curves" / f"w{number}.parquet").read()
    columns = [name for name in table.schema.names if name not in TIMES]
    return list(table.select(columns).to_pylist())


def rows_apart(expected: list[dict[str, Any]], found: list[dict[str, Any]]) -> int:
    """How many rows differ. Raises ValueError if one run has more of them."""
    return sum(a != b for a, b in zip(expected, found, strict=True))


def tensors(state: Any) -> list[Any]:
    """All tensors of a nested state, in its order."""
    import torch

    if isinstance(state, torch.Tensor):
        return [state]
    children: Iterable[Any] = ()
    if isinstance(state, dict):
        children = state.values()
    elif isinstance(state, list):
        children = state
    return [tensor for child in children for tensor in tensors(child)]


def tensors_apart(expected: list[Any], found: list[Any]) -> int:
    """How many tensors differ in any bit. Raises ValueError if one run has more of them."""
    return sum(bits(a) != bits(b) for a, b in zip(expected, found, strict=True))


def bits(tensor: Any) -> bytes:
    """The numbers as bytes: NaN equals itself, and 0 differs from -0."""
    return bytes(tensor.cpu().contiguous().numpy().tobytes())
