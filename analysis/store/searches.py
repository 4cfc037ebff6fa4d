"""The searches of a sweep: `searches(folder)`, a row each; `outcomes(folder)`, a row a training.

Both are derived from logs/NAME/searches.json, which every submission writes, and from the runs
table, by cell id: other sweeps in the folder do not leak in. Estimates come from
`analysis.stats.threshold`. A sweep whose searches ask when success changes over
`data.train_samples` measures capacity: for it there are also n50 at other shares of wrong answers,
n50 at half of the budget, and bits.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from analysis.stats import threshold
from analysis.stats.threshold import Interval, Settings, Trial
from analysis.store.errors import StoreError
from analysis.store.later import fill_in
from analysis.store.reader import Folder, log_folder, runs

FILE = "searches.json"
VERSION = 1
SAMPLES = "data.train_samples"
SHARES = {"eps01": 0.01, "eps05": 0.05, "eps10": 0.10}  # of wrong answers that count as a fit
FACTS = (
    "status", "fitted", "fit_step", "wrong", "best_wrong", "bits", "abandoned", "full_grad_norm",
    "lambda_min", "lambda_max", "loss_trend", "steps", "seconds", "gpu_seconds", "parameters",
)  # fmt: skip
METRICS = {"final_train_eval_loss": "train_eval_loss", "final_test_error": "test_error"}
TEXTS = ("status", "cell")
_TO_JUDGE = [
    "level", "n", "fitted", "fit_step", "best_wrong", "abandoned", "budget_steps",
]  # fmt: skip
"""What the definitions of success read of a training: a few of a hundred columns."""
_RESULT = ["level", "n", "number", "success"]

Results = list[tuple[Trial, bool]]


@dataclass(frozen=True)
class Training:
    """One training of a search: its cell, its place on the path, whether it succeeded (None: open).

    round: 1 is the first.
    """

    cell: str
    round: int
    trial: Trial
    success: bool | None


@dataclass(frozen=True)
class Search:
    """One search of a sweep, as its last submission wrote it down.

    axis: the key searched. success: the condition over a row of the runs table. seeds: a trial
    has the number of one. budget: keys that are doubled at each level. point: the
    configuration of the point without axis and seed. held: cells that failed and hold the search.
    """

    axis: str
    success: str
    settings: Settings
    seeds: tuple[int, ...]
    budget: tuple[str, ...]
    point: Mapping[str, Any]
    held: tuple[str, ...]
    trainings: tuple[Training, ...]

    @property
    def results(self) -> Results:
        """Trials with their outcomes, of the trainings that have one."""
        pairs = [(training.trial, training.success) for training in self.trainings]
        return [(trial, success) for trial, success in pairs if success is not None]

    def config(self, trial: Trial) -> dict[str, Any]:
        """The configuration of a training, without its seed."""
        doubled = {}
        for key in self.budget:
            if isinstance(self.point.get(key), int | float):
                doubled[key] = self.point[key] * 2**trial.level
        return {**self.point, **doubled, self.axis: trial.value}


def read(folder: Folder) -> tuple[Search, ...]:
    """The searches of a log folder.

    Raises StoreError where there is no searches.json, or it is not one.
    """
    path = log_folder(folder) / FILE
    name = path.parent.resolve().name
    if not path.exists():
        raise StoreError(
            f"{path}: no such file; expected the searches of a sweep with `search:`. Choose the "
            f"logs of such a sweep; if these are, `redescent resume {name}` writes the file again"
        )
    try:
        content = json.loads(path.read_text())
        if content["version"] != VERSION:
            raise StoreError(
                f"{path}: version {content['version']}, expected {VERSION}; it was written by "
                f"another version of redescent: read it with that one, or run `redescent resume "
                f"{name}` with this one"
            )
        return tuple(_search(record) for record in content["searches"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(
            f"{path}: not a list of searches ({type(error).__name__}: {error}). It is derived from "
            f"the runs: `redescent resume {name}` writes it again"
        ) from error


def _search(record: Mapping[str, Any]) -> Search:
    """One record of the file."""
    names = [field.name for field in fields(Settings)]
    settings = Settings(**{name: record["settings"][name] for name in names})
    axis = str(record["axis"])
    point = {key: value for key, value in record["point"].items() if key not in (axis, "seed")}
    trainings = []
    for row in record["trials"]:
        trial = Trial(int(row["level"]), row["value"], int(row["number"]))
        trainings.append(Training(str(row["cell"]), int(row["round"]), trial, row["success"]))
    return Search(
        axis=axis,
        success=str(record["success"]),
        settings=settings,
        seeds=tuple(record["seeds"]),
        budget=tuple(record["budget"]),
        point=fill_in(point),
        held=tuple(record["held"]),
        trainings=tuple(trainings),
    )


def outcomes(folder: Folder) -> pd.DataFrame:
    """One row per training of every search, in the order of its rounds.

    Columns: `search` (row of `searches`), the configuration of the point, `axis`, `n` (value of the
    axis), `seed`, `round` (1 is the first), `level` (doublings of the budget), `number`, `success`
    (null while open), `cell`, `budget_steps`, `fit_epoch`, and of the runs table what FACTS and
    METRICS name, null where a training has no record. Raises StoreError as `read` and `runs` do.
    """
    records = read(folder)
    return _outcomes(records, _facts(folder))


def searches(folder: Folder) -> pd.DataFrame:
    """One row per search: the configuration of its point, the settings, and the estimate.

    `n50`, `n50_low`, `n50_high`: posterior median and 90 % interval; n50 is null where it is
    censored (`status` "above" or "below"), and `n50_bound` holds the value beyond which it lies.
    `n50_eps01`, `n50_eps05`, `n50_eps10` with `_low` and `_high`: the same where a training with at
    most 1, 5 or 10 % wrong answers at its best check counts as a fit; they leave out abandoned
    trainings, most of which would have failed, so they are biased up. `n50_half_budget`: from
    fits within half of the steps; null unless the rate is constant. `n50_first_budget`: before any
    doubling; `doublings`: how many there were; `budget_saturated`: whether the last one moved n50
    by less than 10 %, or than half of the distance of neighbouring values; null without one.
    `budget_steps`, `budget_epochs_at_n50`: the last budget at n50 (at the bound where censored).
    `aft_exponent`, `aft_noise`: of `stats.time_to_fit`. `bits_max`: most bits memorised by a
    training that did not fit. `status`: ok, most (trainings used up), exhausted (nothing left to
    train, the interval still wide), above, below, held, open. Raises StoreError as
    `read` and `runs` do.
    """
    records = read(folder)
    trainings = _outcomes(records, _facts(folder))
    rows = []
    for number, search in enumerate(records):
        rows.append(_row(search, trainings[trainings["search"] == number]))
    return pd.DataFrame(rows)


def _facts(folder: Folder) -> pd.DataFrame:
    """What the outcomes take from the runs table, indexed by cell, a column for each fact."""
    table = runs(folder).rename(columns=METRICS)
    table = table.set_index(table["cell"].astype(str))
    return table.reindex(columns=[*FACTS, *METRICS.values()])


def _outcomes(records: Sequence[Search], facts: pd.DataFrame) -> pd.DataFrame:
    """The table of `outcomes`."""
    rows, epoch_steps = [], []
    for number, search in enumerate(records):
        for training in search.trainings:
            rows.append({"search": number, **_outcome(search, training)})
            epoch_steps.append(_epoch_steps(search, training.trial))
    frame = pd.DataFrame(rows, columns=None if rows else ["search", "cell", "n"])
    joined = frame.join(facts, on="cell")
    for column in [*FACTS, *METRICS.values()]:
        if column not in TEXTS:
            joined[column] = pd.to_numeric(joined[column], errors="coerce").astype("float64")
    if rows:
        steps = pd.Series(epoch_steps, index=joined.index, dtype="float64")
        joined["fit_epoch"] = np.ceil(joined["fit_step"] / steps)
    return joined


def _outcome(search: Search, training: Training) -> dict[str, Any]:
    """What the file of searches says of one training, as a row of `outcomes`."""
    trial = training.trial
    return {
        **search.point,
        "axis": search.axis,
        "n": trial.value,
        "seed": search.seeds[trial.number],
        "round": training.round,
        "level": trial.level,
        "number": trial.number,
        "success": training.success,
        "cell": training.cell,
        "budget_steps": budget_steps(search, trial),
    }


def budget_steps(search: Search, trial: Trial) -> float:
    """Optimiser steps that a training may take; NaN for a trainer without such a budget."""
    config = search.config(trial)
    epochs = config.get("trainer.epochs")
    if epochs is None:
        return float(config.get("trainer.steps") or math.nan)
    least = float(config.get("trainer.least_steps") or 1)
    return max(least, float(epochs) * _epoch_steps(search, trial))


def _epoch_steps(search: Search, trial: Trial) -> float:
    """Steps of one epoch; NaN where the number of samples or the size of a batch is not known."""
    config = search.config(trial)
    samples = config.get(SAMPLES)
    if samples is None or "trainer.batch_size" not in config:
        return math.nan
    return float(math.ceil(samples / (config["trainer.batch_size"] or samples)))


def _row(search: Search, trainings: pd.DataFrame) -> dict[str, Any]:
    """The row of one search."""
    estimate = threshold.estimate(search.settings, search.results)
    status = "held" if search.held and estimate.status == "open" else estimate.status
    row: dict[str, Any] = {
        **search.point,
        "axis": search.axis,
        "success": search.success,
        **_settings_columns(search.settings),
        "seeds_used": int(trainings["seed"].nunique()),
        "rounds": max((training.round for training in search.trainings), default=0),
        "trainings": estimate.trainings,
        "cells": [training.cell for training in search.trainings],
        "held": list(search.held),
        **estimate_columns(estimate),
        "status": status,
    }
    row |= _budgets(search, estimate)
    row |= _capacity(search, trainings)
    parameters = trainings["parameters"].max()
    row["parameters"] = parameters
    row["n50_per_parameter"] = row["n50"] / parameters
    row["seconds"] = trainings["seconds"].sum()
    row["gpu_seconds"] = trainings["gpu_seconds"].sum()
    return row


def _settings_columns(settings: Settings) -> dict[str, Any]:
    return {
        "method": settings.method,
        "range_low": settings.low,
        "range_high": settings.high,
        "lattice": settings.lattice or math.nan,
        "step": settings.step or math.nan,
        "falling": settings.falling,
        "until": settings.until,
        "most": settings.most,
    }


def estimate_columns(estimate: threshold.Estimate) -> dict[str, Any]:
    """What an estimate says, as columns of `searches`; NaN for None."""
    return {
        "n50": _number(estimate.n50),
        "n50_low": _number(estimate.low),
        "n50_high": _number(estimate.high),
        "n50_bound": _number(estimate.bound),
        "slope": _number(estimate.slope),
        "lapse": _number(estimate.lapse),
        "n_largest": _number(estimate.n_largest),
        "n_first_failure": _number(estimate.n_first_failure),
        "hole": estimate.hole,
        "island": estimate.island,
    }


def _number(value: float | None) -> float:
    """A number, NaN for None."""
    return math.nan if value is None else float(value)


def _budgets(search: Search, estimate: threshold.Estimate) -> dict[str, Any]:
    """The budget at n50, and what doublings changed."""
    results = search.results
    first_budget = [(trial, success) for trial, success in results if trial.level == 0]
    levels = sorted({trial.level for trial, _ in results})
    saturated: bool | None = None
    if len(levels) > 1:
        before = [pair for pair in results if pair[0].level < levels[-1]]
        beliefs = [threshold.posterior(search.settings, part) for part in (before, results)]
        saturated = threshold.is_saturated(search.settings, *beliefs)
    place = estimate.bound if estimate.n50 is None else estimate.n50
    steps = epochs = math.nan
    if place is not None:
        trial = Trial(max(levels), place, 0)
        steps = budget_steps(search, trial)
        epochs = steps / _epoch_steps(search, trial)
    return {
        "n50_first_budget": _number(_interval(search, first_budget).n50),
        "doublings": max(levels, default=0),
        "budget_saturated": saturated,
        "budget_steps": steps,
        "budget_epochs_at_n50": epochs,
    }


def _capacity(search: Search, trainings: pd.DataFrame) -> dict[str, float]:
    """What only searches for a capacity have: other shares of wrong answers, times to fit, bits."""
    measured = trainings if search.axis == SAMPLES else trainings.head(0)
    row: dict[str, float] = {}
    for name, share in SHARES.items():
        interval = _interval(search, results_of(at_share(measured, share)))
        row[f"n50_{name}"] = _number(interval.n50)
        row[f"n50_{name}_low"] = _number(interval.low)
        row[f"n50_{name}_high"] = _number(interval.high)
    constant = search.point.get("optim.schedule.name", "constant") == "constant"
    in_half = results_of(_with_success(measured, _fits_in_half)) if constant else []
    row["n50_half_budget"] = _number(_interval(search, in_half).n50)
    row |= _time_to_fit(measured if constant else measured.head(0))
    unfitted = measured[(measured["fitted"] == 0) & (measured["abandoned"] != 1)]
    row["bits_max"] = unfitted["bits"].max()
    return row


def _time_to_fit(trainings: pd.DataFrame) -> dict[str, float]:
    """Exponent and noise of the time to fit, NaN where there are too few fits."""
    from analysis.stats import time_to_fit  # not in the archive of jobs, which need no scipy

    checked = last_budgets(trainings[trainings["fitted"].notna() & trainings["steps"].gt(0)])
    fitted = checked["fitted"].to_numpy(np.float64) == 1
    steps = checked["fit_step"].where(fitted, checked["steps"])
    line = time_to_fit.fit(checked["n"], steps, fitted)
    if line is None:
        return {"aft_exponent": math.nan, "aft_noise": math.nan}
    return {"aft_exponent": line.exponent, "aft_noise": line.noise}


def last_budgets(trainings: pd.DataFrame) -> pd.DataFrame:
    """Each training once, with its last budget: what an earlier one shows is in that too.

    trainings: rows of `outcomes`.
    """
    by_level = trainings.sort_values("level", kind="stable")
    return by_level.drop_duplicates(["search", "n", "number"], keep="last")


def at_share(trainings: pd.DataFrame, share: float) -> pd.DataFrame:
    """The trainings with `success` as it is where at most this share of wrong answers at the best
    check is a fit.

    trainings: rows of `outcomes`. It is not known (None) of open ones, and with a share above 0 of
    those that were abandoned. With share 0, success is what the sweep says.
    """
    return trainings if share == 0 else _with_success(trainings, partial(_fits_at, share))


def results_of(trainings: pd.DataFrame) -> Results:
    """The trainings whose `success` is known, as results."""
    results = []
    for level, n, number, success in trainings[_RESULT].itertuples(index=False):
        if not pd.isna(success):
            results.append((Trial(level, n, number), bool(success)))
    return results


def _with_success(
    trainings: pd.DataFrame, success: Callable[[Mapping[str, Any]], bool | None]
) -> pd.DataFrame:
    """The trainings with another definition of success; None where it is not known."""
    rows: list[dict[str, Any]] = trainings[_TO_JUDGE].to_dict("records")  # type: ignore[assignment]
    outcomes = [success(run) for run in rows]
    return trainings.assign(success=pd.Series(outcomes, index=trainings.index, dtype=object))


def _fits_at(share: float, run: Mapping[str, Any]) -> bool | None:
    """Whether at most this share of answers was wrong at some check; None if it is not known."""
    if run["fitted"] == 1:
        return True
    if run["abandoned"] == 1 or math.isnan(run["best_wrong"]):
        return None
    return bool(run["best_wrong"] <= share * run["n"] + 1e-9)  # 0.29 * 100 is 28.999999999999996


def _fits_in_half(run: Mapping[str, Any]) -> bool | None:
    """Whether the training fitted within half of the first budget; None if that is not known."""
    if math.isnan(run["fitted"]) or math.isnan(run["budget_steps"]):
        return None
    half = run["budget_steps"] / 2 ** run["level"] / 2
    return bool(run["fitted"] == 1 and run["fit_step"] <= half)


def _interval(search: Search, results: Results) -> Interval:
    """n50 and its interval from these results, unknown without any."""
    if not results:
        return threshold.UNKNOWN
    belief = threshold.posterior(search.settings, results)
    return threshold.interval_of(search.settings, belief)
