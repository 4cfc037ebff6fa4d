"""Estimate the time of cells from the seconds per epoch (or step) of similar runs. Pure."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from launch.plan.outcome import FINAL

_NO_EFFECT = (
    "data.label_noise.", "data.root", "data.download", "data.cache", "data.split_seed",
    "data.outliers", "data.outlier_size",
    "optim.lr", "optim.weight_decay", "optim.schedule.", "optim.momentum", "optim.beta",
    "optim.eps",
    "trainer.epochs", "trainer.least_steps", "trainer.steps", "trainer.stop_at", "trainer.abandon",
    "trainer.fail",
    "trainer.of", "trainer.weights", "trainer.block", "trainer.start_", "trainer.direction_seed",
    "run.device", "run.checkpoint_seconds",
)  # fmt: skip
"""Keys that do not affect how fast a cell trains. Neither does `seed`; every other key does.

`run.device` is included because `auto` depends on the launcher's machines.
"""

_NO_EFFECT_KEYS = ("trainer.to",)
"""Whole keys without an effect, each the beginning of others that do affect the speed."""

MEASURE_KEY = "trainer.of"
"""A cell with this key measures a trained cell. It is one block of work, and has a time only as a
whole."""

WIDTH = "model.width"
SAMPLES = "data.train_samples"
INTERPOLATED = (WIDTH, SAMPLES)
"""Keys between whose measured values the rate is interpolated, one at a time."""

LEAST_SHARE = 0.01
"""A run that logged a smaller share of its length is ignored: so far it has mostly loaded data and
compiled.
"""


def expected(cells: pd.DataFrame, runs: pd.DataFrame) -> pd.Series[float]:
    """Expected seconds of each row of `cells`: its planned epochs or steps, times the median
    seconds of similar runs.

    Both frames have the flat configuration as columns; `runs` is the runs table (one row per cell),
    with `seconds` and `epochs` or `steps`. Runs are similar if they have the same model, data set
    and its size, batch size, evaluation and precision; seeds, noise and the optimiser's numbers do
    not matter. Between two measured widths of otherwise similar cells the rate is interpolated,
    linearly in both logarithms. NaN elsewhere.
    """
    if cells.empty:
        return pd.Series(dtype=float)
    enough = (logged(runs) > 0) & (logged(runs) >= LEAST_SHARE * planned_length(runs))
    timed_runs = runs[enough & (_numbers(runs, "seconds") > 0)]
    if timed_runs.empty:
        return pd.Series(np.nan, cells.index)
    rates = pd.Series(pace(timed_runs).to_numpy())
    exact, run_groups = speed_groups(cells, timed_runs)
    rate = pd.Series(exact, cells.index).map(rates.groupby(run_groups).median())
    timed_runs = timed_runs.copy()  # in one piece: pandas warns of a column more in many pieces
    timed_runs["rate"] = rates.to_numpy()
    for key in INTERPOLATED:
        rate = _interpolated(rate, cells, timed_runs, key)
    return rate * planned_length(cells)


def remaining_seconds(
    cells: pd.DataFrame, runs: pd.DataFrame, timed_runs: pd.DataFrame
) -> pd.Series[float]:
    """Expected seconds that each row of `cells` (with a column `cell`) still has to train; NaN if
    unknown.

    `runs` has their progress, and `timed_runs` (also a runs table) the times of similar cells.
    """
    if cells.empty:
        return pd.Series(dtype=float)
    share_of_runs = (logged(runs) / planned_length(runs)).clip(0, 1).fillna(0.0)
    share_done = pd.Series(0.0, cells.index)
    if len(runs):
        by_cell = dict(zip(runs["cell"], share_of_runs, strict=True))
        share_done = cells["cell"].map(by_cell).fillna(0.0)
    return expected(cells, timed_runs) * (1 - share_done)


def speed_groups(
    cells: pd.DataFrame, runs: pd.DataFrame, without: str = ""
) -> tuple[np.ndarray[Any, Any], ...]:
    """A group number for each row of both frames: equal if all settings that affect the rate are
    equal.
    """
    names = sorted({str(column) for frame in (cells, runs) for column in frame})
    columns = [name for name in names if _decides_speed(name) and name != without]
    codes = np.zeros(len(cells) + len(runs), np.int64)
    for column in columns:
        values = [_values(frame, column) for frame in (cells, runs)]
        numbers = _numbered(np.concatenate(values))
        codes = pd.factorize(codes * (numbers.max(initial=0) + 1) + numbers)[0]
    return codes[: len(cells)], codes[len(cells) :]


def _values(frame: pd.DataFrame, column: str) -> np.ndarray[Any, Any]:
    """A column as Python objects; NaN where the frame lacks it."""
    if column not in frame:
        return np.full(len(frame), np.nan, dtype=object)
    return frame[column].astype(object).to_numpy()


def _numbered(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """A number for each value, equal for equal values; all missing values are equal."""
    try:
        return pd.factorize(values, use_na_sentinel=False)[0]
    except (TypeError, ValueError):  # lists cannot be hashed
        texts = np.array([_hashable(value) for value in values], dtype=object)
        return pd.factorize(texts, use_na_sentinel=False)[0]


def _decides_speed(column: str) -> bool:
    """Whether a column of a runs table is a configuration key that affects a cell's speed."""
    has_no_effect = column.startswith(_NO_EFFECT) or column in _NO_EFFECT_KEYS
    return "." in column and not has_no_effect


def _hashable(value: Any) -> Any:
    if isinstance(value, np.ndarray):  # as the runs table has lists
        value = value.tolist()
    return str(list(value)) if isinstance(value, list | tuple) else value


def width_families(cells: pd.DataFrame) -> np.ndarray[Any, Any]:
    """A group number for each row: equal if only width differs among what affects the rate."""
    return speed_groups(cells, cells.iloc[:0], without=WIDTH)[0]


def planned_length(cells: pd.DataFrame) -> pd.Series[float]:
    """Length of each run: optimiser steps if its trainer counts steps, else epochs; 1 for a
    measure, whose blocks have a fixed size.

    The epochs are those after which `trainer.least_steps` are done too.
    """
    epochs = _numbers(cells, "trainer.epochs")
    samples = _numbers(cells, SAMPLES)
    batch = _numbers(cells, "trainer.batch_size").fillna(samples)
    least = np.ceil(_numbers(cells, "trainer.least_steps") / np.ceil(samples / batch))
    epochs = epochs.where(~(least > epochs), least).mask(measures(cells), 1.0)
    return _numbers(cells, "trainer.steps").mask(measures(cells)).fillna(epochs)


def logged(runs: pd.DataFrame) -> pd.Series[float]:
    """Progress of each run, in the unit of `planned_length`; 0 if nothing is logged."""
    by_step = _numbers(runs, "trainer.steps").notna()
    progress = _numbers(runs, "steps").where(by_step, _numbers(runs, "epochs")).fillna(0.0)
    if "status" not in runs:
        return progress
    return progress.mask(measures(runs), runs["status"].isin(FINAL).astype(float))


def measures(cells: pd.DataFrame) -> pd.Series[bool]:
    """Whether each cell measures a trained cell."""
    if MEASURE_KEY not in cells:
        return pd.Series(False, cells.index)
    return cells[MEASURE_KEY].notna()


def pace(runs: pd.DataFrame) -> pd.Series[float]:
    """Seconds per epoch (or step, if its trainer counts steps) of each run; NaN if nothing was
    logged.
    """
    return _numbers(runs, "seconds") / logged(runs).where(lambda so_far: so_far > 0)


def _numbers(frame: pd.DataFrame, column: str) -> pd.Series[float]:
    if column not in frame:
        return pd.Series(np.nan, frame.index, dtype=float)
    return pd.to_numeric(frame[column]).astype(float)


def _interpolated(
    rate: pd.Series[float], cells: pd.DataFrame, timed_runs: pd.DataFrame, key: str
) -> pd.Series[float]:
    """`rate` of each cell, with gaps between measured values of a key filled in."""
    if not rate.isna().any() or key not in cells or key not in timed_runs:
        return rate
    families, run_families = speed_groups(cells, timed_runs, without=key)
    value = np.log(_numbers(cells, key))
    measured_value = np.log(_numbers(timed_runs, key).to_numpy())
    rates = pd.Series(timed_runs["rate"].to_numpy())
    filled = rate.copy()
    for family in np.unique(families[rate.isna().to_numpy()]):
        is_member = run_families == family
        medians = rates[is_member].groupby(measured_value[is_member]).median()
        if len(medians) > 1:
            rows = (families == family) & rate.isna().to_numpy()
            logs = np.log(medians)
            interpolated = np.interp(value[rows], logs.index, logs, left=np.nan, right=np.nan)
            filled[rows] = np.exp(interpolated)
    return filled
