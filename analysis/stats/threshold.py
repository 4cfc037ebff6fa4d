"""The value of an axis at which success changes: what to train next, and the estimate.

A search trains at values of a lattice, in rounds. What to train follows from the settings and the
outcomes alone: `progress` replays the search from its first round. Nothing is drawn at random, and
neither the order of outcomes nor trainings outside the path of the search change anything. The
same posterior proposes the next round and gives the estimate.

Model: a training at value n succeeds with probability (1 - lapse) / (1 + exp((u - m) / slope)),
where u = log n and m = log n50 (u = n on a linear lattice), rising instead of falling where the
settings say so. Lapses are trainings that fail at any value; to ignore them biases thresholds
(Prins 2012). Placing trials by the posterior of such a curve is old in psychophysics (Watson and
Pelli 1983, QUEST; Kontsevich and Tyler 1999, the psi method).

Imports numpy and the standard library alone, for it also runs inside jobs.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Value = int | float
Reason = Literal["converged", "most", "above", "below", "exhausted"]
Censored = Literal["above", "below"]
Status = Literal["ok", "most", "exhausted", "above", "below", "open"]

INTERVAL = (0.05, 0.95)  # quantiles of n50: the 90 % interval
CENSORED = 0.05  # probability of n50 beyond an end of the range from which it is censored
CERTAIN = 0.95  # the same, from which the search stops
LAPSES = (0.0, 0.05, 0.15, 0.3)
LAPSE_WEIGHTS = (0.55, 0.25, 0.13, 0.07)
SLOPES = (0.03, 0.5)  # of log n, seven values
CLIP = 1e-6  # least probability of either outcome
FINEST = 8  # grid of n50: half steps of a lattice of at least this many values per octave
MARGIN = 1.25  # a failure so far below the interval is a hole, a success so far above an island
LINEAR_MARGIN = 2.5  # lattice steps; the same on a linear lattice
VERIFY_AT = 1.15  # verification comes at this ratio, or at `until` where that is larger
VERIFICATION = (3, 5, 8, 12)  # lattice steps below and above n50
SATURATED = 1.1  # a doubling of the budget that moves n50 by less is the last
NEIGHBOURS = 3  # lattice steps to the nearest value with a training left
VOTES = 3  # trainings of one round of the bisection
RUNG = (2, 2)  # ladder: lattice steps between rungs at least, and trainings of one


LARGEST = 1e15
"""The largest value that a search can try; every integer up to it is a float."""

MOST_VALUES = 10_000
"""The largest number of values of a lattice."""


@dataclass(frozen=True)
class Settings:
    """Settings of one search, from `search:` in the sweep file. ValueError if they contradict.

    low, high: the range. lattice: values for every factor of two, or None with step: distance of
    the values on a linear lattice. integer: the values are ints. falling: success becomes rarer as
    the axis grows. first, per_round: trainings of the first and of every later round. until: ratio
    of the half-width of the 90 % interval at which the search has converged; on a linear lattice
    the half-width is compared with (until - 1) n50; half the distance of neighbouring values
    always suffices. most: trainings of the search with its verification round; doublings of the
    budget come on top. verify: train once more around n50. seeds: trainings possible at one value.
    doublings: the most doublings of the budget, each of which trains failures again.

    `first`, `per_round` and `verify` are for the method "posterior". "bisect" takes the majority of
    three trainings at the middle of the range that is left; "ladder" is one round of two trainings
    at every second value, or at fewer values where `most` would not suffice.
    """

    low: float
    high: float
    lattice: int | None
    step: float | None
    integer: bool
    falling: bool
    method: Literal["posterior", "bisect", "ladder"]
    first: int
    per_round: int
    until: float
    most: int
    verify: bool
    seeds: int
    doublings: int = 0

    def __post_init__(self) -> None:
        if (self.lattice is None) == (self.step is None):
            raise ValueError(
                f"lattice {self.lattice} and step {self.step}: expected exactly one of the two"
            )
        if not -LARGEST <= self.low < self.high <= LARGEST:
            raise ValueError(
                f"range {self.low:g} to {self.high:g}: expected two numbers between "
                f"{-LARGEST:.0e} and {LARGEST:.0e}, the lower one first"
            )
        if self.step is None and self.low <= 0:
            raise ValueError(f"range from {self.low:g}: a lattice of ratios needs values above 0")
        if _number_of_values(self) > MOST_VALUES:
            raise ValueError(
                f"range {self.low:g} to {self.high:g} has more than {MOST_VALUES} values of the "
                "lattice: narrow the range or coarsen the lattice"
            )
        if len(_values(self)) < 2:
            raise ValueError(
                f"range {self.low:g} to {self.high:g} has {len(_values(self))} values of the "
                "lattice, expected 2 or more: widen the range or refine the lattice"
            )
        if min(self.first, self.per_round, self.most, self.seeds) < 1:
            raise ValueError("first, per_round, most and the number of seeds must be at least 1")
        if not 1 < self.until < math.inf:
            raise ValueError(f"until {self.until:g}: expected a ratio above 1, such as 1.15")


@dataclass(frozen=True, order=True)
class Trial:
    """One training of a search.

    level: doublings of the budget so far. value: on the lattice. number: an
    index into the seeds of the sweep.
    """

    level: int
    value: Value
    number: int


Outcomes = Mapping[Trial, bool]
Results = Sequence[tuple[Trial, bool]]
Rounds = Generator[list[Trial], None, Reason]


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


@dataclass(frozen=True)
class Interval:
    """The posterior median of n50 and its 90 % interval.

    All as in Estimate: what lies beyond the range of the search is None. bound: the end that is
    left of a censored n50. censored: the side on which it lies.
    """

    n50: float | None
    low: float | None
    high: float | None
    bound: float | None
    censored: Censored | None

    @property
    def columns(self) -> dict[str, float]:
        """n50, n50_low, n50_high and n50_bound, the columns of a table; NaN for None."""
        names = ("n50", "n50_low", "n50_high", "n50_bound")
        values = (self.n50, self.low, self.high, self.bound)
        pairs = zip(names, values, strict=True)
        return {name: math.nan if value is None else value for name, value in pairs}


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
UNKNOWN = Interval(None, None, None, None, None)


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
    possible = len(_values(settings)) * settings.seeds
    return min(settings.most, possible) * (1 + settings.doublings)


def estimate(settings: Settings, results: Results) -> Estimate:
    """The estimate from trials of the path with their outcomes, in any order.

    A training that was repeated with a larger budget counts once, as a success if any succeeded.
    """
    final = by_training(results)
    if not final:
        return NOTHING
    belief = posterior(settings, results)
    interval = interval_of(settings, belief)
    hole, island = _irregularities(settings, final, belief)
    largest, first_failure = _extremes(settings, final)
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


def interval_of(settings: Settings, belief: Posterior) -> Interval:
    """n50 and its interval from a posterior, censored at the range of the search."""
    low, n50, high = (belief.quantile(q) for q in (INTERVAL[0], 0.5, INTERVAL[1]))
    censored = belief.censored(settings)
    if censored == "above":
        return Interval(None, low, None, min(low, settings.high), censored)
    if censored == "below":
        return Interval(None, None, high, max(high, settings.low), censored)
    return Interval(n50, low, high, None, None)


@dataclass(frozen=True)
class Posterior:
    """Probabilities of n50, slope and lapse on a grid.

    positions: (m,) log n50, or n50 itself on a linear lattice. slopes: (s,). weights: (m, s, l),
    their sum is 1.
    """

    positions: Array
    slopes: Array
    weights: Array
    linear: bool

    @property
    def marginal(self) -> Array:
        """Probability of every n50 of the grid, (m,)."""
        weights: Array = self.weights.sum(axis=(1, 2))
        return weights

    @property
    def values(self) -> Array:
        """The n50 of the grid, (m,)."""
        return self.positions if self.linear else np.exp(self.positions)

    @property
    def mean_slope(self) -> float:
        """Posterior mean of the slope."""
        return float(self.weights.sum(axis=(0, 2)) @ self.slopes)

    @property
    def mean_lapse(self) -> float:
        """Posterior mean of the probability of a lapse."""
        return float(self.weights.sum(axis=(0, 1)) @ np.asarray(LAPSES))

    def position(self, probability: ArrayLike) -> Array:
        """Quantiles of log n50 (of n50 on a linear lattice): the cumulative marginal, linear
        between the points of the grid, with half of a point's probability on either side of it.
        """
        marginal = self.marginal
        cumulative = np.cumsum(marginal) - marginal / 2
        positions: Array = np.interp(np.asarray(probability), cumulative, self.positions)
        return positions

    def quantile(self, probability: float) -> float:
        """A quantile of n50."""
        position = float(self.position(probability))
        return position if self.linear else math.exp(position)

    def above(self, position: float) -> float:
        """Probability that n50 lies above a position."""
        marginal = self.marginal
        cumulative = np.cumsum(marginal) - marginal / 2
        return 1 - float(np.interp(position, self.positions, cumulative))

    def beyond(self, settings: Settings) -> tuple[tuple[Censored, float], tuple[Censored, float]]:
        """Probabilities that n50 lies above and below the range of the lattice."""
        positions = _positions(settings)
        above, below = self.above(positions[-1]), 1 - self.above(positions[0])
        return ("above", above), ("below", below)

    def censored(self, settings: Settings, probability: float = CENSORED) -> Censored | None:
        """The side of the range beyond which n50 lies with more than this probability."""
        side, largest = max(self.beyond(settings), key=lambda pair: pair[1])
        return side if largest > probability else None


def posterior(settings: Settings, results: Results) -> Posterior:
    """The posterior of n50, slope and lapse from outcomes in any order.

    Flat in log n50 from one octave below to one above the range, in half lattice steps, and in
    seven log-spaced slopes from 0.03 to 0.5. On a linear lattice flat in n50, from eight steps (or
    an eighth of the range, if that is more) below the range to as much above it, and the slopes go
    from a third of a step to six steps, or to a sixth of the range.
    """
    likelihood = _likelihood(settings)
    counts = Counter((value, success) for (value, _), success in by_training(results).items())
    log_weights = np.broadcast_to(np.log(LAPSE_WEIGHTS), likelihood.shape).copy()
    for (value, success), count in sorted(counts.items()):
        log_weights += count * likelihood.log_probability(value, success)
    weights = np.exp(log_weights - log_weights.max())
    linear = settings.step is not None
    return Posterior(likelihood.positions, likelihood.slopes, weights / weights.sum(), linear)


def fit_probability(settings: Settings, results: Results, values: ArrayLike) -> Array:
    """Posterior mean of the probability of success at each of the values, same shape."""
    likelihood, weights = _likelihood(settings), posterior(settings, results).weights
    points = np.asarray(values, np.float64)
    means = [float((likelihood.probability(value) * weights).sum()) for value in points.ravel()]
    return np.asarray(means).reshape(points.shape)


class _Likelihood:
    """Probability of success over the grid of n50, slope and lapse; remembers searched values."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.positions, self.slopes = _grid(settings)
        self.shape = (len(self.positions), len(self.slopes), len(LAPSES))
        self._logs: dict[Value, tuple[Array, Array]] = {}

    def probability(self, value: float) -> Array:
        """Probability of success at a value, (m, s, l)."""
        distance = _position(self.settings, value) - self.positions[:, None]
        signed = distance if self.settings.falling else -distance
        logistic = 1 / (1 + np.exp(np.clip(signed / self.slopes, -50, 50)))
        probability = logistic[:, :, None] * (1 - np.asarray(LAPSES))
        clipped: Array = np.clip(probability, CLIP, 1 - CLIP)
        return clipped

    def log_probability(self, value: Value, success: bool) -> Array:
        """Log probability of an outcome at a value, (m, s, l)."""
        if value not in self._logs:
            probability = self.probability(value)
            self._logs[value] = np.log1p(-probability), np.log(probability)
        return self._logs[value][success]


@lru_cache(maxsize=4)
def _likelihood(settings: Settings) -> _Likelihood:
    return _Likelihood(settings)


def _grid(settings: Settings) -> tuple[Array, Array]:
    """Positions of n50 and slopes."""
    positions, distance = _positions(settings), _distance(settings)
    if settings.step is None:
        spacing = min(distance, math.log(2) / FINEST) / 2
        reach, slopes = math.log(2), SLOPES
    else:
        spacing, span = distance / 2, positions[-1] - positions[0]
        reach, slopes = max(8 * distance, span / 8), (distance / 3, max(6 * distance, span / 6))
    start, stop = positions[0] - reach, positions[-1] + reach
    points = math.ceil((stop - start) / spacing - 1e-9) + 1
    grid = np.asarray(start + spacing * np.arange(points), np.float64)
    return grid, np.geomspace(*slopes, 7, dtype=np.float64)


def _number_of_values(settings: Settings) -> float:
    """About how many values the lattice has, before they are made."""
    if settings.step is not None:
        return (settings.high - settings.low) / settings.step
    return (settings.lattice or 0) * (math.log2(settings.high) - math.log2(settings.low))


@lru_cache(maxsize=64)
def _values(settings: Settings) -> tuple[Value, ...]:
    """The values of the lattice in the range, increasing.

    round(2^(j / lattice)) or step j: every search, method and refinement meets at the same values.
    Floats have at most 9 significant digits, so that they are the same on every machine.
    """
    if settings.step is None and settings.lattice is not None:
        ends = [settings.lattice * math.log2(end) for end in (settings.low, settings.high)]
        points = {j: 2.0 ** (j / settings.lattice) for j in _integers_around(*ends)}
    else:
        step = settings.step or 1.0
        points = {j: step * j for j in _integers_around(settings.low / step, settings.high / step)}
    values: list[Value] = []
    for point in points.values():
        value = round(point) if settings.integer else float(f"{point:.9g}")
        slack = 1e-9 * max(abs(settings.low), abs(settings.high))
        if settings.low - slack <= value <= settings.high + slack:
            values.append(value)
    return tuple(dict.fromkeys(values))


def ends(settings: Settings) -> tuple[Value, Value]:
    """The least and the largest value that a search tries."""
    values = _values(settings)
    return values[0], values[-1]


def _integers_around(low: float, high: float) -> range:
    """The integers from just below `low` to just above `high`."""
    return range(math.floor(low) - 1, math.ceil(high) + 2)


def _position(settings: Settings, value: float) -> float:
    """Where a value lies on the axis of the model: its logarithm, or itself if linear."""
    return math.log(value) if settings.step is None else value


@lru_cache(maxsize=64)
def _positions(settings: Settings) -> tuple[float, ...]:
    """The positions of the values of the lattice."""
    return tuple(_position(settings, value) for value in _values(settings))


def _distance(settings: Settings) -> float:
    """Distance of neighbouring values, as positions."""
    return math.log(2) / settings.lattice if settings.lattice else float(settings.step or 0)


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
    last, parts = len(_values(settings)) - 1, settings.first + 1
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
    return [index for index in indices if 0 <= index < len(_values(settings))]


def _nearest(settings: Settings, position: float) -> int:
    """Index of the value of the lattice nearest to a position."""
    return int(np.abs(np.asarray(_positions(settings)) - position).argmin())


def _trials(settings: Settings, results: Results, indices: Sequence[int]) -> list[Trial]:
    """A training at each lattice index, while `most` lasts.

    Where the seeds of a value are used up, the nearest value with a training left takes its place,
    if it is at most three lattice steps away.
    """
    values = _values(settings)
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
    low, high = -1, len(_values(settings))
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
    count = len(_values(settings))
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
        for (value, number), success in sorted(by_training(results).items()):
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
    position = _position(settings, value)
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
    positions = _positions(settings)
    index = min(max(int(np.searchsorted(positions, position)), 1), len(positions) - 1)
    half = (positions[index] - positions[index - 1]) / 2
    relative = (ratio - 1) * abs(position) if settings.step else math.log(ratio)
    return max(relative, half)


def by_training(results: Results) -> dict[tuple[Value, int], bool]:
    """The outcome of each training: a success if it succeeded with any budget."""
    final: dict[tuple[Value, int], bool] = {}
    for trial, success in results:
        training = trial.value, trial.number
        final[training] = final.get(training, False) or success
    return final


def _irregularities(
    settings: Settings, final: Mapping[tuple[Value, int], bool], belief: Posterior
) -> tuple[bool, bool]:
    """Whether there is a hole and an island."""
    low, high = belief.position(INTERVAL)
    start, stop, sign = low - _margin(settings), high + _margin(settings), 1
    if not settings.falling:
        start, stop, sign = -stop, -start, -1
    failures = successes = 0
    for (value, _), success in final.items():
        position = sign * _position(settings, value)
        if success:
            successes += int(position > stop)
        else:
            failures += int(position < start)
    return failures >= 2, successes >= 1


def _extremes(
    settings: Settings, final: Mapping[tuple[Value, int], bool]
) -> tuple[Value | None, Value | None]:
    """The success furthest along the axis, and the first failure."""
    successes = [value for (value, _), success in final.items() if success]
    failures = [value for (value, _), success in final.items() if not success]
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
