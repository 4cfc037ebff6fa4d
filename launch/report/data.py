"""A sweep -> what its page shows.

Every number comes from the functions that `status`, `why` and the figures use; nothing is computed
here but counts and indices.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.figure.provenance import BAND, criterion_text, interval_text
from analysis.stats.features import WINDOW
from analysis.stats.seed_curves import SeedCurves, feature_table
from launch.cost import rates
from launch.plan import Plan
from launch.plan.identity import cell_arguments
from launch.plan.outcome import FINAL, failure_class, last_line
from launch.report import notes
from launch.report.curves import CurveSet, load_curves
from launch.report.figure_files import FigureFiles, figures_of
from launch.report.grid import Grid, grid_of
from launch.report.notes import Note
from launch.report.overview import Overview, load_overview
from launch.report.results import Results, results_of
from launch.report.searches import estimate_text, state_text, varying_keys
from launch.status.answers import RecentAnswer
from launch.status.summary import Line, shown_state
from launch.status.sweep_files import read_files
from launch.status.sweep_state import state_of
from launch.submit.rounds import Standing

LETTERS: Mapping[str, str] = {
    "done": "D", "nonfinite": "N", "running": "R", "waiting": "W", "preempted": "P",
    "failed": "F", "interrupted": "I", "missing": "M", "unknown": "U",
}  # fmt: skip
"""How a cell's state is written in the map of states."""

MOST_ERROR_CHARACTERS = 120
"""Of the error of a cell, where a chart names it; the table of failures has all of it."""

MOST_FEATURES = 40
"""Points up to which the features of curves are computed: each takes a bootstrap."""

FEATURE_METRIC = "test_error"


@dataclass(frozen=True)
class StateCount:
    """Cells in one state, and how many have each detail that SLURM or the records give."""

    state: str
    letter: str
    cells: int
    meaning: str
    details: Sequence[tuple[str, int]]


@dataclass(frozen=True)
class FailureGroup:
    """Cells that failed in one way, and what to do about it."""

    kind: str
    error: str
    cells: Sequence[str]
    advice: str
    example: str
    """What `redescent why` takes for one of the cells."""


@dataclass(frozen=True)
class Cells:
    """Columns with one entry per cell, and the lists that two of them index."""

    id: Sequence[str]
    state: Sequence[int]
    """The cell's state, as an index into `states`."""
    states: Sequence[str]
    attempts: Sequence[int]
    code: Sequence[int]
    """The code that it last ran with, as an index into `codes`."""
    codes: Sequence[str]
    logged: Sequence[int]
    """Its progress, in epochs or steps."""
    planned: Sequence[int]
    """Its planned length, in the same unit."""
    error: Mapping[str, str]
    """The last line of the error of each cell that has one, by id."""


@dataclass(frozen=True)
class SearchLine:
    """One search, with its state and estimate as `status` writes them."""

    point: str
    """The settings that tell it from the other searches."""
    axis: str
    success: str
    """The condition whose change it looks for."""
    state: str
    estimate: str
    n50: float | None
    """The estimate as a number; null without one."""
    low: float | None
    high: float | None
    """The ends of its interval."""
    rounds: int
    trained: int
    """How many trainings have an outcome."""
    trainings: Sequence[tuple[float, bool | None, str]]
    """For each training its value, whether it succeeded (null while open), and its cell's id."""


@dataclass(frozen=True)
class FeatureRow:
    """The features of the mean curve at one point; see `analysis.stats.seed_curves`."""

    point: int
    seeds: int
    first_minimum: float
    first_minimum_epoch: int
    peak: float
    peak_epoch: int
    final: float
    double_descent: bool
    reason: str


@dataclass(frozen=True)
class Submission:
    """One submission: when, by whom and where, what it sent, and with which software."""

    sid: str
    created: str
    user: str
    host: str
    backend: str
    cells: int
    tasks: int
    code: str
    commit: str
    environment: str


@dataclass(frozen=True)
class Provenance:
    """What the results come from."""

    submissions: Sequence[Submission]
    packages: Mapping[str, str]
    """The versions of the newest submission."""
    python: str
    """The interpreter of the newest submission."""
    counts: Mapping[str, Mapping[str, int]]
    """How many cells have each code, environment, host, GPU and precision."""


@dataclass(frozen=True)
class Page:
    """All that a page shows."""

    name: str
    folder: str
    written: float
    """The Unix time at which the page was written."""
    is_live: bool
    """Whether a cell may still train."""
    is_measure: bool
    """Whether its cells measure trained cells, and so have no training time."""
    refresh: float | None
    """Seconds until the page is written again; None if it is not."""
    unit: str
    """What the hours are: GPU-hours or core-hours."""
    hours_spent: float
    hours_left: float
    unmeasured: int
    """How many unfinished cells resemble no measured run; `hours_left` does not count them."""
    end: str
    """When the queue is expected to be empty, in local time; empty if unknown."""
    hours: Sequence[str]
    """The hours in words, as `status` has them."""
    percent: int
    """The share of the planned training that is done."""
    ended: int
    """How many cells have a result."""
    counts: Sequence[StateCount]
    failures: Sequence[FailureGroup]
    notes: Sequence[Note]
    grid: Grid
    cells: Cells
    curves: CurveSet
    results: Results
    features: Sequence[FeatureRow]
    searches: Sequence[SearchLine]
    provenance: Provenance
    figures: Sequence[FigureFiles]
    methods: Sequence[str]

    @property
    def thinned(self) -> list[str]:
        """What was left out, one sentence each."""
        return [*self.curves.thinned, *self.results.thinned]

    def to_json(self) -> dict[str, Any]:
        """What the scripts of the page read."""
        names = ("name", "written", "is_live", "is_measure", "refresh", "grid", "cells", "searches")
        content: dict[str, Any] = {name: getattr(self, name) for name in names}
        content["letters"] = LETTERS
        content["curves"] = self.curves.to_json()
        content["results"] = self.results.columns
        return content


def load_page(
    folder: Path,
    refresh: float | None = None,
    recent: RecentAnswer | None = None,
    page_folder: Path | None = None,
) -> Page:
    """Read a sweep for its page, with what SLURM answered recently, by default when asked now. Its
    links start at `page_folder`, by default the folder of the sweep.

    Raises UserError if there is no sweep, StoreError for damage.
    """
    files = read_files(folder, all_columns=True)
    overview = load_overview(state_of(files, recent.about(files) if recent else None))
    state, summary = overview.state, overview.summary
    runs = state.runs.set_index("cell", drop=False).loc[list(state.cells)]
    runs = runs.reset_index(drop=True)
    grid = grid_of(runs)
    curves = load_curves(folder, runs, grid.point_of_cell)
    return Page(
        name=overview.name,
        folder=str(folder),
        written=time.time(),
        is_live=overview.is_live,
        is_measure=bool(rates.measures(runs).any()),
        refresh=refresh,
        unit=summary.unit,
        hours_spent=summary.hours_spent,
        hours_left=summary.hours_left,
        unmeasured=summary.unmeasured,
        end=notes.end_time(summary),
        hours=notes.hours(overview),
        percent=overview.percent,
        ended=sum(cell.state in FINAL for cell in state.cells.values()),
        counts=state_counts(summary.lines),
        failures=_failures(overview),
        notes=notes.next_steps(overview, on_page=True),
        grid=grid,
        cells=_cells(overview, runs),
        curves=curves,
        results=results_of(runs, grid.point_of_cell, curves.metrics),
        features=_features(curves),
        searches=_searches(overview),
        provenance=_provenance(overview, runs),
        figures=figures_of(folder, page_folder),
        methods=[f"band of the curves: {BAND}", interval_text(), criterion_text()],
    )


def state_counts(lines: Sequence[Line]) -> list[StateCount]:
    """The lines of `status`, one entry for each state."""
    by_state: dict[str, list[Line]] = {}
    for line in lines:
        by_state.setdefault(line.state, []).append(line)
    counts = []
    for state, group in by_state.items():
        cells = sum(line.cells for line in group)
        meaning = notes.meaning_of(state)
        details = [(line.detail, line.cells) for line in group if line.detail]
        counts.append(StateCount(state, LETTERS[state], cells, meaning, details))
    return counts


def _failures(overview: Overview) -> list[FailureGroup]:
    groups = []
    for failure in overview.summary.failures:
        short = cell_arguments(failure.cells[0], overview.name)
        advice = failure_class(failure.kind).advice.format(name=overview.name, short=short)
        groups.append(FailureGroup(failure.kind, failure.error, failure.cells, advice, short))
    return groups


def _cells(overview: Overview, runs: pd.DataFrame) -> Cells:
    """The cells in the order of `runs`."""
    states = list(LETTERS)
    shown = [shown_state(overview.state, cell)[0] for cell in overview.state.cells.values()]
    codes, code_values = pd.factorize(_texts(runs, "code"))
    errors = {}
    for cell, record in overview.state.records.items():
        if record.error and cell in overview.state.cells:
            errors[cell] = last_line(record.error)[:MOST_ERROR_CHARACTERS]
    return Cells(
        id=runs["cell"].tolist(),
        state=[states.index(name) for name in shown],
        states=states,
        attempts=runs["attempts"].astype(int).tolist(),
        code=codes.tolist(),
        codes=code_values.tolist(),
        logged=rates.logged(runs).fillna(0).astype(int).tolist(),
        planned=rates.planned_length(runs).fillna(0).astype(int).tolist(),
        error=errors,
    )


def _texts(runs: pd.DataFrame, column: str) -> pd.Series:
    """A column as texts, empty where a cell has no value."""
    if column not in runs:
        return pd.Series("", index=runs.index)
    return runs[column].astype(object).where(runs[column].notna(), "").astype(str)


def _features(curves: CurveSet) -> list[FeatureRow]:
    """The features that figure 2 (a, b) shows, where the main metric is its error."""
    is_error = bool(curves.metrics) and curves.metrics[0].name == FEATURE_METRIC
    if not is_error or len(curves.main) > MOST_FEATURES:
        return []
    logged = [of_point for of_point in curves.main if of_point.cells]
    return [_feature_row(row) for row in _feature_table(logged)]


def _feature_table(curves: Sequence[SeedCurves]) -> list[dict[str, Any]]:
    if not curves or curves[0].x_name != "epoch":
        return []
    rows: list[dict[str, Any]] = feature_table(curves, WINDOW, "point").to_dict("records")  # type: ignore[assignment]
    return rows


def _feature_row(row: Mapping[str, Any]) -> FeatureRow:
    return FeatureRow(
        point=int(row["point"]),
        seeds=int(row["n_seeds"]),
        first_minimum=float(row["first_minimum"]),
        first_minimum_epoch=int(row["first_minimum_epoch"]),
        peak=float(row["peak"]),
        peak_epoch=int(row["peak_epoch"]),
        final=float(row["final"]),
        double_descent=bool(row["double_descent"]),
        reason=str(row["reason"]),
    )


def _searches(overview: Overview) -> list[SearchLine]:
    standings = overview.searches
    keys = varying_keys([standing.search.point for standing in standings]) if standings else []
    is_live = overview.is_live
    return [_search_line(standing, keys, live=is_live) for standing in standings]


def _search_line(standing: Standing, keys: Sequence[str], *, live: bool) -> SearchLine:
    """One search; its point is described by the `keys` that vary between the searches."""
    search, state = standing.search, standing.state
    estimate = state.estimate
    trainings = []
    for training in state.trials:
        value = float(training.trial.value)
        trainings.append((value, training.success, training.cell.id))
    return SearchLine(
        point=", ".join(f"{key}={search.point.get(key)}" for key in keys),
        axis=search.axis,
        success=search.success,
        state=state_text(standing, live=live),
        estimate=estimate_text(estimate),
        n50=estimate.n50,
        low=estimate.low,
        high=estimate.high,
        rounds=state.rounds,
        trained=state.trained,
        trainings=trainings,
    )


def _submission(plan: Plan) -> Submission:
    return Submission(
        sid=plan.sid,
        created=time.strftime("%F %H:%M", time.localtime(plan.created)),
        user=plan.user,
        host=plan.host,
        backend=plan.backend,
        cells=len(plan.cells),
        tasks=len(plan.tasks),
        code=plan.code,
        commit=plan.commit,
        environment=plan.environment,
    )


def _provenance(overview: Overview, runs: pd.DataFrame) -> Provenance:
    plans = overview.state.plans
    submissions = [_submission(plan) for plan in plans]
    counts = {}
    for column in ("code", "environment", "host", "gpu", "precision"):
        of_column = Counter(text for text in _texts(runs, column).tolist() if text)
        if of_column:
            counts[column] = dict(of_column.most_common())
    return Provenance(submissions, plans[-1].packages, plans[-1].python, counts)
