"""Synthetic runs of transformers on operation tables, as the trainer records them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

BASE: dict[str, Any] = {
    "trainer.name": "algorithmic",
    "trainer.steps": 1000,
    "trainer.batch_size": 512.0,
    "trainer.weight_noise": 0.0,
    "model.width": 128,
    "model.dropout_residual": 0.0,
    "data.operation": "x+y",
    "data.modulus": 97,
    "data.degree": 5,
    "data.train_fraction": 0.5,
    "data.outliers": 0,
    "data.outlier_size": 0.0,
    "optim.name": "adamw",
    "optim.lr": 1e-3,
    "optim.weight_decay": 1.0,
    "optim.decay_towards": "zero",
    "optim.update_noise": 0.0,
    "seed": 0,
}
STEPS = (0, 1, 10, 100, 1000)
CURVE = {"test_accuracy": (0.01, 0.01, 0.02, 0.1, 1.0)}


def add(
    sweep: Any,
    cell: str,
    config: Mapping[str, Any],
    *,
    status: str = "done",
    steps: int = 1000,
    curve: Mapping[str, tuple[float, ...]] = CURVE,
    **record: Any,
) -> None:
    """One run: its record with `final_...` and `best_...` metrics, and its curve over STEPS up to
    `steps`.
    """
    facts = {
        "cell": cell,
        "status": status,
        "attempt": 1,
        "updated": 1.0,
        "epochs": 0,
        "steps": steps,
    }
    sweep.runs(cell, [{**BASE, **config, **facts, "code": "c0de", "environment": "e0", **record}])
    rows = [
        {"cell": cell, "attempt": 1, "epoch": epoch, "step": step, "seconds": float(step)}
        | {name: values[epoch] for name, values in curve.items()}
        for epoch, step in enumerate(STEPS)
        if step <= steps
    ]
    sweep.curves(cell, rows)
