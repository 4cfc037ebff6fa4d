"""One metric of a sweep in a line: where its cells stand, and which of them is best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis import store
from launch.errors import UserError, quantity
from launch.plan.identity import short_id
from launch.report.grid import setting_text, varying_settings
from launch.report.searches import short_names
from launch.status.sweep_state import SweepState
from trainers.config.main_metrics import MAIN_METRICS, main_metric

_SMALLER_IS_BETTER = ("error", "loss", "wrong")


@dataclass(frozen=True)
class Headline:
    """The last values of a metric over cells."""

    metric: str
    cells: int
    """How many cells have a value."""
    is_final: bool
    """Whether these are the cells that are done; else all that have begun."""
    low: float
    median: float
    high: float
    best: str | None
    """Id of the best cell; None if the metric does not say whether less or more is better."""
    settings: Mapping[str, Any]
    """The settings of the best cell that vary in the sweep."""

    @property
    def sentence(self) -> str:
        """The line of `status`."""
        cells = quantity(self.cells, "done cell") if self.is_final else quantity(self.cells, "cell")
        so_far = "" if self.is_final else " so far"
        values = f"{self.low:.4g} to {self.high:.4g}, median {self.median:.4g}"
        if self.low == self.high:
            values = f"{self.low:.4g}"
        text = f"{self.metric} of {cells}{so_far}: {values}"
        if self.best is None or self.low == self.high:
            return text
        names = short_names(list(self.settings))
        pairs = zip(names, self.settings.values(), strict=True)
        settings = ", ".join(f"{name}={setting_text(value)}" for name, value in pairs)
        return f"{text}; best {short_id(self.best)}" + (f" ({settings})" if settings else "")


def headline_columns(metric: str | None = None) -> list[str]:
    """The columns of the records that a headline needs."""
    return [f"final_{name}" for name in _candidates(metric)]


def _candidates(metric: str | None) -> Sequence[str]:
    """The metrics that may be shown: the one that the user named, or the main ones."""
    return MAIN_METRICS if metric is None else (metric,)


def headline_of(state: SweepState, metric: str | None = None) -> Headline | None:
    """The metric of a sweep, by default its most telling one; None if nothing has a value yet.

    The runs of the state must have the `headline_columns` of the metric. Raises UserError for a
    metric that no cell has.
    """
    runs = state.runs[state.runs["cell"].isin(set(state.cells))]
    if metric is not None and f"final_{metric}" not in runs:
        raise UserError(_unknown_metric(state, metric))
    names = [name for name in _candidates(metric) if f"final_{name}" in runs]
    with_values = [name for name in names if runs[f"final_{name}"].notna().any()]
    name = metric or main_metric(with_values)
    if name is None:
        return None
    is_final = bool((runs["status"] == "done").any())
    of_metric = runs[runs["status"] == "done"] if is_final else runs
    values = pd.to_numeric(of_metric[f"final_{name}"], errors="coerce").astype(float)
    return _headline(state, name, of_metric["cell"][values.notna()], values.dropna(), is_final)


def _headline(
    state: SweepState, metric: str, cells: pd.Series, values: pd.Series, is_final: bool
) -> Headline | None:
    if values.empty:
        return None
    best = _best(metric, values)
    cell = None if best is None else str(cells[best])
    return Headline(
        metric=metric,
        cells=len(values),
        is_final=is_final,
        low=float(values.min()),
        median=float(values.median()),
        high=float(values.max()),
        best=cell,
        settings=_settings(state, cell) if cell else {},
    )


def _best(metric: str, values: pd.Series) -> Any:
    """The index of the best value; None if the name of the metric does not say what is better."""
    if metric.endswith(_SMALLER_IS_BETTER):
        return values.idxmin()
    return values.idxmax() if metric.endswith(("accuracy", "radius")) else None


def _settings(state: SweepState, cell: str) -> dict[str, Any]:
    row = state.runs[state.runs["cell"] == cell].iloc[0]
    settings = row.dropna()  # a cell of one kind of model lacks the keys of the others
    return {key: settings[key] for key in varying_settings(state) if key in settings}


def _unknown_metric(state: SweepState, metric: str) -> str:
    names = [one.name for one in store.metrics(state.folder)]
    expectation = f"expected one of {', '.join(names)}" if names else "but nothing is logged yet"
    return f"--metric: found {metric!r}, {expectation}"
