"""Runs of the image trainer, and comparisons of what they leave."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
from torch import Tensor

from trainers import config
from trainers.run import Run
from trainers.vision import Training

Flat = Mapping[str, Any]

CLOCK = ["seconds", "examples_per_second", "attempt"]


def with_changes(flat: Flat, changes: Mapping[str, Any]) -> dict[str, Any]:
    """`flat` with `changes`; a key set to ... is left out."""
    return {key: value for key, value in {**flat, **changes}.items() if value is not ...}


def after(steps: int) -> Callable[[], bool]:
    """Says stop when it is asked after so many steps."""
    countdown = [steps]

    def stop() -> bool:
        countdown[0] -= 1
        return countdown[0] < 0

    return stop


def train(run: Run) -> tuple[str, dict[str, Any]]:
    """One attempt as a child makes it; returns the outcome and all that the next step would depend
    on.
    """
    run.flush()
    training = Training(config.parse(run.flat), run)
    training.restore()
    outcome = training.to_the_end()
    run.close(outcome)
    return outcome, training.state()


def rows(run: Run) -> pd.DataFrame:
    """The rows in the part of an attempt."""
    return pd.read_parquet(run.part.folder / "curves" / f"{run.part.writer}.parquet")


def record(run: Run) -> dict[str, Any]:
    (table,) = pq.read_table(run.part.folder / "runs" / f"{run.part.writer}.parquet").to_pylist()
    return dict(table)


def assert_same_bits(table: Any, expected: Any, path: str = "state") -> None:
    """Equal in every bit of every tensor, in every type and in every key."""
    assert type(table) is type(expected), path
    if isinstance(expected, Tensor):
        assert (table.dtype, table.shape) == (expected.dtype, expected.shape), path
        assert table.numpy().tobytes() == expected.numpy().tobytes(), path
    elif isinstance(expected, dict):
        assert list(table) == list(expected), path
        for key in expected:
            assert_same_bits(table[key], expected[key], f"{path}.{key}")
    elif isinstance(expected, list):
        assert len(table) == len(expected), path
        for i, pair in enumerate(zip(table, expected, strict=True)):
            assert_same_bits(*pair, f"{path}[{i}]")
    elif path != "state.epoch_seconds":
        assert table == expected, path


def assert_same_rows(table: pd.DataFrame, expected: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(
        table.drop(columns=CLOCK), expected.drop(columns=CLOCK), check_exact=True
    )
