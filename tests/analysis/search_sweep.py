"""Log folders of sweeps that search, written as the launcher and the trainers write them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from analysis.stats import threshold
from analysis.stats.threshold import Settings, Trial

SETTINGS = Settings(
    low=16, high=16384, lattice=8, step=None, integer=True, falling=True, method="posterior",
    first=6, per_round=6, until=1.2, most=18, verify=False, seeds=8,
)  # fmt: skip
BASE = {
    "model.name": "mlp",
    "model.width": 10,
    "data.name": "cifar10",
    "data.label_noise.kind": "random",
    "data.label_noise.rate": 1.0,
    "optim.name": "adam",
    "optim.lr": 1e-2,
    "optim.schedule.name": "constant",
    "trainer.name": "vision",
    "trainer.epochs": 1,
    "trainer.least_steps": 3000,
    "trainer.batch_size": 64,
}


@dataclass(frozen=True)
class Point:
    """A point of the sweep and its planted law: steps to fit are 3,000 (n / n50)^exponent."""

    config: Mapping[str, Any]
    n50: float = 500.0
    parameters: int = 2040
    test_error: float = 0.75
    exponent: float = 2.4
    noise: float = 0.35


@dataclass
class SearchSweep:
    """A log folder under construction."""

    sweep: Any  # sweep_folder.Sweep
    settings: Settings = SETTINGS
    axis: str = "data.train_samples"
    base: Mapping[str, Any] = field(default_factory=lambda: dict(BASE))
    seeds: Sequence[int] = tuple(range(8))

    @property
    def folder(self) -> Path:
        return self.sweep.folder

    def write(self, points: Sequence[Point], rounds: int | None = None) -> None:
        """Searches every point, to its end or for so many rounds, and writes what is left of it."""
        records, runs = [], []
        for number, point in enumerate(points):
            trainings: dict[str, dict[str, Any]] = {}
            outcomes: dict[Trial, bool] = {}
            state = threshold.progress(self.settings, outcomes)
            while state.open and len(state.rounds) != rounds:
                for trial in state.open:
                    cell = f"p{number}l{trial.level}n{trial.value}k{trial.number}"
                    trainings[cell] = self.train(number, point, trial, cell)
                    outcomes[trial] = trainings[cell]["fitted"]
                state = threshold.progress(self.settings, outcomes)
            records.append(self.record(point, state, outcomes, number))
            runs += trainings.values()
        self.save(records)
        self.sweep.runs("runs", runs)

    def train(self, number: int, point: Point, trial: Trial, cell: str) -> dict[str, Any]:
        """The record of one training."""
        random = np.random.default_rng([number, trial.number, round(1000 * trial.value)])
        time = math.log(3000) + point.exponent * math.log(trial.value / point.n50)
        time += point.noise * random.normal()
        budget = 3000 * 2**trial.level
        step = math.ceil(min(math.exp(time), 1e6))
        fitted = step <= budget
        wrong = 0 if fitted else min(int(trial.value * (time - math.log(budget)) / 10) + 1, 9999)
        return {
            **self.base,
            **point.config,
            self.axis: trial.value,
            "seed": self.seeds[trial.number],
            "trainer.least_steps": budget,
            "cell": cell,
            "status": "done",
            "attempt": 1,
            "updated": 1.0,
            "code": "c0de",
            "environment": "e0",
            "fitted": fitted,
            "fit_step": step if fitted else None,
            "wrong": wrong,
            "best_wrong": wrong,
            "abandoned": False,
            "bits": 0.8 * point.parameters - wrong,
            "full_grad_norm": 0.01,
            "lambda_min": -0.5,
            "lambda_max": 10.0,
            "loss_trend": -0.01,
            "steps": step if fitted else budget,
            "seconds": 2.0,
            "gpu_seconds": 0.0,
            "parameters": point.parameters,
            "final_train_eval_loss": 0.1,
            "final_train_eval_wrong": wrong,
            "final_test_error": point.test_error + 0.005 * random.normal(),
        }

    def record(
        self, point: Point, state: threshold.Progress, outcomes: Mapping[Trial, bool], number: int
    ) -> dict[str, Any]:
        """A search as searches.json holds it."""
        trials = []
        for round_number, round_trials in enumerate(state.rounds, start=1):
            for trial in round_trials:
                cell = f"p{number}l{trial.level}n{trial.value}k{trial.number}"
                place = {"cell": cell, "round": round_number, "success": outcomes.get(trial)}
                trials.append(place | asdict(trial))
        return {
            "axis": self.axis,
            "success": "final_train_eval_wrong == 0",
            "settings": asdict(self.settings),
            "seeds": list(self.seeds),
            "budget": ["trainer.epochs", "trainer.least_steps"],
            "point": {**self.base, **point.config, self.axis: None, "seed": 0},
            "finished": state.finished,
            "rounds": len(state.rounds),
            "held": [],
            "trials": trials,
        }

    def save(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Writes searches.json."""
        text = json.dumps({"version": 1, "searches": list(records)})
        (self.folder / "searches.json").write_text(text)

    def load(self) -> list[dict[str, Any]]:
        """The searches as searches.json holds them."""
        records: list[dict[str, Any]] = json.loads((self.folder / "searches.json").read_text())[
            "searches"
        ]
        return records

    def edit(self, change: Callable[[list[dict[str, Any]]], None]) -> None:
        """Changes searches.json in place."""
        records = self.load()
        change(records)
        self.save(records)

    def with_settings(self, **changes: Any) -> SearchSweep:
        """The same folder with other settings."""
        return replace(self, settings=replace(self.settings, **changes))
