"""What cells will take, from the measured seconds per epoch of earlier runs of like cells. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

_ALIKE = (
    "model.", "data.name", "data.classes", "data.train_samples", "data.test_samples", "data.downscale", "data.augment",
    "trainer.batch_size", "trainer.eval_test", "trainer.eval_train", "trainer.precision", "trainer.name",
)  # fmt: skip


def seconds(configurations: Sequence[Mapping[str, Any]], runs: pd.DataFrame) -> list[float | None]:
    """Expected seconds of each flat configuration: its epochs times the median seconds per epoch of like runs.

    `runs` is the runs table (one row a cell). Runs are alike that share model, data set and its size, batch size,
    evaluation and precision; seeds, noise and the optimiser's numbers do not matter. None where no like run has logged
    an epoch.
    """
    rates = _rates(runs)
    return [
        rate * flat["trainer.epochs"] if (rate := rates.get(_kind(flat))) is not None else None
        for flat in configurations
    ]


def _rates(runs: pd.DataFrame) -> dict[tuple[Any, ...], float]:
    if "epochs" not in runs or "seconds" not in runs:
        return {}
    measured = runs[(runs["epochs"] > 0) & (runs["seconds"] > 0)]
    samples: dict[tuple[Any, ...], list[float]] = {}
    for row in measured.to_dict("records"):
        samples.setdefault(_kind({str(k): v for k, v in row.items()}), []).append(row["seconds"] / row["epochs"])
    return {kind: float(pd.Series(values).median()) for kind, values in samples.items()}


def _kind(flat: Mapping[str, Any]) -> tuple[Any, ...]:
    """The settings that decide an epoch's time, absent ones left out: a runs table has a column for every key."""
    kept = ((k, v) for k, v in flat.items() if k.startswith(_ALIKE) and v is not None and v == v)
    return tuple(sorted((k, str(int(v) if isinstance(v, float) and v.is_integer() else v)) for k, v in kept))
