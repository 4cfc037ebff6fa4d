"""What a search trains: settings and outcomes -> rounds, trials and their cells. Pure.

A trial is an ordinary cell: the point of the search with a value of the axis, a seed and, after a
doubling, a larger budget. So it is trained, resumed and counted like any other, and a later search
that meets the same value finds it done.
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from analysis.stats import threshold
from analysis.stats.threshold import Estimate, Reason, Settings, Trial
from launch.plan.identity import cell_id
from launch.plan.search import Search
from launch.sweep.request import Cell, resolved_cell

SIMULATED_SLOPE = 0.12
"""Slope of the fit curves from which the usual number of trainings is simulated, in log n; on a
linear lattice a curve of SIMULATED_STEPS steps."""

SIMULATED_STEPS = 1.5
SIMULATIONS = 20


@dataclass(frozen=True)
class TrialCell:
    """One training of a search."""

    trial: Trial
    round: int
    """The number of its round, from 1."""
    cell: Cell
    success: bool | None
    """Whether it succeeded; None while it is to be trained, or trains."""


@dataclass(frozen=True)
class SearchState:
    """A search at one moment."""

    search: Search
    trials: Sequence[TrialCell]
    """The trials of all rounds so far."""
    rounds: int
    finished: Reason | None
    """Why it ended; None if it did not."""

    @property
    def open(self) -> list[TrialCell]:
        """The trials of the current round without an outcome."""
        return [trial for trial in self.trials if trial.success is None]

    @property
    def trained(self) -> int:
        """Number of trials with an outcome."""
        return len(self.trials) - len(self.open)

    @property
    def estimate(self) -> Estimate:
        """The estimate from the trials that have an outcome."""
        results = []
        for training in self.trials:
            if training.success is not None:
                results.append((training.trial, training.success))
        return threshold.estimate(settings_of(self.search), results)


@dataclass(frozen=True)
class SearchKey:
    """What makes two searches the same although settings, seeds, budget or advance differ."""

    axis: str
    success: str
    point: str
    """A hash of the configuration without the axis and the seed."""


def search_key(search: Search) -> SearchKey:
    """The key of a search."""
    decided = (search.axis, "seed")
    point = {key: value for key, value in search.point.items() if key not in decided}
    return SearchKey(search.axis, search.success, cell_id(point))


def newest_searches(groups: Sequence[Sequence[Search]]) -> list[Search]:
    """Every search of several plans once, with the settings of the last group that has it."""
    searches = {search_key(search): search for group in groups for search in group}
    return list(searches.values())


def settings_of(search: Search) -> Settings:
    """The settings of a search, as the statistics take them."""
    return Settings(**search.settings)


def trial_cell(search: Search, trial: Trial) -> Cell:
    """The cell of a trial. Raises UserError for a value that no trainer accepts."""
    flat = {**search.point, search.axis: trial.value, "seed": search.seeds[trial.number]}
    for key in search.budget:
        flat[key] *= 2**trial.level
    return resolved_cell(flat)


def check_trials(search: Search) -> None:
    """Raise UserError if no trainer accepts a trial at one end of the range, with one of the seeds
    or after the last doubling: later rounds would fail, after others have been trained.
    """
    settings = settings_of(search)
    low, high = threshold.ends(settings)
    for value in (low, high):
        trial_cell(search, Trial(settings.doublings, value, 0))
    for number in range(len(search.seeds)):
        trial_cell(search, Trial(0, low, number))


def replay(search: Search, outcomes: Mapping[str, bool]) -> SearchState:
    """The state of a search after these outcomes, by cell id.

    It is replayed from its first round, so that it does not depend on the order in which outcomes
    came, on outcomes of other cells, or on who asks.
    """
    by_trial = _TrialOutcomes(search, outcomes)
    progress = threshold.progress(settings_of(search), by_trial)
    trials = []
    for number, trials_of_round in enumerate(progress.rounds, 1):
        for trial in trials_of_round:
            cell = by_trial.cell(trial)
            trials.append(TrialCell(trial, number, cell, by_trial.get(trial)))
    return SearchState(search, trials, len(progress.rounds), progress.finished)


class _TrialOutcomes(Mapping[Trial, bool]):
    """Outcomes by trial, from outcomes by cell id; the cells are made when they are asked for."""

    def __init__(self, search: Search, by_id: Mapping[str, bool]) -> None:
        self.search, self.by_id = search, by_id
        self._cells: dict[Trial, Cell] = {}

    def cell(self, trial: Trial) -> Cell:
        """The cell of a trial."""
        if trial not in self._cells:
            self._cells[trial] = trial_cell(self.search, trial)
        return self._cells[trial]

    def __getitem__(self, trial: Trial) -> bool:
        return self.by_id[self.cell(trial).id]

    def __iter__(self) -> Iterator[Trial]:
        return (trial for trial, cell in self._cells.items() if cell.id in self.by_id)

    def __len__(self) -> int:
        return sum(1 for _ in self)


def calibration_cells(searches: Sequence[Search]) -> list[Cell]:
    """The trainings at the smallest and largest value of each first round, to measure the cost."""
    cells = {}
    for search in searches:
        trials = replay(search, {}).trials
        by_value = sorted(trials, key=lambda training: training.trial.value)
        for training in (by_value[0], by_value[-1]):
            cells[training.cell.id] = training.cell
    return list(cells.values())


@lru_cache(maxsize=256)
def expected_trainings(settings: Settings) -> tuple[int, int]:
    """The usual and the largest number of trainings of a search with these settings.

    The usual number is the mean over simulated searches for values across the middle of the range.
    """
    counts = []
    for number in range(1, SIMULATIONS + 1):
        curve = _FitCurve(settings, number)
        progress = threshold.progress(settings, curve)
        counts.append(sum(len(trials) for trials in progress.rounds))
    return round(statistics.mean(counts)), threshold.most_trainings(settings)


class _FitCurve(Mapping[Trial, bool]):
    """Outcomes of a simulated search: every trial has one, the same each time."""

    def __init__(self, settings: Settings, number: int) -> None:
        self.settings, self.number = settings, number
        low, high = self._position(settings.low), self._position(settings.high)
        share = (number + 1) / (SIMULATIONS + 3)
        self.middle = low + (high - low) * share
        self.slope = SIMULATED_STEPS * settings.step if settings.step else SIMULATED_SLOPE

    def _position(self, value: float) -> float:
        return value if self.settings.step else math.log(value)

    def __getitem__(self, trial: Trial) -> bool:
        distance = (self._position(trial.value) - self.middle) / self.slope
        signed = distance if self.settings.falling else -distance
        probability = 1 / (1 + math.exp(min(max(signed, -50), 50)))
        seed = f"{self.number} {trial.value} {trial.number}"
        return random.Random(seed).random() < probability

    def __iter__(self) -> Iterator[Trial]:
        return iter(())

    def __len__(self) -> int:
        return 0
