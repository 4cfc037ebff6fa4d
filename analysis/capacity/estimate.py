"""Comparing capacities, and capacity over the budget: what the figures need beside the estimate.

Two searches are compared by their posteriors: two settings differ where P(n50_1 > n50_2) is at
least 0.95, or at most 0.05.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from analysis.stats import threshold, time_to_fit
from analysis.stats.threshold import Posterior, Settings, Trial
from analysis.store.searches import last_budgets

Array = NDArray[np.float64]
DIFFERENT = 0.95  # probability from which two settings are said to differ
OCTAVES = 3  # E10 starts at an eighth of the budget
PER_OCTAVE = 2


@dataclass(frozen=True)
class Ratio:
    """The ratio of two n50: posterior median, 90 % interval, and the probability that it is above
    1."""

    median: float
    low: float
    high: float
    probability: float


def ratio(first: Posterior, second: Posterior) -> Ratio:
    """n50 of the first search over that of the second, from the posteriors of both.

    Both are searches on a logarithmic lattice. Where one is censored, the prior's end, an octave
    beyond the range, limits the ratio.
    """
    differences = np.subtract.outer(first.positions, second.positions).round(9).ravel()
    products = np.multiply.outer(first.marginal, second.marginal).ravel()
    logs, places = np.unique(differences, return_inverse=True)
    weights = np.bincount(places, products)
    cumulative = np.cumsum(weights) - weights / 2
    quantiles = [threshold.INTERVAL[0], 0.5, threshold.INTERVAL[1]]
    low, median, high = np.exp(np.interp(quantiles, cumulative, logs))
    larger = float(weights[logs > 0].sum() + weights[logs == 0].sum() / 2)
    return Ratio(float(median), float(low), float(high), larger)


def comparisons(
    beliefs: Mapping[str, Posterior], censored: Mapping[str, str] | None = None
) -> pd.DataFrame:
    """Pairs of named posteriors: first, second, ratio, ratio_low, ratio_high, probability, bound.

    censored: the side, "above" or "below", of names whose n50 is beyond the range of the search.
    bound: "at least" or "at most" where one of the two is, else "". Pairs of which both are
    censored are left out: the prior alone would decide.
    """
    censored = censored or {}
    names, rows = list(beliefs), []
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            if first in censored and second in censored:
                continue
            pair = ratio(beliefs[first], beliefs[second])
            bound = _bound(censored.get(first), censored.get(second))
            values = (pair.median, pair.low, pair.high, pair.probability)
            rows.append((first, second, *values, bound))
    columns = ["first", "second", "ratio", "ratio_low", "ratio_high", "probability", "bound"]
    return pd.DataFrame(rows, columns=columns)


def _bound(first: str | None, second: str | None) -> str:
    """What the ratio is where one of its two sides is beyond the range; empty if none is."""
    if first == "above" or second == "below":
        return "at least"
    return "at most" if first or second else ""


def inverted(pairs: pd.DataFrame, chosen: pd.Series) -> pd.DataFrame:
    """The comparisons with both sides of the chosen ones exchanged."""
    turned = pairs.assign(
        first=pairs["second"],
        second=pairs["first"],
        ratio=1 / pairs["ratio"],
        ratio_low=1 / pairs["ratio_high"],
        ratio_high=1 / pairs["ratio_low"],
        probability=1 - pairs["probability"],
        bound=pairs["bound"].replace({"at least": "at most", "at most": "at least"}),
    )
    return pairs.where(~chosen, turned)


def sentences(pairs: pd.DataFrame) -> list[str]:
    """Each comparison in one line, with the ratio and the probability.

    A ratio with an n50 that is only known to be beyond the range is given by the end of its
    interval: the other end is the prior's.
    """
    lines = []
    rows: list[dict[str, Any]] = pairs.to_dict("records")  # type: ignore[assignment]
    for pair in rows:
        place = ", ".join(filter(None, [pair.get("panel", ""), pair.get("group", "")]))
        value = f"= {pair['ratio']:.2f} [{pair['ratio_low']:.2f}, {pair['ratio_high']:.2f}]"
        if pair["bound"]:
            end = pair["ratio_low"] if pair["bound"] == "at least" else pair["ratio_high"]
            value = f"is {pair['bound']} {end:.2f}"
        differ = abs(pair["probability"] - 0.5) >= DIFFERENT - 0.5
        verdict = "differ" if differ else "cannot be distinguished"
        lines.append(
            f"{place}{': ' if place else ''}"
            f"n50({pair['first']}) / n50({pair['second']}) {value}, "
            f"P(> 1) = {pair['probability']:.2f}: {verdict}"
        )
    return lines


def draws(belief: Posterior, count: int, random: np.random.Generator) -> Array:
    """Values of n50 drawn from the posterior, (count,), continuous between the grid's points."""
    return np.exp(belief.position(random.random(count)))


def by_budget(settings: Settings, trainings: pd.DataFrame) -> pd.DataFrame:
    """n50 of one search at budgets from an eighth of the first to the last, at a constant rate.

    trainings: rows of `store.outcomes`. A fit at a step is a fit at every larger budget, so the
    same trainings tell all. Columns: budget (steps), n50, n50_low, n50_high (NaN where censored),
    status ("", "above", "below"), n_largest, n50_line, of the censored regression
    (`stats.time_to_fit`), NaN without one and where it would extrapolate, and n50_bound.
    """
    checked = trainings[trainings["fitted"].notna()]
    last = last_budgets(checked)
    fitted = last["fitted"].to_numpy(np.float64) == 1
    fit_steps = last["fit_step"].where(fitted, math.inf).to_numpy(np.float64)
    line = time_to_fit.fit(last["n"], last["fit_step"].where(fitted, last["steps"]), fitted)
    rows = []
    for budget in _budgets(checked):
        within = zip(last["n"], last["number"], fit_steps <= budget, strict=True)
        results = [(Trial(0, n, number), bool(fits)) for n, number, fits in within]
        interval = threshold.interval_of(settings, threshold.posterior(settings, results))
        row = {
            "budget": budget,
            **interval.columns,
            "n_largest": max((trial.value for trial, fits in results if fits), default=math.nan),
            "n50_line": _on_line(line, budget, checked),
            "status": interval.censored or "",
        }
        rows.append(row)
    columns = ["budget", "n50", "n50_low", "n50_high", "status", "n_largest", "n50_line"]
    return pd.DataFrame(rows, columns=[*columns, "n50_bound"])


def _budgets(trainings: pd.DataFrame) -> Sequence[float]:
    """Budgets in steps: half octaves up to the first budget, then its doublings."""
    first = trainings["budget_steps"].where(trainings["level"] == 0).min()
    if not first > 0:
        return []
    fractions = [2 ** (-i / PER_OCTAVE) for i in range(OCTAVES * PER_OCTAVE, -1, -1)]
    doublings = [2**level for level in range(1, int(trainings["level"].max()) + 1)]
    return [float(first * factor) for factor in [*fractions, *doublings]]


def _on_line(line: time_to_fit.TimeToFit | None, budget: float, trainings: pd.DataFrame) -> float:
    """n50 of the regression, within the trained n and at a budget that all trainings had."""
    first = float(trainings["budget_steps"].min())
    if line is None or budget > min(first, line.budget) * (1 + 1e-9):
        return math.nan
    n50 = float(line.n50(budget))
    return n50 if trainings["n"].min() <= n50 <= trainings["n"].max() else math.nan
