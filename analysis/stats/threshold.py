"""The value of an axis at which success changes: what to train next, and the estimate.

A search trains at values of a lattice, in rounds. What to train follows from the settings and the
outcomes alone: `progress` replays the search from its first round. Nothing is drawn at random, and
neither the order of outcomes nor trainings outside the path of the search change anything. The
same posterior (posterior.py) proposes the next round and gives the estimate.

Placing trials by the posterior of a curve of success is old in psychophysics (Watson and Pelli
1983, QUEST; Kontsevich and Tyler 1999, the psi method).

Imports numpy and the standard library alone, for it also runs inside jobs.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from analysis.stats import lattice
from analysis.stats.lattice import Outcomes, Results, Settings, Trial, Value, ends
from analysis.stats.posterior import (
    INTERVAL,
    UNKNOWN,
    Censored,
    Interval,
    Posterior,
    final_outcomes,
    fit_probability,
    interval_of,
    posterior,
)

__all__ = [
    "INTERVAL",
    "SATURATED",
    "UNKNOWN",
    "Estimate",
    "Interval",
    "Posterior",
    "Progress",
    "Reason",
    "Settings",
    "Trial",
    "ends",
    "estimate",
    "final_outcomes",
    "fit_probability",
    "interval_of",
    "is_saturated",
    "most_trainings",
    "posterior",
    "progress",
    "results_on_path",
]

Reason = Literal["converged", "most", "above", "below", "exhausted"]
Status = Literal["ok", "most", "exhausted", "above", "below", "open"]
Rounds = Generator[list[Trial], None, Reason]

CERTAIN = 0.95  # probability of n50 beyond an end of the range from which the search stops
MARGIN = 1.25  # a failure so far below the interval is a hole, a success so far above an island
LINEAR_MARGIN = 2.5  # lattice steps; the same on a linear lattice
VERIFY_AT = 1.15  # verification comes at this ratio, or at `until` where that is larger
VERIFICATION = (3, 5, 8, 12)  # lattice steps below and above n50
SATURATED = 1.1  # a doubling of the budget that moves n50 by less is the last
NEIGHBOURS = 3  # lattice steps to the nearest value with a training left
VOTES = 3  # trainings of one round of the bisection
RUNG = (2, 2)  # ladder: lattice steps between rungs at least, and trainings of one


@dataclass(frozen=True)
class Progress:
    """How far a search is.

    rounds: every round so far; the last is open if `open`, its trials without an outcome, is not
    empty. finished: None, or why the search ended: "converged"; "most", the trainings are used up;
    "above" or "below", n50 may lie beyond that end of the range (probability above 0.05);
    "exhausted", the method or the seeds offer no further training.
    """

    rounds: tuple[tuple[Trial, ...], ...]
    open: tuple[Trial, ...]
    finished: Reason | None


@dataclass(frozen=True)
class Estimate:
    """What the outcomes of a search say.

    n50: posterior median of the value at which p = (1 - lapse) / 2, None where it is censored or
    nothing is known. low, high: its 90 % interval, the unknown end None where it is censored.
    bound: of a censored n50, the value above ("above") or below ("below") which it lies with
    probability 0.95, at most the end of the range. slope (of log n; of n on a linear lattice) and
    lapse: posterior means. n_largest: the largest value with a success (the smallest where success
    rises). n_first_failure: the smallest value with a failure (the largest where success rises).
    hole: two failures where success is expected; island: a success where failure is expected.
    """

    n50: float | None
    low: float | None
    high: float | None
    bound: float | None
    slope: float | None
    lapse: float | None
    n_largest: Value | None
    n_first_failure: Value | None
    hole: bool
    island: bool
    trainings: int
    status: Status


NOTHING = Estimate(
    n50=None,
    low=None,
    high=None,
    bound=None,
    slope=None,
    lapse=None,
    n_largest=None,
    n_first_failure=None,
    hole=False,
    island=False,
    trainings=0,
    status="open",
)


def progress(settings: Settings, outcomes: Outcomes) -> Progress:
    """Replay the search from its first round to the first one with trials without an outcome.

    A pure function: trials outside the path of the search are ignored.
    """
    results: list[tuple[Trial, bool]] = []
    rounds: list[tuple[Trial, ...]] = []
    search = _search(settings, results)
    while True:
        try:
            trials = tuple(next(search))
        except StopIteration as end:
            return Progress(tuple(rounds), (), end.value)
        rounds.append(trials)
        still_open = tuple(trial for trial in trials if trial not in outcomes)
        if still_open:
            return Progress(tuple(rounds), still_open, None)
        results.extend((trial, outcomes[trial]) for trial in trials)


def results_on_path(state: Progress, outcomes: Outcomes) -> list[tuple[Trial, bool]]:
    """The trials of all rounds that have an outcome, with it."""
    trials = [trial for trials in state.rounds for trial in trials]
    return [(trial, outcomes[trial]) for trial in trials if trial in outcomes]


def most_trainings(settings: Settings) -> int:
    """The most trainings of a search: `most`, and as many again for each doubling of the budget."""
    possible = len(lattice.values(settings)) * settings.seeds
    return min(settings.most, possible) * (1 + settings.doublings)


def estimate(settings: Settings, results: Results) -> Estimate:
    """The estimate from trials of the path with their outcomes, in any order.

    A training that was repeated with a larger budget counts once, as a success if any succeeded.
    """
    outcomes = final_outcomes(results)
    if not outcomes:
        return NOTHING
    belief = posterior(settings, results)
    interval = interval_of(settings, belief)
    hole, island = _irregularities(settings, outcomes, belief)
    largest, first_failure = _extremes(settings, outcomes)
    return Estimate(
        n50=interval.n50,
        low=interval.low,
        high=interval.high,
        bound=interval.bound,
        slope=belief.mean_slope,
        lapse=belief.mean_lapse,
        n_largest=largest,
        n_first_failure=first_failure,
        hole=hole,
        island=island,
        trainings=len(results),
        status=_status(settings, results, interval.censored),
    )


def _search(settings: Settings, results: list[tuple[Trial, bool]]) -> Rounds:
    """The rounds of a search, one by one; returns why it ended.

    The caller adds the outcomes of a round to `results` before it asks for the next.
    """
    methods = {"posterior": _posterior_rounds, "bisect": _bisection, "ladder": _ladder}
    end = yield from methods[settings.method](settings, results)
    yield from _doublings(settings, results)
    belief = posterior(settings, results)
    censored = belief.censored(settings)
    if censored:
        return censored
    if settings.doublings and end in ("above", "below", "converged"):
        # the larger budget brought it into range, or made the interval wide
        return "converged" if _narrow(settings, belief, settings.until) else "exhausted"
    return end


def _posterior_rounds(settings: Settings, results: Results) -> Rounds:
    """Evenly spread values, then quantiles of the posterior, and once a verification round."""
    last, parts = len(lattice.values(settings)) - 1, settings.first + 1
    indices = [round(last * i / parts) for i in range(1, parts)]
    yield _trials(settings, results, indices)
    to_verify = settings.verify
    while True:
        belief = posterior(settings, results)
        certain = belief.censored(settings, CERTAIN)
        if certain:
            return certain
        if to_verify and _narrow(settings, belief, max(settings.until, VERIFY_AT)):
            to_verify = False
            trials = _trials(settings, results, _around(settings, belief))
            if trials:
                yield trials
                continue
        if _narrow(settings, belief, settings.until):
            return "converged"
        trials = _trials(settings, results, _at_quantiles(settings, belief))
        if not trials:
            return "most" if len(results) >= settings.most else "exhausted"
        yield trials


def _at_quantiles(settings: Settings, belief: Posterior) -> list[int]:
    """Lattice indices nearest to quantiles of n50 from 0.1 to 0.9, the ends not included."""
    parts = settings.per_round + 1
    quantiles = 0.1 + 0.8 * np.arange(1, parts) / parts
    return [_nearest(settings, float(position)) for position in belief.position(quantiles)]


def _around(settings: Settings, belief: Posterior) -> list[int]:
    """Lattice indices of the verification round, nearest first, those within the range."""
    centre = _nearest(settings, float(belief.position(0.5)))
    indices = [centre + side * steps for steps in VERIFICATION for side in (-1, 1)]
    return [index for index in indices if 0 <= index < len(lattice.values(settings))]


def _nearest(settings: Settings, position: float) -> int:
    """Index of the value of the lattice nearest to a position."""
    return int(np.abs(np.asarray(lattice.positions(settings)) - position).argmin())


def _trials(settings: Settings, results: Results, indices: Sequence[int]) -> list[Trial]:
    """A training at each lattice index, while `most` lasts.

    Where the seeds of a value are used up, the nearest value with a training left takes its place,
    if it is at most three lattice steps away.
    """
    values = lattice.values(settings)
    trials = [trial for trial, _ in results if trial.level == 0]
    earlier = len(trials)
    for index in indices:
        counts = Counter(trial.value for trial in trials)
        near = range(max(index - NEIGHBOURS, 0), min(index + NEIGHBOURS + 1, len(values)))
        free = [i for i in near if counts[values[i]] < settings.seeds]
        if free and len(results) + len(trials) - earlier < settings.most:
            value = values[min(free, key=lambda i: (abs(i - index), i))]
            trials.append(Trial(0, value, _least_used(settings, trials, value)))
    return trials[earlier:]


def _least_used(settings: Settings, trials: Sequence[Trial], value: Value) -> int:
    """The seed that the search used least so far, among those not used at this value.

    The training sets of one seed are nested, and share a sample that is hard to fit: two trainings
    with one seed are less than two observations, at different values too.
    """
    uses = Counter(trial.number for trial in trials)
    used_here = {trial.number for trial in trials if trial.value == value}
    free = [number for number in range(settings.seeds) if number not in used_here]
    return min(free, key=lambda number: (uses[number], number))


def _bisection(settings: Settings, results: Results) -> Rounds:
    """The majority of three trainings at the middle of what is left, down to neighbours.

    The ends of the range are not trained in advance: the values next to them decide.
    """
    votes = VOTES if min(settings.seeds, settings.most) >= VOTES else 1
    low, high = -1, len(lattice.values(settings))
    while high - low > 1:
        middle = (low + high) // 2
        trials = _trials(settings, results, [middle] * votes)
        if len(trials) < votes:
            return "most"
        yield trials
        successes = sum(success for _, success in results[-votes:])
        if (2 * successes > votes) == settings.falling:
            low = middle
        else:
            high = middle
    narrow = _narrow(settings, posterior(settings, results), settings.until)
    return "converged" if narrow else "exhausted"


def _ladder(settings: Settings, results: Results) -> Rounds:
    """One round with two trainings at every second value, or further apart to stay in `most`."""
    stride, trainings = RUNG
    trainings = min(trainings, settings.seeds)
    count = len(lattice.values(settings))
    while trainings * len(range(0, count, stride)) > settings.most and stride < count:
        stride += 1
    rungs = range(0, count, stride)
    yield _trials(settings, results, [index for index in rungs for _ in range(trainings)])
    narrow = _narrow(settings, posterior(settings, results), settings.until)
    return "converged" if narrow else "exhausted"


def _doublings(settings: Settings, results: Results) -> Generator[list[Trial], None, None]:
    """Failures near and before n50 again with a doubled budget, while that moves n50 by 10 %."""
    belief = posterior(settings, results)
    easy = "above" if settings.falling else "below"
    for level in range(1, settings.doublings + 1):
        if belief.censored(settings) == easy:
            return
        trials = []
        for (value, number), success in sorted(final_outcomes(results).items()):
            if not success and _within_reach(settings, belief, value):
                trials.append(Trial(level, value, number))
        if not trials:
            return
        yield trials
        before, belief = belief, posterior(settings, results)
        if is_saturated(settings, before, belief):
            return


def is_saturated(settings: Settings, before: Posterior, after: Posterior) -> bool:
    """Whether n50 moved by less than 10 %, or than half of the distance of the values there."""
    start, end = (float(belief.position(0.5)) for belief in (before, after))
    return abs(end - start) < _tolerance(settings, start, SATURATED)


def _within_reach(settings: Settings, belief: Posterior, value: Value) -> bool:
    """Whether a failure at the value is one that a larger budget may turn into a success."""
    low, high = belief.position(INTERVAL)
    position = lattice.position(settings, value)
    if settings.falling:
        return bool(position <= high + _margin(settings))
    return bool(position >= low - _margin(settings))


def _margin(settings: Settings) -> float:
    """Distance from the interval beyond which an outcome is irregular, as positions."""
    return LINEAR_MARGIN * settings.step if settings.step else math.log(MARGIN)


def _narrow(settings: Settings, belief: Posterior, ratio: float) -> bool:
    """Whether the half-width of the 90 % interval is below the ratio."""
    low, median, high = belief.position([INTERVAL[0], 0.5, INTERVAL[1]])
    return bool((high - low) / 2 < _tolerance(settings, float(median), ratio))


def _tolerance(settings: Settings, position: float, ratio: float) -> float:
    """A ratio as a distance of positions; at least half of the distance of the values there."""
    positions = lattice.positions(settings)
    index = min(max(int(np.searchsorted(positions, position)), 1), len(positions) - 1)
    half = (positions[index] - positions[index - 1]) / 2
    relative = (ratio - 1) * abs(position) if settings.step else math.log(ratio)
    return max(relative, half)


def _irregularities(
    settings: Settings, outcomes: Mapping[tuple[Value, int], bool], belief: Posterior
) -> tuple[bool, bool]:
    """Whether there is a hole and an island."""
    low, high = belief.position(INTERVAL)
    start, stop, sign = low - _margin(settings), high + _margin(settings), 1
    if not settings.falling:
        start, stop, sign = -stop, -start, -1
    failures = successes = 0
    for (value, _), success in outcomes.items():
        position = sign * lattice.position(settings, value)
        if success:
            successes += int(position > stop)
        else:
            failures += int(position < start)
    return failures >= 2, successes >= 1


def _extremes(
    settings: Settings, outcomes: Mapping[tuple[Value, int], bool]
) -> tuple[Value | None, Value | None]:
    """The success furthest along the axis, and the first failure."""
    successes = [value for (value, _), success in outcomes.items() if success]
    failures = [value for (value, _), success in outcomes.items() if not success]
    if settings.falling:
        return max(successes, default=None), min(failures, default=None)
    return min(successes, default=None), max(failures, default=None)


def _status(settings: Settings, results: Results, censored: Censored | None) -> Status:
    """The status of a search with these results: "open" while it goes on."""
    finished = progress(settings, dict(results)).finished
    if finished is None:
        return "open"
    if censored:
        return censored
    return "ok" if finished == "converged" else finished
